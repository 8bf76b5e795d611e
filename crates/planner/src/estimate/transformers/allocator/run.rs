//! A run's own requests: load, prefill chunk by chunk, decode.
//!
//! A grown cache has other sizes in every pass, so that all passes are played, or of many the last and a few
//! before them. A pre-allocated cache has the same requests in every chunk behind the first.

use super::attention::Sight;
use super::caches::{Cache, Kept};
use super::layer::{Step, layer};
use super::load::Load;
use super::norms::norm;
use super::play::{Held, Library, Play};
use super::quantize::{Quantized, Quantizer};
use super::tape::Tape;
use super::widths::Widths;
use crate::dtype::KvFormat;
use crate::estimate::transformers::forward_pass::{ForwardPass, View, cached_window};
use crate::estimate::{EstimateError, Phase, Scenario};
use crate::spec::{Attention, Layer, Logits, TransformersVersion};
use crate::units::Overflow;

/// What is asked for at most in each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Once the weights are there.
    pub loaded: u64,
    /// While they are loaded.
    pub load: u64,
    /// While the prompt is processed.
    pub prefill: u64,
    /// While tokens are generated.
    pub decode: u64,
}

/// How a run goes through its tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// Passes: tokens before, and new ones.
    passes: Vec<(u64, u64)>,
    /// Of them the first that decodes.
    decodes: usize,
}

/// Passes that are played of a long prompt before its last ones, and the last ones.
const EARLY: u64 = 4;
const LATE: u64 = 4;
/// First layers that are played of a run whose caches do not grow, behind its first pass: those behind them ask for
/// the same. Some families have a layer of another kind every six.
const DIFFERENT: u64 = 7;
/// Tokens that are generated in a play.
const GENERATED: u64 = 4;

impl Course {
    /// The prompts of a scenario by chunks, and some tokens, so that the cache is full in the end.
    pub fn of(scenario: &Scenario<'_>) -> Result<Self, Overflow> {
        let full = scenario.full_tokens()?;
        let generated = GENERATED.min(full.saturating_sub(1));
        let system = scenario.workload.system_tokens.min(full - generated);
        let prompts = Prompts([
            Chunks { start: 0, end: system, chunk: scenario.system_chunk() },
            Chunks { start: system, end: full - generated, chunk: scenario.chunk() },
        ]);
        let mut passes =
            if scenario.workload.grown_cache { prompts.thinned() } else { prompts.distinct() };
        let decodes = passes.len();
        passes.extend((full - generated..full).map(|past| (past, 1)));
        Ok(Self { passes, decodes })
    }
}

/// A prompt by chunks: never as a list, for there may be billions of them.
#[derive(Clone, Copy, Debug)]
struct Chunks {
    start: u64,
    end: u64,
    chunk: u64,
}

impl Chunks {
    fn count(self) -> u64 {
        let tokens = self.end.saturating_sub(self.start);
        if self.chunk == 0 { 0 } else { tokens.div_ceil(self.chunk) }
    }

    /// Tokens before a pass, and new ones.
    fn at(self, index: u64) -> (u64, u64) {
        let past = self.start + index * self.chunk;
        (past, self.chunk.min(self.end - past))
    }
}

/// The pinned prompt, and the conversation's.
#[derive(Clone, Copy, Debug)]
struct Prompts([Chunks; 2]);

impl Prompts {
    fn count(self) -> u64 {
        self.0[0].count() + self.0[1].count()
    }

    fn at(self, index: u64) -> (u64, u64) {
        let [pinned, conversation] = self.0;
        match index.checked_sub(pinned.count()) {
            Some(index) => conversation.at(index),
            None => pinned.at(index),
        }
    }

    /// The last passes, and of those before them a few.
    fn thinned(self) -> Vec<(u64, u64)> {
        let count = self.count();
        if count <= EARLY + LATE {
            return (0..count).map(|index| self.at(index)).collect();
        }
        let early = count - LATE;
        let first = (0..EARLY).map(|at| early / EARLY * at + early % EARLY * at / EARLY);
        first.chain(early..count).map(|index| self.at(index)).collect()
    }

    /// The first passes and the last ones: those between ask for the same.
    fn distinct(self) -> Vec<(u64, u64)> {
        let count = self.count();
        if count <= 4 {
            return (0..count).map(|index| self.at(index)).collect();
        }
        [0, 1, count - 2, count - 1].map(|index| self.at(index)).to_vec()
    }
}

/// What a run asks for behind its weights.
#[derive(Debug)]
pub struct Recorded {
    /// The requests.
    pub tape: Tape,
    /// What is asked for in each phase.
    pub asked: Asked,
    /// The most that is asked for and alive at once, without the workspaces of products.
    pub kept: u64,
}

