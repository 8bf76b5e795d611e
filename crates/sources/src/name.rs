//! What people paste as a model, taken apart: a repository, a tag of Ollama's, an address, a name.

use std::fmt;

/// What a text asks for, by its form alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A repository, such as `Qwen/Qwen3-30B-A3B`, or one of its files.
    Repository {
        /// Which, and what of it.
        wanted: Wanted,
        /// Whether the repository itself is asked for, not a model that may have a profile.
        explicit: bool,
    },
    /// A file by its address.
    Url(String),
    /// A tag, such as `qwen3:30b`.
    Ollama {
        /// The tag.
        tag: OllamaTag,
        /// Whether it was given as `ollama:…`.
        explicit: bool,
    },
    /// `lmstudio:publisher/model`, or its file.
    LmStudio(String),
    /// `llama.cpp:org/name`: only what llama.cpp downloaded.
    LlamaCpp(Wanted),
    /// Anything else: a profile's name, a path.
    Name,
}

/// A repository and what of it is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// `org/name`.
    pub id: RepoId,
    /// A branch, a tag or a commit; `main` where none is named.
    pub revision: Option<String>,
    /// Which of its files.
    pub part: Part,
}

/// Which of a repository's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The model that it is.
    Whole,
    /// The GGUF file of this format, such as `Q4_K_M`.
    Format(String),
    /// A file by its path.
    File(String),
}

impl Part {
    /// The text that names it, as it is put behind a repository: `:Q4_K_M`, `/file.gguf`, nothing.
    pub fn suffix(&self) -> String {
        match self {
            Self::Whole => String::new(),
            Self::Format(format) => format!(":{format}"),
            Self::File(file) => format!("/{file}"),
        }
    }
}

/// The name of a repository: `org/name`, or a single word where the hub has it so.
///
/// ```
/// use vramplan_sources::RepoId;
///
/// assert_eq!(RepoId::new("Qwen/Qwen3-30B-A3B").unwrap().name(), "Qwen3-30B-A3B");
/// assert!(RepoId::new("../etc").is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepoId(String);

/// The hub's own limit.
const LONGEST_ID: usize = 96;

impl RepoId {
    /// A name that a repository of the hub can have.
    pub fn new(id: &str) -> Option<Self> {
        let parts: Vec<_> = id.split('/').collect();
        let fits = (1..=2).contains(&parts.len()) && id.len() <= LONGEST_ID;
        (fits && parts.iter().all(|part| is_repo_word(part))).then(|| Self(id.to_owned()))
    }

    /// The name without the organisation.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of its folder in a cache: `models--org--name`.
    pub fn folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }

    /// Whether its name says that it holds GGUF files.
    pub fn is_gguf(&self) -> bool {
        let name = self.name().to_ascii_lowercase();
        name.ends_with("-gguf") || name.contains("-gguf-") || name.ends_with("_gguf")
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_repo_word(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<&u8>| b.is_some_and(|b| !matches!(b, b'-' | b'.'));
    let bytes = word.as_bytes();
    bytes.iter().copied().all(plain)
        && edge(bytes.first())
        && edge(bytes.last())
        && !word.contains("..")
        && !word.contains("--")
}

/// A tag of Ollama's: `[host/][namespace/]model:tag`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OllamaTag {
    /// The registry.
    pub host: String,
    /// `library` for Ollama's own.
    pub namespace: String,
    /// The model.
    pub model: String,
    /// The tag; `latest` where none is named.
    pub tag: String,
}

/// Ollama's registry, and what its own models are filed under.
const OLLAMA_HOST: &str = "registry.ollama.ai";
const OLLAMA_NAMESPACE: &str = "library";

