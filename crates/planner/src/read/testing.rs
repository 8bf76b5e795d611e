//! What only tests read.

use std::io;
use std::path::{Path, PathBuf};

use super::{Files, Found, Opened};

/// The disk, for the tests in this crate; elsewhere it is `vramplan_disk::Disk`.
pub(crate) struct TestDisk;

impl Files for TestDisk {
    fn find(&self, path: &Path) -> Found {
        match fs_err::metadata(path) {
            Ok(found) if found.is_file() => Found::File,
            Ok(found) if found.is_dir() => Found::Folder,
            _ => Found::Neither,
        }
    }

    fn open(&self, path: &Path) -> io::Result<Opened> {
        let file = fs_err::File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Opened { reader: Box::new(file), size })
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs_err::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
    }
}

/// Every tensor of a Llama of one layer with 8 hidden elements, two heads of which one has keys, and four tokens; the embedding first.
pub const TENSORS: [(&str, &[u64]); 11] = [
    ("model.embed_tokens.weight", &[4, 8]),
    ("model.layers.0.input_layernorm.weight", &[8]),
    ("model.layers.0.self_attn.q_proj.weight", &[8, 8]),
    ("model.layers.0.self_attn.k_proj.weight", &[4, 8]),
    ("model.layers.0.self_attn.v_proj.weight", &[4, 8]),
    ("model.layers.0.self_attn.o_proj.weight", &[8, 8]),
    ("model.layers.0.post_attention_layernorm.weight", &[8]),
    ("model.layers.0.mlp.gate_proj.weight", &[16, 8]),
    ("model.layers.0.mlp.up_proj.weight", &[16, 8]),
    ("model.layers.0.mlp.down_proj.weight", &[8, 16]),
    ("model.norm.weight", &[8]),
];
