//! What commands know: profiles, and where models are.

use std::cell::OnceCell;
use std::ops::Deref;
use std::sync::Arc;

use super::args::CatalogArgs;
use super::problem::Problem;
use crate::evidence::Store;
use vramplan_planner::deployment::{
    self, Cards, Deployment, Form, LocalCard, OriginKind, Question, runtime_asked,
};
use vramplan_planner::evidence::Book;
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::{ModelSpec, Runtime};
use vramplan_planner::text::printable;
use vramplan_sources::{Environment, Located, Sources};

#[cfg(feature = "hub")]
use {
    indicatif::{ProgressBar, ProgressStyle},
    std::sync::{Mutex, PoisonError},
    vramplan_planner::units::Bytes,
    vramplan_sources::{Formats, Progress, SourcesError, Traffic, Wanted},
};

/// Profiles, and the places where models are found that have none.
pub struct Known {
    catalog: Catalog,
    sources: Sources,
    store: Store,
    /// Read when first needed.
    book: OnceCell<Book>,
    #[cfg(feature = "hub")]
    waiting: Waiting,
}

impl Deref for Known {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        &self.catalog
    }
}

impl CatalogArgs {
    /// The profiles and the places that these flags say.
    pub fn known(&self) -> Known {
        let sources = Sources::new(Environment::of_process(), self.offline);
        #[cfg(feature = "hub")]
        let waiting = Waiting::default();
        Known {
            catalog: vramplan_disk::catalog(&self.profiles),
            store: Store::new(&self.evidence),
            book: OnceCell::new(),
            #[cfg(feature = "hub")]
            sources: sources.with_progress(waiting.progress()),
            #[cfg(not(feature = "hub"))]
            sources,
            #[cfg(feature = "hub")]
            waiting,
        }
    }
}

impl CatalogArgs {
    /// The same where nobody is told of servers that are asked: a page has the terminal for itself.
    pub fn quiet(&self) -> Known {
        Known {
            catalog: vramplan_disk::catalog(&self.profiles),
            store: Store::new(&self.evidence),
            book: OnceCell::new(),
            sources: Sources::new(Environment::of_process(), self.offline),
            #[cfg(feature = "hub")]
            waiting: Waiting::default(),
        }
    }
}

impl Known {
    /// The profiles in the binary alone, and no network.
    pub fn built_in() -> Self {
        Self {
            catalog: Catalog::built_in(),
            sources: Sources::new(Environment::default(), true),
            store: Store::none(),
            book: OnceCell::new(),
            #[cfg(feature = "hub")]
            waiting: Waiting::default(),
        }
    }

    /// The same without the user's own records, where none are asked for: what a committed table is computed from.
    pub fn without_own_records(self) -> Self {
        let store = if self.store.is_asked_for() { self.store } else { Store::none() };
        Self { store, ..self }
    }

    /// Where models are found.
    pub const fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Where records of runs are.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The deployment with what runs were measured to hold in the place of what was assumed.
    pub fn measured(&self, found: Deployment) -> anyhow::Result<Deployment> {
        let book = if let Some(book) = self.book.get() {
            book
        } else {
            let read = self.store.book().map_err(|error| {
                let message = format!("records of runs cannot be read: {error}");
                Problem::new(message).hint("name a directory that is there with `--evidence`")
            })?;
            self.book.get_or_init(|| read)
        };
        Ok(book.apply(found))
    }

    /// Finds a model.
    pub fn locate(&self, model: &str) -> anyhow::Result<Located> {
        let located = self.sources.locate(model, &self.catalog);
        self.done();
        Ok(located?)
    }

    /// The GGUF models of a repository of the hub.
    #[cfg(feature = "hub")]
    pub fn formats(&self, wanted: &Wanted) -> Result<Formats, SourcesError> {
        let formats = self.sources.formats(wanted);
        self.done();
        formats
    }

    /// Nobody is waited for any more: what is printed next has the terminal for itself.
    #[cfg(feature = "hub")]
    fn done(&self) {
        self.waiting.end();
    }

    #[cfg(not(feature = "hub"))]
    #[expect(clippy::unused_self, reason = "with `hub` it ends the waiting")]
    const fn done(&self) {}

    /// Finds a model and reads it.
    pub fn read(&self, model: &str) -> anyhow::Result<ModelSpec> {
        Ok(self.locate(model)?.read(&self.catalog)?)
    }

