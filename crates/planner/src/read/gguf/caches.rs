//! What llama.cpp keeps of tokens, by its own rules for the keys of a file (`llama-hparams.cpp`,
//! `llama_model::create_memory` in `llama-model.cpp`, `load_arch_hparams` in `models/*.cpp`).

use super::Value;
use super::model::Header;
use crate::read::SourceError;
use crate::spec::{CachedLayer, FileCaches};
use crate::units::to_u64;

/// Which layers of an architecture have a window.
#[derive(Clone, Copy)]
enum Windows {
    /// All but every so manyth, counted from the last of a period or from its first; a list in the file wins.
    AllBut(u64, First),
    /// Those that the file lists.
    Listed,
    /// All that attend.
    All,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum First {
    Windowed,
    Full,
}

/// The windows of an architecture that llama.cpp respects.
struct WindowRule {
    architecture: &'static str,
    windows: Windows,
    /// The size where the file does not state it; nothing: the file has to, or there are none.
    size: Option<u64>,
    /// Whether the file's size counts.
    is_stated: bool,
}

const fn rule(architecture: &'static str, windows: Windows) -> WindowRule {
    WindowRule { architecture, windows, size: None, is_stated: true }
}

const fn every(architecture: &'static str, period: u64) -> WindowRule {
    rule(architecture, Windows::AllBut(period, First::Windowed))
}

const WINDOWS: [WindowRule; 32] = [
    every("afmoe", 4),
    rule("beam", Windows::Listed),
    every("cohere2", 4),
    rule("cohere2moe", Windows::AllBut(4, First::Full)),
    rule("deepseek4", Windows::All),
    rule("dots3note", Windows::Listed),
    WindowRule { size: Some(128), ..every("exaone-moe", 4) },
    every("exaone4", 4),
    rule("flint", Windows::Listed),
    WindowRule { size: Some(4096), ..every("gemma2", 2) },
    every("gemma3", 6),
    every("gemma3n", 5),
    rule("gemma4", Windows::Listed),
    rule("gemma4-assistant", Windows::Listed),
    every("gpt-oss", 2),
    rule("granite_swa", Windows::Listed),
    rule("kolibri1", Windows::Listed),
    rule("laguna", Windows::AllBut(4, First::Full)),
    rule("lfm2", Windows::All),
    rule("lfm3", Windows::Listed),
    every("limite", 4),
    WindowRule { size: Some(8192), is_stated: false, ..every("llama4", 4) },
    rule("maion-coder", Windows::Listed),
    rule("maple", Windows::Listed),
    every("mellum", 4),
    rule("mimo2", Windows::Listed),
    every("muse-glimmer", 4),
    rule("muse-spark", Windows::Listed),
    every("olmo2", 4),
    every("plamo3", 8),
    rule("spark2_5", Windows::Listed),
    rule("step35", Windows::Listed),
];

/// The one whose windows begin only where the file states any, and then are of this size.
const SMALL_THINKER: WindowRule = WindowRule {
    architecture: "smallthinker",
    windows: Windows::AllBut(4, First::Full),
    size: Some(4096),
    is_stated: false,
};

/// Which layers keep a state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum States {
    None,
    /// All, and no keys.
    All,
    /// All, beside keys and values.
    Beside,
    /// Those without heads of keys and values.
    WithoutKeys,
    /// The same, where they have no MLP either; one with an MLP keeps nothing.
    WithoutKeysAndMlp,
    /// Those listed, or all but every Nth.
    AllBut,
}

fn states(architecture: &str) -> States {
    match architecture {
        "mamba" | "mamba2" | "rwkv6" | "rwkv6qwen2" | "rwkv7" | "arwkv7" => States::All,
        "falcon-h1" => States::Beside,
        "bailingmoe3" | "glm5-next" | "granitehybrid" | "jamba" | "kimi-k3" | "kimi-linear"
        | "lfm2" | "lfm2moe" | "lfm3" | "plamo2" => States::WithoutKeys,
        "nemotron_h" | "nemotron_h_moe" => States::WithoutKeysAndMlp,
        "minimax-01" | "qwen3next" | "qwen35" | "qwen35moe" | "qwen4exp" => States::AllBut,
        _ => States::None,
    }
}

/// Architectures without any cache: they read a text in one go.
const WITHOUT: [&str; 17] = [
    "bert",
    "nomic-bert",
    "nomic-bert-moe",
    "jina-bert-v2",
    "jina-bert-v3",
    "neo-bert",
    "eurobert",
    "modern-bert",
    "wavtokenizer-dec",
    "gemma-embedding",
    "gemma-embedding2",
    "dream",
    "llada",
    "llada-moe",
    "rnd1",
    "clef",
    "t5encoder",
];

