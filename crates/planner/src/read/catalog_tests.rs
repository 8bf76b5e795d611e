use super::*;
use crate::read::testing::TestDisk;

fn on_disk(folders: &[PathBuf]) -> Catalog {
    Catalog::new(Box::new(TestDisk), folders.iter().map(Folder::asked_for))
}

const GPU: &str = r#"schema = 1
name = "Test 9000"
aliases = ["NVIDIA GeForce Test 9000 Super"]
compute_capability = "8.9"
ecc = "none"
total = { value = "10 GiB", basis = "exact", source = "x" }
reserved = { value = "1 GiB", basis = "exact", source = "x" }
bandwidth = { value = "300 GB", basis = "exact", source = "x" }
sm_count = { value = 58, basis = "exact", source = "x" }
"#;

fn catalog(files: &[(&str, &str)]) -> (tempfile::TempDir, Catalog) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    let catalog = on_disk(&[dir.path().to_owned()]);
    (dir, catalog)
}

#[test]
fn every_profile_in_the_binary_reads() {
    let catalog = Catalog::built_in();
    for profile in PROFILES {
        let read = match profile.kind {
            Kind::Gpu => catalog.gpu(profile.name).map(|gpu| gpu.name),
            Kind::Model => catalog.model(profile.name).map(|model| model.name),
            Kind::Runtime => Runtime::ALL
                .into_iter()
                .find(|runtime| runtime.name() == profile.name)
                .map_or(Ok(String::new()), |runtime| {
                    catalog.runtime(runtime).map(|spec| spec.kind().to_string())
                }),
        };
        assert_eq!(read.as_deref(), Ok(profile.name), "{}", profile.path);
    }
}

#[test]
fn tables_of_names_are_sorted_and_lead_to_profiles() {
    for kind in Kind::ALL {
        assert!(table(kind).is_sorted_by(|(a, _), (b, _)| a < b));
        for (name, index) in table(kind) {
            assert_eq!(PROFILES[*index].kind, kind);
            assert_eq!(kind.normalise(name), *name, "{name}");
        }
    }
}

/// Who quantizes puts the name of who published before a file's.
#[test]
fn a_maker_before_a_name_is_no_part_of_it() {
    let catalog = Catalog::built_in();
    let name = |name: &str| catalog.model(name).map(|model| model.name);
    for (file, model) in [
        ("google_gemma-3-12b-it-Q4_K_M.gguf", "gemma-3-12b-it"),
        ("Qwen_Qwen3-8B-Q4_K_M.gguf", "Qwen3-8B"),
    ] {
        assert_eq!(name(file).unwrap(), name(model).unwrap(), "{file}");
    }
    assert!(name("google_nothing-that-is-known").is_err());
}

#[test]
fn spellings_of_one_name_meet() {
    let gpu = |name| Kind::Gpu.normalise(name);
    for name in ["RTX 4090", "rtx4090", "NVIDIA GeForce RTX 4090", "GeForce_RTX-4090"] {
        assert_eq!(gpu(name), "rtx4090");
    }
    assert_eq!(gpu("Tesla T4"), "t4");
    assert_eq!(gpu("NVIDIA"), "nvidia");
    let model = |name| Kind::Model.normalise(name);
    for name in ["qwen2.5-14b", "Qwen/Qwen2.5-14B-Instruct", " Qwen2.5 14B "] {
        assert_eq!(model(name), "qwen2.514b");
    }
    assert_eq!(model("google/gemma-3-4b-it"), "gemma34b");
    assert_eq!(model("granit"), "granit");
    assert_eq!(model("-_/"), "");
}

#[test]
fn own_profiles_are_found_in_folders_and_flat() {
    for path in ["gpus/a.toml", "a.toml"] {
        let (_dir, catalog) = catalog(&[(path, GPU)]);
        for name in ["test9000", "Test-9000 SUPER", "NVIDIA Test 9000"] {
            assert_eq!(catalog.gpu(name).unwrap().name, "Test 9000");
        }
        let list = catalog.list(Kind::Gpu).unwrap();
        let own = list.iter().find(|listing| !listing.built_in).unwrap();
        assert!(own.path.ends_with(path));
        assert_eq!(catalog.document(Kind::Gpu, "test 9000").unwrap().text, GPU);
    }
}

#[test]
fn the_first_directory_wins() {
    let (first, _) = catalog(&[("a.toml", GPU)]);
    let (second, _) = catalog(&[("a.toml", &GPU.replace("10 GiB", "20 GiB"))]);
    let both = |a: &tempfile::TempDir, b: &tempfile::TempDir| {
        let dirs = [a.path().to_owned(), b.path().to_owned()];
        let catalog = on_disk(&dirs);
        assert_eq!(catalog.list(Kind::Gpu).unwrap().iter().filter(|l| !l.built_in).count(), 1);
        catalog.gpu("test 9000").unwrap().total.value.get() >> 30
    };
    assert_eq!((both(&first, &second), both(&second, &first)), (10, 20));
}

