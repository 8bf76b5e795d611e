//! The sampler: what a profile run samples with, and what the second model runner keeps for every sequence.
//!
//! Logits are 16-bit (32-bit in an f32 model). Filters work on an f32 copy of them:
//!
//! - up to 0.15 the vocabulary is sorted: 36 B a logit more;
//! - up to 0.28 probabilities and random numbers come to the f32 copy: 12 B a logit more;
//! - the second model runner draws random numbers in its kernel. Up to 0.32 its profile run filters nothing; from 0.33 on it
//!   does, in the f32 copy itself: 4 B a logit more. Where `FlashInfer` is installed and can compile its kernels, it makes a
//!   masked copy and probabilities: 12 B a logit more. That is the high bound; no run with it was measured.
//!
//! Where tokens are predicted ahead, the first runner's profile run rejects as many drafts as sequences, too: beside the logits of
//! both (4 B a sequence and word) it holds those of the last tokens in 16 and 32 bits (6 B), the drafts' in f32 as they were and
//! filtered (8 B), probabilities and random numbers (8 B): 26 B.
//!
//! Where a pivot is searched, a Triton kernel has a row of f32 for each of its programs and keeps it.
//!
//! Sources: vLLM `v1/sample/ops/topk_topp_sampler.py`, `topk_topp_triton.py`, `v1/worker/gpu/model_runner.py`
//! (`_dummy_sampler_run`), `v1/worker/gpu/sample/`, `v1/sample/rejection_sampler.py` (the same in 0.19 and 0.27); `FlashInfer` `sampling.py` (`top_k_top_p_sampling_from_logits`).

use super::transient;
use crate::estimate::serving::layer::element;
use crate::estimate::{
    BufferId, Buffers, Component, Deviation, EstimateError, Formula, Kind, Life, Moment, Phase,
    Scenario,
};
use crate::spec::{Basis, Bounds, Serving};
use crate::units::{Bytes, Overflow};

/// Bytes a logit beside its own 16 bits (32 in an f32 model).
const SORTED: u64 = 36;
const SEARCHED: u64 = 12;
const FILTERED: u64 = 4;
/// The same where drafts are rejected.
const REJECTED: u64 = 24;

/// Sequences from which on the pivot is searched (`apply_top_k_top_p`); the second model runner searches always.
const FEWEST_SEARCHED: u64 = 8;

const REJECTING: &str =
    "logits of drafts and last tokens, copies, probabilities and random numbers";

/// How a release samples in its profile run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sampling {
    Sorted,
    Searched,
    /// The second runner, with filters or without.
    InPlace {
        filtered: bool,
    },
}

impl Sampling {
    const fn of(serving: Serving, sampled: u64) -> Self {
        let version = serving.version;
        if version.has_second_runner() {
            return Self::InPlace { filtered: version.profiles_filters() };
        }
        if version.sorts() || sampled < FEWEST_SEARCHED { Self::Sorted } else { Self::Searched }
    }

    /// Bytes of copies of a logit: expected, and at most.
    const fn copies(self) -> (u64, u64) {
        match self {
            Self::Sorted => (SORTED, SORTED),
            Self::Searched => (SEARCHED, SEARCHED),
            Self::InPlace { filtered: true } => (FILTERED, SEARCHED),
            Self::InPlace { filtered: false } => (0, 0),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Sorted => "logits, f32 copy and what sorting takes",
            Self::Searched => "logits, f32 copy, probabilities and random numbers",
            Self::InPlace { filtered: true } => "logits and the f32 copy that is filtered",
            Self::InPlace { filtered: false } => "logits",
        }
    }

    const fn searches(self) -> bool {
        matches!(self, Self::Searched | Self::InPlace { filtered: true })
    }
}

/// Rows of the search's buffer: a power of two of programs, at most one for every multiprocessor
/// (`topk_topp_triton.py`).
fn search_rows(multiprocessors: u64, sampled: u64) -> u64 {
    let programs = multiprocessors.min(sampled);
    programs.checked_next_power_of_two().unwrap_or(programs).min(multiprocessors)
}

