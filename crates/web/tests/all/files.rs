//! Files of which only the beginning is at hand.

use serde_json::{Value, json};
use vramplan_web::Session;

use super::{answered, plan, told};

const HEADER: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/qwen2.5-14b-q4_k_m.header");
const HOSTILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/hostile");
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds");

/// Hands over bytes of a file.
fn hand_over(session: &mut Session, path: &str, size: u64, from: u64, bytes: &[u8]) -> Value {
    let line = json!({"ask": "file", "path": path, "size": size, "from": from}).to_string() + "\n";
    serde_json::from_str(&session.answer(&[line.as_bytes(), bytes].concat())).unwrap()
}

/// Asks until nothing more of the file is needed; says how much of it was handed over.
fn read_by_steps(
    session: &mut Session,
    path: &str,
    bytes: &[u8],
    size: u64,
    step: usize,
) -> (Value, usize) {
    let mut had = 0;
    hand_over(session, path, size, 0, &[]);
    loop {
        let answer = answered(session, &plan(&json!({"gpu": "L4", "model": path})));
        let Some(needs) = answer.get("needs") else { return (answer, had) };
        assert_eq!(needs["from"].as_u64().unwrap(), had as u64, "{needs}");
        assert!(needs["until"].as_u64().unwrap() > had as u64, "{needs}");
        let until = (had + step).min(bytes.len());
        // Where a file ends before what it says of itself, the page has no more to give.
        if until == had {
            return (answer, had);
        }
        hand_over(session, path, size, had as u64, &bytes[had..until]);
        had = until;
    }
}

#[test]
fn a_file_is_read_as_far_as_its_header_goes() {
    let header = fs_err::read(HEADER).unwrap();
    let size = 8_988_110_272;
    let mut plans = Vec::new();
    for step in [1 << 20, 4096] {
        let mut session = Session::default();
        let (answer, had) = read_by_steps(&mut session, "my.gguf", &header, size, step);
        let planned = answer.get("ok").unwrap_or_else(|| panic!("{answer}"));
        assert!(had <= header.len());
        assert_eq!(planned["document"]["deployment"]["resolved"]["runtime"], "llama.cpp");
        assert!(planned["command"].as_str().unwrap().ends_with("--model my.gguf"), "{planned}");
        plans.push(planned.clone());
        // Kept: the second plan reads nothing.
        told(&mut session, &json!({"ask": "forget"}));
        let gone = answered(&mut session, &plan(&json!({"gpu": "L4", "model": "my.gguf"})));
        assert!(gone.get("error").is_some(), "{gone}");
    }
    assert_eq!(plans[0], plans[1]);
}

#[test]
fn a_config_is_a_model_and_a_repository_has_a_name_of_its_own() {
    let config = fs_err::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/fixtures/qwen2.5-14b-config.json"
    ))
    .unwrap();
    let mut session = Session::default();
    hand_over(&mut session, "hf:Qwen/Qwen2.5-14B/config.json", config.len() as u64, 0, &config);
    let origin = json!({"kind": "hub", "place": "huggingface.co", "revision": "0123abcd"});
    told(
        &mut session,
        &json!({"ask": "alias", "name": "hf:Qwen/Qwen2.5-14B@main", "path": "hf:Qwen/Qwen2.5-14B/config.json", "origin": origin}),
    );
    for _ in 0..2 {
        let planned = told(
            &mut session,
            &plan(&json!({"gpu": "A100-80GB", "model": "hf:Qwen/Qwen2.5-14B@main"})),
        );
        let deployment = &planned["document"]["deployment"];
        assert_eq!(deployment["model"]["name"], "Qwen2.5-14B");
        assert_eq!(deployment["model"]["origin"]["revision"], "0123abcd");
        assert_eq!(deployment["given"]["model"], "hf:Qwen/Qwen2.5-14B@main");
        assert_eq!(deployment["resolved"]["runtime"], "vllm");
    }
}

#[test]
fn hostile_files_are_errors() {
    let mut read = 0;
    for folder in [
        HOSTILE.to_owned(),
        format!("{SEEDS}/gguf"),
        format!("{SEEDS}/config"),
        format!("{SEEDS}/safetensors"),
    ] {
        for entry in fs_err::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if !path.is_file() {
                continue;
            }
            let bytes = fs_err::read(&path).unwrap();
            for ending in ["gguf", "json", "safetensors"] {
                let mut session = Session::default();
                let size = bytes.len() as u64;
                let (answer, _) =
                    read_by_steps(&mut session, &format!("x.{ending}"), &bytes, size, 512);
                assert!(answer.get("needs").is_none(), "{}: {answer}", path.display());
                read += 1;
            }
        }
    }
    assert!(read > 60, "only {read} were read");
}
