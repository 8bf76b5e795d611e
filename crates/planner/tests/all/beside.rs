//! What llama.cpp takes beside a model's own buffers: encoders, adapters, draft models, layers that predict, its pool.

use vramplan_planner::deployment::{Question, resolve};
use vramplan_planner::dtype::GgmlType;
use vramplan_planner::estimate::BufferId;
use vramplan_planner::read::gguf::{Field, GgufTensor, header_bytes};
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::{Answer, answer};
use vramplan_planner::render::{Document, Target, emit};
use vramplan_planner::spec::Bounds;
use vramplan_planner::units::Bytes;

fn asked(more: &str, files: &MemoryFiles) -> Result<Answer, String> {
    let text = format!("gpu = 'RTX 4090'\nruntime = 'llama.cpp'\n{more}");
    let question: Question = toml::from_str(&text).unwrap();
    let found = resolve(&question, &Catalog::built_in(), files, None);
    answer(&found.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
}

fn size(answer: &Answer, id: BufferId) -> Option<Bounds> {
    answer.plan.buffers.iter().find(|buffer| buffer.id == id).map(|buffer| buffer.size)
}

/// An engine on a virtual card, 0.5.0: the largest extent of the pool after a prompt that leaves little free.
#[test]
fn attention_without_fusion_takes_what_the_pool_was_seen_to() {
    for (model, tokens, mib) in [
        ("llama-3.1-8b", 8192, 246),
        ("llama-3.1-8b", 32_768, 998),
        ("deepseek-v2-lite", 32_768, 506),
    ] {
        let question = format!(
            "model = '{model}'\nruntime_version = '0.5.0'\nattention = 'eager'\ncache_tokens = {tokens}"
        );
        let answer = asked(&question, &MemoryFiles::default()).unwrap();
        let pool = size(&answer, BufferId::AttentionPool).unwrap();
        let seen = Bytes::new(mib << 20);
        assert!(pool.low <= seen && seen <= pool.high, "{model}, {tokens}: {pool:?}");
        let fused = question.replace("attention = 'eager'\n", "");
        let answer = asked(&fused, &MemoryFiles::default()).unwrap();
        assert_eq!(size(&answer, BufferId::AttentionPool), None);
    }
}

fn asked_of(gpu: &str, more: &str) -> Answer {
    let text = format!("gpu = '{gpu}'\nruntime = 'llama.cpp'\nruntime_version = '0.8.0'\n{more}");
    let question: Question = toml::from_str(&text).unwrap();
    answer(&resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None).unwrap())
        .unwrap()
}

/// 0.8.0 on virtual cards (`evidence/llama_cpp/rehearsed.csv`, and earlier jobs of its kind): activations and results in
/// 16 bits, matrices that a card cannot multiply in 16 bits, experts one after the other.
#[test]
fn products_in_16_bits_take_what_the_pool_was_seen_to() {
    for (gpu, model, weights, kv, mib) in [
        ("H100", "deepseek-v2-lite", "bf16", "bf16", 130),
        ("RTX 5090", "gemma-2b", "f16", "bf16", 72),
        ("P40", "llama-3.2-1b", "f16", "q5_1", 68),
    ] {
        let more = |weights: &str| {
            format!(
                "model = '{model}'\nweights = '{weights}'\nkv = '{kv}'\ncache_tokens = 8192\nprefill_chunk = 2048"
            )
        };
        let answer = asked_of(gpu, &more(weights));
        let pool = size(&answer, BufferId::Pool).unwrap();
        let seen = Bytes::new(mib << 20);
        assert!(pool.low <= seen && seen <= pool.high, "{gpu}, {model}: {pool:?}");
        assert_eq!(size(&answer, BufferId::Libraries), None);
        // Quantized, on a card with tensor cores, the constant of the runtime holds.
        assert_eq!(size(&asked_of("RTX 3090", &more("q4_k_m")), BufferId::Pool), None);
    }
}