/// Lists what sampling for `max_num_seqs` sequences needs behind a step of so many tokens.
pub fn push(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
    rows: u64,
) -> Result<(), EstimateError> {
    let shape = &scenario.model.shape;
    let sampled = serving.max_seqs.min(rows);
    let sampling = Sampling::of(serving, sampled);
    let second = serving.version.has_second_runner();
    // Those sampled; in the first runner random numbers of the same shape, too, that the sampler is warmed up with.
    let states = rows + if second { sampled } else { 2 * sampled };
    let hidden = [("tokens, and those sampled", states), ("hidden", shape.hidden_size)];
    let kind = transient(Component::Activations, Moment::Output);
    buffers.product(kind, "hidden states", &[hidden[0], hidden[1], ("B", element(scenario))])?;
    let rejects = serving.server.ahead > 0 && !second;
    push_logits(buffers, scenario, sampling, (sampled, rejects))?;
    if sampling.searches() {
        push_search(buffers, scenario, second, sampled)?;
    }
    Ok(())
}

fn push_logits(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    sampling: Sampling,
    (sampled, rejects): (u64, bool),
) -> Result<(), EstimateError> {
    let rejected = if rejects { REJECTED } else { 0 };
    let (copies, most) = sampling.copies();
    let (copies, most) = (copies.max(rejected), most.max(rejected));
    let of = |bytes| {
        Formula::product(&[
            ("max_num_seqs", sampled),
            ("vocab_size", scenario.model.shape.vocab_size),
            ("B", element(scenario) + bytes),
        ])
    };
    let formula = of(copies);
    let size = Deviation::VLLM_SAMPLER.around(formula.value()?)?;
    let high = Deviation::VLLM_SAMPLER.around(of(most).value()?)?.high;
    let size = Bounds::new(size.low, size.expected, high);
    let name = if rejected >= copies && rejects { REJECTING } else { sampling.name() };
    buffers.push(transient(Component::Logits, Moment::Output), name, size, formula);
    Ok(())
}

/// The kernel keeps its rows, which is no more than the moment needs: what is measured is the run's peak.
fn push_search(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    may_be_none: bool,
    sampled: u64,
) -> Result<(), EstimateError> {
    let programs = search_rows(scenario.gpu.sm_count.value, sampled);
    let logits = transient(Component::Logits, Moment::Output);
    let kind = Kind { source: "vLLM topk_topp_triton.py, pull request 33538", ..logits };
    let factors =
        [("programs", programs), ("vocab_size", scenario.model.shape.vocab_size), ("B", 4)];
    let formula = Formula::product(&factors);
    let expected = formula.value()?;
    // `FlashInfer` has none of it.
    let low = if may_be_none { Bytes::ZERO } else { expected };
    buffers.push(kind, BufferId::PivotSearch, Bounds::new(low, expected, expected), formula);
    Ok(())
}

/// Tokens that a request may list to be allowed, biased, or to stop at (`logit_bias.py`): token ids, and the biases.
const LISTED: u64 = 3 * 1024 + 128;
/// Tokens of words that a request may forbid, and where they begin (`VLLM_MAX_BAD_WORDS_TOTAL_TOKENS`,
/// `VLLM_MAX_NUM_BAD_WORDS`).
const FORBIDDEN: u64 = 1024 + 128 + 1;
/// Tokens whose probabilities a request may ask for (`logprob.py`, `MAX_LOGPROB_TOKEN_IDS`).
const REPORTED: u64 = 128;

/// Lists what the second model runner keeps on the card for every sequence, whatever it is asked for: how often each token
/// of the vocabulary was generated, bit masks of those of the prompt and of a grammar, and lists of tokens.
pub fn push_states(
    buffers: &mut Buffers,
    scenario: &Scenario<'_>,
    serving: Serving,
) -> Result<(), Overflow> {
    if !serving.version.has_second_runner() || !scenario.part().has_head {
        return Ok(());
    }
    let vocab = scenario.model.shape.vocab_size;
    let kind = Kind {
        component: Component::Logits,
        life: Life::From(Phase::SystemPrefill),
        basis: Basis::Modelled,
        source: "vLLM v1/worker/gpu/sample/penalties.py, logit_bias.py, bad_words.py, structured_outputs.py",
    };
    let counts = [("max_num_seqs", serving.max_seqs), ("vocab_size", vocab), ("B", 4)];
    buffers.product(kind, BufferId::PenaltyCounts, &counts)?;
    let words = 2 * vocab.div_ceil(32) + LISTED + FORBIDDEN + REPORTED;
    let lists = [("max_num_seqs", serving.max_seqs), ("masks and lists", words), ("B", 4)];
    buffers.product(kind, BufferId::SamplingStates, &lists)
}
