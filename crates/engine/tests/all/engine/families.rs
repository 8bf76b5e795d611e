//! Every family and head layout that the engine runs, on random weights.

use vramplan_engine::weights::MATRIX_TYPES;
use vramplan_engine::{Cpu, Engine, Rope, Source, Yarn};
use vramplan_planner::dtype::GgmlType;
use vramplan_planner::spec::{Architecture, Logits, ModelShape, QkNorm};

use crate::decoder::{shape, source, try_source};
use crate::engine::reference::Reference;
use crate::engine::settings;
use crate::logits::divergence;

fn families() -> Vec<(&'static str, ModelShape, Rope)> {
    let plain = Rope::plain(10_000.0);
    let yarn = Yarn::new(16, 10_000.0, 64, 4.0, 1.0);
    let llama = shape(Architecture::Llama);
    let qwen2 = ModelShape { qkv_bias: true, ..shape(Architecture::Qwen2) };
    vec![
        ("llama, tied", ModelShape { tied_embeddings: true, ..llama.clone() }, plain),
        ("llama, biases", ModelShape { qkv_bias: true, ..llama.clone() }, plain),
        ("llama, linear scaling", llama.clone(), Rope { scale: 0.25, ..plain }),
        ("llama, one head for all", ModelShape { kv_heads: 1, ..llama }, plain),
        ("mistral, wide heads", ModelShape { head_dim: 32, ..shape(Architecture::Mistral) }, plain),
        ("qwen2", qwen2.clone(), plain),
        ("qwen2, yarn", qwen2, Rope { scale: 0.25, yarn: Some(yarn), ..plain }),
        (
            "qwen3, wide heads",
            ModelShape {
                qk_norm: QkNorm::PerHead,
                head_dim: 24,
                kv_heads: 4,
                tied_embeddings: true,
                ..shape(Architecture::Qwen3)
            },
            plain,
        ),
    ]
}

const IDS: [u32; 24] =
    [3, 1, 41, 5, 9, 2, 6, 5, 35, 8, 9, 7, 9, 32, 38, 46, 2, 6, 43, 38, 3, 2, 7, 49];

/// Largest difference of logits over their spread.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    let spread = expected.iter().fold(0.0f32, |top, x| top.max(x.abs()));
    found.iter().zip(expected).fold(0.0f32, |top, (a, b)| top.max((a - b).abs())) / spread
}

#[test]
fn logits_are_those_of_plain_arithmetic() {
    for (name, shape, rope) in families() {
        let mut source = source(shape, "f32", 7).with_rope(rope);
        let expected = Reference::new(&mut source).logits(&IDS);
        let table = settings(8, 64, 8, Logits::All).table(source.spec()).unwrap();
        let mut engine = Engine::load(Cpu, &mut source, &table).unwrap();
        engine.prefill_system(&IDS[..7]).unwrap();
        let mut found = vec![Vec::new(); IDS.len()];
        engine.score(&IDS[7..20], |index, logits| found[7 + index] = logits.to_vec()).unwrap();
        for (index, id) in IDS.iter().enumerate().skip(20) {
            found[index] = engine.step(*id).unwrap().to_vec();
        }
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate().skip(7) {
            let (error, kl) = (error(found, expected), divergence(expected, found));
            assert!(error < 0.02 && kl < 1e-3, "{name}: token {index}: {error} {kl}");
        }
    }
}

#[test]
fn a_conversation_can_start_over() {
    let mut source = source(shape(Architecture::Llama), "q8_0", 1);
    let table = settings(4, 16, 8, Logits::Last).table(source.spec()).unwrap();
    let mut engine = Engine::load(Cpu, &mut source, &table).unwrap();
    engine.prefill_system(&IDS[..4]).unwrap();
    let first = engine.prefill(&IDS).unwrap().to_vec();
    engine.reset_conversation().unwrap();
    assert_eq!((engine.pinned_tokens(), engine.conversation_tokens()), (4, 0));
    assert_eq!(engine.prefill(&IDS).unwrap(), first);
    engine.reset().unwrap();
    engine.prefill_system(&IDS[1..5]).unwrap();
    assert_ne!(engine.prefill(&IDS).unwrap(), first);
}

