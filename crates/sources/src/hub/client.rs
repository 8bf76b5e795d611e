//! Requests: ranges of bytes, redirects, the token, retries. What is asked and read is counted.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

use super::address::Address;
use super::error::{HubError, HubErrorKind as Kind};

/// How long and how much is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Until there is a connection.
    pub connect: Duration,
    /// Until an answer begins, and between two pieces of it.
    pub stall: Duration,
    /// For an answer as a whole.
    pub whole: Duration,
    /// Times that something is asked for.
    pub attempts: u32,
    /// Before the second time; it doubles with each.
    pub pause: Duration,
    /// The longest that a server can ask to be waited for.
    pub longest_wait: Duration,
    /// Bytes that are read of one file.
    pub most_of_file: u64,
    /// Bytes that are read in all.
    pub most: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(10),
            whole: Duration::from_secs(120),
            attempts: 3,
            pause: Duration::from_millis(500),
            longest_wait: Duration::from_secs(15),
            most_of_file: 64 << 20,
            most: 512 << 20,
        }
    }
}

/// What has been asked and read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests, redirected ones included.
    pub requests: u64,
    /// Bytes of answers' bodies.
    pub bytes: u64,
}

/// Is told after every request and every piece of an answer.
pub type Progress = Arc<dyn Fn(Traffic) + Send + Sync>;

/// Asks servers.
pub(crate) struct Client {
    agent: Agent,
    limits: Limits,
    /// What is sent to one server alone.
    token: Option<(Address, String)>,
    requests: AtomicU64,
    bytes: AtomicU64,
    progress: Progress,
}

/// A range of a file, or all of a short one.
pub(crate) struct Answer {
    /// Where it begins in the file.
    pub from: u64,
    /// How large the file is, as far as the answer says.
    pub size: Option<u64>,
    /// Whether it is all of the file, although a part was asked for.
    pub is_whole: bool,
    /// The bytes.
    pub body: Box<dyn Read + Send>,
}

