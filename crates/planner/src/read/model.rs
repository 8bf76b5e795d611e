//! A model from whatever the user names: a file, a directory, a profile.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::error::At;
use super::files::{Files, Found, read_bounded};
use super::{Catalog, SourceError, gguf, hf_config, json, profile, safetensors};
use crate::dtype::WeightFormat;
use crate::spec::{ModelSpec, OwnFormat};
use crate::text::{printable, printable_path};

/// The model that `arg` is: a GGUF or safetensors file, an index of such, a `config.json`, a
/// directory with one, a profile, or the name of a profile.
///
/// What exists on the disk is read as that; everything else is a name, unless it can only be a path.
pub fn model(files: &dyn Files, arg: &str, catalog: &Catalog) -> Result<ModelSpec, SourceError> {
    let path = Path::new(arg);
    match files.find(path) {
        Found::File => return file(files, path).map(|model| not_the_known(model, arg, catalog)),
        Found::Folder => {
            return match directory(files, path, catalog) {
                Ok(model) => Ok(not_the_known(model, arg, catalog)),
                // A directory that happens to be called like a model is no reason to refuse the model.
                Err(SourceError::Missing { .. }) if catalog.model(arg).is_ok() => {
                    catalog.model(arg)
                }
                result => result,
            };
        }
        Found::Neither => {}
    }
    match catalog.model(arg) {
        Err(SourceError::Unknown { .. }) if looks_like_a_path(arg) => {
            Err(SourceError::NoSuchPath { path: printable_path(path) })
        }
        // A name that is a file's is not a profile's: the file would be planned by its own tensors.
        Ok(model) if names_a_gguf(path) => Err(SourceError::NoSuchFile {
            path: printable_path(path),
            model: printable(&model.name),
            format: match model.own_format {
                Some(OwnFormat::Named(format @ WeightFormat::Gguf(_))) => Some(format.to_string()),
                Some(_) | None => None,
            },
        }),
        result => result,
    }
}

/// What lies here under the name of a known model is read, and the plan says so.
fn not_the_known(mut model: ModelSpec, arg: &str, catalog: &Catalog) -> ModelSpec {
    if !looks_like_a_path(arg) && catalog.model(arg).is_ok() {
        let name = crate::text::printable(arg);
        model.remarks.push(format!(
            "`./{name}`, which lies here, and not the known model of that name: rename it where that is meant"
        ));
    }
    model
}

fn names_a_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
}

/// The endings of files that are read as models.
const ENDINGS: [&str; 4] = ["gguf", "safetensors", "json", "toml"];

/// Whether it cannot be a name. Names may have one `/`, after a vendor.
fn looks_like_a_path(arg: &str) -> bool {
    let ending = Path::new(arg).extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.to_ascii_lowercase().as_str()))
        || arg.starts_with(['/', '.', '~'])
        || arg.ends_with('/')
        || arg.contains('\\')
        || arg.matches('/').count() > 1
}

fn file(files: &dyn Files, path: &Path) -> Result<ModelSpec, SourceError> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match ending.to_ascii_lowercase().as_str() {
        "gguf" => gguf::model(files, path),
        "safetensors" => safetensors::model(files, path),
        "json" if name.ends_with(".index.json") => safetensors::model(files, path),
        "json" => hf_config::model(files, path),
        "toml" => profile::read_model(files, path),
        // Ollama's are called after their digests.
        _ if is_gguf(files, path) => gguf::model(files, path),
        _ => {
            let known: Vec<_> = ENDINGS.iter().map(|ending| format!("`.{ending}`")).collect();
            let what = "a file that is not read as a model";
            Err(At::new(path).unsupported(what, format!("one of {}", known.join(", "))))
        }
    }
}

/// The model that an adapter is for, where it is at hand.
fn base_of(files: &dyn Files, adapter: &Path, catalog: &Catalog) -> Result<ModelSpec, SourceError> {
    const KEY: &str = "base_model_name_or_path";
    let at = At::new(adapter);
    let object = json::object(&at, &read_bounded(files, adapter, MAX_ADAPTER)?)?;
    let fields = json::Fields::new(&at, "", &object);
    let base =
        fields.text(KEY)?.ok_or_else(|| at.missing(KEY, "the name of the model it is for"))?;
    let base = base.to_owned();
    // A folder that is named here may not lead back: its own adapter is not followed.
    let path = Path::new(&base);
    let mut model = match files.find(path) {
        Found::Folder if files.is_file(&path.join("config.json")) => {
            safetensors::model(files, path)?
        }
        _ => catalog.model(&base)?,
    };
    let base = crate::text::printable(&base);
    model
        .remarks
        .push(format!("the model `{base}`, which the adapter is for; the adapter is not counted"));
    Ok(model)
}

/// No `adapter_config.json` is larger.
const MAX_ADAPTER: u64 = 1 << 20;

/// Whether a file begins as GGUF files do, whatever it is called.
pub fn is_gguf(files: &dyn Files, path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = files.open(path).and_then(|mut opened| opened.reader.read_exact(&mut magic));
    read.is_ok() && magic == *b"GGUF"
}

