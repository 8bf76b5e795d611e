//! Where a model's bytes are: what people paste as `--model`, reduced to files that the planner's readers read by ranges.
//!
//! A path is a path. Everything else is looked for where it costs least: in the caches of other programs on this
//! machine, among the profiles, in what was read before, and at last, by headers alone, on a server. What asks for a
//! repository itself (`hf:…`, an address, a format behind `:`, a revision behind `@`) is answered by no profile.

mod choice;
mod environment;
mod error;
mod gguf_names;
#[cfg(feature = "hub")]
mod hub;
mod name;
mod stores;

use std::path::Path;
use std::rc::Rc;

use vramplan_disk::Disk;
use vramplan_planner::deployment::{Form, Origin, OriginKind};
use vramplan_planner::read::{self, Catalog, Files, Found, SourceError};
use vramplan_planner::spec::ModelSpec;
use vramplan_planner::text::{printable, printable_path};

pub use environment::Environment;
pub use error::SourcesError;
pub use gguf_names::{Group, groups};
#[cfg(feature = "hub")]
pub use hub::{FormatModel, Formats, HubError, HubErrorKind, Limits, Progress, Traffic};
pub use name::{Asked, OllamaTag, Part, RepoId, Wanted};
pub use stores::{Store, files_below, stores};

use stores::{Local, hugging_face, llama_cpp, lm_studio, ollama};

/// A model that was found: what to hand to the planner in the place of what was asked for.
#[derive(Clone)]
pub struct Located {
    /// A path among `files`, or a profile's name.
    pub model: String,
    /// Where the path is.
    pub files: Rc<dyn Files>,
    /// What the model is called, where its path does not say.
    pub name: Option<String>,
    /// What it is, where its path does not say.
    pub form: Option<Form>,
    /// Where it is from, where that is not what was asked for.
    pub origin: Option<Origin>,
}

impl Located {
    /// What is as it was named: a path on the disk, a profile.
    fn as_named(text: &str) -> Self {
        Self { model: text.to_owned(), files: Rc::new(Disk), name: None, form: None, origin: None }
    }

    fn of_profile(text: &str, form: Form, model: &ModelSpec, how: &str) -> Self {
        let note = format!("no local cache has `{}`; {how}", printable(text));
        let origin = Origin {
            kind: OriginKind::Profile,
            place: printable(&model.name),
            revision: None,
            note: Some(note),
        };
        Self { form: Some(form), origin: Some(origin), ..Self::as_named(text) }
    }

    fn local(found: Local) -> Option<Self> {
        let origin = Origin {
            kind: OriginKind::Cache,
            place: found.store.to_owned(),
            revision: found.revision.and_then(|commit| Some(commit.get(..8)?.to_owned())),
            note: Some(printable_path(&found.path)),
        };
        Some(Self {
            model: found.path.to_str()?.to_owned(),
            files: Rc::new(Disk),
            name: Some(found.name),
            form: Some(if found.is_gguf { Form::Gguf } else { Form::Checkpoint }),
            origin: Some(origin),
        })
    }

    /// Reads the model.
    ///
    /// # Errors
    /// As [`read::model`].
    pub fn read(&self, catalog: &Catalog) -> Result<ModelSpec, SourceError> {
        let mut model = read::model(&*self.files, &self.model, catalog)?;
        if let Some(name) = &self.name {
            model.name = printable(name);
        }
        Ok(model)
    }
}

/// Finds models.
pub struct Sources {
    environment: Environment,
    #[cfg(feature = "hub")]
    offline: bool,
    #[cfg(feature = "hub")]
    limits: Limits,
    #[cfg(feature = "hub")]
    progress: Progress,
}

impl Sources {
    /// Those that the environment says; a server is asked unless it is to be `offline`.
    pub fn new(environment: Environment, offline: bool) -> Self {
        #[cfg(not(feature = "hub"))]
        let _ = offline; // nothing is asked
        Self {
            #[cfg(feature = "hub")]
            offline: offline || environment.is_on("HF_HUB_OFFLINE"),
            environment,
            #[cfg(feature = "hub")]
            limits: Limits::default(),
            #[cfg(feature = "hub")]
            progress: std::sync::Arc::new(|_| ()),
        }
    }

    /// The same with other limits.
    #[cfg(feature = "hub")]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same with somebody who is told of requests.
    #[cfg(feature = "hub")]
    pub fn with_progress(self, progress: Progress) -> Self {
        Self { progress, ..self }
    }

