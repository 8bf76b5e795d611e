//! What the page shows, and what was said so far.

use serde_json::Value;
use vramplan_planner::deployment::Question;
use vramplan_planner::form::{Given, Lists, Problem, RuntimeEntry, change_of};
use vramplan_planner::render::{Document, heading};

use super::fields::{Choices, FIELDS, Field, Kind, choices, shown};

/// A plan, and what the page needs beside it.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The plan.
    pub document: Document,
    /// Its first lines, as the command prints them.
    pub heading: String,
    /// The question with every default filled in.
    pub resolved: Given,
    /// What each piece of advice would change, where flags can say it.
    pub changes: Vec<Option<Given>>,
    /// Whether sizes and advice are still to come.
    pub is_outline: bool,
}

impl Planned {
    /// What is shown of a plan.
    pub fn new(document: Document, is_outline: bool) -> Self {
        Self {
            heading: heading(&document),
            resolved: given_of(&document.deployment.resolved),
            changes: document.advice.iter().map(|advice| change_of(&advice.text)).collect(),
            document,
            is_outline,
        }
    }
}

/// A question as its keys and values.
pub fn given_of(question: &Question) -> Given {
    match serde_json::to_value(question) {
        Ok(Value::Object(given)) => given,
        _ => Given::new(),
    }
}

/// Which pane the arrows move in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Focus {
    /// What is asked.
    Inputs,
    /// What would help.
    Advice,
}

/// What lies over the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Over {
    /// Nothing.
    Nothing,
    /// The keys.
    Help,
    /// The command that asks the same.
    Command {
        /// The line, or why there is none.
        line: String,
    },
    /// A list to choose from, or a line to type in.
    Picker(Picker),
}

/// What is being chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picker {
    /// The field, by its place in [`FIELDS`].
    pub field: usize,
    /// What was typed.
    pub typed: String,
    /// The row that is marked among [`State::matches`].
    pub row: usize,
}

/// A plan that is kept to compare with.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// The plan.
    pub document: Document,
}

/// Everything.
#[derive(Clone, Debug)]
pub struct State {
    /// What there is to choose from.
    pub lists: Lists,
    /// What is asked.
    pub given: Given,
    /// What was asked before, the newest last.
    pub before: Vec<Given>,
    /// The field that is marked, by its place in [`FIELDS`].
    pub field: usize,
    /// The piece of advice that is marked.
    pub advice: usize,
    /// Where the arrows move.
    pub focus: Focus,
    /// What lies over it.
    pub over: Over,
    /// The newest plan; that of an older question while a newer one is planned.
    pub planned: Option<Box<Planned>>,
    /// Why the newest question has no plan.
    pub problem: Option<Problem>,
    /// The number of the newest question.
    pub asked: u64,
    /// Whether it is still to be answered.
    pub is_waiting: bool,
    /// What is compared with.
    pub pinned: Option<Box<Pinned>>,
}

impl State {
    /// A page that asks this.
    pub fn new(lists: Lists, given: Given) -> Self {
        Self {
            lists,
            given,
            before: Vec::new(),
            field: 0,
            advice: 0,
            focus: Focus::Inputs,
            over: Over::Nothing,
            planned: None,
            problem: None,
            asked: 0,
            is_waiting: false,
            pinned: None,
        }
    }

    /// The runtime that is planned, with what it takes.
    pub fn runtime(&self) -> Option<&RuntimeEntry> {
        let resolved = self.planned.as_ref().and_then(|planned| planned.resolved.get("runtime"));
        let name = self.given.get("runtime").or(resolved).map(shown)?;
        self.lists.runtimes.iter().find(|runtime| runtime.name == name)
    }

    /// The fields that are shown: what was said stays in sight, also where another runtime has it.
    pub fn fields(&self) -> Vec<(usize, &'static Field)> {
        let runtime = self.runtime();
        let applies = |field: &Field| runtime.is_none_or(|runtime| (field.applies)(runtime));
        let is_shown = |field: &Field| applies(field) || self.given.contains_key(field.key);
        FIELDS.iter().enumerate().filter(|(_, field)| is_shown(field)).collect()
    }

    /// The value that a field has, and whether it was said.
    pub fn value(&self, field: &Field) -> Option<(&Value, bool)> {
        if let Some(said) = self.given.get(field.key) {
            return Some((said, true));
        }
        let resolved = &self.planned.as_ref()?.resolved;
        // A user's context is what a sequence may have: the model's unless it was said.
        let key = if field.key == "context_per_user" { "context" } else { field.key };
        resolved.get(key).map(|value| (value, false))
    }

    /// The values of a field that is a list.
    pub fn options(&self, field: &Field) -> Vec<String> {
        match field.kind {
            Kind::List { of, .. } => choices(of, &self.lists, self.runtime()),
            _ => Vec::new(),
        }
    }

    /// What a picker offers: the values with every word that was typed, and at last what was typed itself where the
    /// field takes any text.
    pub fn matches(&self, picker: &Picker) -> Vec<String> {
        let Some(field) = FIELDS.get(picker.field) else { return Vec::new() };
        let typed = picker.typed.trim().to_lowercase();
        let has = |option: &String| {
            let option = option.to_lowercase();
            typed.split_whitespace().all(|word| option.contains(word))
        };
        let mut matches = self.options(field);
        matches.retain(has);
        // A name that begins so is rather meant than one that has it somewhere, and the shortest of those.
        if let Some(first) = typed.split_whitespace().next() {
            matches.sort_by_key(|option| {
                (!option.to_lowercase().starts_with(first), option.chars().count())
            });
        }
        let is_free = !matches!(field.kind, Kind::List { free: false, .. });
        let is_known = matches.iter().any(|option| option.to_lowercase() == typed);
        if is_free && !typed.is_empty() && !is_known {
            matches.push(picker.typed.trim().to_owned());
        }
        matches
    }

    /// How many pieces of advice there are.
    pub fn advice_count(&self) -> usize {
        self.planned.as_ref().map_or(0, |planned| planned.document.advice.len())
    }

    /// Takes back formats that another runtime has, once the runtime is another.
    pub fn forget_formats_of_others(&mut self) {
        let Some(runtime) = self.runtime().cloned() else { return };
        for field in &FIELDS {
            let Some(said) = self.given.get(field.key).map(shown) else { continue };
            let is_taken = match field.kind {
                Kind::List { of: Choices::Models | Choices::Gpus | Choices::Runtimes, .. } => true,
                Kind::List { of: Choices::Versions, .. } => false,
                Kind::List { of, .. } => choices(of, &self.lists, Some(&runtime)).contains(&said),
                _ => (field.applies)(&runtime),
            };
            if !is_taken {
                self.given.remove(field.key);
            }
        }
    }
}