/// HIP's default build keeps every buffer that the scores of a prompt outgrew.
#[test]
fn without_virtual_memory_management_scores_leave_buffers_behind() {
    let eager = "model = 'llama-3.1-8b'\ncache_tokens = 32768\nattention = 'eager'";
    let nvidia = size(&asked_of("RTX 4090", eager), BufferId::AttentionPool).unwrap();
    let amd = size(&asked_of("RX 7900 XTX", eager), BufferId::Pool).unwrap();
    assert!(amd.expected > nvidia.expected && amd.expected.get() < nvidia.expected.get() * 11 / 10);
    assert!(amd.high.get() > 10 * amd.expected.get(), "{amd:?}");
    let flash = eager.replace("eager", "flash");
    let fused = size(&asked_of("RX 7900 XTX", &flash), BufferId::Pool).unwrap();
    assert!(fused.high.get() < 100 << 20, "{fused:?}");
}

/// A file with one matrix of `[64, rows]` in f16.
fn file(metadata: &[(&str, Field)], rows: u64) -> Vec<u8> {
    let bytes = 64 * rows * 2;
    let tensor = GgufTensor {
        name: "v.blk.0.attn_q.weight".to_owned(),
        dims: vec![64, rows],
        ty: GgmlType::F16,
        offset: 0,
        size: Bytes::new(bytes),
        part: 0,
    };
    let metadata: Vec<_> =
        metadata.iter().map(|(key, field)| ((*key).to_owned(), field.clone())).collect();
    let mut file = header_bytes(&metadata, &[tensor]);
    file.resize(file.len() + usize::try_from(bytes).unwrap(), 0);
    file
}

fn encoder(projected: u32) -> Vec<u8> {
    let number = |key: &'static str, n: u32| (key, Field::U32(n));
    let metadata = [
        ("general.architecture", Field::Text("clip".to_owned())),
        number("clip.vision.projection_dim", projected),
        number("clip.vision.embedding_length", 1152),
        number("clip.vision.feed_forward_length", 4304),
        number("clip.vision.attention.head_count", 16),
        number("clip.vision.image_size", 896),
        number("clip.vision.patch_size", 14),
    ];
    file(&metadata, 3)
}

/// `SigLIP`'s compute buffer as the library takes it: 121.25 MiB.
#[test]
fn an_encoder_is_read_from_its_file() {
    let files = MemoryFiles::from([("mmproj.gguf".into(), encoder(2560))]);
    let question = "model = 'gemma-3-4b'\nmmproj = 'mmproj.gguf'\ncache_tokens = 4096";
    let answer = asked(question, &files).unwrap();
    let weights = size(&answer, BufferId::Encoder).unwrap();
    assert_eq!(weights, Bounds::exactly(Bytes::new(64 * 3 * 2)));
    let results = size(&answer, BufferId::EncoderResults).unwrap().expected;
    assert_eq!(results, Bytes::new(127_139_840));
}

#[test]
fn files_of_another_kind_or_model_are_named() {
    let adapter = file(&[("general.type", Field::Text("adapter".to_owned()))], 5);
    let files =
        MemoryFiles::from([("other.gguf".into(), encoder(4096)), ("lora.gguf".into(), adapter)]);
    for (more, expected) in [
        ("mmproj = 'other.gguf'", "it is the encoder of another"),
        ("mmproj = 'lora.gguf'", "the file that `--mmproj` takes"),
        ("mmproj = 'none.gguf'", "none.gguf"),
        ("lora = ['other.gguf']", "the file that `--lora` takes"),
        ("draft = 'qwen3-0.6b'", "has a vocabulary of 151936 tokens"),
        ("mtp = 2", "has no layer that predicts tokens ahead"),
        ("mtp = 0", "`--mtp 0` is out of range"),
    ] {
        let error = asked(&format!("model = 'gemma-3-4b'\n{more}"), &files).unwrap_err();
        assert!(error.contains(expected), "{more}: {error}");
    }
    let answer = asked("model = 'gemma-3-4b'\nlora = ['lora.gguf']\ncache_tokens = 4096", &files);
    let weights = size(&answer.unwrap(), BufferId::Adapters).unwrap();
    assert_eq!(weights, Bounds::exactly(Bytes::new(64 * 5 * 2)));
}