/// Architectures whose attention chooses by an indexer, which keeps keys of its own.
const INDEXED: [&str; 8] = [
    "deepseek32",
    "glm-dsa",
    "dots3note",
    "mistral-large4",
    "hy_v4",
    "minimax-m3",
    "qwen4exp",
    "glm5-next",
];

/// Those of which only the layers that the file lists have one.
const INDEXED_BY_LIST: [&str; 5] = ["glm-dsa", "dots3note", "mistral-large4", "hy_v4", "glm5-next"];

/// Architectures that keep compressed keys, or more than keys and states, of which the rules here know a part.
const COMPRESSED: [&str; 3] = ["deepseek41", "glm5-next", "qwen4exp"];

/// The architecture whose keys are compressed by a rule that is known.
const DEEPSEEK_V4: &str = "deepseek4";

/// Every architecture of the library whose rules were read (`llama-arch.cpp` of 0.8.0).
#[rustfmt::skip]
const KNOWN: [&str; 166] = [
    "afmoe", "apertus", "arcee", "arctic", "arwkv7", "baichuan",
    "bailingmoe", "bailingmoe2", "bailingmoe3", "beam", "bert", "bitnet",
    "bloom", "chameleon", "chatglm", "clef", "codeshell", "cogvlm",
    "cohere2", "cohere2moe", "command-r", "dbrx", "deci", "deepseek",
    "deepseek2", "deepseek2-ocr", "deepseek32", "deepseek4", "deepseek41", "dflash",
    "dots1", "dots3note", "dream", "eagle3", "ernie4_5", "ernie4_5-moe",
    "eurobert", "exaone", "exaone-moe", "exaone4", "falcon", "falcon-h1",
    "flint", "gemma", "gemma-embedding", "gemma-embedding2", "gemma2", "gemma3",
    "gemma3n", "gemma4", "gemma4-assistant", "glm-dsa", "glm4", "glm4moe",
    "glm5-next", "gpt-oss", "gpt2", "gptj", "gptneox", "granite",
    "granite_swa", "granitehybrid", "granitemoe", "graniteswitch", "grok", "grovemoe",
    "hrm_text", "hunyuan-dense", "hunyuan-moe", "hunyuan_vl", "hy_v3", "hy_v4",
    "internlm2", "jais", "jais2", "jamba", "jina-bert-v2", "jina-bert-v3",
    "k2-horizon", "kimi-k3", "kimi-linear", "kolibri1", "laguna", "lfm2",
    "lfm2moe", "lfm3", "limite", "llada", "llada-moe", "llama",
    "llama-embed", "llama4", "maincoder", "maion-coder", "mamba", "mamba2",
    "maple", "mellum", "mimo2", "minicpm", "minicpm3", "minimax-01",
    "minimax-m2", "minimax-m3", "mistral-large4", "mistral3", "mistral4", "modern-bert",
    "mpt", "muse-glimmer", "muse-spark", "nanbeige", "nemotron", "nemotron_h",
    "nemotron_h_moe", "neo-bert", "nomic-bert", "nomic-bert-moe", "olmo", "olmo2",
    "olmoe", "openelm", "orion", "paddleocr", "pangu-embedded", "phi2",
    "phi3", "phimoe", "plamo", "plamo2", "plamo3", "plm",
    "pockettts", "qwen", "qwen2", "qwen2moe", "qwen2vl", "qwen3",
    "qwen35", "qwen35moe", "qwen3moe", "qwen3next", "qwen3tts", "qwen3vl",
    "qwen3vlmoe", "qwen4exp", "refact", "rnd1", "rwkv6", "rwkv6qwen2",
    "rwkv7", "seed_oss", "sensenova_u1", "smallthinker", "smollm3", "spark2_5",
    "stablelm", "starcoder", "starcoder2", "step35", "t5", "t5encoder",
    "talkie", "vllm-decision2", "wavtokenizer-dec", "xverse",
];

/// Reads what the layers of a file keep.
pub(super) fn read(header: &Header<'_>) -> Result<FileCaches, SourceError> {
    let keys = Keys::of(header)?;
    let layers = (0..header.n_layers).map(|index| keys.layer(index)).collect();
    let sections = header.value("rope.dimension_sections");
    let has_sections =
        matches!(sections, Some(Value::Numbers(sizes)) if sizes.iter().any(|&size| size > 0));
    let scales_queries = match header.prefix {
        "mistral3" => header.is_set("attention.temperature_scale", false),
        "llama4" => keys.window.is_some(),
        _ => false,
    };
    let architecture = header.prefix.to_owned();
    let is_exact = KNOWN.contains(&header.prefix) && !COMPRESSED.contains(&header.prefix);
    Ok(FileCaches {
        architecture,
        is_exact,
        scales_queries,
        has_sections,
        window: keys.window,
        layers,
    })
}