/// A format whose files have each of [`MATRIX_TYPES`].
const FORMATS: [(&str, GgmlType); 13] = [
    ("f32", GgmlType::F32),
    ("f16", GgmlType::F16),
    ("bf16", GgmlType::Bf16),
    ("q4_0", GgmlType::Q4_0),
    ("q4_1", GgmlType::Q4_1),
    ("q5_0", GgmlType::Q5_0),
    ("q5_1", GgmlType::Q5_1),
    ("q8_0", GgmlType::Q8_0),
    ("q2_k", GgmlType::Q2K),
    ("q3_k_s", GgmlType::Q3K),
    ("q4_k_s", GgmlType::Q4K),
    ("q5_k_s", GgmlType::Q5K),
    ("q6_k", GgmlType::Q6K),
];

/// Against plain arithmetic on what the blocks mean: what differs are activations in 8 bits.
#[test]
fn every_type_of_matrix_runs() {
    assert_eq!(FORMATS.map(|(_, ty)| ty), MATRIX_TYPES);
    let shape = ModelShape {
        hidden_size: 256,
        ffn_size: 256,
        head_dim: 64,
        n_layers: 1,
        ..shape(Architecture::Llama)
    };
    for (format, ty) in FORMATS {
        let mut source = source(shape.clone(), format, 5);
        assert!(source.tensors().iter().any(|tensor| tensor.ty == ty), "{format}");
        let expected = Reference::new(&mut source).logits(&IDS);
        let table = settings(4, 32, 8, Logits::Last).table(source.spec()).unwrap();
        let mut engine = Engine::load(Cpu, &mut source, &table).unwrap();
        engine.prefill_system(&IDS[..4]).unwrap();
        let logits = engine.prefill(&IDS[4..]).unwrap().to_vec();
        assert!(logits.iter().all(|x| x.is_finite()), "{format}");
        let kl = divergence(expected.last().unwrap(), &logits);
        assert!(kl < 0.01, "{format}: {kl}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut source = source(shape(Architecture::Llama), "f32", 1);
    let table = settings(4, 16, 8, Logits::Last).table(source.spec()).unwrap();
    let mut engine = Engine::load(Cpu, &mut source, &table).unwrap();
    let says = |result: Result<(), vramplan_engine::EngineError>| result.unwrap_err().to_string();
    let long = says(engine.prefill_system(&IDS[..5]));
    assert_eq!(long, "a system prompt of 5 tokens is too long: expected at most 4");
    engine.prefill_system(&IDS[..4]).unwrap();
    let unknown = says(engine.prefill(&[3, 50]).map(|_| ()));
    assert_eq!(unknown, "token 50 is not in the vocabulary: expected one below 50");
    engine.reset_conversation().unwrap();
    let tokens = [1; 252];
    engine.prefill(&tokens).unwrap();
    let late = says(engine.step(1).map(|_| ()));
    assert_eq!(late, "a conversation of 1 tokens is too long: expected at most 0");
    assert!(says(engine.prefill_system(&IDS[..1])).contains("reset it first"));
    assert!(says(engine.prefill(&[]).map(|_| ())).contains("no tokens"));
    assert!(says(engine.score(&[1], |_, _| ())).contains("`--logits all`"));
}

#[test]
fn what_the_engine_does_not_run_is_refused_by_name() {
    let refused = |shape: ModelShape, part: &str| {
        let error = try_source(shape, "f32", 1).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(ModelShape { norms_per_layer: 4, ..shape(Architecture::Gemma2) }, "`gemma2`");
    let base = || shape(Architecture::Qwen3);
    refused(ModelShape { attn_output_bias: true, ..base() }, "a bias on the attention's output");
    refused(ModelShape { qk_norm: QkNorm::Full, ..base() }, "norms over all queries");
    refused(ModelShape { gated_ffn: false, ..base() }, "an MLP without a gate");
    let shape = ModelShape { hidden_size: 256, ffn_size: 256, head_dim: 64, ..base() };
    let unknown = source(shape, "iq4_xs", 1);
    let unknown = settings(4, 16, 8, Logits::Last).table(unknown.spec()).unwrap_err().to_string();
    assert!(unknown.contains("no kernels for IQ"), "{unknown}");
    let source = source(base(), "f32", 1);
    let chunk = settings(4, 16, 9, Logits::Last).table(source.spec()).unwrap_err().to_string();
    assert!(chunk.contains("prefill chunks of 9 tokens"), "{chunk}");
}