    /// Resolves a question, on the card of this machine where it asks for that.
    pub fn resolve(
        &self,
        question: &Question,
        local: Option<&LocalCard>,
    ) -> anyhow::Result<Deployment> {
        let Some(model) = &question.model else {
            let files = vramplan_disk::Disk;
            let found = deployment::resolve(question, &self.catalog, &files, local)?;
            return self.measured(found);
        };
        let tag = self.newest_tag(model, question);
        let located = self.locate(tag.as_deref().unwrap_or(model))?;
        let asked = asked_of(question, &located);
        let found = deployment::resolve(&asked, &self.catalog, &*located.files, local);
        self.done();
        self.measured(as_asked(found?, question, &located))
    }

    /// The tag that a bare name stands for where tags are run, if that is another model than the one of that name elsewhere:
    /// `deepseek-r1` is `deepseek-r1:latest`, one of 8 B, to Ollama.
    fn newest_tag(&self, model: &str, question: &Question) -> Option<String> {
        let runs_tags = question.runtime == Some(Form::Tag.runtime());
        if !runs_tags || model.contains([':', '/', '\\']) {
            return None;
        }
        let tag = format!("{model}:latest");
        let (own, newest) = (self.catalog.model(model).ok()?, self.catalog.model(&tag).ok()?);
        (own.name != newest.name).then_some(tag)
    }

    /// Resolves a question about a model that was found, on these cards.
    pub fn resolve_on(
        &self,
        question: &Question,
        located: &Located,
        cards: Cards,
    ) -> anyhow::Result<Deployment> {
        let asked = asked_of(question, located);
        let found = deployment::resolve_on(&asked, &self.catalog, &*located.files, cards);
        self.done();
        self.measured(as_asked(found?, question, located))
    }

    /// The question with a path of this disk in the place of a model that another program has: what a worker can
    /// open.
    pub fn with_path(&self, question: Question) -> anyhow::Result<Question> {
        let Some(model) = &question.model else { return Ok(question) };
        let located = self.locate(model)?;
        match located.origin.as_ref().map(|origin| origin.kind) {
            Some(OriginKind::Hub | OriginKind::Kept) => {
                let message =
                    format!("`{}` is on a server: nothing of it can be run here", printable(model));
                let hint = "download it and name its file, or run its profile with `--synthetic`";
                Err(Problem::new(message).hint(hint).into())
            }
            Some(OriginKind::Cache) => Ok(Question { model: Some(located.model), ..question }),
            Some(OriginKind::Profile | OriginKind::File) | None => Ok(question),
        }
    }
}

/// The runtime that one model is planned for, as `budget` has it: by its form, and a bare name by what else is asked for.
pub fn runtime_of_one(question: &Question, located: &Located, catalog: &Catalog) -> Runtime {
    let by_name = || runtime_asked(question, &located.model, catalog, &*located.files);
    located.form.map_or_else(by_name, Form::runtime)
}

/// The question as the planner can read it.
fn asked_of(question: &Question, located: &Located) -> Question {
    Question {
        model: Some(located.model.clone()),
        runtime: question.runtime.or_else(|| located.form.map(Form::runtime)),
        ..question.clone()
    }
}

/// What was found, under the names that the user gave.
fn as_asked(mut found: Deployment, question: &Question, located: &Located) -> Deployment {
    if let Some(name) = &located.name {
        Arc::make_mut(&mut found.model).name = printable(name);
    }
    let kind = located.origin.as_ref().map(|origin| origin.kind);
    if matches!(kind, Some(OriginKind::Hub | OriginKind::Kept)) {
        // No program opens a file that is on a server.
        found.file = None;
    }
    found.origin = located.origin.clone().map(Arc::new);
    found.given = Arc::new(question.clone());
    found
}

/// A line on stderr while servers are asked, where that is a terminal.
#[cfg(feature = "hub")]
#[derive(Default)]
struct Waiting(Arc<Mutex<Option<ProgressBar>>>);

#[cfg(feature = "hub")]
impl Waiting {
    fn progress(&self) -> Progress {
        let bar = Arc::clone(&self.0);
        Arc::new(move |traffic: Traffic| {
            let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
            let read = Bytes::new(traffic.bytes);
            let message = format!("{} requests, {read}", traffic.requests);
            bar.get_or_insert_with(spinner).set_message(message);
        })
    }

    fn end(&self) {
        let bar = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(feature = "hub")]
fn spinner() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    let style = ProgressStyle::with_template("{spinner} reading headers: {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}