struct Keys<'a> {
    architecture: &'a str,
    kv_heads: Vec<u64>,
    ffn: Vec<u64>,
    /// Elements of a head of keys and of values, in full layers and in windowed ones.
    head: [u64; 2],
    windowed_head: [u64; 2],
    /// Whether one vector is kept for keys and values.
    is_latent: bool,
    windowed: Vec<bool>,
    window: Option<u64>,
    states: States,
    /// The layers that keep a state under [`States::AllBut`].
    recurrent: Vec<bool>,
    inputs: u64,
    state: u64,
    /// Layers from which on others' keys and values are read.
    first_sharing: u64,
    indexer: u64,
    /// The first layer with an indexer.
    first_indexed: u64,
    indexed: Vec<bool>,
    /// Tokens that become one key, by layer, in DeepSeek-V4.
    compresses: Option<Vec<u64>>,
}

impl<'a> Keys<'a> {
    fn of(header: &Header<'a>) -> Result<Self, SourceError> {
        let architecture = header.prefix;
        let heads = header.each("attention.head_count", 0)?;
        let first_heads = heads.first().copied().unwrap_or(0);
        let hidden = header.number("embedding_length")?.unwrap_or(0);
        let usual = hidden.checked_div(first_heads).unwrap_or(0);
        let length = |key: &str, usual| Ok(header.number(key)?.unwrap_or(usual));
        let head =
            [length("attention.key_length", usual)?, length("attention.value_length", usual)?];
        let windowed_head = [
            length("attention.key_length_swa", head[0])?,
            length("attention.value_length_swa", head[1])?,
        ];
        let kv_heads = match header.value("attention.head_count_kv") {
            Some(_) => header.each("attention.head_count_kv", 0)?,
            None => heads,
        };
        let (window, windowed) = windows(header, &kv_heads)?;
        let [inputs, state] = state_sizes(header, hidden, first_heads, head[0])?;
        let interval = header.number("full_attention_interval")?.unwrap_or(4).max(1);
        let listed = header.flags("attention.recurrent_layers");
        let recurrent = listed.unwrap_or_else(|| {
            (1..=header.n_layers).map(|n| !n.is_multiple_of(interval)).collect()
        });
        let index_layers = header.flags("attention.indexer.types");
        let has_indexer = (INDEXED.contains(&architecture) || architecture == DEEPSEEK_V4)
            && (architecture != "hy_v4" || header.number("attention.indexer.top_k")?.is_some());
        let indexer = header.number("attention.indexer.key_length")?.filter(|_| has_indexer);
        let sharing = match architecture {
            "gemma3n" => 20,
            "gemma4" => {
                let shared = header.number("attention.shared_kv_layers")?.unwrap_or(0);
                header.n_layers.saturating_sub(shared)
            }
            _ => u64::MAX,
        };
        let by_list = INDEXED_BY_LIST.contains(&architecture);
        Ok(Self {
            architecture,
            kv_heads,
            ffn: header.each("feed_forward_length", 0)?,
            head,
            windowed_head,
            is_latent: header.number("attention.key_length_mla")?.is_some_and(|n| n > 0)
                && header.number("attention.kv_lora_rank")?.is_some(),
            windowed,
            window,
            states: states(architecture),
            recurrent,
            inputs,
            state,
            first_sharing: sharing,
            indexer: indexer.unwrap_or(0),
            first_indexed: match architecture {
                "minimax-m3" => header.number("leading_dense_block_count")?.unwrap_or(0),
                _ => 0,
            },
            indexed: if by_list { index_layers.unwrap_or_default() } else { Vec::new() },
            compresses: if architecture == DEEPSEEK_V4 {
                Some(header.each("attention.compress_ratios", 0)?)
            } else {
                None
            },
        })
    }

    fn layer(&self, index: u64) -> CachedLayer {
        let at = usize::try_from(index).unwrap_or(usize::MAX);
        let of = |list: &[u64]| list.get(at).copied().unwrap_or(0);
        let is = |list: &[bool]| list.get(at).copied().unwrap_or(false);
        if WITHOUT.contains(&self.architecture) {
            return CachedLayer::default();
        }
        if let Some(ratios) = &self.compresses {
            return CachedLayer {
                windowed: true,
                key_head: self.head[0],
                keys: self.head[0],
                index_keys: self.indexer,
                compresses: Some(of(ratios)),
                ..CachedLayer::default()
            };
        }
        let (kv_heads, mlp) = (of(&self.kv_heads), of(&self.ffn));
        let [keeps_keys, keeps_state] = match self.states {
            States::None => [true, false],
            States::All => [false, true],
            States::Beside => [true, true],
            States::WithoutKeys => [kv_heads > 0, kv_heads == 0],
            States::WithoutKeysAndMlp => [mlp == 0 && kv_heads > 0, mlp == 0 && kv_heads == 0],
            States::AllBut => [!is(&self.recurrent), is(&self.recurrent)],
        };
        let windowed = is(&self.windowed);
        let [key, value] = if windowed { self.windowed_head } else { self.head };
        let own = keeps_keys && index < self.first_sharing;
        let elements = |head: u64| if own { head.saturating_mul(kv_heads) } else { 0 };
        let indexes = keeps_keys
            && index >= self.first_indexed
            && (self.indexed.is_empty() || is(&self.indexed))
            && !windowed;
        CachedLayer {
            windowed,
            key_head: key,
            value_head: value,
            keys: elements(key),
            values: if self.is_latent { 0 } else { elements(value) },
            index_keys: if indexes { self.indexer } else { 0 },
            index_values: if indexes && self.architecture == "minimax-m3" { value } else { 0 },
            inputs: if keeps_state { self.inputs } else { 0 },
            state: if keeps_state { self.state } else { 0 },
            compresses: None,
            is_mlp: self.states == States::WithoutKeysAndMlp && mlp > 0,
        }
    }
}