impl Client {
    /// One that sends `token` to that server alone.
    pub fn new(limits: Limits, token: Option<(Address, String)>, progress: Progress) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(limits.connect))
            .timeout_recv_response(Some(limits.stall))
            .timeout_per_read(Some(limits.stall))
            .timeout_global(Some(limits.whole))
            .accept_encoding("identity")
            .user_agent(concat!("vramplan/", env!("CARGO_PKG_VERSION")))
            .build();
        let counter = || AtomicU64::new(0);
        Self {
            agent: config.into(),
            limits,
            token,
            requests: counter(),
            bytes: counter(),
            progress,
        }
    }

    /// The limits.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What has been asked and read so far.
    pub fn traffic(&self) -> Traffic {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic { requests: now(&self.requests), bytes: now(&self.bytes) }
    }

    /// Counts bytes that were read, of which there may be no more than is sensible.
    pub fn count(&self, bytes: u64) -> Result<(), HubError> {
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        (self.progress)(self.traffic());
        if all > self.limits.most {
            let message = format!("more than {} would have to be read", size(self.limits.most));
            return Err(HubError::new(Kind::TooMuch, message)
                .hint("download the model and name its folder"));
        }
        Ok(())
    }

    /// All of something short: an answer to a question, a small file.
    pub fn short(&self, address: &Address, most: u64, accept: &str) -> Result<Vec<u8>, HubError> {
        self.again(|| {
            let response = self.followed(address, None, Some(accept))?;
            let mut bytes = Vec::new();
            let mut body = response.into_body().into_reader().take(most + 1);
            let read = body.read_to_end(&mut bytes);
            self.count(bytes.len() as u64)?;
            read.map_err(|error| broken(address, &error.to_string()))?;
            if bytes.len() as u64 > most {
                let message = format!("`{address}`: an answer of more than {}", size(most));
                return Err(HubError::new(Kind::TooMuch, message));
            }
            Ok(bytes)
        })
    }

    /// A range of a file, from `from` to before `until`. A server may send all of it instead.
    pub fn range(&self, address: &Address, from: u64, until: u64) -> Result<Answer, HubError> {
        let range = format!("bytes={from}-{}", until.saturating_sub(1));
        self.again(|| answer(self.followed(address, Some(&range), None)?, address, from))
    }

    /// Asks again where that may help.
    fn again<T>(&self, ask: impl Fn() -> Result<T, HubError>) -> Result<T, HubError> {
        let mut pause = self.limits.pause;
        for _ in 1..self.limits.attempts {
            match ask() {
                Err(error) if error.may_pass() => std::thread::sleep(pause),
                result => return result,
            }
            pause *= 2;
        }
        ask()
    }

    /// The answer behind up to five redirects.
    fn followed(
        &self,
        address: &Address,
        range: Option<&str>,
        accept: Option<&str>,
    ) -> Result<Response<Body>, HubError> {
        const MOST: usize = 5;
        let mut at = address.clone();
        for _ in 0..=MOST {
            let response = self.patient(&at, range, accept)?;
            if !response.status().is_redirection() {
                return checked(response, &at);
            }
            let location = header(response.headers(), "location").unwrap_or_default();
            at = at.redirected(&location).map_err(|why| {
                let message = format!("`{at}` redirects to `{location}`: {why}");
                HubError::new(Kind::Redirect, message)
            })?;
        }
        let message = format!("`{address}` redirects more than {MOST} times");
        Err(HubError::new(Kind::Redirect, message))
    }

    /// One answer; where the server is busy, it is asked again when it says.
    fn patient(
        &self,
        address: &Address,
        range: Option<&str>,
        accept: Option<&str>,
    ) -> Result<Response<Body>, HubError> {
        let mut pause = self.limits.pause;
        for attempt in 1.. {
            let response = self.ask(address, range, accept)?;
            let status = response.status().as_u16();
            let is_busy = status == 429 || (500..600).contains(&status);
            if !is_busy || attempt >= self.limits.attempts {
                return Ok(response);
            }
            let asked = header(response.headers(), "retry-after");
            let asked = asked.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
            let wait = asked.unwrap_or(pause);
            if wait > self.limits.longest_wait {
                return Ok(response);
            }
            std::thread::sleep(wait);
            pause *= 2;
        }
        unreachable_answer(address)
    }

    fn ask(
        &self,
        address: &Address,
        range: Option<&str>,
        accept: Option<&str>,
    ) -> Result<Response<Body>, HubError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        (self.progress)(self.traffic());
        let mut request = self.agent.get(address.to_string());
        if let Some(range) = range {
            request = request.header("range", range);
        }
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        match &self.token {
            Some((server, token)) if server.is_same_server(address) => {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            _ => {}
        }
        request.call().map_err(|error| {
            let message = format!("`{}` does not answer: {error}", address.authority());
            let hint = "`--offline` plans from profiles, local caches and what was read before";
            HubError::new(Kind::Unreachable, message).hint(hint)
        })
    }
}

