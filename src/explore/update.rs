//! What a key does, and what a plan that was made changes. No input or output.

use serde_json::Value;
use vramplan_planner::form::{Given, Problem, command, question};

use super::fields::{FIELDS, Kind, Step, say, shown, stepped};
use super::state::{Focus, Over, Picker, Pinned, Planned, State};

/// Something that happened.
#[derive(Debug)]
pub enum Event {
    /// A key.
    Key(Key),
    /// A text was pasted.
    Pasted(String),
    /// A question was answered.
    Planned {
        /// Which.
        asked: u64,
        /// With what.
        answer: Box<Result<Planned, Problem>>,
    },
    /// The terminal has another size.
    Resized,
}

/// Keys, as far as they do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// To the field or line above.
    Up,
    /// To the one below.
    Down,
    /// To less.
    Left {
        /// By a little.
        fine: bool,
    },
    /// To more.
    Right {
        /// By a little.
        fine: bool,
    },
    /// To the first.
    Home,
    /// To the last.
    End,
    /// Takes what is marked.
    Enter,
    /// To the other pane.
    Tab,
    /// Away with what lies over the page.
    Escape,
    /// Back to the default; in a line, without its last character.
    Backspace,
    /// Ends.
    Interrupt,
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// To plan this, and nothing that was to be planned before.
    Plan {
        /// The number of the question.
        asked: u64,
        /// The question.
        given: Given,
    },
    /// To put a line where a person pastes from.
    Copy(String),
    /// To end.
    End,
}

/// Questions that are kept to go back to.
const MOST_BEFORE: usize = 100;
/// Characters of a line that is typed: a long path has fewer.
const MOST_TYPED: usize = 1024;

/// Asks what the page begins with.
pub fn begin(state: &mut State) -> Vec<Effect> {
    ask(state)
}

/// Does what follows from an event.
pub fn update(state: &mut State, event: Event) -> Vec<Effect> {
    match event {
        Event::Resized => Vec::new(),
        Event::Planned { asked, answer } => {
            planned(state, asked, *answer);
            Vec::new()
        }
        Event::Pasted(text) => pasted(state, &text),
        Event::Key(Key::Interrupt) => vec![Effect::End],
        Event::Key(key) => match state.over.clone() {
            Over::Picker(picker) => in_picker(state, picker, key),
            Over::Help | Over::Command { .. } => {
                state.over = Over::Nothing;
                Vec::new()
            }
            Over::Nothing => on_page(state, key),
        },
    }
}

/// An older question's answer comes too late.
fn planned(state: &mut State, asked: u64, answer: Result<Planned, Problem>) {
    if asked != state.asked {
        return;
    }
    match answer {
        Ok(planned) => {
            state.is_waiting = planned.is_outline;
            state.problem = None;
            state.planned = Some(Box::new(planned));
            state.advice = state.advice.min(state.advice_count().saturating_sub(1));
            if state.advice_count() == 0 && !state.is_waiting {
                state.focus = Focus::Inputs;
            }
        }
        Err(problem) => {
            state.is_waiting = false;
            state.problem = Some(problem);
        }
    }
}

fn on_page(state: &mut State, key: Key) -> Vec<Effect> {
    match key {
        Key::Char('q') => return vec![Effect::End],
        Key::Char('?') => state.over = Over::Help,
        Key::Char('/') => pick(state, 0, ""),
        Key::Char('y') => return copy(state),
        Key::Char('c') => pin(state),
        Key::Char('u') => return back(state),
        Key::Tab => {
            state.focus = match state.focus {
                Focus::Inputs if state.advice_count() > 0 => Focus::Advice,
                _ => Focus::Inputs,
            }
        }
        Key::Escape => state.focus = Focus::Inputs,
        key if state.focus == Focus::Advice => return on_advice(state, key),
        key => return on_inputs(state, key),
    }
    Vec::new()
}