/// A checkpoint, or else the one GGUF model in it.
fn directory(files: &dyn Files, path: &Path, catalog: &Catalog) -> Result<ModelSpec, SourceError> {
    if files.is_file(&path.join("config.json")) {
        return safetensors::model(files, path);
    }
    let adapter = path.join("adapter_config.json");
    if files.is_file(&adapter) {
        return base_of(files, &adapter, catalog);
    }
    let at = At::new(path);
    match ggufs(files, &at, path)?.as_slice() {
        [] => safetensors::model(files, path),
        [one] => gguf::model(files, one),
        [first, ..] => {
            let expected = format!("one: name the file, such as `{}`", printable_path(first));
            Err(at.unsupported("a directory with several GGUF models", expected))
        }
    }
}

/// The GGUF models in a directory: of a split one the first part.
fn ggufs(files: &dyn Files, at: &At, folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let mut found = Vec::new();
    for path in files.list(folder).map_err(|error| at.io(&error))? {
        let is_gguf = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let is_later_part = name.contains("-of-") && !name.contains("-00001-of-");
        // Vision towers are files of their own beside the model.
        if is_gguf && !is_later_part && !name.starts_with("mmproj") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Folder;
    use super::super::gguf::testing::tiny_llama;
    use super::*;
    use crate::read::testing::TestDisk;

    const CONFIG: &str = r#"{"model_type": "llama", "hidden_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 4}"#;

    const PROFILE: &str = "schema = 1\nname = \"tiny\"\nsource = \"test\"\n[shape]\n\
        architecture = \"llama\"\nn_layers = 1\nhidden_size = 8\nn_heads = 2\nkv_heads = 1\n\
        head_dim = 4\nffn_size = 16\nvocab_size = 4\ncontext_len = 64\ntied_embeddings = true\n";

    fn read(arg: &Path) -> Result<ModelSpec, SourceError> {
        model(&TestDisk, arg.to_str().unwrap(), &Catalog::built_in())
    }

    #[test]
    fn whatever_exists_is_read_as_what_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs_err::write(&path, bytes).unwrap();
            path
        };
        assert!(read(dir.path()).unwrap_err().to_string().contains("no `config.json`"));
        assert_eq!(read(&write("a.gguf", &tiny_llama().file())).unwrap().name, "a");
        assert_eq!(read(dir.path()).unwrap().name, "a");
        write("mmproj-a.gguf", b"");
        assert_eq!(read(dir.path()).unwrap().name, "a");
        write("b.gguf", b"");
        assert!(read(dir.path()).unwrap_err().to_string().contains("several GGUF models"));
        let folder = dir.path().file_name().unwrap().to_str().unwrap();
        assert_eq!(read(&write("config.json", CONFIG.as_bytes())).unwrap().name, folder);
        assert_eq!(read(dir.path()).unwrap().name, folder);
        assert_eq!(read(&write("x.toml", PROFILE.as_bytes())).unwrap().name, "tiny");
        assert_eq!(read(&write("sha256-0", &tiny_llama().file())).unwrap().name, "sha256-0");
        let other = read(&write("x.onnx", b"")).unwrap_err().to_string();
        assert!(other.contains("expected one of `.gguf`, `.safetensors`"), "{other}");
    }

    #[test]
    fn what_does_not_exist_is_a_name_or_says_so() {
        for arg in ["x.gguf", "./x", "/no/such/x", "a/b/c", "~/x", "x/", "C:\\x"] {
            let error = read(Path::new(arg)).unwrap_err();
            assert!(matches!(error, SourceError::NoSuchPath { .. }), "{arg}: {error}");
        }
        for arg in ["no-such-model", "vendor/no-such-model-7b"] {
            let error = read(Path::new(arg)).unwrap_err();
            assert!(matches!(error, SourceError::Unknown { .. }), "{arg}: {error}");
            assert!(error.hint().unwrap().contains("vramplan profiles list"));
        }
    }

    #[test]
    fn a_directory_called_like_a_model_does_not_hide_it() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("x.toml"), PROFILE).unwrap();
        let catalog = Catalog::new(Box::new(TestDisk), [Folder::asked_for(dir.path())]);
        // The tests run in the package's root, which has a `src` without any model.
        assert!(model(&TestDisk, "src", &catalog).is_err());
        let shadowed = not_the_known(catalog.model("tiny").unwrap(), "tiny", &catalog);
        assert!(
            shadowed.remarks.iter().any(|remark| remark.contains("`./tiny`")),
            "{:?}",
            shadowed.remarks
        );
        for path in ["./tiny", "tiny.gguf", "no-such-model"] {
            let model = not_the_known(catalog.model("tiny").unwrap(), path, &catalog);
            assert!(model.remarks.is_empty(), "{path}: {:?}", model.remarks);
        }
        assert_eq!(model(&TestDisk, "vendor/Tiny-Instruct", &catalog).unwrap().name, "tiny");
    }
}