/// A loop that always returns needs an end for the compiler.
fn unreachable_answer<T>(address: &Address) -> Result<T, HubError> {
    Err(HubError::new(Kind::Unreachable, format!("`{address}` does not answer")))
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// What an answer says of the bytes that it brings.
fn answer(response: Response<Body>, address: &Address, from: u64) -> Result<Answer, HubError> {
    let headers = response.headers();
    let contradicts =
        |what: String| Err(HubError::new(Kind::Broken, format!("`{address}`: {what}")));
    if let Some(encoding) = header(headers, "content-encoding").filter(|name| name != "identity") {
        return contradicts(format!("an answer in `{encoding}`, which was not asked for"));
    }
    let partial = response.status().as_u16() == 206;
    let stated = header(headers, "content-range");
    let length = header(headers, "content-length").and_then(|text| text.trim().parse::<u64>().ok());
    let (begins, size) = match stated.as_deref().filter(|_| partial) {
        Some(text) => match content_range(text) {
            Some(range) if range.from == from => (from, range.size),
            _ => {
                return contradicts(format!(
                    "`Content-Range: {text}`, but bytes from {from} were asked for"
                ));
            }
        },
        // A mirror that leaves the header out sends what was asked for.
        None if partial => {
            (from, header(headers, "x-linked-size").and_then(|text| text.parse().ok()))
        }
        None => (0, length),
    };
    Ok(Answer {
        from: begins,
        size,
        is_whole: !partial,
        body: Box::new(response.into_body().into_reader()),
    })
}

/// `bytes 0-99/1234`, or `…/*`.
struct ContentRange {
    from: u64,
    size: Option<u64>,
}

fn content_range(text: &str) -> Option<ContentRange> {
    let (range, size) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (from, to) = range.trim().split_once('-')?;
    let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
    let size = match size.trim() {
        "*" => None,
        size => Some(size.parse().ok()?),
    };
    let sound = from <= to && size.is_none_or(|size| to < size);
    sound.then_some(ContentRange { from, size })
}

/// A success, or why there is none.
fn checked(response: Response<Body>, address: &Address) -> Result<Response<Body>, HubError> {
    let status = response.status().as_u16();
    if matches!(status, 200 | 206) {
        return Ok(response);
    }
    let wait = header(response.headers(), "retry-after");
    let code = header(response.headers(), "x-error-code").unwrap_or_default();
    let said = said(response);
    let host = address.authority();
    let shown = without_query(address);
    Err(match status {
        401 | 403 => {
            let what = if code == "GatedRepo" { " asks to accept terms first" } else { " refuses" };
            let message = format!("`{host}`{what} ({status}){said}: `{shown}`");
            HubError::new(Kind::Refused, message).hint(
                "the name may be misspelt, or the repository private or gated: accept its terms on its page, and put a \
                 token into HF_TOKEN or log in with `hf auth login`",
            )
        }
        404 => HubError::new(
            Kind::NotFound,
            format!("`{host}` has no `{}`{said}", shown_path(address)),
        ),
        416 => HubError::new(Kind::Broken, format!("`{shown}` is shorter than announced (416)")),
        429 => {
            let wait =
                wait.map(|wait| format!(", to be asked again in {wait} s")).unwrap_or_default();
            let message = format!("`{host}` was asked too often (429){wait}{said}");
            HubError::new(Kind::Limited, message).hint(
                "wait, or log in (`hf auth login`, HF_TOKEN): who is logged in may ask more often",
            )
        }
        _ => HubError::new(Kind::Failed, format!("`{host}` answers {status}{said}: `{shown}`")),
    })
}

/// What the body of a refusal says, in short.
fn said(response: Response<Body>) -> String {
    const MOST: u64 = 4096;
    const SHOWN: usize = 160;
    let mut bytes = Vec::new();
    let _ = response.into_body().into_reader().take(MOST).read_to_end(&mut bytes);
    let text = serde_json::from_slice::<serde_json::Value>(&bytes).ok();
    let text = text.and_then(|json| Some(json.get("error")?.as_str()?.to_owned()));
    match text.filter(|text| !text.trim().is_empty()) {
        Some(text) => format!(": “{}”", text.chars().take(SHOWN).collect::<String>()),
        None => String::new(),
    }
}

/// An address as it is shown: what is signed into a query is nobody's business.
fn without_query(address: &Address) -> String {
    address.to_string().split('?').next().unwrap_or_default().to_owned()
}

fn shown_path(address: &Address) -> &str {
    address.path().split('?').next().unwrap_or_default().trim_start_matches('/')
}

pub(crate) fn broken(address: &Address, why: &str) -> HubError {
    let message = format!("`{}`: the answer broke off: {why}", without_query(address));
    HubError::new(Kind::Broken, message).hint("try again")
}

/// `64 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    vramplan_planner::units::Bytes::new(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_believed_where_they_are_sound() {
        let of = |text| content_range(text).map(|range| (range.from, range.size));
        assert_eq!(of("bytes 0-99/1234"), Some((0, Some(1234))));
        assert_eq!(of("bytes 5-9/*"), Some((5, None)));
        for wrong in ["bytes 9-5/20", "bytes 0-99/50", "0-9/10", "bytes */10", "bytes a-b/c", ""] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