fn on_advice(state: &mut State, key: Key) -> Vec<Effect> {
    let last = state.advice_count().saturating_sub(1);
    match key {
        Key::Up | Key::Char('k') => state.advice = state.advice.saturating_sub(1),
        Key::Down | Key::Char('j') => state.advice = (state.advice + 1).min(last),
        Key::Home => state.advice = 0,
        Key::End => state.advice = last,
        Key::Enter => return take(state),
        _ => {}
    }
    Vec::new()
}

fn on_inputs(state: &mut State, key: Key) -> Vec<Effect> {
    match key {
        Key::Up | Key::Char('k') => move_to(state, |at, _| at.saturating_sub(1)),
        Key::Down | Key::Char('j') => move_to(state, |at, last| (at + 1).min(last)),
        Key::Home => move_to(state, |_, _| 0),
        Key::End => move_to(state, |_, last| last),
        Key::Left { fine } => return step(state, Step { up: false, fine }),
        Key::Right { fine } => return step(state, Step { up: true, fine }),
        Key::Char('[') => return step(state, Step { up: false, fine: true }),
        Key::Char(']') => return step(state, Step { up: true, fine: true }),
        Key::Char('h') => return step(state, Step { up: false, fine: false }),
        Key::Char('l') => return step(state, Step { up: true, fine: false }),
        Key::Backspace => return say_nothing(state),
        Key::Enter if FIELDS[state.field].kind == Kind::Flag => {
            return step(state, Step { up: true, fine: false });
        }
        Key::Enter => pick(state, state.field, ""),
        Key::Char(digit) if digit.is_ascii_digit() => {
            let is_typed =
                !matches!(FIELDS[state.field].kind, Kind::List { free: false, .. } | Kind::Flag);
            if is_typed {
                pick(state, state.field, &digit.to_string());
            }
        }
        _ => {}
    }
    Vec::new()
}

fn move_to(state: &mut State, to: impl Fn(usize, usize) -> usize) {
    let fields = state.fields();
    let at = fields.iter().position(|(place, _)| *place == state.field).unwrap_or_default();
    let next = to(at, fields.len().saturating_sub(1));
    if let Some((place, _)) = fields.get(next) {
        state.field = *place;
    }
}

fn pick(state: &mut State, field: usize, typed: &str) {
    state.field = field;
    state.focus = Focus::Inputs;
    let mut picker = Picker { field, typed: typed.to_owned(), row: 0 };
    // What there is is marked, as long as nothing was typed.
    if typed.is_empty() {
        let now = state.value(&FIELDS[field]).map(|(value, _)| shown(value));
        let matches = state.matches(&picker);
        picker.row = matches.iter().position(|name| Some(name) == now.as_ref()).unwrap_or(0);
    }
    state.over = Over::Picker(picker);
}

fn in_picker(state: &mut State, mut picker: Picker, key: Key) -> Vec<Effect> {
    let last = state.matches(&picker).len().saturating_sub(1);
    match key {
        Key::Escape => {
            state.over = Over::Nothing;
            return Vec::new();
        }
        Key::Enter => return choose(state, &picker),
        Key::Up => picker.row = picker.row.saturating_sub(1),
        Key::Down => picker.row = (picker.row + 1).min(last),
        Key::Home => picker.row = 0,
        Key::End => picker.row = last,
        Key::Backspace => {
            picker.typed.pop();
            picker.row = 0;
        }
        Key::Char(typed) => push(&mut picker, &typed.to_string()),
        _ => {}
    }
    state.over = Over::Picker(picker);
    Vec::new()
}

fn push(picker: &mut Picker, text: &str) {
    let room = MOST_TYPED.saturating_sub(picker.typed.chars().count());
    picker.typed.extend(text.chars().filter(|c| !c.is_control()).take(room));
    picker.row = 0;
}

