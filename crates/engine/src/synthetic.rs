//! A model without a file: the tensors of a shape, filled with random blocks in memory.
//!
//! For tests of every family and head layout, and for runs whose memory matters and whose words do
//! not. The same model, format and seed give the weights that `vramplan synth` writes.

use std::path::Path;

use rayon::prelude::*;

use super::EngineError;
use super::config::Config;
use super::rope::Rope;
use super::source::Source;
use vramplan_planner::dtype::WeightFormat;
use vramplan_planner::read::gguf::{self, GgufTensor};
use vramplan_planner::spec::ModelSpec;
use vramplan_planner::synth::SynthModel;
use vramplan_planner::units::Bytes;

/// Random weights in the shape of a model.
#[derive(Debug)]
pub struct SyntheticSource {
    spec: ModelSpec,
    config: Config,
    model: SynthModel,
    tensors: Vec<GgufTensor>,
}

impl SyntheticSource {
    /// A model of this shape with weights in `format`, a type that GGUF files can hold.
    ///
    /// # Errors
    /// For shapes that the engine does not run, and formats that GGUF files do not have.
    pub fn new(spec: &ModelSpec, format: WeightFormat, seed: u64) -> Result<Self, EngineError> {
        let model = SynthModel::new(spec, format, seed)?;
        let header = model.header();
        let size = Bytes::new(header.len() as u64).plus(model.data_size())?;
        // What a file would say is read as one is, so that both run alike.
        let name = Path::new(&spec.name);
        let file = gguf::read_header(&header, size, name)?;
        let mut stored = gguf::spec(name, &file)?;
        stored.name.clone_from(&spec.name);
        let config = Config::of_gguf(&stored, &file)?;
        Ok(Self { spec: stored, config, model, tensors: file.tensors })
    }

    /// The same with this rotary position embedding.
    #[must_use]
    pub fn with_rope(mut self, rope: Rope) -> Self {
        self.config.rope = rope;
        self
    }
}

impl Source for SyntheticSource {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn tensors(&self) -> &[GgufTensor] {
        &self.tensors
    }

    fn read(&mut self, tensor: &GgufTensor, bytes: &mut [u8]) -> Result<(), EngineError> {
        let found = self.model.tensors.iter().find(|synth| synth.entry.name == tensor.name);
        let synth = found.ok_or_else(|| {
            EngineError::tensor(&tensor.name, "not in the model", "one of its tensors")
        })?;
        let pieces = bytes.par_chunks_mut(synth.piece()).enumerate();
        pieces.for_each(|(index, piece)| {
            synth.fill_piece(self.model.seed, index as u64, piece);
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vramplan_planner::dtype::FileType;
    use vramplan_planner::spec::{ModelShape, samples};

    #[test]
    fn it_holds_what_its_file_would() {
        let shape = ModelShape {
            n_layers: 2,
            hidden_size: 512,
            n_heads: 8,
            kv_heads: 2,
            head_dim: 64,
            ffn_size: 1024,
            vocab_size: 9000,
            context_len: 64,
            ..samples::llama_8b().shape
        };
        let spec = ModelSpec::new("tiny", shape, "test").unwrap();
        let format = WeightFormat::Gguf(FileType::Q4KM);
        let mut source = SyntheticSource::new(&spec, format, 3).unwrap();
        let model = SynthModel::new(&spec, format, 3).unwrap();
        let mut file = Vec::new();
        model.write_to(&mut file, |_| Ok(())).unwrap();
        let start = model.header().len();
        assert_eq!(source.spec().shape, spec.shape);
        for tensor in source.tensors().to_vec() {
            let size = usize::try_from(tensor.size.get()).unwrap();
            let first = start + usize::try_from(tensor.offset).unwrap();
            let mut bytes = vec![0; size];
            source.read(&tensor, &mut bytes).unwrap();
            assert!(bytes == file[first..first + size], "{}", tensor.name);
        }
    }
}
