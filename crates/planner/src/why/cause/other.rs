//! Causes that are told in one place: who ended a process, errors of a card, a cache that ran full, and the words of
//! engines that are not planned.

use super::{Cause, CauseKind};
use crate::units::Bytes;
use crate::why::Printed;
use crate::why::evidence::{
    Engine, Evidence, Failure, FailureKind, Killed, Killer, TermKind, TorchError,
};

fn engine(evidence: &Evidence) -> Option<Engine> {
    evidence.engine.map(|(engine, _)| engine)
}

/// `PyTorch`'s own figures, where the failure that is told came of its error.
fn torch(evidence: &Evidence) -> Option<&TorchError> {
    evidence.run.failures.iter().find_map(|failure| match &failure.kind {
        FailureKind::Torch(error) => Some(&**error),
        _ => None,
    })
}

/// What was asked for and what was free, for a cause that has no figures of its own.
fn with_figures(mut cause: Cause, evidence: &Evidence) -> Cause {
    let Some((asked, free)) = torch(evidence).and_then(|error| error.asked.zip(error.free)) else {
        return cause;
    };
    let short = asked.bytes.minus_or_zero(free.bytes);
    cause.short_by = Some(short).filter(|short| !short.is_zero());
    cause.because(format!("{} were asked for, {} were free", asked.bytes, free.bytes))
}

/// The cause of a failure that only this file knows.
pub(super) fn other(evidence: &Evidence, failure: &Failure) -> Option<Cause> {
    Some(match &failure.kind {
        FailureKind::HostAllocation(term) => host(failure, *term),
        FailureKind::HostKilled(killed) => ended(failure, killed),
        FailureKind::DeviceError(what) => {
            let sentence =
                format!("the card or its driver failed: {what}. It is not want of memory");
            Cause::new(CauseKind::DeviceFault, sentence, failure)
        }
        FailureKind::CacheFull { asked, left } => cache_full(evidence, failure, (*asked, *left)),
        FailureKind::Sampler(requests) => {
            let requests = requests.map(|n| format!(" with {n} requests")).unwrap_or_default();
            let sentence = format!("out of memory while vLLM's sampler was tried{requests}");
            let cause = Cause::new(CauseKind::CardFull, sentence, failure);
            with_figures(cause, evidence).because(
                "logits of every request are sorted at once, after weights and cache have taken vLLM's share",
            )
        }
        FailureKind::Woken => {
            let sentence = "vLLM woke from sleep mode and found no room for what it had given back";
            Cause::new(CauseKind::CardFull, sentence.to_owned(), failure).because(
                "while it slept, something else (training, another server) took the memory and kept it",
            )
        }
        FailureKind::Profiled(before, now) => {
            let sentence = format!(
                "vLLM could not measure: {} were free when it began, {} later, as others gave memory back meanwhile",
                before.bytes, now.bytes
            );
            Cause::new(CauseKind::OtherProcesses, sentence, failure)
        }
        FailureKind::Unbalanced(sizes) => unbalanced(failure, *sizes),
        FailureKind::Warmup { tokens, of_cache } => {
            let (kind, term, what) = if *of_cache {
                (CauseKind::Cache, TermKind::Cache, "tokens of cache")
            } else {
                (CauseKind::Compute, TermKind::Compute, "tokens of prefill")
            };
            let sentence = format!("out of memory in TGI's warm-up: no room for {tokens} {what}");
            let mut cause = with_figures(Cause::new(kind, sentence, failure), evidence);
            cause.term = Some(term);
            cause
        }
        FailureKind::Split => {
            let sentence = "ExLlama found no split that holds weights and cache on the cards";
            let cause = Cause::new(CauseKind::CardFull, sentence.to_owned(), failure);
            cause.because("the message does not say which card was short, nor by how much")
        }
        FailureKind::Build => {
            let size = failure.asked.map(|asked| format!(": {}", asked.bytes)).unwrap_or_default();
            let sentence = format!("out of memory while TensorRT's engine was built{size}");
            Cause::new(CauseKind::Allocation, sentence, failure).because(
                "building takes more than running: weights, and what its tactics are tried with",
            )
        }
        FailureKind::BufferLimit(most) => buffer_limit(failure, *most),
        FailureKind::PartlyOffloaded => {
            let sentence = "the weights do not all fit the card: accelerate put a part of them into main memory or on the disk, and goes on, slowly";
            let mut cause = Cause::new(CauseKind::Offloaded, sentence.to_owned(), failure);
            cause.term = Some(TermKind::Weights);
            cause
        }
        FailureKind::LayersOnHost { on_gpu, of, needs } => {
            let sentence = format!(
                "{on_gpu} of {of} layers are on the card: by Ollama's own estimate no more fit, and the rest runs in main memory, slowly"
            );
            let mut cause = Cause::new(CauseKind::Offloaded, sentence, failure);
            cause.term = Some(TermKind::Weights);
            match needs {
                Some(needs) => cause.because(format!("all of them would need {}", needs.bytes)),
                None => cause,
            }
        }
        FailureKind::NoCard { of, needs, has } => no_card(failure, *of, (*needs, *has)),
        FailureKind::Collectives => {
            let sentence = "out of memory where NCCL, by which the cards talk to each other, made its buffers: nothing was left for them";
            let mut cause = Cause::new(CauseKind::CardFull, sentence.to_owned(), failure);
            cause.term = Some(TermKind::NonTorch);
            cause.because(
                "they are beside the share of the card that an engine takes for weights and cache",
            )
        }
        FailureKind::NoSlots { asked, left } => no_slots(failure, (*asked, *left)),
        FailureKind::Mistaken(what) => {
            let sentence = format!("it is not want of memory: {what}");
            Cause::new(CauseKind::DeviceFault, sentence, failure)
        }
        FailureKind::Untold => {
            let untold = "the log tells that the engine stopped, and not why: the cause is in lines before these, or in the log of its worker";
            let error = super::stopped(evidence).filter(|said| said.contains("Error: "));
            let line = evidence.run.stopped_in.filter(|_| error.is_some());
            let sentence = error.unwrap_or_else(|| untold.to_owned());
            let cause = Cause::new(CauseKind::None, sentence, failure);
            Cause { line: line.or(cause.line), ..cause }
        }
        _ => return None,
    })
}