    /// Finds the model that a text names.
    ///
    /// # Errors
    /// Where it is nowhere, or cannot be read.
    pub fn locate(&self, text: &str, catalog: &Catalog) -> Result<Located, SourcesError> {
        if is_on_the_disk(text, catalog) {
            return Ok(on_the_disk(text));
        }
        let asked = Asked::new(text, self.environment.text("HF_ENDPOINT"));
        match asked.map_err(|why| SourcesError::Malformed { text: printable(text), why })? {
            Asked::Name => Ok(self.name(text, catalog)),
            Asked::Repository { wanted, explicit } => {
                let found = || self.local_repository(&wanted);
                let form = if wanted.id.is_gguf() { Form::Gguf } else { Form::Checkpoint };
                let how = format!("`hf:{}` reads the repository itself", wanted.id);
                let unless = (!explicit).then_some((form, how.as_str()));
                let remote = || self.remote_repository(&wanted);
                first_of(text, found, unless, catalog, remote)
                    .or_else(|error| instead_of_a_server(text, form, catalog, error))
            }
            Asked::Ollama { tag, explicit } => {
                if let Err(error @ SourceError::OnTheirServers { .. }) = catalog.model(text) {
                    return Err(error.into());
                }
                let found = || ollama::find(&self.environment, &tag).and_then(Located::local);
                let how = format!("`ollama:{tag}` reads its header from the registry");
                let unless = (!explicit).then_some((Form::Tag, how.as_str()));
                let located = first_of(text, found, unless, catalog, || self.remote_tag(&tag))?;
                Ok(Located { form: Some(Form::Tag), ..located })
            }
            Asked::Url(address) => self.remote_url(&address),
            Asked::LmStudio(name) => {
                let found = lm_studio::find_by_name(&self.environment, &name);
                self.of_store(text, found, lm_studio::NAME)
            }
            Asked::LlamaCpp(wanted) => {
                let found = llama_cpp::find(&self.environment, &wanted);
                let shared =
                    || hugging_face::find(&self.environment, &wanted).filter(|found| found.is_gguf);
                self.of_store(text, found.or_else(shared), llama_cpp::NAME)
            }
        }
    }

    /// What a text asks for; nothing where it is malformed.
    pub fn asked(&self, text: &str) -> Option<Asked> {
        Asked::new(text, self.environment.text("HF_ENDPOINT")).ok()
    }

    /// Where the stores of other programs are on this machine.
    pub fn stores(&self) -> Vec<Store> {
        stores(&self.environment)
    }

    /// A profile's name, or that of a model which Ollama has.
    fn name(&self, text: &str, catalog: &Catalog) -> Located {
        if !matches!(catalog.model(text), Err(SourceError::Unknown { .. })) {
            return Located::as_named(text);
        }
        let tag = OllamaTag::new(text);
        let found =
            tag.and_then(|tag| ollama::find(&self.environment, &tag)).and_then(Located::local);
        found.unwrap_or_else(|| Located::as_named(text))
    }

    /// A repository's model in whichever cache has it.
    fn local_repository(&self, wanted: &Wanted) -> Option<Located> {
        let environment = &self.environment;
        let of_ollama = || {
            let (namespace, model) = wanted.id.as_str().split_once('/')?;
            let format = match &wanted.part {
                Part::Format(format) => format.as_str(),
                _ => "latest",
            };
            let pulled = OllamaTag::new(&format!("hf.co/{namespace}/{model}:{format}"))?;
            let own = OllamaTag::new(&format!("{namespace}/{model}:{format}"))?;
            ollama::find(environment, &pulled).or_else(|| ollama::find(environment, &own))
        };
        hugging_face::find(environment, wanted)
            .or_else(|| lm_studio::find(environment, wanted))
            .or_else(|| llama_cpp::find(environment, wanted))
            .or_else(|| of_ollama().filter(|_| wanted.revision.is_none()))
            .and_then(Located::local)
    }

    fn of_store(
        &self,
        text: &str,
        found: Option<Local>,
        store: &'static str,
    ) -> Result<Located, SourcesError> {
        found.and_then(Located::local).ok_or_else(|| {
            let stores = stores(&self.environment).into_iter().filter(|place| place.of == store);
            let places: Vec<_> = stores.map(|place| printable_path(&place.path)).collect();
            SourcesError::NotInStore { text: printable(text), store, places: places.join(", ") }
        })
    }
}

#[cfg(feature = "hub")]
impl Sources {
    fn hub(&self) -> Result<hub::Hub, SourcesError> {
        let progress = std::sync::Arc::clone(&self.progress);
        hub::Hub::new(&self.environment, self.offline, self.limits, progress)
    }

    fn remote_repository(&self, wanted: &Wanted) -> Result<Located, SourcesError> {
        Ok(remote(self.hub()?.repository(wanted)?))
    }

    fn remote_tag(&self, tag: &OllamaTag) -> Result<Located, SourcesError> {
        Ok(remote(self.hub()?.ollama(tag)?))
    }

    fn remote_url(&self, address: &str) -> Result<Located, SourcesError> {
        Ok(remote(self.hub()?.url(address)?))
    }

    /// The GGUF models of a repository of the hub, whose headers are read at once.
    ///
    /// # Errors
    /// Where the hub cannot be asked, or has no such repository.
    pub fn formats(&self, wanted: &Wanted) -> Result<Formats, SourcesError> {
        self.hub()?.formats(wanted)
    }
}

