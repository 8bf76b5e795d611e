//! Runs a command, measures meanwhile, and leaves nothing behind.
//!
//! The command gets a process group of its own. Signals are forwarded to it; the second one that asks
//! for an end kills it. Orphans of the tree come to this process, so that all of it can be ended.
//!
//! Terminal: the group starts in the background and is given the terminal when it first asks for it.

mod output;
mod pipe;
mod processes;
mod running;
mod signals;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::thread::{Builder, Scope};
use std::time::{Duration, Instant};

use rustix::process::WaitStatus;

pub use self::output::{Show, Tap};
use self::pipe::PhasePipe;
use self::processes::Group;
use self::running::{Follow, Running};
use super::marks::{Mark, Pattern, Timed};
use super::meter::Meter;
use super::recorder::Recorder;
use super::recording::End;
use super::sampler::{Control, sample};
use vramplan_planner::units::Bytes;

/// Readings before the command starts, and how long is waited for them.
const FIRST_READINGS: u64 = 20;
const FIRST_PATIENCE: Duration = Duration::from_secs(3);
/// What counts as back at the baseline.
const RETURNED: Bytes = Bytes::new(2 << 20);
/// How long memory is waited for after the end.
const SETTLE: Duration = Duration::from_secs(3);
/// How often a [`Guard`] is asked.
const ASKED: Duration = Duration::from_millis(20);
/// News that wait to be taken: who has more to tell waits in turn, so that a command that talks faster than
/// it is listened to costs no memory.
const BACKLOG: usize = 256;

/// What is to be run and watched.
pub struct Job<'w> {
    /// The command, with its arguments and environment.
    pub command: Command,
    /// What a worker reads first; its standard input stays open until it has ended.
    pub input: Option<Vec<u8>>,
    /// Phases by lines of output.
    pub patterns: Vec<Pattern>,
    /// Phases by the clock.
    pub timed: Vec<Timed>,
    /// What reads standard output instead of passing it through, if anything.
    pub watch: Option<&'w mut dyn Watch>,
    /// What sees every line of output beside the patterns, if anything.
    pub tap: Option<Tap>,
    /// Where output goes.
    pub show: Show,
    /// The pipe on which the program says its phases, where another than the session's own reads it.
    pub phase_pipe: Option<PathBuf>,
    /// What is asked from time to time whether the program may go on, if anything.
    pub guard: Option<&'w mut dyn Guard>,
}

impl Job<'_> {
    /// A command that is run as it is.
    pub fn new(command: Command) -> Self {
        Self {
            command,
            input: None,
            patterns: Vec::new(),
            timed: Vec::new(),
            watch: None,
            tap: None,
            show: Show::Through,
            phase_pipe: None,
            guard: None,
        }
    }

    /// Whether standard output has to be read on its way.
    fn reads_output(&self) -> bool {
        !self.patterns.is_empty() || self.tap.is_some() || self.show != Show::Through
    }
}

/// What decides whether a program may go on.
pub trait Guard {
    /// Asked every so often; why the program should end, where it should. It is asked to end, and killed
    /// where it does not.
    fn check(&mut self, recorder: &Recorder) -> Option<String>;
}

/// What reads the standard output of a worker.
pub trait Watch {
    /// A line of it.
    fn line(&mut self, line: &[u8], recorder: &Recorder) -> Verdict;
    /// How long silence may last from now on.
    fn patience(&self) -> Duration;
    /// Silence lasted longer.
    fn silent(&mut self) -> String;
}

/// Whether a worker may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Continue,
    /// It must end, and why.
    Kill(String),
}

/// How a session ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The command's exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Whether the user asked for an end.
    pub interrupted: bool,
    /// Why the supervisor ended it.
    pub killed: Option<String>,
    /// What goes into the recording.
    pub end: End,
}

impl Ended {
    /// The exit code of a command that failed, as a shell would give it.
    pub fn exit_code(&self) -> Option<u8> {
        const BY_SIGNAL: i32 = 128;
        let code = match (self.code, self.signal) {
            (Some(0), _) => return None,
            (Some(code), _) => code,
            (None, signal) => BY_SIGNAL + signal.unwrap_or(0),
        };
        Some(u8::try_from(code).unwrap_or(u8::MAX))
    }
}

/// Why nothing was run.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The meter does not answer.
    #[error("the memory cannot be read: {0}")]
    NoReading(String),
    /// The command cannot be started.
    #[error("`{command}` cannot be started")]
    Start {
        /// The program.
        command: String,
        /// What the system said.
        #[source]
        cause: std::io::Error,
    },
    /// Pipes, signals or threads are not to be had.
    #[error("the run cannot be set up")]
    SetUp(#[from] std::io::Error),
}

/// Something that a thread of the session noticed.
enum News {
    Exited(WaitStatus),
    Stopped(i32),
    Signal(i32),
    Mark(Mark),
    Complaint(String),
    OutOfMemory(String),
    Line(Vec<u8>),
}

