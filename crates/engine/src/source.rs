//! Where a model's tensors come from: a GGUF file, or memory.

use std::path::Path;
use vramplan_disk::Disk;

use super::EngineError;
use super::config::Config;
use vramplan_planner::read::gguf::{self, GgufFile, GgufTensor, Payload};
use vramplan_planner::spec::ModelSpec;

/// A model whose tensors can be read one by one.
pub trait Source {
    /// The model, and how its tensors are stored.
    fn spec(&self) -> &ModelSpec;

    /// Its numbers.
    fn config(&self) -> &Config;

    /// Every tensor.
    fn tensors(&self) -> &[GgufTensor];

    /// Reads the data of one of them.
    fn read(&mut self, tensor: &GgufTensor, bytes: &mut [u8]) -> Result<(), EngineError>;
}

/// A GGUF file, or all files of a split one.
#[derive(Debug)]
pub struct GgufSource {
    spec: ModelSpec,
    config: Config,
    file: GgufFile,
    payload: Payload,
}

impl GgufSource {
    /// Reads the header of the file at `path` and opens it.
    ///
    /// # Errors
    /// Where the file is damaged, or is no model that the engine runs.
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let file = gguf::read(&Disk, path)?;
        let spec = gguf::spec(path, &file)?;
        let config = Config::of_gguf(&spec, &file)?;
        let payload = Payload::open(&Disk, &file)?;
        Ok(Self { spec, config, file, payload })
    }

    /// The header.
    pub const fn header(&self) -> &GgufFile {
        &self.file
    }
}

impl Source for GgufSource {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn tensors(&self) -> &[GgufTensor] {
        &self.file.tensors
    }

    fn read(&mut self, tensor: &GgufTensor, bytes: &mut [u8]) -> Result<(), EngineError> {
        Ok(self.payload.read(tensor, bytes)?)
    }
}
