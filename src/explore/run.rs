//! The rim: keys and plans come in, screens and questions go out.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};

use ratatui::crossterm::event::{
    self, Event as Told, KeyCode, KeyEvent, KeyEventKind, KeyModifiers,
};
use vramplan_planner::form::{Given, Lists};

use super::screen::Screen;
use super::state::State;
use super::update::{Effect, Event, Key, begin, update};
use super::view::Paint;
use super::worker::{Answered, Asked, Planner, start};

/// What comes in.
enum Input {
    Happened(Event),
    /// Nothing more will: no key can be read, or nobody plans any more.
    Ended(io::Error),
}

/// Opens the page with a question, and gives back the last one.
///
/// # Errors
/// Where there is no terminal, or it is gone.
pub fn run<P: Planner>(
    lists: Lists,
    given: Given,
    has_colours: bool,
    make: impl FnOnce() -> P + Send + 'static,
) -> io::Result<Given> {
    let (sender, inputs) = channel();
    let guard = Guard(sender.clone());
    let (questions, _planner) = start(make, move |answered| guard.tell(answered))?;
    let mut screen = Screen::open(paint(has_colours))?;
    read_keys(sender)?;
    let mut state = State::new(lists, given);
    let effects = begin(&mut state);
    do_all(effects, &questions)?;
    until_the_end(&mut screen, &mut state, &inputs, &questions)?;
    Ok(state.given)
}

fn until_the_end(
    screen: &mut Screen,
    state: &mut State,
    inputs: &Receiver<Input>,
    questions: &Sender<Asked>,
) -> io::Result<()> {
    loop {
        screen.show(state)?;
        let Ok(first) = inputs.recv() else { return Ok(()) };
        // What came meanwhile is shown in one: keys that repeat keep no screen waiting.
        for input in std::iter::once(first).chain(inputs.try_iter()) {
            match input {
                Input::Ended(error) => return Err(error),
                Input::Happened(event) => {
                    let effects = update(state, event);
                    if !do_all(effects, questions)? {
                        return Ok(());
                    }
                }
            }
        }
    }
}

/// Whether the page stays open.
fn do_all(effects: Vec<Effect>, questions: &Sender<Asked>) -> io::Result<bool> {
    for effect in effects {
        match effect {
            Effect::End => return Ok(false),
            Effect::Copy(line) => Screen::copy(&line)?,
            // A planner that is gone has told so.
            Effect::Plan { asked, given } => drop(questions.send(Asked { asked, given })),
        }
    }
    Ok(true)
}

/// Tells what the planner answers, and its end, also where it panics.
struct Guard(Sender<Input>);

impl Guard {
    fn tell(&self, answered: Answered) -> bool {
        let Answered { asked, answer } = answered;
        let event = Event::Planned { asked, answer: Box::new(answer) };
        self.0.send(Input::Happened(event)).is_ok()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.send(Input::Ended(io::Error::other("the planner ended")));
    }
}

/// Reads keys on a thread of their own, which ends with the process.
fn read_keys(to: Sender<Input>) -> io::Result<()> {
    let thread = std::thread::Builder::new().name("keys".to_owned());
    thread.spawn(move || {
        loop {
            let input = match event::read() {
                Ok(told) => match event_of(told) {
                    Some(event) => Input::Happened(event),
                    None => continue,
                },
                Err(error) => Input::Ended(error),
            };
            let is_over = matches!(input, Input::Ended(_));
            if to.send(input).is_err() || is_over {
                return;
            }
        }
    })?;
    Ok(())
}

fn event_of(told: Told) -> Option<Event> {
    match told {
        Told::Key(key) if key.kind != KeyEventKind::Release => key_of(key).map(Event::Key),
        Told::Paste(text) => Some(Event::Pasted(text)),
        Told::Resize(..) => Some(Event::Resized),
        _ => None,
    }
}

fn key_of(key: KeyEvent) -> Option<Key> {
    let fine = key.modifiers.contains(KeyModifiers::SHIFT);
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Some(Key::Interrupt),
            _ => None,
        };
    }
    Some(match key.code {
        KeyCode::Char(character) => Key::Char(character),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left { fine },
        KeyCode::Right => Key::Right { fine },
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Tab | KeyCode::BackTab => Key::Tab,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace | KeyCode::Delete => Key::Backspace,
        _ => return None,
    })
}

/// The colours of this terminal, by what it says of itself.
fn paint(has_colours: bool) -> Paint {
    let says = |name: &str, values: &[&str]| {
        std::env::var(name).is_ok_and(|value| values.contains(&value.as_str()))
    };
    if !has_colours {
        Paint::Plain
    } else if cfg!(windows) || says("COLORTERM", &["truecolor", "24bit"]) {
        Paint::True
    } else {
        Paint::Indexed
    }
}