/// The size of windows, and which layers have one.
fn windows(header: &Header<'_>, kv_heads: &[u64]) -> Result<(Option<u64>, Vec<bool>), SourceError> {
    let all = WINDOWS.iter().chain([&SMALL_THINKER]);
    let none = Ok((None, Vec::new()));
    let Some(rule) = all.into_iter().find(|rule| rule.architecture == header.prefix) else {
        return none;
    };
    let stated = header.number("attention.sliding_window")?;
    // Llama 4 has windows unless its file says that it has none, SmallThinker where its file says that it has.
    let size = match (stated, rule.is_stated) {
        (Some(0), _) => None,
        (None, false) if rule.architecture == SMALL_THINKER.architecture => None,
        (Some(size), true) => Some(size),
        (_, false) | (None, true) => rule.size,
    };
    // EXAONE 4 has windows where it has 64 layers.
    let is_small = header.prefix == "exaone4" && header.n_layers != 64;
    let Some(size) = size.filter(|_| !is_small) else { return none };
    let listed = header.flags(PATTERN);
    let windowed = match rule.windows {
        Windows::All => kv_heads.iter().map(|&n| n > 0).collect(),
        Windows::Listed => listed.unwrap_or_default(),
        Windows::AllBut(usual, first) => {
            let period = header.number(PATTERN).ok().flatten().unwrap_or(usual);
            let is_full = |index: u64| match first {
                First::Windowed => period != 0 && index % period == period - 1,
                First::Full => period != 0 && index.is_multiple_of(period),
            };
            listed.unwrap_or_else(|| (0..header.n_layers).map(|n| !is_full(n)).collect())
        }
    };
    Ok((Some(size), windowed))
}

/// Which layers have a window.
const PATTERN: &str = "attention.sliding_window_pattern";

/// Elements of a sequence's convolution inputs and of its state, in a layer that keeps them
/// (`llama_hparams::n_embd_r`, `n_embd_s`).
fn state_sizes(
    header: &Header<'_>,
    hidden: u64,
    heads: u64,
    head: u64,
) -> Result<[u64; 2], SourceError> {
    let number = |key: &str| Ok::<u64, SourceError>(header.number(key)?.unwrap_or(0));
    let product = |factors: &[u64]| factors.iter().fold(1u64, |all, &n| all.saturating_mul(n));
    match header.prefix {
        "rwkv6" | "rwkv6qwen2" | "rwkv7" | "arwkv7" => {
            let shifts = header.number("token_shift_count")?.unwrap_or(2);
            let size = number("wkv.head_size")?;
            Ok([product(&[shifts, hidden]), product(&[hidden, size])])
        }
        "lfm2" | "lfm2moe" | "lfm3" => {
            Ok([product(&[hidden, number("shortconv.l_cache")?.saturating_sub(1)]), 0])
        }
        "kimi-linear" | "kimi-k3" | "bailingmoe3" | "glm5-next" => {
            let size = number("kda.head_dim")?;
            let history = number("ssm.conv_kernel")?.checked_sub(1).unwrap_or(3);
            Ok([product(&[3, history, heads, size]), product(&[size, size, heads])])
        }
        "minimax-01" => Ok([0, product(&[head, head, heads])]),
        _ => {
            let (inner, state) = (number("ssm.inner_size")?, number("ssm.state_size")?);
            // Mamba 1 has no groups.
            let groups = match header.prefix {
                "mamba" | "jamba" => 0,
                _ => number("ssm.group_count")?,
            };
            let history = number("ssm.conv_kernel")?.saturating_sub(1);
            let width = inner.saturating_add(product(&[2, groups, state]));
            Ok([product(&[history, width]), product(&[state, inner])])
        }
    }
}

/// How many numbers a list may have: one a layer.
pub(super) fn fits(count: usize, layers: u64) -> bool {
    to_u64(count) >= layers
}