/// Writes a run down, from its caches to the last token.
///
/// # Errors
/// On sizes that no card has.
pub fn record(
    scenario: &Scenario<'_>,
    load: &Load,
    course: &Course,
) -> Result<Recorded, EstimateError> {
    let widths = Widths::of(scenario);
    let mut play =
        Play::behind(load.asked()).keeping_workspaces(widths.transformers.keeps_workspaces());
    let mut asked = Asked { loaded: load.asked(), load: load.most_asked(), ..Asked::default() };
    let mut caches = caches(scenario)?;
    if begins_with_caches(&widths, course) {
        for cache in &mut caches {
            cache.begin(&mut play, scenario.workload.batch);
        }
    }
    let mut stage = Stage { scenario, widths: &widths, kept: Held::NOTHING };
    for (at, &(past, rows)) in course.passes.iter().enumerate() {
        if at == course.decodes {
            asked.prefill = play.most_asked();
            play.begin_phase();
        }
        let phase = if at < course.decodes { Phase::Prefill } else { Phase::Decode };
        let sequences = scenario.workload.batch;
        let pass = ForwardPass { phase, rows, past, sequences };
        stage.pass(&mut play, pass, &mut caches)?;
    }
    asked.decode = play.most_asked();
    if play.is_too_large() {
        return Err(Overflow.into());
    }
    Ok(Recorded { asked, kept: play.most_kept(), tape: play.into_tape() })
}

/// Whether caches that are allocated as a whole are there before the first pass: in 4.53 always, in 5.24 where the prompt
/// is processed in chunks (`_prepare_static_cache`), unless keys and values have widths of their own.
fn begins_with_caches(widths: &Widths<'_>, course: &Course) -> bool {
    match widths.transformers {
        TransformersVersion::AllLogits | TransformersVersion::RepeatedHeads => true,
        TransformersVersion::ExpertModules => false,
        TransformersVersion::Current => course.decodes > 1 && widths.shape.mla.is_none(),
    }
}

fn caches(scenario: &Scenario<'_>) -> Result<Vec<Cache>, EstimateError> {
    let tokens = scenario.full_tokens()?;
    let cache = |(index, kind): (u64, Layer)| match kept(scenario, index, kind) {
        None => Cache::None,
        Some(kept) if scenario.workload.grown_cache => Cache::grown(kept),
        Some(kept) => Cache::whole(kept, tokens),
    };
    Ok(scenario.indexed_layers().map(cache).collect())
}

fn kept(scenario: &Scenario<'_>, index: u64, kind: Layer) -> Option<Kept> {
    let shape = &scenario.model.shape;
    let layer = shape.layer(index);
    let widths = match shape.mla {
        Some(mla) => [mla.kv_lora_rank, mla.qk_rope_head_dim],
        None => [layer.kv_width(), layer.kv_heads * shape.value_head_dim().min(layer.head_dim)],
    };
    let bytes = match scenario.kv {
        KvFormat::F32 => 4,
        KvFormat::Fp8 => 1,
        _ => 2,
    };
    let window = match kind {
        Layer::Full | Layer::FullAndRecurrent => None,
        Layer::Window { size } => cached_window(scenario).map(|_| size),
        Layer::Recurrent | Layer::Nothing => return None,
    };
    let by = match scenario.kv {
        KvFormat::Hqq { bits, .. } => Some(Quantizer::Hqq(bits)),
        KvFormat::Quanto { .. } => Some(Quantizer::Quanto),
        _ => None,
    };
    let small =
        |width: u64| scenario.kv.size_of(1, width, 1).map_or(width, crate::units::Bytes::get);
    Some(Kept {
        token: widths.map(|width| width * bytes),
        window,
        quantized: by.map(|by| Quantized { token: widths.map(small), by }),
    })
}

struct Stage<'a, 's> {
    scenario: &'a Scenario<'s>,
    widths: &'a Widths<'s>,
    /// The logits of the pass before, until the next has its own.
    kept: Held,
}

