//! A file on a server, of which the beginning is read as far as it is needed.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::address::Address;
use super::client::{Client, broken, size};
use super::error::{HubError, HubErrorKind as Kind};

/// A file on a server. Readers of headers go forward, so that what was read is always its beginning.
pub(crate) struct RemoteFile {
    client: Option<Arc<Client>>,
    address: Address,
    /// What messages call it.
    name: String,
    state: Mutex<State>,
}

struct State {
    head: Vec<u8>,
    size: Option<u64>,
    stream: Option<Stream>,
    requests: u32,
    failures: u32,
    /// Bytes of the head that were known without asking.
    known: usize,
}

/// An answer that is still being read.
struct Stream {
    body: Box<dyn Read + Send>,
    /// Bytes of the file that come before what is wanted of it.
    skip: u64,
    /// Whether it brings all of the file.
    is_whole: bool,
}

/// Requests for one file beyond which its server is not serious.
const MOST_REQUESTS: u32 = 64;
/// Bytes that are read at once.
const BLOCK: usize = 64 << 10;

impl RemoteFile {
    /// One whose beginning may be known; without a client nothing more is read.
    pub fn new(
        client: Option<Arc<Client>>,
        address: Address,
        name: String,
        size: Option<u64>,
        head: Vec<u8>,
    ) -> Self {
        let known = head.len();
        let state = State { head, size, stream: None, requests: 0, failures: 0, known };
        Self { client, address, name, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its size, which is asked for where nobody said.
    pub fn size(&self) -> Result<u64, HubError> {
        if let Some(size) = self.state().size {
            return Ok(size);
        }
        self.fill(1, 1)?;
        self.state().size.ok_or_else(|| {
            HubError::new(
                Kind::Broken,
                format!("`{}`: the server does not say how large it is", self.name),
            )
        })
    }

    /// Where it is.
    pub const fn address(&self) -> &Address {
        &self.address
    }

    /// Its size, as far as it is known without asking.
    pub fn known_size(&self) -> Option<u64> {
        self.state().size
    }

    /// Whether something of it was read.
    pub fn has_head(&self) -> bool {
        !self.state().head.is_empty()
    }

    /// The beginning as far as it was read, where that is more than was known before; it is known from now on.
    pub fn grown(&self) -> Option<Vec<u8>> {
        let mut state = self.state();
        let grown = state.head.len() > state.known;
        state.known = state.head.len();
        grown.then(|| state.head.clone())
    }

    /// Copies what of the head is from `from` on; says how much that was.
    fn copy(&self, from: u64, to: &mut [u8]) -> usize {
        let state = self.state();
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let rest = state.head.get(from..).unwrap_or_default();
        let length = rest.len().min(to.len());
        if let (Some(to), Some(rest)) = (to.get_mut(..length), rest.get(..length)) {
            to.copy_from_slice(rest);
        }
        length
    }

    /// The length that a safetensors file states of its header, with the eight bytes that state it.
    pub fn stated_header(&self) -> u64 {
        let mut length = [0; 8];
        self.copy(0, &mut length);
        u64::from_le_bytes(length).saturating_add(8)
    }

    /// The first `length` bytes, as far as they were read.
    pub fn head(&self, length: u64) -> Vec<u8> {
        let state = self.state();
        let length = usize::try_from(length).unwrap_or(usize::MAX).min(state.head.len());
        state.head.get(..length).unwrap_or_default().to_vec()
    }

    /// Holds what was read no longer.
    pub fn forget(&self) {
        let mut state = self.state();
        (state.head, state.known) = (Vec::new(), 0);
    }

    /// Ends an answer that is still coming.
    pub fn hang_up(&self) {
        self.state().stream = None;
    }

    /// Reads until at least `until` bytes are there, or all; up to `ask` are asked for at once.
    pub fn fill(&self, until: u64, ask: u64) -> Result<(), HubError> {
        let mut state = self.state();
        while (state.head.len() as u64) < state.size.map_or(until, |size| until.min(size)) {
            let Some(client) = &self.client else { return Err(self.not_kept(&state)) };
            let most = client.limits().most_of_file;
            if until > most {
                let message =
                    format!("`{}`: its header would take more than {}", self.name, size(most));
                let hint = "no header is that long; if it is sound, download the model and name its folder";
                return Err(HubError::new(Kind::TooMuch, message).hint(hint));
            }
            if state.stream.is_none() {
                let until = until.max((state.head.len() as u64).saturating_add(ask)).min(most);
                self.open(client, &mut state, until)?;
            }
            self.read_block(client, &mut state)?;
        }
        Ok(())
    }

    fn not_kept(&self, state: &State) -> HubError {
        let message = format!(
            "`{}`: only its first {} B were read before, and the network is not to be asked",
            self.name,
            state.head.len()
        );
        HubError::new(Kind::Offline, message).hint("plan it once without `--offline`")
    }

    /// Asks for what comes next, to `until` or the end.
    fn open(&self, client: &Client, state: &mut State, until: u64) -> Result<(), HubError> {
        state.requests += 1;
        if state.requests > MOST_REQUESTS {
            return Err(broken(
                &self.address,
                &format!("it came in more than {MOST_REQUESTS} pieces"),
            ));
        }
        let from = state.head.len() as u64;
        let until = state.size.map_or(until, |size| until.min(size));
        let answer = client.range(&self.address, from, until)?;
        match (state.size, answer.size) {
            (Some(known), Some(said)) if known != said => {
                let message =
                    format!("`{}`: {said} B by the answer: expected {known} B", self.name);
                let hint =
                    "it was listed with another size: the server is wrong, or it was just replaced";
                return Err(HubError::new(Kind::Broken, message).hint(hint));
            }
            (None, said) => state.size = said,
            _ => {}
        }
        let skip = from.saturating_sub(answer.from);
        state.stream = Some(Stream { body: answer.body, skip, is_whole: answer.is_whole });
        Ok(())
    }

    /// Takes the next piece of the answer. One that breaks off is asked for again, from where it did.
    fn read_block(&self, client: &Client, state: &mut State) -> Result<(), HubError> {
        let Some(stream) = &mut state.stream else { return Ok(()) };
        let mut block = vec![0; BLOCK];
        let read = match stream.body.read(&mut block) {
            Ok(read) => read,
            Err(error) => {
                state.stream = None;
                state.failures += 1;
                if state.failures >= client.limits().attempts {
                    return Err(broken(&self.address, &error.to_string()));
                }
                std::thread::sleep(client.limits().pause);
                return Ok(());
            }
        };
        client.count(read as u64)?;
        if read == 0 {
            self.ended(state)?;
            return Ok(());
        }
        let skipped = usize::try_from(stream.skip.min(read as u64)).unwrap_or(read);
        stream.skip -= skipped as u64;
        state.head.extend(block.get(skipped..read).unwrap_or_default());
        if let Some(size) = state.size {
            state.head.truncate(usize::try_from(size).unwrap_or(usize::MAX));
        }
        Ok(())
    }

    /// An answer is over: what was all of a file says how large it is.
    fn ended(&self, state: &mut State) -> Result<(), HubError> {
        let Some(stream) = state.stream.take() else { return Ok(()) };
        if stream.skip > 0 {
            return Err(broken(&self.address, "it ended before what was asked for"));
        }
        if stream.is_whole && state.size.is_none() {
            state.size = Some(state.head.len() as u64);
        }
        Ok(())
    }
}

/// Reads a remote file.
pub(crate) struct Reader {
    file: Arc<RemoteFile>,
    position: u64,
}

/// What is asked for at once of a file whose header's length nobody knows: answers are ended where it ends.
pub(crate) const STREAM: u64 = 64 << 20;

impl Reader {
    /// From the beginning.
    pub const fn new(file: Arc<RemoteFile>) -> Self {
        Self { file, position: 0 }
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.file.fill(self.position.saturating_add(1), STREAM)?;
        let read = self.file.copy(self.position, buffer);
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => self.file.size()?.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
