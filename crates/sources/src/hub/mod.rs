//! Models from servers, by their headers alone: the hub, Ollama's registry, any address.

mod address;
mod client;
mod error;
mod files;
mod kept;
mod listing;
mod remote;
mod tables;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use vramplan_planner::read::gguf::{self, GgufFile};
use vramplan_planner::spec::ModelSpec;

use self::address::{Address, escaped};
use self::client::Client;
pub use self::client::{Limits, Progress, Traffic};
use self::error::HubErrorKind as Kind;
pub use self::error::{HubError, HubErrorKind};
use self::files::RemoteFiles;
use self::kept::Kept;
use self::listing::{Listing, is_commit};
use self::remote::{RemoteFile, STREAM};
use self::tables::{Reference, Table};
use crate::SourcesError;
use crate::choice::{self, Choice, NoChoice};
use crate::environment::Environment;
use crate::gguf_names::{Group, groups};
use crate::name::{OllamaTag, RepoId, Wanted};
use crate::stores::hugging_face;
use crate::stores::ollama::Manifest;

/// The hub, unless `HF_ENDPOINT` names another.
pub(crate) const ENDPOINT: &str = "https://huggingface.co";
/// How long what a branch was is taken for what it is.
const FRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// Asks servers for models, or what was kept of their answers.
pub(crate) struct Hub {
    endpoint: Address,
    registry: Option<Address>,
    kept: Option<PathBuf>,
    offline: bool,
    client: Arc<Client>,
}

/// A model on a server.
pub(crate) struct Remote {
    pub files: RemoteFiles,
    /// Its file or folder among them.
    pub path: PathBuf,
    pub name: String,
    pub is_gguf: bool,
    pub host: String,
    pub revision: Option<String>,
    /// What was asked and read for it; nothing where it was kept.
    pub traffic: Traffic,
}

/// A listing, and where it is kept.
struct Listed {
    listing: Listing,
    kept: Kept,
}

impl Hub {
    /// One that is told by the environment which hub, which token, and where to keep things.
    pub fn new(
        environment: &Environment,
        offline: bool,
        limits: Limits,
        progress: Progress,
    ) -> Result<Self, SourcesError> {
        let named = environment.text("HF_ENDPOINT").map(|text| text.trim_end_matches('/'));
        let address = |variable: &str, text: &str| {
            Address::new(text).map_err(|why| SourcesError::Variable {
                name: variable.to_owned(),
                value: vramplan_planner::text::printable(text),
                why,
            })
        };
        let endpoint = address("HF_ENDPOINT", named.unwrap_or(ENDPOINT))?;
        let registry = environment.text("VRAMPLAN_OLLAMA_REGISTRY");
        let registry =
            registry.map(|text| address("VRAMPLAN_OLLAMA_REGISTRY", text)).transpose()?;
        let token = token(environment).map(|token| (endpoint.clone(), token));
        let limits = Limits { stall: stall(environment).unwrap_or(limits.stall), ..limits };
        let client = Arc::new(Client::new(limits, token, progress));
        Ok(Self { endpoint, registry, kept: environment.kept(), offline, client })
    }

    fn since(&self, before: Traffic) -> Traffic {
        let now = self.client.traffic();
        Traffic { requests: now.requests - before.requests, bytes: now.bytes - before.bytes }
    }

    /// A repository's model: its list of files, then its headers.
    pub fn repository(&self, wanted: &Wanted) -> Result<Remote, SourcesError> {
        let before = self.client.traffic();
        let listed = self.listed(wanted)?;
        let choice = choice::choose(&listed.listing.names(), &wanted.part);
        let choice = choice.map_err(|why| no_choice(wanted, &why))?;
        let revision = Some(listed.listing.short_commit().to_owned());
        let files = self.files(wanted, listed);
        let (path, name, is_gguf) = match &choice {
            Choice::Gguf(group) => {
                let first = group.files.first().map_or("", String::as_str);
                read_gguf(&files, group)?;
                (files.path(first), stem(first), true)
            }
            Choice::Checkpoint => {
                read_checkpoint(&files)?;
                (files.root().to_owned(), wanted.id.name().to_owned(), false)
            }
            Choice::File(file) => (files.path(file), stem(file), false),
        };
        files.keep();
        let host = self.endpoint.authority().to_owned();
        Ok(Remote { files, path, name, is_gguf, host, revision, traffic: self.since(before) })
    }

