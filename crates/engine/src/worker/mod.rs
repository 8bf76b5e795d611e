//! The process that runs the engine for `vramplan calibrate`: it does what an order says, stage by
//! stage, tells what the engine holds in each, and measures nothing itself.
//!
//! ```text
//! stdin: one order, then open for as long as the supervisor lives
//! baseline → context → libraries → weights → caches → system prefill → prefill → decode → capture → released
//! stdout: messages, each as it happens
//! ```
//!
//! [`Device`] is what a stage needs of a device beside [`Backend`](crate::Backend).

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod device;
mod limit;
mod order;
mod quality;
mod run;
#[cfg(test)]
mod tests;
mod voice;

use std::io::{self, BufRead as _, IsTerminal as _, Read, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use self::voice::Voice;
use crate::{Cpu, EngineError};
use vramplan_planner::protocol::{About, FailureKind, Message, Order, PROTOCOL};

pub use device::Device;

/// The longest order, in bytes.
const LONGEST: u64 = 1 << 20;

/// The whole life of a worker.
pub fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("--about") => return about(),
        Some("--version" | "-V") => return written(&format!("vramplan-worker {VERSION}\n")),
        Some(_) => return explain(),
        None if io::stdin().is_terminal() => return explain(),
        None => {}
    }
    let voice = Arc::new(Voice::new(Box::new(io::stdout())));
    tell_panics(&voice);
    voice.say(&Message::Hello { protocol: PROTOCOL, version: VERSION.to_owned() });
    let outcome = match read_order() {
        Ok(order) => {
            end_with_the_supervisor();
            work(&order, &voice).map_err(|error| voice.failure(&error))
        }
        Err(message) => Err(Message::Failed { kind: FailureKind::Other, message }),
    };
    voice.say(outcome.as_ref().err().unwrap_or(&Message::Done));
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs an order where it says.
fn work(order: &Order, voice: &Voice) -> Result<(), EngineError> {
    match order.device.as_str() {
        "cpu" => run::run(order, voice, || Ok(Cpu)),
        #[cfg(feature = "cuda")]
        "cuda" => run::run(order, voice, cuda::open),
        other => {
            let expected = if cfg!(feature = "cuda") { "`cpu` or `cuda`" } else { "`cpu`" };
            let message = format!("this worker has no `{other}`: expected {expected}");
            Err(EngineError::device("opening the device", message))
        }
    }
}

/// The first line of standard input.
fn read_order() -> Result<Order, String> {
    let mut line = String::new();
    let read = io::stdin().lock().take(LONGEST).read_line(&mut line);
    read.map_err(|error| format!("the order cannot be read: {error}"))?;
    let order: Order = serde_json::from_str(&line)
        .map_err(|error| format!("the order is not understood: {error}"))?;
    if order.protocol != PROTOCOL {
        return Err(format!("the order is of protocol {}, not {PROTOCOL}", order.protocol));
    }
    Ok(order)
}

/// Ends this process as soon as standard input does: then the supervisor is gone.
fn end_with_the_supervisor() {
    #[allow(clippy::exit, reason = "nobody is left to be told anything")]
    std::thread::spawn(|| {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(1)
    });
}

/// A panic ends the process before it could return; what it was is said first.
fn tell_panics(voice: &Arc<Voice>) {
    let (voice, before) = (Arc::clone(voice), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        let message = format!("a defect of vramplan: {panic}");
        voice.say_at_last(&Message::Failed { kind: FailureKind::Other, message });
        before(panic);
    }));
}

/// What this worker can do, for `vramplan doctor`.
fn about() -> ExitCode {
    let devices = if cfg!(feature = "cuda") { &["cpu", "cuda"][..] } else { &["cpu"] };
    let about = About {
        protocol: PROTOCOL,
        version: VERSION.to_owned(),
        devices: devices.iter().map(|&device| device.to_owned()).collect(),
    };
    serde_json::to_string(&about).map_or(ExitCode::FAILURE, |line| written(&(line + "\n")))
}

fn explain() -> ExitCode {
    let text = "vramplan-worker runs the engine for `vramplan calibrate`, which starts it.\n\
                hint: `vramplan calibrate --help`; `vramplan-worker --about` says what it can do\n";
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(2)
}

fn written(text: &str) -> ExitCode {
    io::stdout().write_all(text.as_bytes()).map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}