impl OllamaTag {
    /// Takes a tag apart as Ollama does (`types/model/name.go`): what is left out has its default.
    pub fn new(text: &str) -> Option<Self> {
        let (name, tag) = match text.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (text, "latest"),
        };
        let parts: Vec<_> = name.split('/').collect();
        let (host, namespace, model) = match parts.as_slice() {
            [model] => (OLLAMA_HOST, OLLAMA_NAMESPACE, *model),
            [namespace, model] => (OLLAMA_HOST, *namespace, *model),
            [host, namespace, model] => (*host, *namespace, *model),
            _ => return None,
        };
        let word = |word: &str| {
            let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
            !word.is_empty()
                && word.len() <= 80
                && word.bytes().all(inner)
                && !word.starts_with('.')
        };
        let host_fits = host.split(':').all(word) && host.matches(':').count() <= 1;
        let fits = host_fits && word(namespace) && word(model) && word(tag);
        let own = str::to_owned;
        fits.then(|| Self {
            host: own(host),
            namespace: own(namespace),
            model: own(model),
            tag: own(tag),
        })
    }

    /// Whether it is filed in Ollama's own registry.
    pub fn is_of_the_registry(&self) -> bool {
        self.host == OLLAMA_HOST
    }
}

impl fmt::Display for OllamaTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host != OLLAMA_HOST {
            write!(f, "{}/", self.host)?;
        }
        if self.namespace != OLLAMA_NAMESPACE || self.host != OLLAMA_HOST {
            write!(f, "{}/", self.namespace)?;
        }
        write!(f, "{}:{}", self.model, self.tag)
    }
}

/// Hosts whose addresses are those of repositories.
const HUB_HOSTS: [&str; 3] = ["huggingface.co", "hf.co", "www.huggingface.co"];

impl Asked {
    /// Takes a text apart; `endpoint` is the hub's address where it is another than usual.
    ///
    /// # Errors
    /// What is wrong with a text that says what it is, such as `hf:…`, and is not that.
    pub fn new(text: &str, endpoint: Option<&str>) -> Result<Self, String> {
        let prefixed = |prefix: &str| text.strip_prefix(prefix);
        if let Some(rest) = prefixed("hf:").or_else(|| prefixed("hf://")) {
            return repository(rest.trim_start_matches('/'));
        }
        if let Some(rest) = prefixed("ollama:") {
            let tag = OllamaTag::new(rest).ok_or("expected a tag, such as `ollama:qwen3:30b`")?;
            return Ok(Self::Ollama { tag, explicit: true });
        }
        if let Some(rest) = prefixed("lmstudio:").or_else(|| prefixed("lm-studio:")) {
            return Ok(Self::LmStudio(rest.to_owned()));
        }
        if let Some(rest) = prefixed("llama.cpp:").or_else(|| prefixed("llamacpp:")) {
            return match repository(rest)? {
                Self::Repository { wanted, .. } => Ok(Self::LlamaCpp(wanted)),
                other => Ok(other),
            };
        }
        if let Some(rest) = hub_path(text, endpoint) {
            return repository(rest);
        }
        if let Some(tag) = ollama_page(text).and_then(OllamaTag::new) {
            return Ok(Self::Ollama { tag, explicit: false });
        }
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Self::Url(text.to_owned()));
        }
        Ok(Self::bare(text))
    }

    /// What nothing announces: by its slashes and colons.
    fn bare(text: &str) -> Self {
        if text.starts_with(['/', '.', '~']) || text.ends_with('/') || text.contains('\\') {
            return Self::Name;
        }
        let (name, behind) = split_behind(text);
        if name.matches('/').count() == 1 {
            return match wanted(text) {
                Some(wanted) => {
                    Self::Repository { explicit: behind || wanted.id.is_gguf(), wanted }
                }
                None => Self::Name,
            };
        }
        match OllamaTag::new(text) {
            Some(tag) if text.contains(':') => Self::Ollama { tag, explicit: false },
            _ => Self::Name,
        }
    }
}

/// What is before `@` or `:`, and whether there is something behind.
fn split_behind(text: &str) -> (&str, bool) {
    match text.find(['@', ':']) {
        Some(at) => (text.get(..at).unwrap_or(text), true),
        None => (text, false),
    }
}

/// The tag of a page of Ollama's library: `https://ollama.com/library/qwen3:30b`.
fn ollama_page(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let (host, path) = rest.split_once('/')?;
    let path = path.split(['?', '#']).next()?.trim_end_matches('/');
    let is_ollamas = ["ollama.com", "www.ollama.com", "registry.ollama.ai"].contains(&host);
    is_ollamas.then(|| path.strip_prefix("library/").unwrap_or(path))
}

