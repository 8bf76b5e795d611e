//! The format that the end of a repository's name tells: `Qwen3-8B-AWQ`, `Llama-3.1-8B-Instruct-GGUF:Q4_K_M`.

use crate::dtype::{FileType, KvFormat, WeightFormat};

/// Endings of names, the longest first where one ends in another, and the formats that they are known to mean.
const ENDINGS: [(&str, WeightFormat); 40] = [
    ("-unsloth-bnb-4bit", NF4),
    ("-bnb-4bit", NF4),
    ("-nf4", NF4),
    ("-bnb-8bit", WeightFormat::Int8),
    ("-awq-int4", AWQ),
    ("-awq-4bit", AWQ),
    ("-4bit-awq", AWQ),
    ("-awq", AWQ),
    ("-gptq-int8", GPTQ8),
    ("-gptq-8bit", GPTQ8),
    ("-gptq-int4", GPTQ),
    ("-gptq-4bit", GPTQ),
    ("-gptq", GPTQ),
    ("-int4-autoround", GPTQ),
    ("-w4a16-autoround", GPTQ),
    ("-4bit-autoround", GPTQ),
    ("-int8-autoround", GPTQ8),
    ("-autoround-int4", GPTQ),
    ("-autoround-w4a16", GPTQ),
    ("-autoround-4bit", GPTQ),
    ("-autoround-int8", GPTQ8),
    ("-autoround", GPTQ),
    ("-fp8-dynamic", WeightFormat::Fp8Dynamic),
    ("-fp8-block", WeightFormat::Fp8Block),
    ("-fp8", WeightFormat::Fp8Block),
    ("-quantized.w4a16", WeightFormat::W4A16),
    ("-int4-w4a16", WeightFormat::W4A16),
    ("-w4a16-ct", WeightFormat::W4A16),
    ("-w4a16", WeightFormat::W4A16),
    ("-quantized.w8a8", WeightFormat::W8A8),
    ("-int8-w8a8", WeightFormat::W8A8),
    ("-w8a8", WeightFormat::W8A8),
    ("-nvfp4", WeightFormat::Nvfp4),
    ("-fp4", WeightFormat::Nvfp4),
    ("-mxfp4", WeightFormat::Mxfp4),
    ("-bf16", WeightFormat::Bf16),
    ("-fp16", WeightFormat::F16),
    ("-mxfp4-gguf", WeightFormat::Gguf(FileType::Mxfp4Moe)),
    ("-i1-gguf", DEFAULT_FILE),
    ("-gguf", DEFAULT_FILE),
];

const NF4: WeightFormat = WeightFormat::Nf4 { double_quant: false };
const AWQ: WeightFormat = WeightFormat::AwqInt4 { group: 128 };
const GPTQ: WeightFormat = WeightFormat::GptqInt4 { group: 128 };
const GPTQ8: WeightFormat = WeightFormat::Gptq { bits: 8, group: 128 };
/// What `llama-server -hf` takes of a repository where no file is named.
const DEFAULT_FILE: WeightFormat = WeightFormat::Gguf(FileType::Q4KM);

/// Who publish 8-bit floats with one scale for a weight under the name of `-FP8`.
const ONE_SCALE: [&str; 3] = ["redhatai", "neuralmagic", "nvidia"];
/// What stands between a publisher and a model: on the hub, in folders that are named after repositories.
const BEHIND_PUBLISHER: [&str; 3] = ["/", "__", "--"];

/// The name without its format, and the format; nothing where the name tells none.
pub(super) fn split(name: &str) -> Option<(&str, WeightFormat)> {
    let name = name.trim();
    let name = without_ending(name, ".gguf").unwrap_or(name);
    let (mut base, mut format) =
        of_a_repository(name).or_else(|| of_a_file(name)).or_else(|| trained_for_it(name))?;
    // A repository of files may say of which type they are: `…-q4_0-gguf`.
    if is_whole_repository(name)
        && let Some(of_files) = of_a_file(base)
    {
        (base, format) = of_files;
    }
    // Trained to be quantized so: the same model.
    Some((without_ending(base, "-qat").filter(|base| !base.is_empty()).unwrap_or(base), format))
}

