//! A whole run, stage by stage, on any device.

use std::time::{Duration, Instant};

use super::device::{Device, Pool};
use super::order::{self, Lengths};
use super::quality;
use super::voice::Voice;
use crate::h2o::to_usize;
use crate::{Engine, EngineError, Model, Source, Table, most_likely};
use vramplan_planner::estimate::Phase;
use vramplan_planner::protocol::{Message, Order, Stage};
use vramplan_planner::read::gguf::GgufTensor;
use vramplan_planner::spec::ModelSpec;
use vramplan_planner::units::Bytes;

/// How long the device is left alone at the end of stages that come and go at once, so that a meter
/// sees each of them.
const STILL: Duration = Duration::from_millis(20);

/// Does what the order says.
pub fn run<D: Device>(
    order: &Order,
    voice: &Voice,
    open: impl FnOnce() -> Result<D, EngineError>,
) -> Result<(), EngineError> {
    let mut source = voice.stage(Stage::Baseline, || still(order::model(order)))?;
    let (device, _ballast) = voice.stage(Stage::Context, || still(context(order, voice, open)))?;
    voice.stage(Stage::Libraries, || still(device.load_libraries(source.config())))?;
    if let Some(text) = &order.quality {
        return voice.stage(Stage::Quality, || quality::measure(order, voice, device, text));
    }
    let table = order::table(order, source.as_ref())?;
    let mut telling = Telling { source: source.as_mut(), voice };
    let model = voice.stage(Stage::Weights, || {
        let begun = Instant::now();
        let model = Model::load(device.clone(), &mut telling)?;
        say_weights(voice, model.bytes(), begun.elapsed());
        pool(voice, &device)?;
        still(Ok(model))
    })?;
    let mut engine = voice.stage(Stage::Caches, || {
        let mut engine = model.engine(&table)?;
        engine.commit()?;
        count(voice, "beside_table_bytes", engine.memory_beside_table().get());
        pool(voice, &device)?;
        still(Ok(engine))
    })?;
    Steps { order, table: &table, voice, device: &device, engine: &mut engine }.all()?;
    voice.stage(Stage::Released, || {
        let held = engine.memory().held(Phase::Decode)?;
        drop(engine);
        for (component, _) in held {
            voice.say(&Message::Holds { component, bytes: Bytes::ZERO });
        }
        still(Ok(()))
    })
}

fn still<T>(outcome: Result<T, EngineError>) -> Result<T, EngineError> {
    if outcome.is_ok() {
        std::thread::sleep(STILL);
    }
    outcome
}

/// Opens the device, starts the threads, and makes the device look as large as it is to.
fn context<D: Device>(
    order: &Order,
    voice: &Voice,
    open: impl FnOnce() -> Result<D, EngineError>,
) -> Result<(D, Option<D::Ballast>), EngineError> {
    let device = open()?;
    rayon::broadcast(|_| ());
    let Some(capacity) = order.capacity else { return Ok((device, None)) };
    let restricted = device.restrict(capacity)?;
    if !restricted.held.is_zero() {
        count(voice, "ballast_bytes", restricted.held.get());
    }
    Ok((device, Some(restricted.ballast)))
}

fn pool<D: Device>(voice: &Voice, device: &D) -> Result<(), EngineError> {
    if let Some(Pool { used, reserved }) = device.pool()? {
        voice.say(&Message::Pool { used, reserved });
    }
    Ok(())
}

fn count(voice: &Voice, name: &str, value: u64) {
    voice.say(&Message::Count { name: name.to_owned(), value });
}

fn say_weights(voice: &Voice, bytes: Bytes, taken: Duration) {
    let component = vramplan_planner::estimate::Component::Weights;
    voice.say(&Message::Holds { component, bytes });
    count(voice, "weights_milliseconds", milliseconds(taken));
}

fn milliseconds(taken: Duration) -> u64 {
    u64::try_from(taken.as_millis()).unwrap_or(u64::MAX)
}

/// The stages that compute.
struct Steps<'a, D: Device> {
    order: &'a Order,
    table: &'a Table,
    voice: &'a Voice,
    device: &'a D,
    engine: &'a mut Engine<D>,
}