    /// Every GGUF model of a repository, by its format: all of one's header, of the others their tensor tables.
    pub fn formats(&self, wanted: &Wanted) -> Result<Formats, SourcesError> {
        let before = self.client.traffic();
        let listed = self.listed(wanted)?;
        let names = listed.listing.names();
        let has_config = listed.listing.files.contains_key("config.json");
        let is_checkpoint = has_config && names.iter().any(|name| name.ends_with(".safetensors"));
        let groups = if is_checkpoint { Vec::new() } else { groups(names.iter().copied()) };
        let sizes = listed.listing.files.clone();
        let revision = listed.listing.short_commit().to_owned();
        let files = self.files(wanted, listed);
        let models = self.models(&files, &groups, &sizes)?;
        files.keep();
        let with_size = |(group, model): (Group, ModelSpec)| {
            let of = |file: &String| sizes.get(file).copied().flatten();
            FormatModel { size: group.files.iter().map(of).sum(), group, model }
        };
        let formats = groups.into_iter().zip(models).map(with_size).collect();
        let (host, traffic) = (self.endpoint.authority().to_owned(), self.since(before));
        Ok(Formats { formats, is_checkpoint, host, revision, traffic })
    }

    /// The model of each group, in their order.
    fn models(
        &self,
        files: &RemoteFiles,
        groups: &[Group],
        sizes: &BTreeMap<String, Option<u64>>,
    ) -> Result<Vec<ModelSpec>, SourcesError> {
        // The smallest of what is one file: its header is no longer than another's.
        let alone = groups.iter().filter(|group| group.files.len() == 1);
        let size = |group: &&Group| {
            group.files.first().and_then(|file| sizes.get(file).copied().flatten())
        };
        let first = alone.min_by_key(size);
        let read = first.map(|group| read_gguf(files, group)).transpose()?.flatten();
        let header = first.and_then(|group| Some(files.file(group.files.first()?)?.head(u64::MAX)));
        let reference = read.as_ref().and_then(|read| Reference::new(read, header.as_deref()?));
        let tables =
            reference.as_ref().map(|known| self.tables(files, groups, known)).unwrap_or_default();
        let model = |group: &Group| {
            let path = files.path(group.files.first()?);
            let of_table = || {
                let (table, size) = tables.get(group.files.first()?)?;
                reference.as_ref()?.header(table, *size, &path, &group.format)
            };
            let is_first = first.is_some_and(|first| first == group);
            let header = if is_first { read.clone() } else { of_table() };
            header.and_then(|header| gguf::spec(&path, &header).ok())
        };
        let mut models = Vec::new();
        for group in groups {
            models.push(match model(group) {
                Some(model) => model,
                None => whole(files, group)?,
            });
        }
        Ok(models)
    }