/// An engine on a virtual card: 762.81 MiB of weights, 1,024 of keys and values, 92.01 of compute buffer.
#[test]
fn a_draft_model_has_a_context_of_its_own() {
    let question = "model = 'llama-3.1-8b'\ndraft = 'llama-3.2-1b'\nruntime_version = '0.5.0'\n\
                    kv = 'q8_0'\ncache_tokens = 32768";
    let answer = asked(question, &MemoryFiles::default()).unwrap();
    let mib = |id| size(&answer, id).unwrap().expected.as_mib();
    assert!((mib(BufferId::DraftWeights) - 762.81).abs() < 0.01);
    assert!((mib(BufferId::DraftCache) - 1024.0).abs() < 0.01);
    assert!((mib(BufferId::DraftResults) - 92.01).abs() < 0.01, "{}", mib(BufferId::DraftResults));
}

/// llama-server 0.5.0 on two virtual A100s (`evidence/llama_cpp/rehearsed_servers.csv`): the draft's layers are dealt out, too,
/// and each of the contexts has a pool.
#[test]
fn a_draft_is_dealt_out_as_the_model_is() {
    let text = "gpu = 'A100-80GB,A100-80GB'\nruntime = 'llama.cpp'\nmodel = 'llama-3.1-8b'\nweights = 'q6_k'\n\
                draft = 'llama-3.2-1b'\nruntime_version = '0.5.0'\nbatch = 4\ncache_tokens = 4096\n\
                prefill_chunk = 2048\nattention = 'eager'";
    let question: Question = toml::from_str(text).unwrap();
    let found = resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None).unwrap();
    let answer = answer(&found).unwrap();
    for (device, [weights, cache, results]) in
        answer.devices.iter().zip([[311.30, 288.0, 1312.09], [451.51, 224.0, 1312.09]])
    {
        let mib = |id| {
            let buffers = &device.plan.buffers;
            buffers.iter().find(|buffer| buffer.id == id).unwrap().size.expected.as_mib()
        };
        assert!((mib(BufferId::DraftWeights) - weights).abs() < 0.01);
        assert!((mib(BufferId::DraftCache) - cache).abs() < 0.01);
        assert!((mib(BufferId::DraftResults) - results).abs() < 0.01);
    }
}

/// A row of logits for a token of every slot and for those that a draft predicts: what a server reserves.
#[test]
fn drafts_ask_for_rows_of_logits() {
    let logits = |more: &str| {
        let question = format!("model = 'llama-3.1-8b'\nbatch = 4\ncache_tokens = 4096\n{more}");
        let answer = asked(&question, &MemoryFiles::default()).unwrap();
        let buffers =
            answer.plan.buffers.iter().filter(|buffer| buffer.id == BufferId::Other("logits"));
        buffers.map(|buffer| buffer.size.expected.get()).sum::<u64>()
    };
    let draft = |tokens: u64| logits(&format!("draft = 'llama-3.2-1b'\ndraft_tokens = {tokens}"));
    assert!(draft(64) > draft(1) && draft(1) >= logits(""));
    let refused = asked("model = 'llama-3.1-8b'\ndraft_tokens = 3", &MemoryFiles::default());
    assert!(refused.unwrap_err().contains("--draft-tokens"));
}

#[test]
fn what_is_beside_is_emitted() {
    let question = "gpu = 'RTX 4090'\nruntime = 'llama.cpp'\nmodel = 'qwen3.5-9b'\n\
                    mmproj = 'auto'\nmtp = 2\ncache_tokens = 4096";
    let question: Question = toml::from_str(question).unwrap();
    let found = resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None).unwrap();
    let document = Document::new(&found, &answer(&found).unwrap());
    let capability = found.cards.first().gpu.compute_capability;
    let text = emit(&document, Target::LlamaCpp, None, capability).unwrap();
    assert!(text.contains("--mmproj \"$MMPROJ\""), "{text}");
    assert!(text.contains("--spec-type draft-mtp --spec-draft-n-max 2"), "{text}");
}
