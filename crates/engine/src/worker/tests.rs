use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::run::run;
use super::voice::Voice;
use crate::{Cpu, EngineError};
use vramplan::calibrate::supervisor::Supervisor;
use vramplan_planner::estimate::{Component, Phase, Scenario, weights_of};
use vramplan_planner::plan::{Capacity, plan};
use vramplan_planner::protocol::Stage;
use vramplan_planner::protocol::{CaptureOrder, FailureKind, Message, Order, PROTOCOL};
use vramplan_planner::spec::{Basis, Bounds, Fact, GpuSpec, Headroom, Runtime};
use vramplan_planner::units::Bytes;

const PROFILE: &str = "schema = 1\nname = \"tiny\"\nsource = \"test\"\n[shape]\n\
    architecture = \"qwen2\"\nn_layers = 2\nhidden_size = 256\nn_heads = 4\nkv_heads = 2\n\
    head_dim = 64\nffn_size = 512\nvocab_size = 300\ncontext_len = 512\nqkv_bias = true\n\
    tied_embeddings = true\n";

/// What is said, kept.
#[derive(Clone, Default)]
struct Ear(Arc<Mutex<Vec<u8>>>);

impl Write for Ear {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn order(profiles: &Path) -> Order {
    Order {
        protocol: PROTOCOL,
        device: "cpu".to_owned(),
        model: "tiny".to_owned(),
        synthetic: true,
        weights: "q4_k_m".to_owned(),
        kv: "int8".to_owned(),
        attention: "fused".to_owned(),
        system_tokens: 10,
        cache_tokens: 96,
        recent_window: 64,
        prefill_chunk: 32,
        batch: 1,
        context: 512,
        all_logits: false,
        capture: None,
        prompt_tokens: None,
        decode_tokens: 40,
        capacity: None,
        seed: 1,
        quality: None,
        profiles: vec![profiles.to_owned()],
    }
}

fn profiles() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs_err::create_dir(folder.path().join("models")).unwrap();
    fs_err::write(folder.path().join("models/tiny.toml"), PROFILE).unwrap();
    folder
}

/// What is said of an order, and how it ends.
fn said(order: &Order) -> (Vec<Message>, Result<(), EngineError>) {
    let ear = Ear::default();
    let voice = Voice::new(Box::new(ear.clone()));
    let outcome = run(order, &voice, || Ok(Cpu));
    if let Err(error) = &outcome {
        voice.say(&voice.failure(error));
    }
    let text = String::from_utf8(ear.0.lock().unwrap().clone()).unwrap();
    let messages = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (messages, outcome)
}

/// The rows of the plan for this order, phase by phase.
fn planned(order: &Order) -> Vec<(Phase, Vec<(Component, Bytes)>)> {
    let catalog = vramplan_disk::catalog_without_configuration(&order.profiles);
    let (model, runtime) =
        (catalog.model("tiny").unwrap(), catalog.runtime(Runtime::Vramplan).unwrap());
    let gpu =
        GpuSpec::main_memory(Bytes::new(1 << 34), Fact::new(Bounds::ZERO, Basis::Assumed, "test"));
    let weights = weights_of(&model, order.weights.parse().unwrap(), &runtime).unwrap();
    let source = super::order::model(order).unwrap();
    let workload = super::order::table(order, source.as_ref()).unwrap().workload;
    let kv = order.kv.parse().unwrap();
    let scenario =
        Scenario { model: &model, gpu: &gpu, runtime: &runtime, weights: &weights, kv, workload };
    let capacity =
        Capacity::new(gpu.total.value, Bytes::ZERO, Bytes::ZERO, Headroom::Default).unwrap();
    let plan = plan(&scenario, capacity).unwrap();
    let expected = |phase| {
        let rows = plan.components_in(phase).unwrap().into_iter();
        (phase, rows.map(|(component, size)| (component, size.expected)).collect())
    };
    plan.phases.iter().map(|row| expected(row.phase)).collect()
}