/// The name without a format whose tensors are each of a type of their own, as in `Qwen3.6-27B-UD-Q4_K_XL`; the type that most are
/// like, where there is one.
pub(super) fn mixed(name: &str) -> Option<(&str, Option<FileType>)> {
    let name = without_ending(name.trim(), ".gguf").unwrap_or(name.trim());
    let lower = name.to_ascii_lowercase();
    let at = lower.rfind("ud-")?;
    let base = name.get(..at)?.trim_end_matches(['-', '.', ':', ' ', '_']);
    let base = without_ending(base, "-gguf").unwrap_or(base);
    let kind = lower.get(at + "ud-".len()..)?;
    let size = kind.rsplit_once('_').map_or(kind, |(size, _)| size);
    let like = [format!("{size}_m"), size.to_owned(), kind.to_owned()];
    let found = like.iter().find_map(|like| FileType::ALL.iter().find(|file| file.name() == like));
    (!base.is_empty()).then_some((base, found.copied()))
}

/// The format of caches of what NVIDIA publishes in 8 or 4 bits, whose scales come with it (`kv_cache_quant_algo`).
pub(super) fn cache_of_name(name: &str, format: WeightFormat) -> Option<KvFormat> {
    let is_scaled = matches!(format, WeightFormat::Fp8 | WeightFormat::Nvfp4);
    let rest = name.trim().to_ascii_lowercase();
    let rest = rest.strip_prefix("nvidia")?;
    let is_published = BEHIND_PUBLISHER.iter().any(|mark| rest.starts_with(mark));
    (is_scaled && is_published).then_some(KvFormat::Fp8)
}

/// The format that a name ends in: `nvfp4` of `nvidia/Qwen3.6-27B-NVFP4`.
pub fn format_of_name(name: &str) -> Option<WeightFormat> {
    split(name).map(|(_, format)| format)
}

/// Whether a name is that of a repository of GGUF files, and names none of them.
pub(super) fn is_whole_repository(name: &str) -> bool {
    !name.contains(':') && without_ending(name.trim(), "-gguf").is_some()
}

/// A repository whose name ends in what its publishers call a format.
fn of_a_repository(name: &str) -> Option<(&str, WeightFormat)> {
    let lower = name.to_ascii_lowercase();
    let (repository, file) = match lower.rsplit_once(':') {
        Some((repository, file)) => (repository, Some(file)),
        None => (lower.as_str(), None),
    };
    let mut endings = ENDINGS.iter().filter(|(ending, _)| repository.ends_with(ending));
    let (ending, format) = endings.next()?;
    let base = name.get(..repository.len() - ending.len()).filter(|base| !base.is_empty())?;
    let is_by = |publisher: &str| {
        let rest = repository.strip_prefix(publisher);
        rest.is_some_and(|rest| BEHIND_PUBLISHER.iter().any(|mark| rest.starts_with(mark)))
    };
    let has_one_scale = ONE_SCALE.into_iter().any(is_by);
    let format = match (file, format) {
        (Some(file), WeightFormat::Gguf(_)) => file.parse().ok()?,
        (Some(_), _) => return None,
        (None, WeightFormat::AwqInt4 { .. }) if is_by("cyankiwi") => {
            WeightFormat::AwqInt4 { group: 32 }
        }
        (None, WeightFormat::Fp8Block) if *ending == "-fp8" && has_one_scale => WeightFormat::Fp8,
        (None, format) => *format,
    };
    Some((base, format))
}

/// A file or a tag whose name ends in a file type of GGUF, as in `qwen3-8b-Q4_K_M` or `llama3.1:8b-instruct-q8_0`.
fn of_a_file(name: &str) -> Option<(&str, WeightFormat)> {
    const FLOATS: [(&str, WeightFormat); 3] =
        [("bf16", WeightFormat::Bf16), ("fp16", WeightFormat::F16), ("f16", WeightFormat::F16)];
    let types = FileType::ALL.iter().map(|file| (file.name(), WeightFormat::Gguf(*file)));
    types.chain(FLOATS).find_map(|(ending, format)| {
        let before = without_ending(name, ending)?;
        let base = before.strip_suffix(['-', '.', ':', ' ', '_'])?;
        (!base.is_empty()).then_some((base, format))
    })
}

/// A name that ends in `qat` as Ollama's tags do and people say it: `gemma3:27b-it-qat` and its like are of `Q4_0`. Of a repository the
/// name does not tell which of several formats it has.
fn trained_for_it(name: &str) -> Option<(&str, WeightFormat)> {
    let base = without_ending(name, "qat")?.strip_suffix(['-', ' ', '_'])?;
    let is_tag = !base.is_empty() && !name.contains('/');
    is_tag.then_some((base, WeightFormat::Gguf(FileType::Q4_0)))
}

