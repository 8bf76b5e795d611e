//! Families that are known not to be modelled, and why: an error that says so is worth more than a list
//! of what is.
//!
//! Names: `model_type` of transformers 5.23 (`models/`), `general.architecture` of llama.cpp
//! (`src/llama-arch.cpp`).

/// Why a family is not modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unmodelled {
    /// `model_type`s of `config.json`.
    model_types: &'static [&'static str],
    /// `general.architecture`s of GGUF files.
    gguf: &'static [&'static str],
    /// What its layers have that no formula covers.
    pub(super) why: &'static str,
    /// What to do instead.
    pub(super) hint: &'static str,
}

const OTHER: &str = "no figure is better than a wrong one: `vramplan profiles list models` shows the \
    families that are modelled";

const fn family(
    model_types: &'static [&'static str],
    gguf: &'static [&'static str],
    why: &'static str,
) -> Unmodelled {
    Unmodelled { model_types, gguf, why, hint: OTHER }
}

const TABLE: &[Unmodelled] = &[
    Unmodelled {
        model_types: &["siglip", "siglip_vision_model", "clip", "clip_vision_model", "pixtral"],
        gguf: &["clip"],
        why: "it is a vision tower without its language model",
        hint: "name the language model's own file: the tower lies beside it",
    },
    family(&[], &["mllama"], "its cross-attention layers keep keys and values of an image's tiles"),
    family(
        &["mamba", "mamba2", "falcon_mamba"],
        &["mamba", "mamba2"],
        "it has state-space layers and no attention",
    ),
    family(&["jamba"], &["jamba"], "its layers alternate between Mamba-1 and attention"),
    family(&[], &["falcon-h1"], "every layer has attention and a state-space part side by side"),
    family(
        &[],
        &["nemotron_h", "nemotron_h_moe"],
        "its layers are attention, state space or an MLP alone",
    ),
    family(&["zamba", "zamba2", "plamo2"], &["plamo2"], "some layers keep a state-space state"),
    family(&["lfm3", "lfm3_vl"], &["lfm2", "lfm2moe"], "some layers are short convolutions"),
    family(
        &["recurrent_gemma", "rwkv", "rwkv7", "xlstm", "minimax", "minimax_m1"],
        &["rwkv6", "rwkv7", "rwkv6qwen2", "arwkv7", "kimi-linear", "minimax-01"],
        "its recurrent layers are of a kind that is not known here",
    ),
    family(
        &[],
        &["gemma3n"],
        "it has embeddings of every layer, low-rank residual streams and shared caches",
    ),
    family(&[], &["llama4"], "some layers attend in chunks, and only some have experts"),
    family(
        &["bailing_moe_linear", "bailing_moe_linear_v2"],
        &[],
        "its linear layers keep a state of a kind that is not known here",
    ),
    family(
        &["deepseek_v41", "inkling", "inkling_mm_model", "inkling_text"],
        &[],
        "its attention and its experts are of kinds that no formula here covers",
    ),
    family(
        &[
            "bert-generation",
            "biogpt",
            "blip",
            "blip_text_model",
            "blip-2",
            "blt",
            "chameleon",
            "cpmant",
            "ctrl",
            "diffllama",
            "doge",
            "emu3",
            "git",
            "gpt_neox_japanese",
            "hrm_text",
            "idefics",
            "instructblip",
            "instructblipvideo",
            "jetmoe",
            "kosmos-2",
            "kosmos-2.5",
            "kosmos_2_text_model",
            "kosmos_2_5_text_model",
            "kyutai_speech_to_text",
            "modernbert-decoder",
            "moshi",
            "openai-gpt",
            "pi0",
            "reformer",
            "xglm",
        ],
        &[],
        "its layers have tensors of their own, which are not listed here",
    ),
    family(
        &[
            "axk2",
            "beam",
            "dory",
            "dots3_note",
            "dots3_note_text",
            "flint",
            "hy_v4",
            "hy_v4_vl",
            "hy_v4_vl_text",
            "inkling2",
            "inkling2_loop",
            "inkling2_loop_text",
            "inkling2_text",
            "lara_mini",
            "longcat_flash",
            "muse_spark",
            "muse_spark_text",
            "gemma4_assistant",
            "gemma4_unified_assistant",
            "mistral_large4",
            "mistral_large4_text",
            "unlimited_ocr",
            "unlimited_ocr_text",
            "zaya",
        ],
        &[],
        "its attention, its experts or its recurrent layers are of kinds that no formula here covers",
    ),
    family(
        &["openelm"],
        &["openelm"],
        "its heads and MLPs differ from layer to layer by a rule of its own",
    ),
    family(
        &[],
        &["deci"],
        "`block_configs` leaves attention or the MLP out of some layers, or makes them linear",
    ),
    family(
        &[],
        &["deepseek32", "deepseek4", "glm-dsa", "glm5-next"],
        "an indexer keeps a cache of its own beside the latent vectors",
    ),
    family(
        &[
            "bart",
            "bigbird_pegasus",
            "blenderbot",
            "blenderbot-small",
            "canary",
            "cohere_asr",
            "dia",
            "encoder-decoder",
            "florence2",
            "fsmt",
            "led",
            "longt5",
            "m2m_100",
            "marian",
            "mbart",
            "moonshine",
            "moonshine_streaming",
            "mt5",
            "musicgen",
            "musicgen_melody",
            "mvp",
            "nllb-moe",
            "pegasus",
            "pegasus_x",
            "pix2struct",
            "pix2struct_text_model",
            "plbart",
            "pop2piano",
            "pp_formulanet",
            "pp_formulanet_text",
            "prophetnet",
            "seamless_m4t",
            "seamless_m4t_v2",
            "speech-encoder-decoder",
            "speech_to_text",
            "speecht5",
            "switch_transformers",
            "t5",
            "t5gemma",
            "t5gemma2",
            "trocr",
            "udop",
            "umt5",
            "vision-encoder-decoder",
            "whisper",
        ],
        &["t5", "t5encoder"],
        "an encoder stands beside the decoder",
    ),
    family(
        &[
            "albert",
            "bert",
            "big_bird",
            "camembert",
            "convbert",
            "data2vec-text",
            "deberta",
            "deberta-v2",
            "distilbert",
            "electra",
            "ernie",
            "ernie_m",
            "esm",
            "eurobert",
            "flaubert",
            "funnel",
            "jina_bert",
            "longformer",
            "megatron-bert",
            "modernbert",
            "mpnet",
            "nomic_bert",
            "nystromformer",
            "rembert",
            "roberta",
            "roberta-prelayernorm",
            "roc_bert",
            "roformer",
            "squeezebert",
            "xlm",
            "xlm-roberta",
            "xlm-roberta-xl",
            "xlnet",
            "xmod",
        ],
        &["bert", "modern-bert", "nomic-bert", "nomic-bert-moe", "gemma-embedding"],
        "it is an encoder, which has no cache",
    ),
    family(&["phi4_multimodal"], &["qwen3tts"], "it has audio towers"),
];

