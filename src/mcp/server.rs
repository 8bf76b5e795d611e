//! A session between a reader and a writer. One thread reads and answers what is known at once; another calls tools, one
//! after the other, so that a server that is slow to answer keeps no `ping` waiting.

use std::io::{BufRead, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::Tools;
use super::lines::{self, LONGEST, Line};
use super::message::{self, Fault, INVALID_REQUEST, Message, PARSE_ERROR};
use super::session::{Call, Identity, Session, Step};

/// Calls that wait for those before them; a client that asks for more is not read until there is room.
const MOST_WAITING: usize = 64;
/// Messages in one line.
const MOST_IN_A_BATCH: usize = 64;

/// Serves until the reader ends and every call is answered.
///
/// # Errors
/// Where the reader fails, or the writer does: then nobody is left to answer.
pub fn serve(
    identity: Identity,
    tools: impl Tools,
    from: &mut impl BufRead,
    to: impl Write + Send,
) -> std::io::Result<()> {
    let session = Session::new(identity, tools.list());
    let link = Link { out: Mutex::new(Out { to, failed: None }), pending: Mutex::default() };
    let (calls, called) = sync_channel(MOST_WAITING);
    std::thread::scope(|scope| {
        let link = &link;
        scope.spawn(move || answer_calls(&tools, &called, link));
        Reader { session, link, calls }.run(from)
    })?;
    let out = link.out.into_inner().unwrap_or_else(PoisonError::into_inner);
    out.failed.map_or(Ok(()), Err)
}

/// What both threads write to and know of.
struct Link<W> {
    out: Mutex<Out<W>>,
    /// Requests that wait for a call, and whether they were taken back.
    pending: Mutex<Vec<Pending>>,
}

struct Out<W> {
    to: W,
    failed: Option<std::io::Error>,
}

struct Pending {
    id: Value,
    is_cancelled: bool,
}

/// A call, and the request that it answers.
struct Waiting {
    id: Value,
    call: Call,
}

impl<W: Write> Link<W> {
    fn send(&self, message: &Value) {
        let mut line = message.to_string();
        line.push('\n');
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let written = out.to.write_all(line.as_bytes()).and_then(|()| out.to.flush());
        if let Err(error) = written {
            out.failed.get_or_insert(error);
        }
    }

    fn has_failed(&self) -> bool {
        self.out.lock().unwrap_or_else(PoisonError::into_inner).failed.is_some()
    }

    fn expect(&self, id: &Value) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.push(Pending { id: id.clone(), is_cancelled: false });
    }

    fn cancel(&self, id: &Value) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for one in pending.iter_mut().filter(|one| one.id == *id) {
            one.is_cancelled = true;
        }
    }

    fn is_cancelled(&self, id: &Value) -> bool {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.iter().any(|one| one.id == *id && one.is_cancelled)
    }

    /// Forgets a request. Whether its answer is still wanted.
    fn settle(&self, id: &Value) -> bool {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let found = pending.iter().position(|one| one.id == *id);
        found.is_none_or(|at| !pending.remove(at).is_cancelled)
    }
}

fn answer_calls<W: Write>(tools: &impl Tools, called: &Receiver<Waiting>, link: &Link<W>) {
    while let Ok(Waiting { id, mut call }) = called.recv() {
        if link.is_cancelled(&id) || link.has_failed() {
            link.settle(&id);
            continue;
        }
        let arguments = std::mem::take(&mut call.arguments);
        let replied = tools.call(&call.tool, arguments);
        if link.settle(&id) {
            link.send(&message::result(&id, call.answer(replied)));
        }
    }
}

struct Reader<'a, W> {
    session: Session,
    link: &'a Link<W>,
    calls: SyncSender<Waiting>,
}

impl<W: Write> Reader<'_, W> {
    fn run(mut self, from: &mut impl BufRead) -> std::io::Result<()> {
        while let Some(line) = lines::next(from, LONGEST)? {
            match line {
                Line::TooLong => {
                    let message = format!("a message is longer than {LONGEST} bytes");
                    self.refuse(&Value::Null, &Fault::new(INVALID_REQUEST, message));
                }
                Line::Whole(line) => self.line(&line),
            }
            if self.link.has_failed() {
                break;
            }
        }
        Ok(())
    }

    fn refuse(&self, id: &Value, fault: &Fault) {
        self.link.send(&message::fault(id, fault));
    }

    fn line(&mut self, line: &[u8]) {
        match serde_json::from_slice(line) {
            Err(error) => {
                self.refuse(&Value::Null, &Fault::new(PARSE_ERROR, error.to_string()));
            }
            Ok(Value::Array(batch)) if self.session.takes_batches() => self.batch(batch),
            Ok(value) => self.message(value),
        }
    }

    /// The answers to a batch may come one by one: clients tell them by their ids.
    fn batch(&mut self, batch: Vec<Value>) {
        if batch.is_empty() || batch.len() > MOST_IN_A_BATCH {
            let message = format!("a batch has 1 to {MOST_IN_A_BATCH} messages");
            return self.refuse(&Value::Null, &Fault::new(INVALID_REQUEST, message));
        }
        for value in batch {
            self.message(value);
        }
    }

    fn message(&mut self, value: Value) {
        match message::read(value) {
            Err((id, fault)) => self.refuse(&id, &fault),
            Ok(Message::Response) => {}
            Ok(Message::Notification(told)) => {
                if let Some(id) = Session::cancelled(&told) {
                    self.link.cancel(id);
                }
            }
            Ok(Message::Request(request)) => {
                let id = request.id.clone();
                match self.session.request(request) {
                    Err(fault) => self.refuse(&id, &fault),
                    Ok(Step::Answer(answer)) => self.link.send(&message::result(&id, answer)),
                    Ok(Step::Call(call)) => {
                        self.link.expect(&id);
                        // The other thread is there for as long as this one sends.
                        let _ = self.calls.send(Waiting { id, call });
                    }
                }
            }
        }
    }
}
