//! Plans, tables, comparisons and settings.

use serde_json::{Value, json};
use vramplan_planner::deployment::{Question, resolve};
use vramplan_planner::read::{Catalog, NoFiles};
use vramplan_planner::recommend::answer;
use vramplan_planner::render::{Document, to_json};
use vramplan_web::Session;

use super::{answered, plan, refused, told};

/// A plan as the planner gives it to the command.
fn of_planner(question: &Question) -> String {
    let deployment = resolve(question, &Catalog::built_in(), &NoFiles, None).unwrap();
    to_json(&Document::new(&deployment, &answer(&deployment).unwrap())).unwrap()
}

#[test]
fn a_plan_is_the_commands_also_where_its_model_was_kept() {
    let mut session = Session::default();
    for context in ["4096", "8k", "16384"] {
        let question = json!({"gpu": "L4", "model": "qwen2.5-14b", "runtime": "vllm", "weights": "awq-int4", "context": context});
        let request = json!({"ask": "print", "question": question, "format": "json"});
        let text = told(&mut session, &request)["text"].as_str().unwrap().to_owned();
        let given = serde_json::from_str::<Value>(&text).unwrap()["deployment"]["given"].clone();
        assert_eq!(text, of_planner(&serde_json::from_value(given).unwrap()));
    }
}

#[test]
fn a_plan_brings_what_the_page_shows() {
    let mut session = Session::default();
    let told = told(
        &mut session,
        &plan(
            &json!({"gpu": "T4", "model": "qwen2.5-14b", "runtime": "llama.cpp", "weights": "q8_0"}),
        ),
    );
    assert_eq!(told["document"]["schema"], "vramplan/plan/v2");
    assert!(told["heading"].as_str().unwrap().contains("qwen2.5-14b · q8_0 weights"));
    assert_eq!(
        told["command"],
        "vramplan budget --gpu T4 --model qwen2.5-14b --runtime llama.cpp --weights q8_0"
    );
    let (advice, changes) =
        (told["document"]["advice"].as_array().unwrap(), told["changes"].as_array().unwrap());
    assert_eq!(advice.len(), changes.len());
    assert!(changes.iter().any(Value::is_object), "{advice:?}");
}

#[test]
fn what_advice_would_change_can_be_planned() {
    let mut session = Session::default();
    let given = json!({"gpu": "T4", "model": "qwen2.5-32b", "runtime": "vllm", "weights": "bf16"});
    let first = told(&mut session, &plan(&given));
    let mut applied = 0;
    for change in first["changes"].as_array().unwrap().iter().filter_map(Value::as_object) {
        let mut question = given.as_object().unwrap().clone();
        question.extend(change.clone());
        told(&mut session, &plan(&Value::Object(question)));
        applied += 1;
    }
    assert!(applied >= 3, "{}", first["document"]["advice"]);
}

#[test]
fn lists_name_what_can_be_asked() {
    let mut session = Session::default();
    let lists = told(&mut session, &json!({"ask": "lists"}));
    assert!(lists["models"].as_array().unwrap().len() >= 150);
    let gpus = lists["gpus"].as_array().unwrap();
    assert!(gpus.is_sorted_by_key(|gpu| gpu["total"].as_u64().unwrap()));
    for runtime in lists["runtimes"].as_array().unwrap() {
        for kv in runtime["kv"].as_array().unwrap() {
            let question = json!({"gpu": "A100-80GB", "model": "llama-3.1-8b", "runtime": runtime["name"], "kv": kv});
            let answer = answered(&mut session, &plan(&question));
            // Some go with other heads, or without flash attention, alone: that is said.
            let message = answer["error"]["message"].as_str().unwrap_or("expected `--kv");
            assert!(message.contains("expected `--kv"), "{runtime}: {answer}");
        }
    }
}

#[test]
fn a_table_has_a_cell_for_every_card_and_format() {
    let mut session = Session::default();
    let request = json!({"ask": "sweep", "question": {"gpu": "2xL4", "model": "qwen2.5-14b", "runtime": "llama.cpp"},
        "gpus": ["T4", "L4", "H100-80GB"], "weights": ["q4_k_m", "q8_0"]});
    let sweep = told(&mut session, &request);
    assert_eq!(sweep["schema"], "vramplan/sweep/v1");
    assert_eq!(sweep["combinations"].as_array().unwrap().len(), 6);
}

#[test]
fn a_table_of_every_card_is_of_those_that_the_runtime_runs_on() {
    let mut session = Session::default();
    let lists = told(&mut session, &json!({"ask": "lists"}));
    let of = |gpu: &Value| gpu["name"].clone();
    let gpus: Vec<Value> = lists["gpus"].as_array().unwrap().iter().map(of).collect();
    for runtime in ["vllm", "vramplan"] {
        let question =
            json!({"gpu": "L4", "model": "llama-3.1-8b", "runtime": runtime, "cache_tokens": 4096});
        let request =
            json!({"ask": "sweep", "question": question, "gpus": gpus, "weights": ["bf16"]});
        let combinations = told(&mut session, &request)["combinations"].as_array().unwrap().len();
        assert!((50..=gpus.len()).contains(&combinations), "{runtime}: {combinations}");
    }
}