/// Runs a command to its end. Every child of this process that outlives it is ended too.
///
/// # Errors
/// [`SessionError`] where the command was never started; everything after that is an [`Ended`].
pub fn run(
    job: Job<'_>,
    meter: &mut dyn Meter,
    recorder: &Recorder,
) -> Result<Ended, SessionError> {
    let control = Control::default();
    std::thread::scope(|scope| {
        let sampler = Builder::new().spawn_scoped(scope, || sample(meter, recorder, &control))?;
        let outcome = baseline(recorder, &control).and_then(|baseline| {
            let ended = run_command(scope, job, recorder, &control)?;
            settle(recorder, &control, baseline);
            Ok(ended)
        });
        control.stop();
        // Its panic would be a defect; the scope passes it on.
        drop(sampler);
        outcome
    })
}

/// The same where nothing is sampled: who knows what is held records it. Nothing is waited for.
///
/// # Errors
/// As [`run`].
pub fn run_unmetered(job: Job<'_>, recorder: &Recorder) -> Result<Ended, SessionError> {
    let control = Control::default();
    std::thread::scope(|scope| run_command(scope, job, recorder, &control))
}

/// Waits for the first readings; what is held before the command starts.
fn baseline(recorder: &Recorder, control: &Control) -> Result<Bytes, SessionError> {
    let begun = Instant::now();
    loop {
        let (taken, last) = recorder.latest();
        match last {
            Some(last) if taken >= FIRST_READINGS => return Ok(last),
            _ if control.lost() || begun.elapsed() > FIRST_PATIENCE => {
                let message = recorder.last_gap().unwrap_or_else(|| "no reading came".to_owned());
                return Err(SessionError::NoReading(message));
            }
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Waits until the memory is back, or long enough.
fn settle(recorder: &Recorder, control: &Control, baseline: Bytes) {
    let begun = Instant::now();
    let back = || {
        let (_, last) = recorder.latest();
        last.is_none_or(|last| last.minus_or_zero(baseline) <= RETURNED)
    };
    while !control.lost() && !back() && begun.elapsed() < SETTLE {
        std::thread::sleep(Duration::from_millis(10));
    }
    // The last level is worth a few readings.
    std::thread::sleep(Duration::from_millis(5));
}

fn run_command<'scope>(
    scope: &'scope Scope<'scope, '_>,
    job: Job<'_>,
    recorder: &Recorder,
    control: &Control,
) -> Result<Ended, SessionError> {
    let (sender, news) = sync_channel(BACKLOG);
    let pipe = PhasePipe::new()?;
    // From here on nothing may return before the handle is closed: its thread waits for that.
    let handle = signals::forward(scope, sender.clone())?;
    let kills = processes::kernel_kills();
    processes::adopt_orphans(true);
    let piped = Piped { worker: job.watch.is_some(), output: job.reads_output() };
    let outcome = start(job.command, piped, &pipe, job.phase_pipe.as_deref());
    let outcome = outcome.and_then(|mut child| {
        give(&mut child, job.input.as_deref());
        recorder.started();
        control.follow(child.id());
        let group = Group::of(&child);
        let follow = Follow {
            patterns: job.patterns,
            timed: job.timed,
            watch: job.watch,
            tap: job.tap,
            show: job.show,
            guard: job.guard,
        };
        let run = Running::new(scope, child, follow, sender, &pipe);
        let mut run = run.inspect_err(|_| abandon(group, &pipe))?;
        run.until_exit(&news, recorder);
        Ok(run.finish(&news, recorder, &pipe, kills))
    });
    processes::adopt_orphans(false);
    handle.close();
    outcome
}

/// Ends a command that cannot be followed: no thread for it is to be had.
fn abandon(group: Group, pipe: &PhasePipe) {
    group.kill();
    pipe.end();
    processes::end_descendants();
}

/// Which of the command's streams come through here.
#[derive(Clone, Copy)]
struct Piped {
    /// It is a worker, which is talked to.
    worker: bool,
    /// Its output is read.
    output: bool,
}

/// Starts the command in a group of its own, with the pipe for its phases.
fn start(
    mut command: Command,
    piped: Piped,
    pipe: &PhasePipe,
    other: Option<&Path>,
) -> Result<Child, SessionError> {
    use std::os::unix::process::CommandExt as _;
    let inherited = pipe.for_child(&mut command, other)?;
    if piped.worker {
        command.stdin(Stdio::piped());
    }
    if piped.worker || piped.output {
        command.stdout(Stdio::piped());
    }
    // Programs say on standard error that memory ran out; a terminal stays one.
    if piped.output || !rustix::termios::isatty(std::io::stderr()) {
        command.stderr(Stdio::piped());
    }
    let outcome = command.process_group(0).spawn();
    drop(inherited);
    let name = command.get_program().to_string_lossy();
    let command = vramplan_planner::text::printable(&name);
    outcome.map_err(|cause| SessionError::Start { command, cause })
}

/// Hands the input over. A worker that does not read it will say so, or be silent: the pipe is as large as the input, so
/// that nothing waits for it.
fn give(child: &mut Child, input: Option<&[u8]>) {
    use std::io::Write as _;
    if let (Some(stdin), Some(input)) = (&mut child.stdin, input) {
        let _ = rustix::pipe::fcntl_setpipe_size(&*stdin, input.len());
        let _ = stdin.write_all(input);
    }
}
