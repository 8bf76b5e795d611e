//! Models by repository, tag and address on the command line, before a hub on this machine.

use std::path::Path;
use std::process::{Command, Output};

use vramplan_planner::dtype::{FileType, WeightFormat};

use crate::fake_hub::{FakeHub, checkpoint, gguf};
use crate::loopback::{Loopback, Reply};

/// Runs the command on a machine that has nothing but this home, before this hub.
fn vramplan(hub: &Loopback, home: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vramplan"))
        .args(args)
        .env_clear()
        .env("HOME", home)
        .env("HF_ENDPOINT", hub.url())
        .env("COLUMNS", "80")
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

const ID: &str = "me/SmolLM2-135M-GGUF";

fn formats() -> FakeHub {
    let types = [FileType::Q2K, FileType::Q4KM, FileType::Q8_0];
    types.into_iter().fold(FakeHub::new(ID), |hub, file_type| {
        let name = format!("SmolLM2-135M-{}.gguf", file_type.name().to_uppercase());
        hub.with(&name, gguf("smollm2-135m", WeightFormat::Gguf(file_type)))
    })
}

#[test]
fn a_plan_says_where_its_model_is_from_and_needs_no_network_the_second_time() {
    let files = formats();
    let hub = Loopback::start(move |request| files.reply(request));
    let home = tempfile::tempdir().unwrap();
    let ask = |more: &[&str]| {
        let args = [&["budget", "--gpu", "L4", "--model", ID], more].concat();
        vramplan(&hub, home.path(), &args)
    };
    let first = ask(&[]);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first));
    let lines: Vec<String> = text(&first).lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("fits: "), "{lines:?}");
    assert!(
        lines[1].starts_with(
            "SmolLM2-135M-Q4_K_M · q4_k_m (as stored) weights · f16 KV · llama.cpp runtime"
        ),
        "{lines:?}"
    );
    let from = format!("from {}, revision ad44e777: headers alone, 2 requests, ", hub.authority());
    // The title is folded at 80 columns.
    assert!(lines[3].starts_with(&from), "{lines:?}");
    let second = ask(&["--offline"]);
    assert_eq!(second.status.code(), Some(0), "{}", text(&second));
    let again: Vec<String> = text(&second).lines().map(str::to_owned).collect();
    let unfolded = again[3..5].iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    assert!(unfolded.contains("headers that were read before, no request"), "{again:?}");
    // The plan itself is the same.
    let plan = |lines: &[String]| {
        lines.iter().skip_while(|line| !line.is_empty()).cloned().collect::<Vec<_>>()
    };
    assert_eq!(plan(&lines), plan(&again));
    assert_eq!(hub.requests().len(), 2);
}

#[test]
fn a_plan_in_json_has_its_origin_and_reads_back() {
    let files = checkpoint("me/Small-Test");
    let hub = Loopback::start(move |request| files.reply(request));
    let home = tempfile::tempdir().unwrap();
    let plan = vramplan(
        &hub,
        home.path(),
        &["budget", "--gpu", "L4", "--model", "me/Small-Test", "--format", "json"],
    );
    let json: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let model = &json["deployment"]["model"];
    assert_eq!((&model["name"], &model["origin"]["kind"]), (&"Small-Test".into(), &"hub".into()));
    assert_eq!(model["origin"]["revision"], "ad44e777");
    assert_eq!(json["deployment"]["resolved"]["runtime"], "vllm");
    assert!(json["deployment"]["given"].get("runtime").is_none());
    let path = home.path().join("plan.json");
    fs_err::write(&path, &plan.stdout).unwrap();
    let again = vramplan(
        &hub,
        home.path(),
        &["budget", "--scenario", path.to_str().unwrap(), "--format", "json", "--offline"],
    );
    let again: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(again["components"], json["components"]);
}

#[test]
fn the_formats_of_a_repository_stand_beside_each_other() {
    let files = formats();
    let sizes: Vec<_> = files.files.values().map(|file| file.size).collect();
    let hub = Loopback::start(move |request| files.reply(request));
    let home = tempfile::tempdir().unwrap();
    let listed = vramplan(&hub, home.path(), &["quants", ID, "--gpu", "L4", "--json"]);
    assert_eq!(listed.status.code(), Some(0), "{}", text(&listed));
    let json: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let rows = json["formats"].as_array().unwrap();
    let of = |key: &str| rows.iter().map(|row| row[key].clone()).collect::<Vec<_>>();
    assert_eq!(of("format"), ["Q8_0", "Q4_K_M", "Q2_K"]);
    let mut largest_first = sizes.clone();
    largest_first.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(of("size"), largest_first);
    assert_eq!(json["best"], "Q8_0");
    assert_eq!(rows[0]["quality"]["plain"], 0.001_355);
    // The list, and one header for each: nothing of it is asked for again.
    assert_eq!(hub.requests().len(), 4);
    let table = vramplan(&hub, home.path(), &["quants", ID, "--gpu", "L4"]);
    assert_eq!(hub.requests().len(), 4);
    let table = text(&table);
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(table.contains("the best format that fits: Q8_0"), "{table}");
    let none =
        vramplan(&hub, home.path(), &["quants", ID, "--gpu", "L4", "--other-use", "21.3GiB"]);
    assert_eq!(none.status.code(), Some(3), "{}", text(&none));
}

#[test]
fn a_folder_of_gguf_files_is_compared_without_a_network() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("models");
    fs_err::create_dir_all(&folder).unwrap();
    for (name, file) in &formats().files {
        fs_err::write(folder.join(name), &file.head).unwrap();
        fs_err::OpenOptions::new()
            .write(true)
            .open(folder.join(name))
            .unwrap()
            .set_len(file.size)
            .unwrap();
    }
    let hub = Loopback::start(|_| Reply::new(500, ""));
    let listed =
        vramplan(&hub, home.path(), &["quants", folder.to_str().unwrap(), "--gpu", "T4", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(json["formats"].as_array().unwrap().len(), 3, "{}", text(&listed));
    assert_eq!(json["runtime"], "llama.cpp");
    assert!(hub.requests().is_empty());
}

#[test]
fn what_is_nowhere_is_an_error_with_a_way_out() {
    let hub = Loopback::start(|_| Reply::new(404, r#"{"error":"Repository not found"}"#));
    let home = tempfile::tempdir().unwrap();
    let missing =
        vramplan(&hub, home.path(), &["budget", "--gpu", "L4", "--model", "nobody/nothing-7b"]);
    assert_eq!(missing.status.code(), Some(2));
    let told = text(&missing);
    assert!(told.starts_with("error: unknown model `nobody/nothing-7b`"), "{told}");
    assert!(told.contains("“Repository not found”") && told.contains("\nhint: "), "{told}");
    let run = vramplan(
        &hub,
        home.path(),
        &["calibrate", "--device", "cpu", "--model", "hf:nobody/nothing-7b"],
    );
    assert_eq!(run.status.code(), Some(1), "{}", text(&run));
}
