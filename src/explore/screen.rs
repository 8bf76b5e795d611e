//! The terminal: taken over when the page opens, and given back whatever ends it.

use std::io::{self, Stdout, Write as _, stdout};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

use super::clipboard;
use super::state::State;
use super::view::{Paint, draw};

/// Whether the terminal is ours to give back.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// The terminal while the page is open.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    paint: Paint,
}

impl Screen {
    /// Takes the terminal over.
    ///
    /// # Errors
    /// Where it is none, or does not do what it is told.
    pub fn open(paint: Paint) -> io::Result<Self> {
        give_back_in_a_panic();
        give_back_at_signals()?;
        IS_TAKEN.store(true, Ordering::SeqCst);
        let opened = enable_raw_mode()
            .and_then(|()| execute!(stdout(), EnterAlternateScreen, EnableBracketedPaste))
            .and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match opened {
            Ok(terminal) => Ok(Self { terminal, paint }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Shows the state.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub fn show(&mut self, state: &State) -> io::Result<()> {
        self.terminal.draw(|frame| draw(frame, state, self.paint)).map(drop)
    }

    /// Puts a line where a person pastes from, as far as the terminal does that.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub fn copy(line: &str) -> io::Result<()> {
        let mut out = stdout().lock();
        out.write_all(clipboard::sequence(line).as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, once. What fails here fails because it is gone.
fn give_back() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        let _ = disable_raw_mode();
        let _ = execute!(stdout(), DisableBracketedPaste, LeaveAlternateScreen, Show);
    }
}

/// Before a panic says what it has to say: nothing is dropped where it aborts.
fn give_back_in_a_panic() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
    });
}

/// Gives the terminal back and ends as the signal says. A terminal that is stopped or gone takes nothing any more: then
/// the process ends all the same.
#[cfg(unix)]
fn give_back_at_signals() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;
    use std::time::Duration;

    let mut signals = Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(move || {
        let Some(signal) = signals.forever().next() else { return };
        let patience = std::thread::Builder::new();
        let _ = patience.spawn(move || {
            std::thread::sleep(Duration::from_secs(1));
            let _ = emulate_default_handler(signal);
        });
        give_back();
        let _ = emulate_default_handler(signal);
    })?;
    Ok(())
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
const fn give_back_at_signals() -> io::Result<()> {
    Ok(())
}