/// A text that is pasted goes where one is typed: elsewhere it is a model.
fn pasted(state: &mut State, text: &str) -> Vec<Effect> {
    if !matches!(state.over, Over::Picker(_)) {
        pick(state, 0, "");
    }
    if let Over::Picker(picker) = &mut state.over {
        push(picker, text);
    }
    Vec::new()
}

fn choose(state: &mut State, picker: &Picker) -> Vec<Effect> {
    state.over = Over::Nothing;
    let Some(chosen) = state.matches(picker).into_iter().nth(picker.row) else {
        return Vec::new();
    };
    change(state, FIELDS[picker.field].key, Value::String(chosen))
}

fn step(state: &mut State, step: Step) -> Vec<Effect> {
    let field = &FIELDS[state.field];
    let now = state.value(field).map(|(value, _)| value.clone());
    match stepped(field.kind, now.as_ref(), &state.options(field), step) {
        Some(next) if Some(&next) != state.given.get(field.key) => change(state, field.key, next),
        _ => Vec::new(),
    }
}

fn change(state: &mut State, key: &str, value: Value) -> Vec<Effect> {
    remember(state);
    // A number that was typed is one, `8k` too; what is none stays as it is and is refused with the plan.
    let mut one = Given::new();
    one.insert(key.to_owned(), value.clone());
    let read = question(&one).map(|question| super::state::given_of(&question));
    let value = read.ok().and_then(|mut read| read.remove(key)).unwrap_or(value);
    let is_no = value == Value::Bool(false);
    say(&mut state.given, key, value);
    if is_no {
        state.given.remove(key);
    }
    if key == "runtime" {
        state.forget_formats_of_others();
    }
    ask(state)
}

fn say_nothing(state: &mut State) -> Vec<Effect> {
    let key = FIELDS[state.field].key;
    if !state.given.contains_key(key) {
        return Vec::new();
    }
    remember(state);
    state.given.remove(key);
    ask(state)
}

/// Does as advised, where the advice is of the question that is shown.
fn take(state: &mut State) -> Vec<Effect> {
    let Some(planned) = state.planned.as_ref().filter(|_| !state.is_waiting) else {
        return Vec::new();
    };
    let Some(change) = planned.changes.get(state.advice).cloned().flatten() else {
        return Vec::new();
    };
    remember(state);
    for (key, value) in change {
        let has_slots = key == "batch" && state.given.contains_key("parallel");
        say(&mut state.given, if has_slots { "parallel" } else { key.as_str() }, value);
    }
    ask(state)
}

fn remember(state: &mut State) {
    if state.before.len() >= MOST_BEFORE {
        state.before.remove(0);
    }
    state.before.push(state.given.clone());
}

fn back(state: &mut State) -> Vec<Effect> {
    match state.before.pop() {
        Some(given) => {
            state.given = given;
            ask(state)
        }
        None => Vec::new(),
    }
}

/// Keeps what is planned to compare with, or no longer.
fn pin(state: &mut State) {
    if state.pinned.take().is_some() || state.is_waiting || state.problem.is_some() {
        return;
    }
    state.pinned = state
        .planned
        .as_ref()
        .map(|planned| Box::new(Pinned { document: planned.document.clone() }));
}

fn copy(state: &mut State) -> Vec<Effect> {
    match line(&state.given) {
        Ok(line) => {
            state.over = Over::Command { line: line.clone() };
            vec![Effect::Copy(line)]
        }
        Err(why) => {
            state.over = Over::Command { line: why };
            Vec::new()
        }
    }
}

/// The command that asks the same; why there is none else.
pub fn line(given: &Given) -> Result<String, String> {
    match command(given) {
        Ok(Some(line)) => Ok(line),
        Ok(None) => Err("no shell can be told one of the names".to_owned()),
        Err(problem) => Err(problem.message),
    }
}

fn ask(state: &mut State) -> Vec<Effect> {
    state.asked += 1;
    state.is_waiting = true;
    vec![Effect::Plan { asked: state.asked, given: state.given.clone() }]
}