#[test]
fn own_profiles_win_over_those_in_the_binary() {
    let Some(gpu) = PROFILES.iter().find(|profile| profile.kind == Kind::Gpu) else { return };
    let own = GPU.replace("\"Test 9000\"", &format!("{:?}", gpu.name));
    let (_dir, catalog) = catalog(&[("a.toml", &own)]);
    assert_eq!(catalog.gpu(gpu.name).unwrap().total.value.get(), 10 << 30);
    let list = catalog.list(Kind::Gpu).unwrap();
    assert!(!list.iter().find(|listing| listing.name == gpu.name).unwrap().built_in);
}

#[test]
fn unknown_names_get_near_ones_and_a_hint() {
    let (_dir, catalog) = catalog(&[("a.toml", GPU)]);
    let error = catalog.gpu("test 9001\x1b").unwrap_err();
    let SourceError::Unknown { near, .. } = &error else { panic!("{error}") };
    assert_eq!(near.first().map(String::as_str), Some("Test 9000"));
    assert!(near.len() <= 3);
    assert!(error.to_string().starts_with("unknown GPU `test 9001\\u{1b}`: did you mean"));
    assert!(error.hint().is_some_and(|hint| hint.contains("`--gpu 24GiB`")));
    let error = catalog.gpu("zzzz").unwrap_err();
    assert_eq!(error.to_string(), "unknown GPU `zzzz`");
}

#[test]
fn directories_and_files_that_are_not_usable_are_named() {
    let missing = on_disk(&[PathBuf::from("/no/such/profiles")]);
    assert_eq!(missing.gpu("l4").unwrap_err().to_string(), "`/no/such/profiles` does not exist");
    let error = |files: &[(&str, &str)]| catalog(files).1.gpu("l4").unwrap_err().to_string();
    assert!(error(&[("a.toml", "schema = 1")]).contains("missing field `name`"));
    assert!(error(&[("a.toml", "schema = 1\nname = \"x\"")]).contains("no known kind"));
    assert!(error(&[("a.toml", GPU), ("gpus/b.toml", GPU)]).contains("another name"));
    let aliased = |name: &str, alias: &str| {
        GPU.replace("Test 9000\"", &format!("{name}\""))
            .replace("NVIDIA GeForce Test 9000 Super", alias)
    };
    let (first, second) = (aliased("m1", "The Card"), aliased("m2", "the card"));
    let clash = error(&[("a.toml", &first), ("b.toml", &second)]);
    assert!(clash.contains("`aliases` = \"the card\": expected another name"), "{clash}");
    assert!(clash.contains("b.toml`: ") && clash.contains("a.toml` has it"), "{clash}");
    assert!(error(&[("a.toml", "= 1")]).contains("a.toml`: line 1"));
}

#[test]
fn the_configuration_is_one_more_directory() {
    let catalog = Catalog::built_in();
    assert!(catalog.folders.iter().all(|folder| !folder.asked_for));
    assert!(catalog.folders.iter().all(|folder| folder.path.ends_with("vramplan/profiles")));
}

#[test]
fn cards_with_different_memories_are_listed() {
    let catalog = Catalog::built_in();
    for (name, cards) in [
        ("A100", ["A100-40GB", "A100-80GB"]),
        ("V100", ["V100-16GB", "V100-32GB"]),
        ("4060ti", ["RTX 4060 Ti 16GB", "RTX 4060 Ti 8GB"]),
        ("NVIDIA GeForce RTX 4060 Ti", ["RTX 4060 Ti 16GB", "RTX 4060 Ti 8GB"]),
    ] {
        let error = catalog.gpu(name).unwrap_err();
        let SourceError::SeveralMemories { cards: found, .. } = &error else { panic!("{error}") };
        assert_eq!(*found, cards, "{name}");
        assert!(error.to_string().contains("comes with different memories"), "{error}");
        assert!(error.hint().unwrap().contains(cards[0]));
    }
    for (name, card) in [
        ("A100-80GB", "A100-80GB"),
        ("4060ti 8gb", "RTX 4060 Ti 8GB"),
        ("M4 Max 128", "M4 Max 128GB"),
        ("RTX PRO 6000 Blackwell Max-Q", "RTX PRO 6000 Blackwell"),
    ] {
        assert_eq!(catalog.gpu(name).unwrap().name, card);
    }
}