#[test]
fn what_a_run_says_is_taken_and_what_it_holds_is_the_plan() {
    let folder = profiles();
    let captured = CaptureOrder { layers: 2, tokens: 8, attention: true, keep: true };
    for capture in [None, Some(captured)] {
        let order = Order { capture, ..order(folder.path()) };
        let (messages, outcome) = said(&order);
        outcome.unwrap();
        let mut supervisor = Supervisor::new(Duration::from_secs(9));
        let hello = Message::Hello { protocol: PROTOCOL, version: "0".to_owned() };
        for message in std::iter::once(&hello).chain(&messages).chain([&Message::Done]) {
            supervisor.take(message).unwrap();
        }
        let mut compared = 0;
        for (phase, rows) in planned(&order) {
            for (component, expected) in rows {
                let Some(held) = stated(&messages, phase, component) else {
                    let known = matches!(component, Component::RuntimeOverhead)
                        || (phase == Phase::Load && component != Component::Weights);
                    assert!(known, "{phase}: {component}");
                    continue;
                };
                assert_eq!(held, expected, "{phase}: {component}");
                compared += 1;
            }
        }
        assert!(compared >= 22, "{compared}");
        let evicted = Message::Count { name: "evicted_tokens".to_owned(), value: 40 };
        assert!(messages.contains(&evicted), "{messages:?}");
    }
}

/// What a component holds in a phase, as was said.
fn stated(messages: &[Message], phase: Phase, component: Component) -> Option<Bytes> {
    let mut stage = None;
    let mut found = None;
    for message in messages {
        match message {
            Message::Begin { phase } => stage = Some(*phase),
            Message::End { .. } => stage = None,
            Message::Holds { component: of, bytes }
                if *of == component && stage.and_then(Stage::phase) == Some(phase) =>
            {
                found = Some(*bytes);
            }
            _ => {}
        }
    }
    found
}

#[test]
fn stages_come_in_their_order() {
    let folder = profiles();
    let (messages, _) = said(&order(folder.path()));
    let begun: Vec<_> = messages
        .iter()
        .filter_map(|message| match message {
            Message::Begin { phase } => Some(phase.id()),
            _ => None,
        })
        .collect();
    let expected = [
        "baseline",
        "context",
        "libraries",
        "weights",
        "caches",
        "system_prefill",
        "prefill",
        "decode",
        "released",
    ];
    assert_eq!(begun, expected);
}

#[test]
fn what_cannot_be_run_says_why_and_of_what_kind() {
    let folder = profiles();
    let good = order(folder.path());
    let nowhere = Order { synthetic: false, model: "/no/such.gguf".to_owned(), ..good.clone() };
    let other_cache = Order { kv: "q8_0".to_owned(), ..good.clone() };
    let other_weights = Order { weights: "nf4".to_owned(), ..good.clone() };
    for (order, part) in [
        (nowhere, "/no/such.gguf"),
        (other_cache, "a KV cache of `q8_0`"),
        (other_weights, "`nf4`"),
        (Order { batch: 2, ..good.clone() }, "2 sequences together"),
        (Order { model: "no-such-model".to_owned(), ..good }, "no-such-model"),
    ] {
        let (messages, outcome) = said(&order);
        outcome.unwrap_err();
        let Some(Message::Failed { kind, message }) = messages.last() else { panic!("no end") };
        assert_eq!(*kind, FailureKind::Model, "{message}");
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_device_that_refuses_is_told_from_memory_that_runs_out() {
    let folder = profiles();
    let kind = |error: EngineError| {
        let ear = Ear::default();
        let voice = Voice::new(Box::new(ear));
        let outcome = run::<Cpu>(&order(folder.path()), &voice, move || Err(error)).unwrap_err();
        match voice.failure(&outcome) {
            Message::Failed { kind, .. } => kind,
            _ => panic!("no failure"),
        }
    };
    assert_eq!(kind(EngineError::device("opening", "no driver")), FailureKind::NoDevice);
    assert_eq!(kind(EngineError::out_of_memory("context", 1)), FailureKind::OutOfMemory);
}