/// Why the family that a `model_type` names is not modelled.
pub(super) fn model_type(name: &str) -> Option<&'static Unmodelled> {
    TABLE.iter().find(|family| family.model_types.contains(&name))
}

/// Why the class that a `config.json` names is not modelled: Ling and Ring 2.5 have the `model_type` of Ling 3.
pub(super) fn class(name: &str) -> Option<&'static Unmodelled> {
    let is_linear = name == "BailingMoeV2_5ForCausalLM";
    is_linear.then(|| model_type("bailing_moe_linear")).flatten()
}

/// Why the family that a GGUF file names is not modelled.
pub(super) fn gguf_name(name: &str) -> Option<&'static Unmodelled> {
    TABLE.iter().find(|family| family.gguf.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::super::error::At;
    use super::*;

    #[test]
    fn a_class_is_told_from_another_of_its_model_type() {
        assert_eq!(class("BailingMoeV2_5ForCausalLM"), model_type("bailing_moe_linear"));
        assert!(
            class("BailingMoeV2_5ForCausalLM").is_some()
                && class("BailingMoeV3ForCausalLM").is_none()
        );
    }
    use crate::spec::Architecture;

    #[test]
    fn no_modelled_family_is_called_unmodelled() {
        for &architecture in Architecture::ALL {
            let known = Architecture::from_gguf_name(architecture.gguf_name()).is_some();
            let name = gguf_name(architecture.gguf_name());
            assert!(!known || name.is_none(), "{architecture}");
        }
        let names = TABLE.iter().flat_map(|family| family.model_types);
        for name in names {
            assert_eq!(Architecture::from_model_type(name), None, "{name}");
        }
    }

    #[test]
    fn every_refusal_says_why_and_what_to_do() {
        for family in TABLE {
            for name in family.model_types.iter().chain(family.gguf) {
                let error = At::named("m").unmodelled("model_type", name, family);
                let text = error.to_string();
                assert!(text.contains(&format!("`model_type` = \"{name}\" is not modelled")));
                assert!(text.ends_with(family.why) && error.hint().is_some(), "{text}");
            }
        }
    }
}