#[test]
fn tags_are_written_in_many_ways() {
    let catalog = Catalog::built_in();
    for (name, model) in [
        ("deepseek r1 70b", "deepseek-r1-distill-llama-70b"),
        ("deepseek-r1 8b", "deepseek-r1-0528-qwen3-8b"),
        ("llama3.1:latest", "llama-3.1-8b"),
        ("gemma3:latest", "gemma-3-4b"),
        ("mistral-small3.2", "mistral-small-3.2-24b-2506"),
    ] {
        assert_eq!(catalog.model(name).unwrap().name, model, "{name}");
    }
    for name in ["gemma3 27b qat", "gemma3:27b-it-qat"] {
        let model = catalog.model(name).unwrap();
        let format = model.named_format.map(|format| format.to_string());
        assert_eq!((&*model.name, format.as_deref()), ("gemma-3-27b", Some("q4_0")), "{name}");
    }
    for unknown in ["llama9:latest", "qwen-14b"] {
        assert!(catalog.model(unknown).is_err(), "{unknown}");
    }
}

/// To compare a text with every name takes as long as both are: of one that is no name it is not done.
#[test]
fn a_long_text_is_like_no_name() {
    let catalog = Catalog::built_in();
    for long in ["qwen3-8b ".repeat(600), "4".repeat(5000)] {
        for error in [catalog.model(&long).unwrap_err(), catalog.gpu(&long).unwrap_err()] {
            let SourceError::Unknown { near, .. } = &error else { panic!("{error}") };
            assert!(near.is_empty());
        }
    }
}

#[test]
fn tags_of_the_same_words_meet() {
    let catalog = Catalog::built_in();
    for (name, model) in [
        ("qwen3:30b-a3b-instruct-2507-q8_0", "qwen3-30b-a3b-2507"),
        ("qwen3:30b", "qwen3-30b-a3b-2507"),
        ("qwen3-next:80b-a3b-instruct-q4_K_M", "qwen3-next-80b-a3b"),
        ("deepseek-r1:70b-llama-distill-fp16", "deepseek-r1-distill-llama-70b"),
        ("deepseek-r1:8b-0528-qwen3-q8_0", "deepseek-r1-0528-qwen3-8b"),
        ("mistral:7b-instruct-v0.3-q8_0", "mistral-7b-v0.3"),
        ("dolphin-mixtral:8x7b-v2.7", "dolphin-2.7-mixtral-8x7b"),
        ("deepseek-v3.1:671b-terminus", "deepseek-v3.1-terminus"),
        ("codellama:7b-code", "codellama-7b"),
        ("devstral", "devstral-small-2507"),
        ("mistral-small", "mistral-small-24b-2501"),
        ("qwen3-embedding", "qwen3-embedding-8b"),
        ("ibm-granite/granite-4.0-h-tiny-base", "granite-4.0-h-tiny"),
        ("bartowski/Qwen_Qwen3-32B-GGUF:Q5_K_M", "qwen3-32b"),
        ("google/gemma-3-27b-it-qat-q4_0-gguf", "gemma-3-27b"),
        ("command-r+", "command-r-plus-104b"),
    ] {
        let found = catalog.model(name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(found.name, model, "{name}");
    }
    // Words that say which model it is are not left out, and a size has to be that of the model.
    for name in [
        "qwen3:30b-a3b-vision",
        "deepseek-v3.1:70b-terminus",
        "x/qwen3-30b-2507-a3b",
        "qwen2.5:8b",
        "mistral:8b",
        "qwen-14b",
    ] {
        assert!(catalog.model(name).is_err(), "{name}");
    }
}

#[test]
fn a_tag_that_runs_elsewhere_takes_nothing_here() {
    let catalog = Catalog::built_in();
    for (name, here) in [
        ("gpt-oss:120b-cloud", "gpt-oss-120b"),
        ("glm-4.7:cloud", "glm-4.7"),
        ("ollama:kimi-k2:1t-cloud", "kimi-k2"),
    ] {
        let error = catalog.model(name).unwrap_err();
        assert!(error.to_string().contains("runs on Ollama's own servers"), "{error}");
        assert!(error.hint().unwrap().contains(&format!("`--model {here}")), "{name}");
    }
    let error = catalog.model("nothing-known:cloud").unwrap_err();
    assert!(error.to_string().contains("servers") && error.hint().is_none());
}

#[test]
fn an_encoder_is_told_from_a_name_that_is_not_known() {
    let error = Catalog::built_in().model("bge-m3").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`bge-m3` is an encoder: it keeps no cache, and what it computes is not modelled here"
    );
    assert!(error.hint().unwrap().contains("--other-use"));
}

#[test]
fn words_of_names_are_told_apart() {
    for (name, words) in [
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "2507 3 30b 3b a qwen"),
        ("qwen3:30b-a3b-instruct-2507", "2507 3 30b 3b a qwen"),
        ("mixtral:8x7b", "7b 8 mixtral x"),
        ("qwen2.5vl:7b", "2.5 7b qwen vl"),
        ("gemma4:e4b-it", "4 4b e gemma"),
        ("command-r+", "command plus r"),
    ] {
        assert_eq!(names::words(name), words, "{name}");
    }
    assert_eq!(names::billions("270m"), Some(0.27));
    assert_eq!(names::billions("qwen"), None);
}
