use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::run::run;
use super::voice::Voice;
use crate::{Cpu, EngineError};
use vramplan::calibrate::supervisor::Supervisor;
use vramplan_planner::deployment::{CaptureLayers, Question};
use vramplan_planner::estimate::{Component, Phase, Scenario, weights_of};
use vramplan_planner::plan::{Capacity, plan};
use vramplan_planner::protocol::Stage;
use vramplan_planner::protocol::{FailureKind, Message, Order, PROTOCOL};
use vramplan_planner::spec::{Attention, Basis, Bounds, Fact, GpuSpec, Headroom, Runtime};
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
        deployment: Question {
            model: Some("tiny".to_owned()),
            runtime: Some(Runtime::Vramplan),
            weights: "q4_k_m".parse().ok(),
            kv: "int8".parse().ok(),
            attention: Some(Attention::Fused),
            system_tokens: Some(10),
            cache_tokens: Some(96),
            recent_window: Some(64),
            prefill_chunk: Some(32),
            batch: Some(1),
            context: Some(512),
            ..Question::default()
        },
        synthetic: true,
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
    let weights = weights_of(&model, order.deployment.weights.unwrap(), &runtime).unwrap();
    let source = super::order::model(order).unwrap();
    let table = super::order::table(order, source.as_ref()).unwrap();
    let (workload, cache_tokens) = (table.workload, table.cache_tokens);
    let kv = order.deployment.kv.unwrap().keys;
    let (gpu, runtime, weights, model) = (&gpu, &runtime, &weights, &model);
    let scenario = Scenario { model, gpu, runtime, weights, kv, workload, cache_tokens };
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
    for captured in [false, true] {
        let mut order = order(folder.path());
        if captured {
            order.deployment.capture_layers = Some(CaptureLayers::Some(2));
            order.deployment.capture_tokens = Some(8);
            order.deployment.capture_attention = true;
            order.deployment.capture_keep = true;
        }
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
    let with = |change: fn(&mut Question)| {
        let mut order = good.clone();
        change(&mut order.deployment);
        order
    };
    let nowhere = with(|asked| asked.model = Some("/no/such.gguf".to_owned()));
    for (order, part) in [
        (Order { synthetic: false, ..nowhere }, "/no/such.gguf"),
        (with(|asked| asked.kv = "q8_0".parse().ok()), "a KV cache of `q8_0`"),
        (with(|asked| asked.weights = "nf4".parse().ok()), "`nf4`"),
        (with(|asked| asked.batch = Some(2)), "2 sequences together"),
        (with(|asked| asked.batch = Some(0)), "`--batch 0` is out of range"),
        (with(|asked| asked.cache_tokens = None), "without `cache_tokens`"),
        (with(|asked| asked.model = Some("no-such-model".to_owned())), "no-such-model"),
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
