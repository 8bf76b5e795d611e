//! A server on this machine that answers as a test says: nothing outside is ever asked.

#![allow(clippy::unwrap_used, reason = "test code")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::io::{BufRead as _, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    /// With the query.
    pub path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    /// A header by its name in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The range asked for: from, and before which byte.
    pub fn range(&self) -> Option<(u64, u64)> {
        let (from, to) = self.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
        Some((from.parse().ok()?, to.parse::<u64>().ok()? + 1))
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Zeros behind the body.
    zeros: u64,
    /// What `Content-Length` says, where that is not true.
    length: Option<u64>,
    /// Before each piece of the body.
    pause: Option<(Duration, usize)>,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), zeros: 0, length: None, pause: None }
    }

    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Without the header of that name.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(key, _)| key != name);
        self
    }

    pub fn status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub fn zeros(self, zeros: u64) -> Self {
        Self { zeros, ..self }
    }

    /// Says another length than there is, and ends the connection.
    pub fn claiming(self, length: u64) -> Self {
        Self { length: Some(length), ..self }
    }

    /// Sends only the first bytes of what it announces.
    pub fn cut_after(mut self, bytes: usize) -> Self {
        let whole = self.body.len() as u64 + self.zeros;
        self.body.resize(bytes.max(self.body.len().min(bytes)), 0);
        Self { zeros: 0, length: Some(whole), ..self }
    }

    /// Waits before every piece of so many bytes.
    pub fn slowly(self, pause: Duration, piece: usize) -> Self {
        Self { pause: Some((pause, piece)), ..self }
    }

    pub fn redirect(to: &str) -> Self {
        Self::new(302, "").header("Location", to)
    }
}

/// A file: its first bytes, and how many there are in all.
#[derive(Clone, Debug)]
pub struct Sparse {
    pub head: Vec<u8>,
    pub size: u64,
}

impl Sparse {
    pub fn whole(bytes: impl Into<Vec<u8>>) -> Self {
        let head = bytes.into();
        Self { size: head.len() as u64, head }
    }

    /// The answer to a request for it, as a server of files gives it.
    pub fn reply(&self, request: &Request) -> Reply {
        let (from, until) = request.range().unwrap_or((0, self.size));
        let until = until.min(self.size);
        if from >= until {
            return Reply::new(416, "");
        }
        let body = self.part(from, until);
        let zeros = until - from - body.len() as u64;
        let reply =
            Reply::new(if request.range().is_some() { 206 } else { 200 }, body).zeros(zeros);
        if request.range().is_none() {
            return reply;
        }
        reply.header("Content-Range", format!("bytes {from}-{}/{}", until - 1, self.size))
    }

    fn part(&self, from: u64, until: u64) -> Vec<u8> {
        let index = |n: u64| usize::try_from(n).unwrap().min(self.head.len());
        self.head[index(from)..index(until)].to_vec()
    }
}

/// The server, which ends with the test's process.
pub struct Loopback {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    sent: Arc<AtomicU64>,
}

impl Loopback {
    /// Begins to answer.
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (log, sent) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
        let answer = Arc::new(answer);
        let server = Self { address, log: Arc::clone(&log), sent: Arc::clone(&sent) };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log, sent) =
                    (Arc::clone(&answer), Arc::clone(&log), Arc::clone(&sent));
                thread::spawn(move || serve(stream, &*answer, &log, &sent));
            }
        });
        server
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `127.0.0.1:PORT`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// What was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// Bytes of bodies that were sent so far; what a client did not take may be among them.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn serve(
    stream: TcpStream,
    answer: &dyn Fn(&Request) -> Reply,
    log: &Mutex<Vec<Request>>,
    sent: &AtomicU64,
) {
    let Ok(mut out) = stream.try_clone() else { return };
    let mut lines = BufReader::new(stream);
    while let Some(request) = read_request(&mut lines) {
        log.lock().unwrap().push(request.clone());
        let reply = answer(&request);
        let ends = reply.length.is_some();
        if write_reply(&mut out, &reply, sent).is_err() || ends {
            return;
        }
    }
}

fn read_request(lines: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        let read = lines.read_line(&mut line).ok()?;
        (read > 0).then(|| line.trim_end().to_owned())
    };
    let path = line()?.split(' ').nth(1)?.to_owned();
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        let Some((key, value)) = line.split_once(':') else {
            return Some(Request { path, headers });
        };
        headers.push((key.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

fn write_reply(out: &mut TcpStream, reply: &Reply, sent: &AtomicU64) -> std::io::Result<()> {
    let whole = reply.body.len() as u64 + reply.zeros;
    write!(
        out,
        "HTTP/1.1 {} x\r\nContent-Length: {}\r\n",
        reply.status,
        reply.length.unwrap_or(whole)
    )?;
    for (name, value) in &reply.headers {
        write!(out, "{name}: {value}\r\n")?;
    }
    write!(out, "\r\n")?;
    let (pause, piece) = reply.pause.unwrap_or((Duration::ZERO, 64 << 10));
    let mut write = |bytes: &[u8]| {
        thread::sleep(pause);
        out.write_all(bytes)?;
        sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok::<_, std::io::Error>(())
    };
    for piece in reply.body.chunks(piece) {
        write(piece)?;
    }
    let block = vec![0; piece];
    let mut left = reply.zeros;
    while left > 0 {
        let now = left.min(piece as u64);
        write(&block[..usize::try_from(now).unwrap()])?;
        left -= now;
    }
    Ok(())
}