/// The text without an ending, whatever its case.
fn without_ending<'a>(text: &'a str, ending: &str) -> Option<&'a str> {
    let at = text.len().checked_sub(ending.len())?;
    let found = text.get(at..)?;
    found.eq_ignore_ascii_case(ending).then(|| text.get(..at)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixtures_are_like_a_type() {
        for (name, base, like) in [
            ("Qwen3.6-27B-UD-Q4_K_XL", "Qwen3.6-27B", Some("q4_k_m")),
            ("unsloth/x-GGUF:UD-Q4_K_XL", "unsloth/x", Some("q4_k_m")),
            ("x-UD-IQ2_M.gguf", "x", Some("iq2_m")),
            ("x-UD-Q8_K_XL", "x", None),
            ("x-UD-Q2_K_XL", "x", Some("q2_k")),
        ] {
            let like =
                like.map(|like| FileType::ALL.iter().copied().find(|f| f.name() == like).unwrap());
            assert_eq!(mixed(name), Some((base, like)), "{name}");
        }
        for name in ["UD-Q4_K_XL", "x-Q4_K_M", "cloud-9b"] {
            assert!(mixed(name).is_none_or(|(_, like)| like.is_none()), "{name}");
        }
    }

    #[test]
    fn endings_tell_formats() {
        for (name, base, format) in [
            ("Qwen/Qwen3-30B-A3B-FP8", "Qwen/Qwen3-30B-A3B", "fp8-block"),
            ("RedHatAI/Llama-3.1-8B-FP8", "RedHatAI/Llama-3.1-8B", "fp8"),
            ("nvidia__Nemotron-FP8", "nvidia__Nemotron", "fp8"),
            ("nvidia--Nemotron-FP8", "nvidia--Nemotron", "fp8"),
            ("nvidiana/x-FP8", "nvidiana/x", "fp8-block"),
            ("Qwen/Qwen2.5-7B-Instruct-AWQ", "Qwen/Qwen2.5-7B-Instruct", "awq-int4"),
            ("cyankiwi/gemma-4-31B-it-AWQ-4bit", "cyankiwi/gemma-4-31B-it", "awq-int4-g32"),
            ("x-GPTQ-Int8", "x", "gptq-int8"),
            ("unsloth/x-unsloth-bnb-4bit", "unsloth/x", "nf4"),
            ("bartowski/x-GGUF:Q4_K_M", "bartowski/x", "q4_k_m"),
            ("nvidia/x-NVFP4", "nvidia/x", "nvfp4"),
            ("x-q4_k_m", "x", "q4_k_m"),
            ("dbirks/Qwen3.8-27B-W4A16-AutoRound", "dbirks/Qwen3.8-27B", "gptq-int4"),
            ("Intel/x-int4-AutoRound", "Intel/x", "gptq-int4"),
            (
                "/root/.cache/huggingface/x-autoround-int4",
                "/root/.cache/huggingface/x",
                "gptq-int4",
            ),
            ("google/gemma-4-12b-it-qat-w4a16", "google/gemma-4-12b-it", "w4a16"),
            ("google/gemma-4-12b-it-qat-q4_0-gguf", "google/gemma-4-12b-it", "q4_0"),
            ("gemma-4-12b-it-qat-q4_0", "gemma-4-12b-it", "q4_0"),
            ("x.Q8_0.gguf", "x", "q8_0"),
            ("x Q4_K_S", "x", "q4_k_s"),
            ("llama3.1:8b-instruct-q4_K_M", "llama3.1:8b-instruct", "q4_k_m"),
            ("qwen3-8b:Q8_0", "qwen3-8b", "q8_0"),
            ("llama3.1:8b-instruct-fp16", "llama3.1:8b-instruct", "f16"),
            ("gemma3:27b-it-qat", "gemma3:27b-it", "q4_0"),
            ("gemma3 27b qat", "gemma3 27b", "q4_0"),
        ] {
            assert_eq!(split(name), Some((base, format.parse().unwrap())), "{name}");
        }
        for name in [
            "qwen3:30b",
            "Qwen/Qwen3-8B",
            "-AWQ",
            "x-GGUF:UD-Q4_K_XL",
            "x-AWQ:main",
            "-q8_0",
            "xq8_0",
            "google/gemma-3-27b-it-qat",
            "-qat",
        ] {
            assert_eq!(split(name), None, "{name}");
        }
    }
}
