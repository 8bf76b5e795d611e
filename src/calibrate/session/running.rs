//! A command that runs: what its threads notice is taken here, one thing after another.

use std::io;
use std::process::Child;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use super::output::{Copy, Reader, Show, Tap, Which};
use super::pipe::PhasePipe;
use super::processes::{self, Group};
use super::{ASKED, Ended, Guard, News, Verdict, Watch, signals};
use crate::calibrate::marks::{Mark, Pattern, Timed};
use crate::calibrate::recorder::Recorder;
use crate::calibrate::recording::By;

/// How long output is waited for once the command has ended.
const LAST_OUTPUT: Duration = Duration::from_millis(100);
/// How long a command that was asked to end may take.
const GRACE: Duration = Duration::from_secs(5);
/// The longest list of complaints.
const COMPLAINTS: usize = 20;
/// How often orphans that have ended are taken note of: until then each is a zombie.
const REAP: Duration = Duration::from_secs(1);

/// How a command is followed.
pub struct Follow<'w> {
    /// Phases by its output.
    pub patterns: Vec<Pattern>,
    /// Phases by the clock.
    pub timed: Vec<Timed>,
    /// What reads a worker's standard output.
    pub watch: Option<&'w mut dyn Watch>,
    /// What sees every line.
    pub tap: Option<Tap>,
    /// Where output goes.
    pub show: Show,
    /// What is asked whether it may go on.
    pub guard: Option<&'w mut dyn Guard>,
}

/// A command that was started.
pub struct Running<'scope, 'w> {
    group: Group,
    copies: Vec<Copy<'scope>>,
    phases: ScopedJoinHandle<'scope, ()>,
    timed: Vec<Timed>,
    watch: Option<&'w mut dyn Watch>,
    guard: Option<&'w mut dyn Guard>,
    /// When it was asked to end.
    stopped: Option<Instant>,
    begun: Instant,
    heard: Instant,
    reaped: Instant,
    asked: u32,
    ended: Ended,
}

impl<'scope, 'w> Running<'scope, 'w> {
    /// Starts the threads that follow it.
    pub fn new(
        scope: &'scope Scope<'scope, '_>,
        mut child: Child,
        follow: Follow<'w>,
        sender: SyncSender<News>,
        pipe: &PhasePipe,
    ) -> io::Result<Self> {
        let Follow { patterns, mut timed, watch, tap, show, guard } = follow;
        let group = Group::of(&child);
        let reader = Reader { patterns, tap, sender: sender.clone() };
        let mut copies = Vec::new();
        if let Some(from) = child.stdout.take() {
            let which = match show {
                _ if watch.is_some() => Which::Lines,
                Show::Through => Which::Stdout,
                Show::ToStderr => Which::Stderr,
                Show::Hidden => Which::Nowhere,
            };
            copies.push(Copy::start(scope, from, which, reader.clone())?);
        }
        if let Some(from) = child.stderr.take() {
            let which = if show == Show::Hidden { Which::Nowhere } else { Which::Stderr };
            copies.push(Copy::start(scope, from, which, reader)?);
        }
        let phases = pipe.read(scope, sender.clone())?;
        group.wait(scope, child, sender)?;
        // The earliest is the last, to be taken off the end.
        timed.sort_by_key(|timed| std::cmp::Reverse(timed.after));
        let now = Instant::now();
        Ok(Self {
            group,
            copies,
            phases,
            timed,
            watch,
            guard,
            stopped: None,
            begun: now,
            heard: now,
            reaped: now,
            asked: 0,
            ended: Ended::default(),
        })
    }