/// The path of an address of the hub.
fn hub_path<'a>(text: &'a str, endpoint: Option<&str>) -> Option<&'a str> {
    let of_endpoint =
        endpoint.and_then(|endpoint| text.strip_prefix(endpoint.trim_end_matches('/')));
    if let Some(path) = of_endpoint.and_then(|rest| rest.strip_prefix('/')) {
        return Some(path);
    }
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let rest = rest.unwrap_or(text);
    let (host, path) = rest.split_once('/')?;
    HUB_HOSTS.contains(&host).then_some(path)
}

fn repository(path: &str) -> Result<Asked, String> {
    let wanted = wanted(path).ok_or(
        "expected a repository, such as `Qwen/Qwen3-30B-A3B`, `…-GGUF:Q4_K_M` or `…@main`",
    )?;
    Ok(Asked::Repository { wanted, explicit: true })
}

/// `org/name[@revision][:format]`, `org/name/file.gguf`, or the path of a page of the hub.
fn wanted(path: &str) -> Option<Wanted> {
    let path = path.split(['?', '#']).next().unwrap_or(path).trim_end_matches('/');
    let words: Vec<_> = path.split('/').collect();
    if let [org, name, "resolve" | "blob" | "raw" | "tree", revision, rest @ ..] = words.as_slice()
    {
        let part = if rest.is_empty() { Part::Whole } else { Part::File(rest.join("/")) };
        let id = RepoId::new(&format!("{org}/{name}"))?;
        return checked(Wanted { id, revision: Some((*revision).to_owned()), part });
    }
    if let [org, name, rest @ ..] = words.as_slice()
        && !rest.is_empty()
        && !name.contains(['@', ':'])
    {
        let id = RepoId::new(&format!("{org}/{name}"))?;
        return checked(Wanted { id, revision: None, part: Part::File(rest.join("/")) });
    }
    let (rest, format) = match path.rsplit_once(':') {
        Some((rest, format)) => (rest, Some(format)),
        None => (path, None),
    };
    let (id, revision) = match rest.split_once('@') {
        Some((id, revision)) => (id, Some(revision.to_owned())),
        None => (rest, None),
    };
    let part = match format {
        None => Part::Whole,
        Some(file) if file.to_ascii_lowercase().ends_with(".gguf") => Part::File(file.to_owned()),
        Some(format) => Part::Format(format.to_owned()),
    };
    checked(Wanted { id: RepoId::new(id)?, revision, part })
}

fn checked(wanted: Wanted) -> Option<Wanted> {
    let plain = match &wanted.part {
        Part::Whole => true,
        Part::Format(format) => is_repo_word(format),
        Part::File(file) => is_plain_path(file),
    };
    let revision = wanted.revision.as_deref().is_none_or(is_revision);
    (plain && revision).then_some(wanted)
}

/// Whether a text can be a branch, a tag or a commit, and a path below a folder of references.
pub fn is_revision(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    text.len() <= 128 && text.bytes().all(plain) && is_plain_path(text)
}

