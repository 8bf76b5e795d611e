//! Signals that this process gets on behalf of the command.

use std::io;
use std::sync::mpsc::SyncSender;
use std::thread::{Builder, Scope};

use signal_hook::consts::{
    SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::{Handle, Signals};

use super::News;

const FORWARDED: [i32; 9] =
    [SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGTSTP, SIGCONT];

/// Hands signals on until the handle is closed.
pub fn forward<'scope>(
    scope: &'scope Scope<'scope, '_>,
    sender: SyncSender<News>,
) -> io::Result<Handle> {
    let mut signals = Signals::new(FORWARDED)?;
    let handle = signals.handle();
    Builder::new().spawn_scoped(scope, move || {
        for signal in signals.forever() {
            if sender.send(News::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(handle)
}

/// Whether a signal asks for an end.
pub const fn asks_for_an_end(signal: i32) -> bool {
    matches!(signal, SIGINT | SIGTERM | SIGHUP | SIGQUIT)
}