    /// Takes news until the command has ended.
    pub fn until_exit(&mut self, news: &Receiver<News>, recorder: &Recorder) {
        loop {
            if self.reaped.elapsed() >= REAP {
                self.group.reap_orphans();
                self.reaped = Instant::now();
            }
            self.ask(recorder);
            match news.recv_timeout(self.next_deadline()) {
                Ok(News::Exited(status)) => {
                    self.ended.code = status.exit_status();
                    self.ended.signal = status.terminating_signal();
                    return;
                }
                Ok(item) => self.take(item, recorder),
                Err(RecvTimeoutError::Timeout) => self.on_time(recorder),
                // The waiting thread lives until the command ends.
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn next_deadline(&self) -> Duration {
        let phase = self.timed.last().map(|timed| self.begun + timed.after);
        let silence = self.watch.as_ref().map(|watch| self.heard + watch.patience());
        let reap = Some(self.reaped + REAP);
        let asked = self.guard.as_ref().map(|_| Instant::now() + ASKED);
        let next = [phase, silence, reap, asked].into_iter().flatten().min();
        next.map_or(REAP, |next| next.saturating_duration_since(Instant::now()))
    }

    /// Asks whether the command may go on; one that does not end when it is asked to is killed.
    fn ask(&mut self, recorder: &Recorder) {
        match self.stopped {
            Some(since) if since.elapsed() > GRACE => self.group.kill(),
            Some(_) => {}
            None => {
                let Some(guard) = &mut self.guard else { return };
                let Some(reason) = guard.check(recorder) else { return };
                self.ended.killed.get_or_insert(reason);
                self.group.send(signal_hook::consts::SIGTERM);
                self.stopped = Some(Instant::now());
            }
        }
    }

    /// A phase begins by the clock, or a worker was silent for too long.
    fn on_time(&mut self, recorder: &Recorder) {
        let now = Instant::now();
        if let Some(timed) = self.timed.pop_if(|timed| self.begun + timed.after <= now) {
            recorder.phase(Some(timed.name), By::Time);
        }
        let heard = self.heard;
        let silent = self.watch.as_mut().filter(|watch| heard + watch.patience() <= now);
        if let Some(reason) = silent.map(|watch| watch.silent()) {
            self.kill(reason);
            self.heard = now;
        }
    }

    fn take(&mut self, news: News, recorder: &Recorder) {
        match news {
            News::Mark(Mark::Phase(name, by)) => recorder.phase(name, by),
            News::Mark(Mark::Holds(component, bytes)) => recorder.holds(component, bytes),
            News::Complaint(text) => self.complain(text),
            News::OutOfMemory(text) => {
                self.ended.end.oom_text.get_or_insert(text);
            }
            News::Signal(signal) => self.signal(signal),
            News::Stopped(signal) => self.group.stopped(signal),
            News::Line(line) => self.line(&line, recorder),
            // Taken by `until_exit`.
            News::Exited(_) => {}
        }
    }

    fn line(&mut self, line: &[u8], recorder: &Recorder) {
        self.heard = Instant::now();
        let verdict = self.watch.as_mut().map(|watch| watch.line(line, recorder));
        if let Some(Verdict::Kill(reason)) = verdict {
            self.kill(reason);
        }
    }

    fn kill(&mut self, reason: String) {
        self.ended.killed.get_or_insert(reason);
        self.group.kill();
    }

    fn complain(&mut self, text: String) {
        let complaints = &mut self.ended.end.complaints;
        if complaints.len() < COMPLAINTS && !complaints.contains(&text) {
            complaints.push(text);
        }
    }

    /// Forwards a signal; the second that asks for an end kills.
    fn signal(&mut self, signal: i32) {
        if signals::asks_for_an_end(signal) {
            self.ended.interrupted = true;
            self.asked += 1;
            if self.asked > 1 {
                self.group.kill();
                return;
            }
        }
        self.group.send(signal);
    }

    /// What is left to do once the command has ended: its last words, its orphans, the books.
    pub fn finish(
        mut self,
        news: &Receiver<News>,
        recorder: &Recorder,
        pipe: &PhasePipe,
        kills: Option<u64>,
    ) -> Ended {
        pipe.end();
        let begun = Instant::now();
        self.hear(news, recorder, |run| {
            let copied = run.copies.iter().all(Copy::is_done) || begun.elapsed() >= LAST_OUTPUT;
            copied && run.phases.is_finished()
        });
        recorder.exit(self.ended.code, self.ended.signal);
        // Orphans may say what they like, but a worker has had its last word.
        self.watch = None;
        self.ended.end.left = processes::end_descendants();
        self.hear(news, recorder, |run| run.copies.iter().all(Copy::is_done));
        for copy in self.copies {
            copy.join();
        }
        let _ = self.phases.join();
        let after = processes::kernel_kills();
        self.ended.end.oom_kills =
            after.zip(kills).map(|(after, before)| after.saturating_sub(before));
        self.ended
    }

    /// Takes what is told after the end until all of it has been: who waits to be heard must be.
    fn hear(&mut self, news: &Receiver<News>, recorder: &Recorder, done: impl Fn(&Self) -> bool) {
        loop {
            // Asked first, so that what was told before is heard.
            let last = done(self);
            while let Ok(item) = news.try_recv() {
                self.take_late(item, recorder);
            }
            if last {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// News that came after the end.
    fn take_late(&mut self, news: News, recorder: &Recorder) {
        match news {
            // There is nobody left to hand them to.
            News::Exited(_) | News::Stopped(_) | News::Signal(_) => {}
            News::Line(line) => {
                let verdict = self.watch.as_mut().map(|watch| watch.line(&line, recorder));
                if let Some(Verdict::Kill(reason)) = verdict {
                    self.ended.killed.get_or_insert(reason);
                }
            }
            other => self.take(other, recorder),
        }
    }
}