impl Stage<'_, '_> {
    /// Embeddings, masks, every layer, the head.
    fn pass(
        &mut self,
        play: &mut Play,
        pass: ForwardPass,
        caches: &mut [Cache],
    ) -> Result<(), EstimateError> {
        let (shape, widths) = (&self.scenario.model.shape, self.widths);
        let rows = pass.all_rows()?;
        let mut embedded = play.take(widths.rows(rows, shape.hidden_size));
        if shape.architecture.family().scales.embeddings {
            play.replace(&mut embedded, widths.rows(rows, shape.hidden_size));
        }
        let masks = self.masks(play, pass)?;
        let tables = self.rotation(play, pass);
        let mut hidden = Held::NOTHING;
        let (first, last) = (self.scenario.part().layers.start, self.scenario.part().layers.end);
        for ((index, kind), cache) in self.scenario.indexed_layers().zip(caches) {
            let is_alike = index >= first + DIFFERENT && index + 2 < last && pass.past > 0;
            if is_alike && !self.scenario.workload.grown_cache {
                continue;
            }
            let sight = self.sight(pass, kind)?;
            let output = layer(play, widths, Step { layer: index, pass, sight }, cache);
            play.give(std::mem::replace(&mut hidden, output));
        }
        let normed = norm(play, widths.norm, rows * shape.hidden_size, shape.hidden_size);
        for held in masks.into_iter().chain(tables).chain([hidden, embedded]) {
            play.give(held);
        }
        self.head(play, pass, rows);
        play.give(normed);
        Ok(())
    }

    fn sight(&self, pass: ForwardPass, kind: Layer) -> Result<Sight, EstimateError> {
        let views = pass.views(self.scenario)?;
        let windowed = matches!(kind, Layer::Window { .. });
        let view = views.iter().find(|view| view.windowed == windowed);
        let view = match view {
            Some(view) => *view,
            None => View { seen: pass.seen()?, masked: false, repeats: false, windowed },
        };
        Ok(Sight {
            rows: pass.rows,
            sequences: pass.sequences,
            past: pass.past,
            seen: view.seen,
            masked: view.masked,
            repeats: view.repeats,
            version: self.widths.transformers,
        })
    }

    /// A mask for each kind of layer that wants one.
    fn masks(&self, play: &mut Play, pass: ForwardPass) -> Result<Vec<Held>, EstimateError> {
        let mut masks = Vec::new();
        for view in pass.views(self.scenario)? {
            match self.widths.attention {
                Attention::Eager => {
                    let is_seen = is_seen(play, pass, view);
                    masks.push(play.take(2 * is_seen.bytes()));
                    play.give(is_seen);
                }
                Attention::Sdpa if view.masked => masks.push(is_seen(play, pass, view)),
                _ => {}
            }
        }
        Ok(masks)
    }

    /// Cosines and sines (`…RotaryEmbedding.forward`): the angles are a product, which asks for the first workspace of a run
    /// where workspaces stay.
    fn rotation(&self, play: &mut Play, pass: ForwardPass) -> Vec<Held> {
        let Widths { shape, transformers, workspace, .. } = *self.widths;
        let rows = match transformers {
            TransformersVersion::Current => pass.rows * pass.sequences,
            _ => pass.rows,
        };
        let one = 2 * rows * shape.rotated(shape.widest_head());
        let mut held = Vec::new();
        for _ in 0..shape.architecture.family().rope.tables {
            let angles = play.take(one);
            if transformers.keeps_workspaces() {
                play.workspace(Library::Blas, workspace);
            }
            let joined = play.take(2 * one);
            let wide = [(); 2].map(|()| {
                let plain = play.take(2 * one);
                let scaled = play.take(2 * one);
                play.give(plain);
                scaled
            });
            held.extend([play.take(one), play.take(one)]);
            play.give(angles);
            play.give_all(wide);
            play.give(joined);
        }
        held
    }

    /// Logits, and the f32 copy that `generate` makes.
    fn head(&mut self, play: &mut Play, pass: ForwardPass, rows: u64) {
        let scenario = self.scenario;
        if !scenario.part().has_head {
            return;
        }
        let vocabulary = scenario.model.shape.vocab_size;
        let all = self.widths.transformers == TransformersVersion::AllLogits;
        let positions = if all { rows } else { scenario.logit_positions(rows, pass.sequences) };
        let logits = play.take(2 * positions * vocabulary);
        play.workspace(Library::Blas, self.widths.workspace);
        let wide = if all { play.take(4 * positions * vocabulary) } else { Held::NOTHING };
        if scenario.workload.logits == Logits::Last {
            play.touch(4 * pass.sequences * vocabulary);
        }
        play.give(wide);
        play.give(std::mem::replace(&mut self.kept, logits));
    }
}

/// Which keys each of a pass's tokens sees: a rule after the other, each joined with those before it, then the padding of
/// every sequence (`and_masks` in `masking_utils.py`).
fn is_seen(play: &mut Play, pass: ForwardPass, view: View) -> Held {
    let positions = pass.rows * view.seen;
    let also = |play: &mut Play, before: Held| {
        let one = play.take(positions);
        let both = play.take(positions);
        play.give(one);
        play.give(before);
        both
    };
    let mut seen = also(play, Held::NOTHING);
    if view.windowed {
        seen = also(play, seen);
        play.replace(&mut seen, positions);
    }
    play.replace(&mut seen, positions * pass.sequences);
    seen
}