/// Whether a path leads to something below where it starts, whatever the system, and can be printed.
pub fn is_plain_path(path: &str) -> bool {
    const LONGEST: usize = 1024;
    let plain = |part: &str| {
        !part.is_empty()
            && !matches!(part, "." | "..")
            && !part.contains(['\\', ':', '\0'])
            && !part.chars().any(char::is_control)
    };
    path.len() <= LONGEST && path.split('/').all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(id: &str, revision: Option<&str>, part: Part) -> Wanted {
        Wanted { id: RepoId::new(id).unwrap(), revision: revision.map(str::to_owned), part }
    }

    fn asked(text: &str) -> Asked {
        Asked::new(text, Some("http://127.0.0.1:9/")).unwrap()
    }

    #[test]
    fn a_repository_is_known_in_every_form_that_people_paste() {
        const ID: &str = "Qwen/Qwen3-30B-A3B";
        let whole = |explicit| Asked::Repository { wanted: repo(ID, None, Part::Whole), explicit };
        assert_eq!(asked(ID), whole(false));
        for text in [
            "hf:Qwen/Qwen3-30B-A3B",
            "hf://Qwen/Qwen3-30B-A3B",
            "hf.co/Qwen/Qwen3-30B-A3B",
            "huggingface.co/Qwen/Qwen3-30B-A3B",
            "https://huggingface.co/Qwen/Qwen3-30B-A3B",
            "https://huggingface.co/Qwen/Qwen3-30B-A3B/",
            "https://hf.co/Qwen/Qwen3-30B-A3B?library=vllm#x",
            "http://127.0.0.1:9/Qwen/Qwen3-30B-A3B",
        ] {
            assert_eq!(asked(text), whole(true), "{text}");
        }
        let at = Asked::Repository { wanted: repo(ID, Some("v1.0"), Part::Whole), explicit: true };
        assert_eq!(asked("Qwen/Qwen3-30B-A3B@v1.0"), at);
        assert_eq!(asked("https://huggingface.co/Qwen/Qwen3-30B-A3B/tree/v1.0"), at);
    }

    #[test]
    fn a_file_of_a_repository_is_named_by_its_format_or_its_path() {
        const ID: &str = "unsloth/Qwen3-30B-A3B-GGUF";
        let part = |revision: Option<&str>, part| Asked::Repository {
            wanted: repo(ID, revision, part),
            explicit: true,
        };
        let file = || Part::File("Q4/x-Q4_K_M.gguf".to_owned());
        assert_eq!(asked(ID), part(None, Part::Whole));
        let format = Part::Format("UD-Q4_K_XL".to_owned());
        assert_eq!(asked("unsloth/Qwen3-30B-A3B-GGUF:UD-Q4_K_XL"), part(None, format.clone()));
        assert_eq!(
            asked("hf:unsloth/Qwen3-30B-A3B-GGUF@main:UD-Q4_K_XL"),
            part(Some("main"), format)
        );
        assert_eq!(asked("hf:unsloth/Qwen3-30B-A3B-GGUF/Q4/x-Q4_K_M.gguf"), part(None, file()));
        let page = "https://huggingface.co/unsloth/Qwen3-30B-A3B-GGUF/blob/main/Q4/x-Q4_K_M.gguf";
        assert_eq!(asked(page), part(Some("main"), file()));
        let download = "https://huggingface.co/unsloth/Qwen3-30B-A3B-GGUF/resolve/main/Q4/x-Q4_K_M.gguf?download=true";
        assert_eq!(asked(download), part(Some("main"), file()));
    }

    #[test]
    fn tags_and_names_are_told_apart() {
        let tag = |text: &str| OllamaTag::new(text).unwrap();
        let given = |text: &str, explicit| Asked::Ollama { tag: tag(text), explicit };
        assert_eq!(asked("qwen3:30b"), given("qwen3:30b", false));
        assert_eq!(asked("ollama:qwen3"), given("qwen3:latest", true));
        assert_eq!(asked("ollama:me/mine:q8"), given("me/mine:q8", true));
        assert_eq!(tag("hf.co/unsloth/x-GGUF:Q4_K_M").host, "hf.co");
        assert_eq!(tag("qwen3").to_string(), "qwen3:latest");
        assert_eq!(tag("me/mine:q8").to_string(), "me/mine:q8");
        for name in ["qwen2.5-14b", "./x", "a/b/c", "C:\\x", "~/x", "x/", "models/"] {
            assert_eq!(asked(name), Asked::Name, "{name}");
        }
        assert_eq!(
            asked("https://example.org/x.gguf"),
            Asked::Url("https://example.org/x.gguf".into())
        );
    }

    #[test]
    fn nothing_that_leads_out_of_a_cache_is_a_name() {
        for text in
            ["hf:../../etc", "hf:a/..", "hf:a/b@../x", "hf:a/b:../x", "hf:a/b/../../c.gguf", "hf:"]
        {
            assert!(Asked::new(text, None).is_err(), "{text}");
        }
        for text in ["ollama:../x", "ollama:a/b/c/d:e", "ollama:"] {
            assert!(Asked::new(text, None).is_err(), "{text}");
        }
        for path in ["../x", "/x", "a//b", "a/./b", "a\\b", "c:x", "a\u{1b}[2J", "", "a/.."] {
            assert!(!is_plain_path(path), "{path}");
        }
        assert!(is_plain_path("UD-Q4_K_XL/x-00001-of-00002.gguf"));
    }
}
