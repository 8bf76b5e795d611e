//! Puts a virtual machine around a command.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::contract::{self, Machine};
use crate::error::Error;
use crate::event::Event;
use crate::folder::Folder;
use crate::listen::Listener;
use crate::recognise;
use crate::report::{Gatherer, Heard, Report};
use crate::shared::{MAX_CARDS, Shared, resident};

/// Names a folder to look for the two shared libraries in, before the usual places.
pub const LIBRARIES: &str = "VRAMPLAN_VIRTUAL_GPU_LIBRARIES";

/// The two shared libraries that a rehearsal gives to the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Libraries {
    /// `libvramplan_gpu.so`.
    pub fakes: PathBuf,
    /// `libvramplan_gpu_hooks.so`.
    pub hooks: PathBuf,
}

impl Libraries {
    /// Looks beside the running program, in cargo's `deps` there, and in `../lib/vramplan`.
    pub fn find() -> Result<Self, Error> {
        let mut looked: Vec<PathBuf> =
            std::env::var_os(LIBRARIES).map(PathBuf::from).into_iter().collect();
        if let Some(beside) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
            looked.extend([beside.into(), beside.join("deps"), beside.join("../lib/vramplan")]);
        }
        let find = |name: &'static str| {
            let found = looked.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
            found.ok_or_else(|| Error::Library { name, looked: looked.clone() })
        };
        Ok(Self { fakes: find(contract::FAKES)?, hooks: find(contract::HOOKS)? })
    }
}

/// Numbers that grow while a program gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Calls of any function. Where only these grow, the program waits in a loop for something that
    /// will not happen.
    pub calls: u64,
    /// Launches, and memory taken or given back.
    pub work: u64,
    /// Launches alone.
    pub launches: u64,
}

/// A virtual machine, as long as the value lives: its folder, its accounting, and the thread that
/// reads its events. Any number of programs can run in it, one after another or together.
pub struct Rehearsal {
    machine: Machine,
    shared: Shared,
    listener: Listener,
    folder: Folder,
}

impl Rehearsal {
    /// Sets a machine up, with the libraries that [`Libraries::find`] finds.
    pub fn new(machine: &Machine) -> Result<Self, Error> {
        Self::with_libraries(machine, &Libraries::find()?)
    }

    /// Sets a machine up.
    pub fn with_libraries(machine: &Machine, libraries: &Libraries) -> Result<Self, Error> {
        recognise::this_platform()?;
        if machine.cards.is_empty() || machine.cards.len() > MAX_CARDS {
            return Err(Error::Cards { got: machine.cards.len() });
        }
        let folder = Folder::create(libraries, machine.cuda_major)?;
        let shared = Shared::create(&folder.path().join(contract::STATE))?;
        let events = contract::events_path(folder.path());
        let listener = Listener::start(&events, Gatherer::new(machine))?;
        Ok(Self { machine: machine.clone(), shared, listener, folder })
    }

    /// Gives a command the environment in which it finds the virtual cards.
    ///
    /// # Errors
    /// Where the program is seen to be one that cannot be rehearsed.
    pub fn prepare(&self, command: &mut Command) -> Result<(), Error> {
        recognise::program(command)?;
        for (name, value) in self.environment(&|name| variable(command, name)) {
            command.env(name, value);
        }
        Ok(())
    }

    /// The variables that a program needs, given those that it would have (`had`).
    pub fn environment(
        &self,
        had: &dyn Fn(&str) -> Option<OsString>,
    ) -> Vec<(&'static str, OsString)> {
        let folder = self.folder.path();
        let hooks = folder.join(contract::HOOKS).into_os_string();
        let before = |name: &str, first: &OsStr| {
            let mut list = first.to_owned();
            if let Some(rest) = had(name).filter(|rest| !rest.is_empty()) {
                list.push(":");
                list.push(rest);
            }
            list
        };
        vec![
            (contract::MACHINE, self.machine.to_json().into()),
            (contract::FOLDER, folder.into()),
            // Enough for most programs; `LD_AUDIT` is for the `DT_RPATH` of Python's wheels, which
            // beats it, and for absolute paths.
            ("LD_LIBRARY_PATH", before("LD_LIBRARY_PATH", folder.as_os_str())),
            ("LD_AUDIT", before("LD_AUDIT", &hooks)),
            ("LD_PRELOAD", before("LD_PRELOAD", &hooks)),
            // Python looks there for `sitecustomize`, which says what PyTorch holds and computes small values.
            ("PYTHONPATH", before("PYTHONPATH", folder.join(contract::PYTHON).as_os_str())),
            // Triton looks for the driver with `ldconfig`, which knows no private folder.
            ("TRITON_LIBCUDA_PATH", folder.into()),
        ]
    }

    /// Calls a function with every event from now on, in the thread that reads them: to record them,
    /// or to follow the program's phases. It must be quick; a reader that is slow loses events.
    pub fn observe(&self, mut observer: impl FnMut(&Event) + Send + 'static) {
        self.listen(move |heard| {
            if let Heard::Event(event) = heard {
                observer(event);
            }
        });
    }

    /// The same with everything that comes down the stream, in its order: what a program writes to
    /// [`Rehearsal::stream`] stands between the events before and after it.
    pub fn listen(&self, listener: impl FnMut(Heard<'_>) + Send + 'static) {
        self.listener.observe(Box::new(listener));
    }

    /// The stream of events: a FIFO, of which lines within [`LINE_LIMIT`](crate::event::LINE_LIMIT) are
    /// written whole.
    pub fn stream(&self) -> PathBuf {
        contract::events_path(self.folder.path())
    }

    /// Microseconds since the rehearsal began: the time of events.
    pub fn micros(&self) -> u64 {
        self.shared.micros()
    }

    /// What every card holds now, all processes together.
    pub fn levels(&self) -> Vec<u64> {
        let level = |at: usize| {
            self.shared.with(|books| resident(&books.used(at), self.machine.cards[at].capacity()))
        };
        (0..self.machine.cards.len()).map(level).collect()
    }

    /// What the rehearsal has shown so far.
    pub fn so_far(&self) -> Report {
        self.listener.look(|gathered| gathered.report(&self.machine, &self.shared))
    }

    /// Why the program turned out to be one that cannot be rehearsed, where it did.
    pub fn impossible(&self) -> Option<String> {
        self.listener.look(|gathered| gathered.impossible().map(str::to_owned))
    }

    /// How far the program is: what stands still in a hang.
    pub fn progress(&self) -> Progress {
        use std::sync::atomic::Ordering::Relaxed;
        let counters = self.shared.counters();
        let launches = counters.launches.load(Relaxed);
        let work = launches + counters.allocations.load(Relaxed);
        Progress { calls: counters.calls.load(Relaxed), work, launches }
    }

    /// Ends the rehearsal: reads the last events, removes the folder, and reports.
    pub fn finish(mut self) -> Report {
        self.listener.stop();
        self.so_far()
    }

    /// The private folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A variable as the command would have it: its own, else inherited.
pub(crate) fn variable(command: &Command, name: &str) -> Option<OsString> {
    match command.get_envs().find(|(key, _)| *key == name) {
        Some((_, value)) => value.map(OsStr::to_owned),
        None => std::env::var_os(name),
    }
}
