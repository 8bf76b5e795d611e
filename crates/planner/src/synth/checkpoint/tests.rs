use std::path::{Path, PathBuf};

use super::*;
use crate::dtype::FileType;
use crate::read::{self, Files, Found, Opened};
use crate::spec::{Architecture, Role, TensorSpec, tensors};

const BF16: WeightFormat = WeightFormat::Bf16;

/// A checkpoint on a disk where what lies behind a header takes no room.
struct Sparse {
    files: Vec<(PathBuf, Vec<u8>, u64)>,
}

impl Files for Sparse {
    fn find(&self, path: &Path) -> Found {
        if self.files.iter().any(|(name, ..)| name == path) {
            return Found::File;
        }
        if path == Path::new("m") { Found::Folder } else { Found::Neither }
    }

    fn open(&self, path: &Path) -> std::io::Result<Opened> {
        let file = self.files.iter().find(|(name, ..)| name == path);
        let (_, bytes, size) = file.ok_or(std::io::ErrorKind::NotFound)?;
        Ok(Opened { reader: Box::new(std::io::Cursor::new(bytes.clone())), size: *size })
    }

    fn list(&self, _: &Path) -> std::io::Result<Vec<PathBuf>> {
        Ok(self.files.iter().map(|(name, ..)| name.clone()).collect())
    }
}

fn read_back(model: &ModelSpec) -> Result<ModelSpec, SynthError> {
    let checkpoint = Checkpoint::new(model, BF16)?;
    let config = config(model, BF16)?;
    let mut files = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>, hole: u64| {
        let size = bytes.len() as u64 + hole;
        files.push((Path::new("m").join(name), bytes, size));
    };
    add("config.json", config.into_bytes(), 0);
    add("model.safetensors.index.json", checkpoint.index.into_bytes(), 0);
    for shard in checkpoint.shards {
        add(&shard.name, shard.header, shard.data.get());
    }
    Ok(read::safetensors::model(&Sparse { files }, Path::new("m")).unwrap())
}

/// Every profile whose family is known here is read back as the model that it is: the same shape, and
/// tensors of the same roles and sizes.
#[test]
fn profiles_are_read_back() {
    let catalog = read::Catalog::new(Box::new(read::NoFiles), []);
    let mut families = std::collections::BTreeSet::new();
    let mut refused = std::collections::BTreeSet::new();
    for name in catalog.names(read::Kind::Model).unwrap() {
        let model = catalog.model(name).unwrap();
        let Ok(read) = read_back(&model) else {
            refused.insert(model.shape.architecture);
            continue;
        };
        families.insert(model.shape.architecture);
        assert_eq!(read.shape, model.shape, "{name}");
        let sum = |of: &dyn Fn(&Role) -> bool| {
            let of_shape = tensors(&model.shape).into_iter().filter(|t| of(&t.role));
            let stored = read.stored.as_ref().unwrap().tensors.iter();
            let stored = stored.filter(|t| t.role.as_ref().is_some_and(of));
            (of_shape.map(|t| t.elements()).sum::<u64>(), stored.map(|t| t.elements).sum::<u64>())
        };
        for role in [Role::AttnQ, Role::AttnOutput, Role::FfnDown, Role::ExpertUp, Role::Norm] {
            let (of_shape, stored) = sum(&|r| *r == role);
            assert_eq!(of_shape, stored, "{name}: {role:?}");
        }
        let of_shape: u64 = tensors(&model.shape).iter().map(TensorSpec::elements).sum();
        let stored: u64 = read.stored.as_ref().unwrap().tensors.iter().map(|t| t.elements).sum();
        assert_eq!(of_shape, stored, "{name}");
    }
    println!("written {families:?}, refused {refused:?}");
    for family in [
        Architecture::Llama,
        Architecture::Qwen2,
        Architecture::Qwen3,
        Architecture::Qwen3Moe,
        Architecture::Mixtral,
    ] {
        assert!(families.contains(&family), "{family}");
    }
}

#[test]
fn a_header_is_followed_by_whole_tensors() {
    let model = crate::spec::samples::llama_8b();
    let checkpoint = Checkpoint::new(&model, BF16).unwrap();
    assert_eq!(checkpoint.data_size().unwrap(), Bytes::new(16_060_522_496));
    assert_eq!(checkpoint.shards.len(), 4);
    for shard in &checkpoint.shards {
        assert_eq!(shard.header.len() % 8, 0);
        assert!(shard.data <= SHARD);
    }
}

#[test]
fn a_quantized_format_is_refused() {
    let model = crate::spec::samples::llama_8b();
    let error = Checkpoint::new(&model, WeightFormat::Gguf(FileType::Q4KM)).unwrap_err();
    assert!(error.to_string().contains("weights in q4_k_m"), "{error}");
}