#[cfg(not(feature = "hub"))]
#[allow(clippy::unused_self, reason = "as where there is a network")]
impl Sources {
    fn remote_repository(&self, wanted: &Wanted) -> Result<Located, SourcesError> {
        Err(no_network(&wanted.id.to_string()))
    }

    fn remote_tag(&self, tag: &OllamaTag) -> Result<Located, SourcesError> {
        Err(no_network(&tag.to_string()))
    }

    fn remote_url(&self, address: &str) -> Result<Located, SourcesError> {
        Err(no_network(address))
    }
}

#[cfg(not(feature = "hub"))]
fn no_network(text: &str) -> SourcesError {
    let why = "no local cache has it, and this build cannot ask the network (feature `hub`)";
    SourcesError::Malformed { text: printable(text), why: why.to_owned() }
}

#[cfg(feature = "hub")]
fn remote(found: hub::Remote) -> Located {
    let Traffic { requests, bytes } = found.traffic;
    let read = vramplan_planner::units::Bytes::new(bytes);
    let before = "headers that were read before";
    let (kind, note) = match requests {
        0 => (OriginKind::Kept, format!("{before}, no request")),
        _ if bytes == 0 => (OriginKind::Kept, format!("{before}: the server does not answer now")),
        1 => (OriginKind::Hub, format!("headers alone, 1 request, {read}")),
        _ => (OriginKind::Hub, format!("headers alone, {requests} requests, {read}")),
    };
    let origin =
        Origin { kind, place: printable(&found.host), revision: found.revision, note: Some(note) };
    Located {
        model: found.path.to_string_lossy().into_owned(),
        files: Rc::new(found.files),
        name: Some(found.name),
        form: Some(if found.is_gguf { Form::Gguf } else { Form::Checkpoint }),
        origin: Some(origin),
    }
}

/// Whether a text is a path that leads to something; a folder that only happens to be called like a model does not.
fn is_on_the_disk(text: &str, catalog: &Catalog) -> bool {
    match Disk.find(Path::new(text)) {
        Found::Neither => false,
        Found::File => true,
        Found::Folder => {
            let is_of_a_model = |name: &String| {
                let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
                matches!(ending, Some("gguf" | "safetensors" | "json"))
            };
            files_below(Path::new(text)).iter().any(is_of_a_model) || catalog.model(text).is_err()
        }
    }
}

/// What is there under the name that was given.
fn on_the_disk(text: &str) -> Located {
    let is_plainly_a_path = text.contains(['/', '\\']) || Path::new(text).extension().is_some();
    // What lies in the current directory wins over a profile: that is said where it could surprise.
    let origin = (!is_plainly_a_path).then(|| Origin {
        kind: OriginKind::File,
        place: printable(&format!("./{text}")),
        revision: None,
        note: None,
    });
    Located { origin, ..Located::as_named(text) }
}

/// What is local, else the profile unless the thing itself is asked for, else what a server has.
fn first_of(
    text: &str,
    local: impl FnOnce() -> Option<Located>,
    profile: Option<(Form, &str)>,
    catalog: &Catalog,
    remote: impl FnOnce() -> Result<Located, SourcesError>,
) -> Result<Located, SourcesError> {
    if let Some(found) = local() {
        return Ok(found);
    }
    let Some((form, how)) = profile else { return remote() };
    match catalog.model(text) {
        Ok(model) => Ok(Located::of_profile(text, form, &model, how)),
        Err(known @ SourceError::Unknown { .. }) => {
            remote().map_err(|error| nowhere(known, &error))
        }
        Err(error) => Err(error.into()),
    }
}

/// The profile of a repository that no server could be asked about; the thing itself where the text insists on that.
fn instead_of_a_server(
    text: &str,
    form: Form,
    catalog: &Catalog,
    error: SourcesError,
) -> Result<Located, SourcesError> {
    if text.starts_with("hf:") || !error.is_of_the_network() {
        return Err(error);
    }
    let how = "its own header would be read from the hub, which was not asked";
    let how = if error.is_offline() { how } else { "the hub does not answer" };
    match catalog.model(text) {
        Ok(model) => Ok(Located::of_profile(text, form, &model, how)),
        // What is like it can be planned.
        Err(known @ SourceError::Mixture { .. }) => Err(nowhere(known, &error)),
        Err(_) => Err(error),
    }
}

fn nowhere(known: SourceError, error: &SourcesError) -> SourcesError {
    let hint = match (error.hint(), known.hint()) {
        (Some(of_error), Some(of_known)) => format!("{of_error}; or {of_known}"),
        (of_error, of_known) => of_error.or(of_known).unwrap_or_default(),
    };
    SourcesError::Nowhere { known: Box::new(known), why: error.to_string(), hint }
}
