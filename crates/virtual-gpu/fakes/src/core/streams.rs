//! Streams and events. Work is done at once, so all that is left of them is what a program can ask:
//! which card, which priority, and whether a stream is being captured.

use std::collections::BTreeMap;
use std::time::Instant;

use super::graphs::Graph;
use super::{fresh_handle, pools, world};
use crate::error::{Code, Result};

/// `cudaStreamLegacy` and `cudaStreamPerThread`.
const LEGACY: usize = 1;
const PER_THREAD: usize = 2;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream {
    pub(crate) id: usize,
    pub(crate) card: usize,
    pub(crate) priority: i32,
    pub(crate) flags: u32,
    /// The capture that it takes part in.
    pub(crate) capture: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Event {
    recorded: Option<Instant>,
    capture: Option<usize>,
}

/// The streams and events of this process.
#[derive(Default)]
pub(crate) struct Streams {
    by_handle: BTreeMap<usize, Stream>,
    events: BTreeMap<usize, Event>,
    captures: BTreeMap<usize, Capture>,
}

/// A capture under way.
struct Capture {
    origin: usize,
    graph: usize,
}

impl Streams {
    fn get(&mut self, handle: usize, card: usize) -> Result<&mut Stream> {
        let id = if handle == 0 { LEGACY } else { handle };
        if matches!(id, LEGACY | PER_THREAD) {
            // Each card has its own; handles that are given out are larger.
            let id = id + 16 * card;
            let default = Stream { id, card, priority: 0, flags: 0, capture: None };
            return Ok(self.by_handle.entry(id).or_insert(default));
        }
        self.by_handle.get_mut(&id).ok_or(Code::INVALID_HANDLE)
    }
}

pub(crate) fn create(card: usize, flags: u32, priority: i32) -> usize {
    let id = fresh_handle();
    let stream = Stream { id, card, priority: priority.clamp(-5, 0), flags, capture: None };
    world().streams.by_handle.insert(id, stream);
    id
}

pub(crate) fn destroy(handle: usize) -> Result {
    world().streams.by_handle.remove(&handle).map(|_| ()).ok_or(Code::INVALID_HANDLE)
}

pub(crate) fn get(handle: usize, card: usize) -> Result<Stream> {
    world().streams.get(handle, card).copied()
}

/// Waits for a stream: nothing is under way, but pools give back what they may not keep.
pub(crate) fn synchronize(handle: usize, card: usize) -> Result {
    if get(handle, card)?.capture.is_some() {
        return Err(Code::CAPTURING);
    }
    pools::settle();
    Ok(())
}

pub(crate) fn create_event() -> usize {
    let id = fresh_handle();
    world().streams.events.insert(id, Event::default());
    id
}

pub(crate) fn destroy_event(handle: usize) -> Result {
    world().streams.events.remove(&handle).map(|_| ()).ok_or(Code::INVALID_HANDLE)
}

pub(crate) fn has_event(handle: usize) -> Result {
    world().streams.events.contains_key(&handle).then_some(()).ok_or(Code::INVALID_HANDLE)
}

pub(crate) fn record(event: usize, stream: usize, card: usize) -> Result {
    let mut world = world();
    let capture = world.streams.get(stream, card)?.capture;
    let event = world.streams.events.get_mut(&event).ok_or(Code::INVALID_HANDLE)?;
    *event = Event { recorded: Some(Instant::now()), capture };
    Ok(())
}

/// A stream that waits for an event of a capture joins it.
pub(crate) fn wait(stream: usize, event: usize, card: usize) -> Result {
    let mut world = world();
    let event = *world.streams.events.get(&event).ok_or(Code::INVALID_HANDLE)?;
    let running = event.capture.filter(|capture| world.streams.captures.contains_key(capture));
    let stream = world.streams.get(stream, card)?;
    if stream.capture.is_none() {
        stream.capture = running;
    }
    Ok(())
}

/// Milliseconds between two events. Not the card's: a program that divides by them must not find 0.
pub(crate) fn elapsed(start: usize, end: usize) -> Result<f32> {
    let world = world();
    let of = |handle| {
        world
            .streams
            .events
            .get(&handle)
            .ok_or(Code::INVALID_HANDLE)?
            .recorded
            .ok_or(Code::INVALID_HANDLE)
    };
    let between = of(end)?.saturating_duration_since(of(start)?);
    Ok(between.as_secs_f32().mul_add(1000.0, 0.0).max(0.001))
}

/// Begins a capture on a stream, into a graph or a new one.
pub(crate) fn begin_capture(stream: usize, card: usize, into: Option<usize>) -> Result {
    let mut world = world();
    if world.streams.get(stream, card)?.capture.is_some() {
        return Err(Code::CAPTURING);
    }
    let graph = into.unwrap_or_else(|| world.graphs.create());
    let id = fresh_handle();
    let origin = world.streams.get(stream, card)?.id;
    world.streams.captures.insert(id, Capture { origin, graph });
    world.streams.get(stream, card)?.capture = Some(id);
    Ok(())
}

/// Ends a capture and gives its graph.
pub(crate) fn end_capture(stream: usize, card: usize) -> Result<usize> {
    let mut world = world();
    let stream = *world.streams.get(stream, card)?;
    let id = stream.capture.ok_or(Code::NOT_CAPTURING)?;
    let capture = world.streams.captures.get(&id).ok_or(Code::NOT_CAPTURING)?;
    if capture.origin != stream.id {
        return Err(Code(903)); // it was not begun on this stream
    }
    let graph = capture.graph;
    world.streams.captures.remove(&id);
    for other in world.streams.by_handle.values_mut().filter(|s| s.capture == Some(id)) {
        other.capture = None;
    }
    Ok(graph)
}

/// Work on a stream: under capture it becomes a node of the graph. Says whether it did.
pub(crate) fn note_work(stream: usize, card: usize) -> Result<bool> {
    let mut world = world();
    let Some(id) = world.streams.get(stream, card)?.capture else { return Ok(false) };
    let Some(graph) = world.streams.captures.get(&id).map(|c| c.graph) else { return Ok(false) };
    if let Some(graph) = world.graphs.get_mut(graph) {
        graph.add_node();
    }
    Ok(true)
}

/// What a program may ask of a capture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CaptureInfo {
    pub(crate) id: usize,
    pub(crate) graph: usize,
    pub(crate) last_node: Option<usize>,
}

pub(crate) fn capture_of(stream: usize, card: usize) -> Result<Option<CaptureInfo>> {
    let mut world = world();
    let Some(id) = world.streams.get(stream, card)?.capture else { return Ok(None) };
    let Some(graph) = world.streams.captures.get(&id).map(|c| c.graph) else { return Ok(None) };
    let last_node = world.graphs.get_mut(graph).and_then(|graph: &mut Graph| graph.last());
    Ok(Some(CaptureInfo { id, graph, last_node }))
}