impl<D: Device> Steps<'_, D> {
    fn all(mut self) -> Result<(), EngineError> {
        let voice = self.voice;
        let lengths = Lengths::new(self.order, self.table);
        voice.stage(Stage::SystemPrefill, || self.system())?;
        let mut next = voice
            .stage(Stage::Prefill, || self.timed(Stage::Prefill, lengths.prompt, Self::fill))?;
        voice.stage(Stage::Decode, || {
            self.timed(Stage::Decode, lengths.decode, |steps, tokens| {
                steps.decode(tokens, &mut next)
            })?;
            let kept = self.table.cache_tokens;
            let written = self.engine.conversation_tokens() as u64;
            count(voice, "evicted_tokens", written.saturating_sub(kept));
            Ok(())
        })?;
        if lengths.capture > 0 {
            voice.stage(Stage::Capture, || {
                self.timed(Stage::Capture, lengths.capture, Self::capture)
            })?;
        }
        Ok(())
    }

    fn system(&mut self) -> Result<(), EngineError> {
        let system_tokens = self.table.workload.system_tokens;
        self.timed(Stage::SystemPrefill, system_tokens, |steps, tokens| {
            for chunk in steps.chunks(tokens) {
                steps.engine.prefill_system(&chunk)?;
                steps.voice.alive();
            }
            Ok(())
        })
    }

    /// Says what the engine holds in a stage, does its work, and says how fast that was.
    fn timed<T>(
        &mut self,
        stage: Stage,
        tokens: u64,
        work: impl FnOnce(&mut Self, u64) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        if let Some(phase) = stage.phase() {
            self.holds(phase)?;
        }
        let begun = Instant::now();
        let outcome = work(self, tokens)?;
        let milliseconds = milliseconds(begun.elapsed());
        self.voice.say(&Message::Speed { phase: stage, tokens, milliseconds });
        pool(self.voice, self.device)?;
        Ok(outcome)
    }

    fn holds(&self, phase: Phase) -> Result<(), EngineError> {
        for (component, bytes) in self.engine.memory().held(phase)? {
            self.voice.say(&Message::Holds { component, bytes });
        }
        Ok(())
    }

    fn fill(&mut self, tokens: u64) -> Result<u32, EngineError> {
        let mut next = None;
        for chunk in self.chunks(tokens) {
            next = most_likely(self.engine.prefill(&chunk)?);
            self.voice.alive();
        }
        next.ok_or_else(not_a_number)
    }

    fn decode(&mut self, tokens: u64, next: &mut u32) -> Result<(), EngineError> {
        for _ in 0..tokens {
            *next = most_likely(self.engine.step(*next)?).ok_or_else(not_a_number)?;
            self.voice.alive();
        }
        Ok(())
    }

    fn capture(&mut self, tokens: u64) -> Result<(), EngineError> {
        let layers = self.table.workload.capture.map_or(0, |capture| capture.layers);
        let layers = to_usize(layers);
        let wanted: Vec<usize> = (0..layers.min(self.engine.config().layers)).collect();
        let tokens = self.tokens(0..tokens);
        self.engine.capture(&tokens, &wanted).map(drop)
    }

    /// Tokens in the pieces of a prompt.
    fn chunks(&self, tokens: u64) -> Vec<Vec<u32>> {
        let size = to_usize(self.table.workload.prefill_chunk.max(1));
        self.tokens(0..tokens).chunks(size).map(<[u32]>::to_vec).collect()
    }

    /// Tokens that mean nothing: what a step takes does not depend on which they are.
    fn tokens(&self, numbers: std::ops::Range<u64>) -> Vec<u32> {
        let vocab = self.engine.config().vocab as u64;
        // Multiples of a prime, so that neighbours differ.
        let token = |number: u64| number.wrapping_mul(7919) % vocab.max(1);
        numbers.map(|number| u32::try_from(token(number)).unwrap_or(0)).collect()
    }
}

fn not_a_number() -> EngineError {
    EngineError::device("computing logits", "none of them is a number")
}

/// A model that says that it is being read.
struct Telling<'a> {
    source: &'a mut dyn Source,
    voice: &'a Voice,
}

impl Source for Telling<'_> {
    fn spec(&self) -> &ModelSpec {
        self.source.spec()
    }

    fn config(&self) -> &crate::Config {
        self.source.config()
    }

    fn tensors(&self) -> &[GgufTensor] {
        self.source.tensors()
    }

    fn read(&mut self, tensor: &GgufTensor, bytes: &mut [u8]) -> Result<(), EngineError> {
        self.voice.alive();
        self.source.read(tensor, bytes)
    }
}
