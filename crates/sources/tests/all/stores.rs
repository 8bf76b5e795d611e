//! Models that other programs have, in the layouts of those programs.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use vramplan_planner::deployment::{Form, OriginKind};
use vramplan_planner::read::Catalog;
use vramplan_sources::{Environment, Located, Sources, SourcesError, stores};

use super::fake_hub::{COMMIT, FakeHub, checkpoint, gguf};
use super::hub::Q8;
use super::loopback::Sparse;

struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, path: &str, file: &Sparse) -> PathBuf {
        let path = self.0.path().join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(&path, &file.head).unwrap();
        let whole = fs_err::OpenOptions::new().write(true).open(&path).unwrap();
        whole.set_len(file.size).unwrap();
        path
    }

    fn text(&self, path: &str, text: &str) {
        self.write(path, &Sparse::whole(text));
    }

    fn environment(&self, variables: &[(&str, &str)]) -> Environment {
        let paths: Vec<_> =
            variables.iter().map(|(name, path)| (*name, self.0.path().join(path))).collect();
        let variables: Vec<_> = paths.iter().map(|(name, path)| (*name, path.as_path())).collect();
        Environment::made_up(&variables, self.0.path())
    }

    fn locate(&self, variables: &[(&str, &str)], text: &str) -> Result<Located, SourcesError> {
        // Offline: what is not found here is an error, whatever the network is.
        Sources::new(self.environment(variables), true).locate(text, &Catalog::built_in())
    }

    /// The path of what is found, from the home.
    fn found(&self, variables: &[(&str, &str)], text: &str) -> String {
        let located = self.locate(variables, text).unwrap();
        assert_eq!(located.origin.as_ref().unwrap().kind, OriginKind::Cache);
        located.read(&Catalog::built_in()).unwrap();
        let path = Path::new(&located.model).strip_prefix(self.0.path()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A repository in Hugging Face's layout: links from the snapshot into the blobs.
    fn hugging_face(&self, root: &str, hub: &FakeHub) {
        let repository = format!("{root}/models--{}", hub.id.replace('/', "--"));
        self.text(&format!("{repository}/refs/main"), COMMIT);
        for (index, (name, file)) in hub.files.iter().enumerate() {
            let blob = self.write(&format!("{repository}/blobs/{index}"), file);
            let link = self.0.path().join(format!("{repository}/snapshots/{COMMIT}/{name}"));
            fs_err::create_dir_all(link.parent().unwrap()).unwrap();
            #[cfg(unix)]
            fs_err::os::unix::fs::symlink(blob, link).unwrap();
            #[cfg(not(unix))]
            fs_err::rename(blob, link).unwrap();
        }
    }
}

fn q8() -> Sparse {
    gguf("smollm2-135m", Q8)
}

#[test]
fn hugging_faces_cache_is_found_where_its_variables_say() {
    for (variables, root) in [
        (&[][..], ".cache/huggingface/hub"),
        (&[("XDG_CACHE_HOME", "xdg")][..], "xdg/huggingface/hub"),
        (&[("HF_HOME", "hf")][..], "hf/hub"),
        (&[("HUGGINGFACE_HUB_CACHE", "old"), ("HF_HOME", "hf")][..], "old"),
        (&[("HF_HUB_CACHE", "new"), ("HUGGINGFACE_HUB_CACHE", "old")][..], "new"),
        (&[("LLAMA_CACHE", "llama")][..], "llama"),
    ] {
        let home = Home::new();
        home.hugging_face(root, &checkpoint("me/Small-Test"));
        let folder = format!("{root}/models--me--Small-Test/snapshots/{COMMIT}");
        let short = format!("me/Small-Test@{}", &COMMIT[..9]);
        for text in ["me/Small-Test", "hf:me/Small-Test", "me/Small-Test@main", &short] {
            assert_eq!(home.found(variables, text), folder, "{text}");
        }
        assert!(home.locate(variables, "me/Small-Test@v2").is_err());
    }
}

#[test]
fn a_snapshot_is_called_after_its_repository_and_says_its_revision() {
    let home = Home::new();
    home.hugging_face(".cache/huggingface/hub", &checkpoint("HuggingFaceTB/SmolLM2-135M"));
    // A profile has the name, too: what is on the disk wins.
    let located = home.locate(&[], "HuggingFaceTB/SmolLM2-135M").unwrap();
    assert_eq!(
        (located.name.as_deref(), located.form),
        (Some("SmolLM2-135M"), Some(Form::Checkpoint))
    );
    let origin = located.origin.unwrap();
    assert_eq!(origin.revision.as_deref(), Some("ad44e777"));
    let text = origin.text();
    assert!(text.starts_with("from Hugging Face's cache, revision ad44e777: "), "{text}");
}

#[test]
fn a_snapshot_without_all_its_weights_is_not_the_model() {
    let home = Home::new();
    let mut hub = checkpoint("HuggingFaceTB/SmolLM2-135M");
    hub.files.remove("model-00002-of-00002.safetensors");
    home.hugging_face(".cache/huggingface/hub", &hub);
    let located = home.locate(&[], "HuggingFaceTB/SmolLM2-135M").unwrap();
    assert_eq!(located.origin.unwrap().kind, OriginKind::Profile);
    let parts = FakeHub::new("me/x-GGUF").with("x-Q8_0-00001-of-00002.gguf", q8());
    home.hugging_face(".cache/huggingface/hub", &parts);
    assert!(home.locate(&[], "me/x-GGUF").is_err());
}

#[test]
fn gguf_files_of_a_repository_are_found_by_their_format() {
    let home = Home::new();
    let hub = FakeHub::new("me/x-GGUF").with("sub/x-Q8_0.gguf", q8()).with("x-Q4_K_M.gguf", q8());
    home.hugging_face(".cache/huggingface/hub", &hub);
    let folder = format!(".cache/huggingface/hub/models--me--x-GGUF/snapshots/{COMMIT}");
    assert_eq!(home.found(&[], "me/x-GGUF"), format!("{folder}/x-Q4_K_M.gguf"));
    assert_eq!(home.found(&[], "me/x-GGUF:q8_0"), format!("{folder}/sub/x-Q8_0.gguf"));
    assert_eq!(
        home.found(&[], "hf:me/x-GGUF/sub/x-Q8_0.gguf"),
        format!("{folder}/sub/x-Q8_0.gguf")
    );
    assert_eq!(home.found(&[], "llama.cpp:me/x-GGUF:Q8_0"), format!("{folder}/sub/x-Q8_0.gguf"));
    assert!(home.locate(&[], "me/x-GGUF:Q6_K").is_err());
}

#[test]
fn ollamas_tags_lead_to_their_blobs() {
    for (variables, root) in
        [(&[][..], ".ollama/models"), (&[("OLLAMA_MODELS", "elsewhere")][..], "elsewhere")]
    {
        let home = Home::new();
        let digest = "0123abcd".repeat(8);
        let manifest = format!(
            r#"{{"schemaVersion":2,"layers":[
            {{"mediaType":"application/vnd.ollama.image.template","digest":"sha256:00","size":3}},
            {{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:{digest}","size":9}}]}}"#
        );
        for tag in [
            "registry.ollama.ai/library/qwen3/30b",
            "registry.ollama.ai/me/mine/latest",
            "hf.co/me/x-GGUF/Q8_0",
        ] {
            home.text(&format!("{root}/manifests/{tag}"), &manifest);
        }
        home.write(&format!("{root}/blobs/sha256-{digest}"), &q8());
        let blob = format!("{root}/blobs/sha256-{digest}");
        for text in [
            "qwen3:30b",
            "ollama:qwen3:30b",
            "ollama:me/mine",
            "me/x-GGUF:Q8_0",
            "hf.co/me/x-GGUF:Q8_0",
        ] {
            assert_eq!(home.found(variables, text), blob, "{text}");
        }
        let located = home.locate(variables, "qwen3:30b").unwrap();
        assert_eq!((located.name.as_deref(), located.form), (Some("qwen3:30b"), Some(Form::Tag)));
        let model = located.read(&Catalog::built_in()).unwrap();
        assert_eq!(
            (model.name.as_str(), model.stored.unwrap().label.as_str()),
            ("qwen3:30b", "q8_0")
        );
    }
}

#[test]
fn a_tag_that_ollama_does_not_have_is_a_profiles() {
    let home = Home::new();
    let located = home.locate(&[], "qwen2.5:14b").unwrap();
    assert_eq!(
        (located.form, located.origin.unwrap().kind),
        (Some(Form::Tag), OriginKind::Profile)
    );
    let error = home.locate(&[], "nobody:7b").err().unwrap().to_string();
    assert!(error.starts_with("unknown model `nobody:7b`"), "{error}");
    assert!(home.locate(&[], "qwen2.5-14b").unwrap().origin.is_none());
}

#[test]
fn manifests_that_lead_elsewhere_are_not_followed() {
    let home = Home::new();
    let root = ".ollama/models/manifests/registry.ollama.ai/library";
    for (tag, digest) in [("a", "sha256:../../../x"), ("b", "sha256:"), ("c", "md5:0")] {
        let layer = format!(
            r#"{{"mediaType":"application/vnd.ollama.image.model","digest":"{digest}","size":9}}"#
        );
        home.text(&format!("{root}/m/{tag}"), &format!(r#"{{"layers":[{layer}]}}"#));
        assert!(home.locate(&[], &format!("ollama:m:{tag}")).is_err());
    }
    home.text(&format!("{root}/m/d"), "no JSON");
    assert!(home.locate(&[], "ollama:m:d").is_err());
}

#[test]
fn lm_studios_folder_is_where_its_settings_say() {
    let home = Home::new();
    home.write(".lmstudio/models/me/x-GGUF/x-Q8_0.gguf", &q8());
    home.write(".cache/lm-studio/models/old/y/y-Q8_0.gguf", &q8());
    let file = ".lmstudio/models/me/x-GGUF/x-Q8_0.gguf";
    for text in [
        "me/x-GGUF",
        "me/x-GGUF:Q8_0",
        "lmstudio:me/x-GGUF",
        "lmstudio:x-GGUF",
        "lmstudio:me/x-GGUF/x-Q8_0.gguf",
    ] {
        assert_eq!(home.found(&[], text), file, "{text}");
    }
    assert_eq!(home.found(&[], "lmstudio:old/y"), ".cache/lm-studio/models/old/y/y-Q8_0.gguf");
    let elsewhere = home.0.path().join("elsewhere");
    home.text(
        ".lmstudio/settings.json",
        &serde_json::json!({"downloadsFolder": elsewhere}).to_string(),
    );
    home.write("elsewhere/me/z/z-Q8_0.gguf", &q8());
    assert_eq!(home.found(&[], "lmstudio:me/z"), "elsewhere/me/z/z-Q8_0.gguf");
    assert!(home.locate(&[], "lmstudio:me/x-GGUF").is_err());
    let error = home.locate(&[], "lmstudio:../x").err().unwrap().to_string();
    assert!(error.starts_with("`lmstudio:../x` is not among LM Studio's models ("), "{error}");
}

#[test]
fn llama_cpps_own_cache_of_before_2026_is_read_by_its_names() {
    for (variables, root) in [
        (&[][..], ".cache/llama.cpp"),
        (&[("XDG_CACHE_HOME", "xdg")][..], "xdg/llama.cpp"),
        (&[("LLAMA_CACHE", "llama")][..], "llama"),
    ] {
        if cfg!(any(windows, target_os = "macos")) && root != "llama" {
            continue;
        }
        let home = Home::new();
        let file = format!("{root}/ggml-org_gemma-3-1b-it-GGUF_gemma-3-1b-it-Q8_0.gguf");
        home.write(&file, &q8());
        home.text(&format!("{file}.json"), "{}");
        for text in [
            "ggml-org/gemma-3-1b-it-GGUF",
            "ggml-org/gemma-3-1b-it-GGUF:Q8_0",
            "llama.cpp:ggml-org/gemma-3-1b-it-GGUF",
        ] {
            assert_eq!(home.found(variables, text), file, "{text}");
        }
        let located = home.locate(variables, "ggml-org/gemma-3-1b-it-GGUF").unwrap();
        assert_eq!(located.name.as_deref(), Some("gemma-3-1b-it-Q8_0"));
    }
}

#[test]
fn stores_are_listed_with_what_is_in_them() {
    let home = Home::new();
    home.hugging_face(".cache/huggingface/hub", &checkpoint("me/Small-Test"));
    home.text(".ollama/models/manifests/registry.ollama.ai/library/a/b", "{}");
    let stores = stores(&home.environment(&[]));
    let found: Vec<_> = stores.iter().map(|store| (store.of, store.models)).collect();
    assert_eq!(found[..2], [("Hugging Face's cache", Some(1)), ("Ollama's models", Some(1))]);
    assert_eq!(found[2], ("LM Studio's models", None));
}
