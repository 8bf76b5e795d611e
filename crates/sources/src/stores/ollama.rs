//! Ollama's models: `manifests/HOST/NAMESPACE/MODEL/TAG` lists layers by digest, `blobs/sha256-…` holds them
//! (`server/manifest.go`, `server/modelpath.go`).

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Local, entries};
use crate::environment::Environment;
use crate::name::OllamaTag;

pub(crate) const NAME: &str = "Ollama's models";

/// The layer that is the model.
const MODEL: &str = "application/vnd.ollama.image.model";

/// A tag's manifest.
#[derive(Debug, Deserialize)]
pub(crate) struct Manifest {
    layers: Vec<Layer>,
}

/// A layer of a manifest.
#[derive(Debug, Deserialize)]
pub(crate) struct Layer {
    #[serde(rename = "mediaType")]
    media_type: String,
    digest: String,
    /// Its size in bytes.
    #[cfg(feature = "hub")]
    pub size: u64,
}

impl Layer {
    /// The digest in hexadecimal, where it is one.
    pub fn sha256(&self) -> Option<&str> {
        let digest = self.digest.strip_prefix("sha256:")?;
        (digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())).then_some(digest)
    }
}

impl Manifest {
    /// The longest that is read, in bytes.
    pub const LONGEST: u64 = 1 << 20;

    /// Parses one.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// The layer that is a GGUF file.
    pub fn model(&self) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.media_type == MODEL)
    }
}

/// Where they can be: `OLLAMA_MODELS`, the user's, the service's.
pub(super) fn roots(environment: &Environment) -> Vec<PathBuf> {
    if let Some(path) = environment.path("OLLAMA_MODELS") {
        return vec![path];
    }
    let own = environment.home(".ollama/models");
    let services = ["/usr/share/ollama/.ollama/models", "/var/lib/ollama/models"];
    let services = services.iter().filter_map(|path| environment.of_service(path));
    own.into_iter().chain(services.filter(|path| path.is_dir())).collect()
}

pub(super) fn count(root: &Path) -> usize {
    let mut level = vec![root.join("manifests")];
    for _ in 0..4 {
        level = level.iter().flat_map(|folder| entries(folder)).collect();
    }
    level.iter().filter(|path| path.is_file()).count()
}

/// The model of a tag, where it is there.
pub(crate) fn find(environment: &Environment, tag: &OllamaTag) -> Option<Local> {
    roots(environment).iter().find_map(|root| {
        let folder = root.join("manifests").join(&tag.host).join(&tag.namespace).join(&tag.model);
        let manifest = folder.join(&tag.tag);
        let short = fs_err::metadata(&manifest).ok()?.len() <= Manifest::LONGEST;
        let text = short.then(|| fs_err::read(&manifest).ok()).flatten()?;
        let manifest = Manifest::parse(&text).ok()?;
        let digest = manifest.model()?.sha256()?.to_owned();
        let blobs = root.join("blobs");
        // Until 2024 with a colon.
        let names = [format!("sha256-{digest}"), format!("sha256:{digest}")];
        let path = names.iter().map(|name| blobs.join(name)).find(|path| path.is_file())?;
        Some(Local { path, name: tag.to_string(), store: NAME, is_gguf: true, revision: None })
    })
}