    /// The tables of files that are alike, those that were kept and those that are asked for, at once.
    fn tables(
        &self,
        files: &RemoteFiles,
        groups: &[Group],
        reference: &Reference<'_>,
    ) -> BTreeMap<String, (Table, u64)> {
        let alone = groups.iter().filter(|group| group.files.len() == 1);
        let names: Vec<_> = alone.flat_map(|group| group.files.iter().cloned()).collect();
        let found = Mutex::new(BTreeMap::new());
        let client = self.client_unless_offline();
        let _ = files.each_named(&names, |name, file| {
            // What is all there, or is the reference, needs no table.
            let Some(size) = file.known_size().filter(|_| !file.has_head()) else { return Ok(()) };
            let kept = files.kept_table(name).and_then(|bytes| Table::of_bytes(&bytes));
            let asked = || reference.ask(client.as_deref()?, file.address(), size);
            if let Some(table) = kept.or_else(asked) {
                files.keep_table(name, &table.to_bytes());
                found
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(name.to_owned(), (table, size));
            }
            Ok(())
        });
        found.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files of the revision asked for, by what is kept or by the hub.
    fn listed(&self, wanted: &Wanted) -> Result<Listed, HubError> {
        let kept = Kept::new(self.kept.as_deref(), self.endpoint.authority(), wanted.id.as_str());
        let revision = wanted.revision.as_deref().unwrap_or("main");
        let before = kept.reference(revision);
        let pinned = is_commit(revision).then(|| revision.to_owned());
        let fresh = before.as_ref().filter(|before| self.offline || before.age < FRESH);
        let known = pinned.or_else(|| fresh.map(|before| before.commit.clone()));
        if let Some(listing) = known.and_then(|commit| kept.listing(&commit)) {
            return Ok(Listed { listing, kept });
        }
        if self.offline {
            let message =
                format!("`{}` was not read before, and the network is not to be asked", wanted.id);
            return Err(
                HubError::new(Kind::Offline, message).hint("plan it once without `--offline`")
            );
        }
        match self.ask_listing(&wanted.id, revision) {
            Ok(listing) => {
                kept.keep_listing(&listing);
                kept.keep_reference(revision, &listing.commit);
                Ok(Listed { listing, kept })
            }
            // What it was is better than nothing where nobody answers, and says its revision.
            Err(error) if error.kind == Kind::Unreachable => {
                let known = before.and_then(|before| kept.listing(&before.commit));
                known.map(|listing| Listed { listing, kept }).ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    fn ask_listing(&self, id: &RepoId, revision: &str) -> Result<Listing, HubError> {
        let revision = escaped(revision).replace('/', "%2F");
        let path = format!("/api/models/{id}/revision/{revision}?blobs=true");
        let address = self.below_endpoint(&path);
        let bytes = self.client.short(&address, Listing::LONGEST, "application/json")?;
        Listing::of_answer(&bytes, &format!("hf:{id}"))
    }

    /// A path of the hub, which may itself be below a path of its server.
    fn below_endpoint(&self, path: &str) -> Address {
        self.endpoint.with_path(&format!("{}{path}", self.endpoint.path().trim_end_matches('/')))
    }

    fn client_unless_offline(&self) -> Option<Arc<Client>> {
        (!self.offline).then(|| Arc::clone(&self.client))
    }

    fn files(&self, wanted: &Wanted, listed: Listed) -> RemoteFiles {
        let Listed { listing, kept } = listed;
        let heads = kept.heads(&listing.commit);
        let most = self.client.limits().most_of_file;
        let mut files = BTreeMap::new();
        for (name, size) in &listing.files {
            let path = format!("/{}/resolve/{}/{}", wanted.id, listing.commit, escaped(name));
            let label = format!("hf:{}/{name}", wanted.id);
            let known = heads.contains(&kept::plain(name));
            let head = if known { kept.head(&listing.commit, name, most) } else { Vec::new() };
            let client = self.client_unless_offline();
            let file = RemoteFile::new(client, self.below_endpoint(&path), label, *size, head);
            files.insert(name.clone(), Arc::new(file));
        }
        RemoteFiles::new(PathBuf::from(format!("hf:{}", wanted.id)), files, kept, listing.commit)
    }

    /// A file by its address, and what belongs to it beside it.
    pub fn url(&self, text: &str) -> Result<Remote, SourcesError> {
        let before = self.client.traffic();
        let refuse = |why: String| SourcesError::Malformed {
            text: vramplan_planner::text::printable(text),
            why,
        };
        let address = Address::new(text).map_err(refuse)?;
        if self.offline {
            let message = format!("`{address}` is on a server, and the network is not to be asked");
            return Err(HubError::new(Kind::Offline, message)
                .hint("download it, and name the file")
                .into());
        }
        let file = address.file_name();
        let names = url_names(&file);
        if names.is_empty() {
            let why = format!(
                "`{file}`: expected a file that ends in `.gguf`, `.safetensors` or `.json`"
            );
            return Err(refuse(why));
        }
        let mut files = BTreeMap::new();
        for name in &names {
            let label = format!("{}/{name}", address.authority());
            let own = if *name == file { address.clone() } else { address.beside(name) };
            let remote =
                RemoteFile::new(Some(Arc::clone(&self.client)), own, label, None, Vec::new());
            files.insert(name.clone(), Arc::new(remote));
        }
        let kept = Kept::new(None, "", "");
        let files =
            RemoteFiles::new(PathBuf::from(address.authority()), files, kept, String::new());
        let is_gguf = is_gguf(&file);
        if is_gguf {
            let group = groups(names.iter().map(String::as_str)).into_iter().next();
            if let Some(group) = group {
                read_gguf(&files, &group)?;
            }
        }
        let path = files.path(&file);
        let host = address.authority().to_owned();
        let traffic = self.since(before);
        Ok(Remote { files, path, name: stem(&file), is_gguf, host, revision: None, traffic })
    }

    /// A tag of Ollama's registry: its manifest, then the header of its model.
    pub fn ollama(&self, tag: &OllamaTag) -> Result<Remote, SourcesError> {
        const FILE: &str = "model.gguf";
        let before = self.client.traffic();
        let server = match &self.registry {
            Some(registry) => registry.clone(),
            None => Address::new(&format!("https://{}", tag.host))
                .map_err(|why| SourcesError::Malformed { text: tag.to_string(), why })?,
        };
        let model = format!("{}/{}", tag.namespace, tag.model);
        let kept = Kept::new(self.kept.as_deref(), server.authority(), &model);
        let listing = self.ollama_listing(tag, &server, &kept, FILE)?;
        let size = listing.files.get(FILE).copied().flatten();
        let head = kept.head(&listing.commit, FILE, self.client.limits().most_of_file);
        let blob =
            server.with_path(&format!("/v2/{}/blobs/sha256:{}", escaped(&model), listing.commit));
        let client = self.client_unless_offline();
        let file = RemoteFile::new(client, blob, format!("ollama:{tag}"), size, head);
        let files = BTreeMap::from([(FILE.to_owned(), Arc::new(file))]);
        let revision = listing.short_commit().to_owned();
        let root = PathBuf::from(format!("ollama:{tag}"));
        let files = RemoteFiles::new(root, files, kept, listing.commit);
        read_gguf(&files, &Group { format: String::new(), files: vec![FILE.to_owned()] })?;
        files.keep();
        Ok(Remote {
            path: files.path(FILE),
            files,
            name: tag.to_string(),
            is_gguf: true,
            host: server.authority().to_owned(),
            revision: Some(revision),
            traffic: self.since(before),
        })
    }

    fn ollama_listing(
        &self,
        tag: &OllamaTag,
        server: &Address,
        kept: &Kept,
        file: &str,
    ) -> Result<Listing, HubError> {
        let known = kept.reference(&tag.tag).filter(|known| self.offline || known.age < FRESH);
        if let Some(listing) = known.and_then(|known| kept.listing(&known.commit)) {
            return Ok(listing);
        }
        if self.offline {
            let message =
                format!("`ollama:{tag}` was not read before, and the network is not to be asked");
            return Err(
                HubError::new(Kind::Offline, message).hint("plan it once without `--offline`")
            );
        }
        let path = format!("/v2/{}/{}/manifests/{}", tag.namespace, tag.model, tag.tag);
        let accept = "application/vnd.docker.distribution.manifest.v2+json";
        let bytes = self.client.short(&server.with_path(&path), Manifest::LONGEST, accept)?;
        let refuse = |why: String| {
            HubError::new(Kind::Broken, format!("`ollama:{tag}`: its manifest: {why}"))
        };
        let manifest = Manifest::parse(&bytes).map_err(refuse)?;
        let layer = manifest.model().ok_or_else(|| {
            let hint =
                "models of several tensors' layers are not read: name its repository instead";
            refuse("no layer is a GGUF model".to_owned()).hint(hint)
        })?;
        let digest =
            layer.sha256().ok_or_else(|| refuse("a digest that is not a SHA-256".to_owned()))?;
        let files = BTreeMap::from([(file.to_owned(), Some(layer.size))]);
        let listing = Listing { commit: digest.to_owned(), files };
        kept.keep_listing(&listing);
        kept.keep_reference(&tag.tag, digest);
        Ok(listing)
    }
}

/// Why a repository has no such model, with what it has.
fn no_choice(wanted: &Wanted, why: &NoChoice) -> HubError {
    let id = &wanted.id;
    let listed = |formats: &[String]| {
        let shown: Vec<_> = formats.iter().map(|format| format!("`{format}`")).collect();
        if shown.is_empty() {
            "it has no GGUF files".to_owned()
        } else {
            format!("it has {}", shown.join(", "))
        }
    };
    match why {
        NoChoice::NoModel => {
            let message =
                format!("`hf:{id}` holds no model: expected `config.json`, or GGUF files");
            HubError::new(Kind::NotFound, message)
        }
        NoChoice::NotThere(formats) => {
            let suffix = wanted.part.suffix();
            let what = suffix.trim_start_matches([':', '/']);
            let message = format!("`hf:{id}` has no `{what}`: {}", listed(formats));
            HubError::new(Kind::NotFound, message)
        }
        NoChoice::Several(formats) => {
            let first = formats.first().map_or("", String::as_str);
            let message = format!("`hf:{id}` is several models: {}", listed(formats));
            let hint = format!("name one: `{id}:{first}`; `vramplan quants {id}` compares them");
            HubError::new(Kind::NotFound, message).hint(hint)
        }
    }
}

/// The GGUF models of a repository.
#[derive(Clone, Debug, PartialEq)]
pub struct Formats {
    /// Each in its format.
    pub formats: Vec<FormatModel>,
    /// Whether it holds safetensors: then that is its model.
    pub is_checkpoint: bool,
    /// The hub.
    pub host: String,
    /// The commit's first eight digits.
    pub revision: String,
    /// What was asked and read.
    pub traffic: Traffic,
}

/// A model in a format.
#[derive(Clone, Debug, PartialEq)]
pub struct FormatModel {
    /// Its files.
    pub group: Group,
    /// Bytes of all of them, where the server says so.
    pub size: Option<u64>,
    /// The model, tensor by tensor.
    pub model: ModelSpec,
}

/// Reads a GGUF model's headers: of a split one, those of its parts at once.
fn read_gguf(files: &RemoteFiles, group: &Group) -> Result<Option<GgufFile>, SourcesError> {
    const LATER_PART: u64 = 1 << 20;
    let Some(first) = group.files.first() else { return Ok(None) };
    files.each_named(&group.files, |name, file| {
        file.fill(1, if name == first { STREAM } else { LATER_PART })
    })?;
    Ok(Some(gguf::read(files, &files.path(first))?))
}

/// A model by all of its header, which is kept and no longer held.
fn whole(files: &RemoteFiles, group: &Group) -> Result<ModelSpec, SourcesError> {
    read_gguf(files, group)?;
    let first = group.files.first().map_or("", String::as_str);
    let model = gguf::model(files, &files.path(first))?;
    files.keep_and_forget(&group.files);
    Ok(model)
}

/// Reads a checkpoint's configuration and index at once, then the headers of its files at once.
fn read_checkpoint(files: &RemoteFiles) -> Result<(), SourcesError> {
    const SINGLE: &str = "model.safetensors";
    const INDEX: &str = "model.safetensors.index.json";
    /// What files of configuration have at most, and the index.
    const LONGEST: u64 = 64 << 20;
    /// What most headers have at most.
    const HEADER: u64 = 256 << 10;
    let weights = if files.file(SINGLE).is_some() { SINGLE } else { INDEX };
    let known = ["config.json", "adapter_config.json", "hf_quant_config.json", weights];
    let wanted: Vec<_> = known.iter().map(|name| (*name).to_owned()).collect();
    files.each_named(&wanted, |name, file| {
        if name == SINGLE {
            file.fill(8, HEADER)?;
            return file.fill(file.stated_header(), 0);
        }
        let size = file.size()?;
        if size > LONGEST { Ok(()) } else { file.fill(size, size) }
    })?;
    let Some(index) = files.file(INDEX).filter(|_| weights == INDEX) else { return Ok(()) };
    let shards = header_sizes(&index.head(LONGEST));
    let names: Vec<_> = shards.keys().cloned().collect();
    files.each_named(&names, |name, file| {
        file.fill(8, shards.get(name).copied().unwrap_or(HEADER))?;
        file.fill(file.stated_header(), 0)
    })?;
    Ok(())
}

/// About how long the header of each file is that an index lists; never shorter than most.
fn header_sizes(index: &[u8]) -> BTreeMap<String, u64> {
    /// `{"dtype":"BF16","shape":[151936,5120],"data_offsets":[10000000000,10000000000]},` and quotes.
    const ENTRY: u64 = 104;
    const METADATA: u64 = 4096;
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, String>,
    }
    let mut sizes = BTreeMap::new();
    let Ok(index) = serde_json::from_slice::<Index>(index) else { return sizes };
    for (tensor, file) in index.weight_map {
        *sizes.entry(file).or_insert(METADATA) += tensor.len() as u64 + ENTRY;
    }
    sizes
}

/// Parts of a model that an address may name.
const MOST: u32 = 1000;

/// What is read for a file at an address: itself, the other parts of it, the configuration beside it.
fn url_names(file: &str) -> Vec<String> {
    let lower = file.to_ascii_lowercase();
    let has_ending = |ending: &str| lower.ends_with(ending);
    if has_ending(".safetensors") {
        return vec![file.to_owned(), "config.json".to_owned()];
    }
    if has_ending(".json") {
        return vec![file.to_owned()];
    }
    if !is_gguf(file) {
        return Vec::new();
    }
    let split = || {
        let stem = file.get(..file.len().checked_sub(5)?)?;
        let (stem, parts) = stem.rsplit_once("-of-")?;
        let (stem, number) = stem.rsplit_once('-')?;
        let parts: u32 = parts.parse().ok().filter(|parts| *parts <= MOST && number.len() == 5)?;
        Some((1..=parts).map(|n| format!("{stem}-{n:05}-of-{parts:05}.gguf")).collect())
    };
    split().unwrap_or_else(|| vec![file.to_owned()])
}

fn is_gguf(file: &str) -> bool {
    file.to_ascii_lowercase().ends_with(".gguf")
}

fn stem(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned()
}

/// The token, where `huggingface_hub` finds it: `HF_TOKEN`, else its file.
fn token(environment: &Environment) -> Option<String> {
    const LONGEST: u64 = 4096;
    let sound = |token: &str| !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
    let named = environment.text("HF_TOKEN").or_else(|| environment.text("HUGGING_FACE_HUB_TOKEN"));
    if let Some(token) = named {
        return sound(token).then(|| token.to_owned());
    }
    let file = environment.path("HF_TOKEN_PATH");
    let file = file.or_else(|| Some(hugging_face::home(environment)?.join("token")))?;
    let short = fs_err::metadata(&file).ok()?.len() <= LONGEST;
    let token = short.then(|| fs_err::read_to_string(&file).ok()).flatten()?;
    let token = token.trim();
    (sound(token) && !environment.is_on("HF_HUB_DISABLE_IMPLICIT_TOKEN")).then(|| token.to_owned())
}

fn stall(environment: &Environment) -> Option<Duration> {
    let seconds: u64 = environment.text("HF_HUB_DOWNLOAD_TIMEOUT")?.parse().ok()?;
    (1..=3600).contains(&seconds).then(|| Duration::from_secs(seconds))
}