/// Where no card is found, no layer could be on one.
fn no_card(failure: &Failure, of: u64, (needs, has): (Option<Printed>, Option<Printed>)) -> Cause {
    let sentence =
        format!("Ollama found no card that it can use: all {of} layers run in main memory, slowly");
    let mut cause = Cause::new(CauseKind::Offloaded, sentence, failure);
    cause.term = Some(TermKind::Weights);
    let Some(needs) = needs else { return cause };
    let free = has.map(|has| format!(", of which {} are free", has.bytes)).unwrap_or_default();
    cause.because(format!("by its own estimate they need {} of main memory{free}", needs.bytes))
}

fn no_slots(failure: &Failure, (asked, left): (Option<u64>, Option<u64>)) -> Cause {
    let figures = asked
        .zip(left)
        .map(|(asked, left)| format!(": {asked} were to be taken on, and {left} slots were left"));
    let sentence = format!("SGLang had no slot for another request{}", figures.unwrap_or_default());
    Cause::new(CauseKind::CacheFull, sentence, failure).because(
        "slots are for requests (`--max-running-requests`), whatever the cache has room for",
    )
}

fn host(failure: &Failure, term: Option<TermKind>) -> Cause {
    let size = failure.asked.map(|asked| format!(" of {}", asked.bytes)).unwrap_or_default();
    let what = term.map_or("an allocation", TermKind::title);
    let sentence = format!("main memory ran out: {what}{size} could not be had on the host");
    let mut cause = Cause::new(CauseKind::MainMemory, sentence, failure);
    cause.term = term;
    cause
}

fn ended(failure: &Failure, killed: &Killed) -> Cause {
    let process = killed.process.as_ref().map(|name| format!("`{name}`"));
    let held = killed.held.map(|held| format!(", which held {held}")).unwrap_or_default();
    let used =
        killed.used.map(|(used, total)| format!(": {} of {} were used", used.bytes, total.bytes));
    let used = used.unwrap_or_default();
    let sentence = match killed.by {
        Killer::Kernel => {
            let process = process.unwrap_or_else(|| "a process".to_owned());
            format!("main memory ran out, not the card's: the kernel ended {process}{held}")
        }
        Killer::Oomd => {
            let process = process.unwrap_or_else(|| "a unit".to_owned());
            format!("main memory ran short, not the card's: systemd-oomd ended {process}")
        }
        Killer::Ray => {
            format!("main memory ran short, not the card's: Ray ended a worker of the node{used}")
        }
        Killer::Force => "a process was ended by force, as the kernel does where main memory runs out, and not the card's: `dmesg` says whether it did".to_owned(),
    };
    let cause = Cause::new(CauseKind::MainMemory, sentence, failure);
    if !killed.group {
        return cause;
    }
    cause
        .because("the limit of its control group was reached: a container's, and not the machine's")
}

fn cache_full(
    evidence: &Evidence,
    failure: &Failure,
    (asked, left): (Option<u64>, Option<u64>),
) -> Cause {
    let figures = match (asked, left) {
        (Some(asked), Some(left)) => format!(": {asked} tokens were asked for, {left} were left"),
        (Some(asked), None) => format!(": no room for {asked} tokens"),
        _ => String::new(),
    };
    let sentence = format!("the cache was full while requests ran{figures}");
    let mut cause = Cause::new(CauseKind::CacheFull, sentence, failure);
    cause.term = Some(TermKind::Cache);
    let why = match engine(evidence) {
        Some(Engine::Sglang | Engine::Vllm) => {
            "requests are put back and computed again later, which costs time; a request that does not fit alone ends the server or is refused"
        }
        _ => {
            "all slots share the cells of one context: what runs and what is kept of earlier prompts fills them"
        }
    };
    cause.because(why)
}

fn unbalanced(failure: &Failure, sizes: Option<(Printed, Printed)>) -> Cause {
    let sizes = sizes.map(|(least, own)| {
        format!(": {} are free on the least of them, {} on another", least.bytes, own.bytes)
    });
    let sizes = sizes.unwrap_or_default();
    let sentence = format!("SGLang will not start: its cards have unequal room{sizes}");
    Cause::new(CauseKind::OtherProcesses, sentence, failure)
        .because("another process holds a part of one card, or the cards are of different sizes")
}

fn buffer_limit(failure: &Failure, most: Printed) -> Cause {
    let asked = failure.asked.map_or(Bytes::ZERO, |asked| asked.bytes);
    let sentence = format!(
        "a single buffer of {asked} was asked for, and Metal gives none above {}",
        most.bytes
    );
    let mut cause = Cause::new(CauseKind::Request, sentence, failure);
    cause.short_by = Some(asked.minus_or_zero(most.bytes)).filter(|short| !short.is_zero());
    if failure.text.contains("buffer 'data'") {
        return cause.because("it is a limit of one buffer, however much is free: builds of early 2023 have all weights in one, later ones split them");
    }
    cause.because("it is a limit of one buffer, however much is free: scores of a long prompt, or a whole cache in one piece")
}