#[test]
fn two_plans_are_compared_and_settings_written() {
    let mut session = Session::default();
    let asked = json!({"gpu": "L4", "model": "qwen2.5-14b", "runtime": "llama.cpp"});
    let other = json!({"gpu": "L4", "model": "qwen2.5-14b", "runtime": "llama.cpp", "kv": "q8_0"});
    let compared =
        told(&mut session, &json!({"ask": "compare", "current": asked, "proposed": other}));
    assert_eq!(compared["changes"][0]["input"], "kv");
    let settings = told(&mut session, &json!({"ask": "settings", "question": asked}));
    let of = |name: &str| {
        settings.as_array().unwrap().iter().find(|one| one["target"] == name).unwrap().clone()
    };
    assert!(of("llama.cpp")["text"].as_str().unwrap().contains("llama-server"));
    assert!(of("ollama")["text"].as_str().unwrap().contains("num_ctx"));
    let short = json!({"gpu": "T4", "model": "llama-3.1-70b", "runtime": "vllm"});
    let none = told(&mut session, &json!({"ask": "settings", "question": short}));
    assert_eq!(none, json!([]));
}

#[test]
fn what_cannot_be_answered_is_an_error_with_a_way_out() {
    let mut session = Session::default();
    for (question, expected) in [
        (json!({"gpu": "L4"}), "`--model` is missing"),
        (json!({"gpu": "a101", "model": "qwen2.5-14b"}), "unknown GPU `a101`"),
        (json!({"gpu": "a100", "model": "qwen2.5-14b"}), "expected `A100-40GB` or `A100-80GB`"),
        (json!({"gpu": "L4", "model": "<img src=x onerror=alert(1)>"}), "unknown model"),
        (json!({"gpu": "9999xL4", "model": "qwen2.5-14b"}), "unknown GPU `9999xL4`"),
        (json!({"gpu": "L4", "gpus": 9999, "model": "qwen2.5-14b"}), "out of range"),
        (json!({"gpu": "auto", "model": "qwen2.5-14b"}), "name the GPU"),
        (json!({"gpu": "L4", "model": "qwen2.5-14b", "cache_tokens": u64::MAX}), "out of range"),
        (
            json!({"gpu": "L4", "model": "qwen2.5-14b", "runtime": "vllm", "ngl": "3"}),
            "drop `--ngl`",
        ),
    ] {
        let problem = refused(&mut session, &plan(&question));
        assert!(problem.contains(expected), "{question}: {problem}");
    }
    for request in ["", "{", "[]", "{\"ask\": \"no\"}", "{\"ask\": \"plan\"}", "\u{0}"] {
        let answer = session.answer(request.as_bytes());
        assert!(answer.starts_with(r#"{"error":"#), "{request}: {answer}");
    }
    let deep = format!(
        "{{\"ask\": \"plan\", \"question\": {}1{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(session.answer(deep.as_bytes()).starts_with(r#"{"error":"#));
}

#[test]
fn an_outline_is_the_plan_without_sizes_and_advice() {
    let mut session = Session::default();
    for (question, is_outline) in [
        (
            json!({"gpu": "L4", "model": "qwen2.5-14b", "runtime": "vllm", "weights": "awq-int4", "cache_tokens": 8192}),
            true,
        ),
        (
            json!({"gpu": "L4", "model": "qwen2.5-14b", "runtime": "transformers", "weights": "nf4", "batch": 2}),
            true,
        ),
        (
            json!({"gpu": "2xRTX 3060", "model": "qwen3-30b-a3b", "runtime": "llama.cpp", "ram": "64GiB", "weights": "q8_0"}),
            true,
        ),
        (json!({"gpu": "T4", "model": "llama-3.1-70b", "runtime": "vramplan"}), false),
        // All of it would be tight, which the heading says.
        (json!({"gpu": "2xL4", "model": "llama-3.3-70b"}), true),
    ] {
        let whole = told(&mut session, &plan(&question));
        let outline = told(&mut session, &json!({"ask": "outline", "question": question}));
        assert_eq!(outline["is_outline"], is_outline, "{question}");
        assert_eq!(outline["heading"], whole["heading"], "{question}");
        for key in [
            "deployment",
            "capacity",
            "verdict",
            "short_by",
            "peak",
            "components",
            "phases",
            "devices",
        ] {
            assert_eq!(outline["document"][key], whole["document"][key], "{question}: {key}");
        }
    }
}
