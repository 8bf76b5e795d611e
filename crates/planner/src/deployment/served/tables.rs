//! The flags of engines' commands, as far as they are not in tables of what is certain.

use super::super::Question;
use super::super::command_line::{
    Effect, Flag, cache_type, captured, cells, chunk, copies, level, number, parsed, ranks, stages,
};
use crate::dtype::WeightFormat;
use crate::spec::{Attention, Count, MediaLimits, Split};
use crate::units::Bytes;

/// Flags of all engines that change memory in ways that are not planned, and whether each takes a value.
pub(super) fn not_planned() -> impl Iterator<Item = &'static (&'static str, bool)> {
    NOT_PLANNED_LLAMA.iter().chain(NOT_PLANNED_VLLM).chain(NOT_PLANNED_SGLANG)
}

/// llama.cpp's.
const NOT_PLANNED_LLAMA: &[(&str, bool)] = &[
    ("-ncffn", true),
    ("--n-cpu-ffn", true),
    ("--moe-cache-mib", true),
    ("--rpc", true),
    ("-otd", true),
    ("--override-tensor-draft", true),
    ("-ncmoed", true),
    ("--n-cpu-moe-draft", true),
    ("-cmoed", false),
    ("--cpu-moe-draft", false),
    ("-devd", true),
    ("--device-draft", true),
    ("--control-vector", true),
    ("--control-vector-scaled", true),
    ("--lora-scaled", true),
    ("--no-mmproj-offload", false),
    ("--mmproj-url", true),
    ("--image-max-tokens", true),
    ("--embedding", false),
    ("--embeddings", false),
    ("--reranking", false),
    ("--kv-unified-per-slot", true),
];

/// vLLM's.
pub(super) const NOT_PLANNED_VLLM: &[(&str, bool)] = &[
    ("--attention-backend", true),
    ("--compilation-config", true),
    ("-cc", true),
    ("--cudagraph-capture-sizes", true),
    ("--cuda-graph-sizes", true),
    ("--enable-sleep-mode", false),
    ("--enable-eplb", false),
    ("--enable-dbo", false),
    ("--kv-transfer-config", true),
    ("--num-gpu-blocks-override", true),
    ("--mm-encoder-tp-mode", true),
    ("--disable-hybrid-kv-cache-manager", false),
    ("--fully-sharded-loras", false),
    ("--prefill-context-parallel-size", true),
    ("--all2all-backend", true),
    ("--max-seq-len-to-capture", true),
    ("--task", true),
    ("--runner", true),
    ("--convert", true),
];

/// `SGLang`'s.
pub(super) const NOT_PLANNED_SGLANG: &[(&str, bool)] = &[
    ("--attention-backend", true),
    ("--cuda-graph-bs", true),
    ("--enable-torch-compile", false),
    ("--torch-compile-max-bs", true),
    ("--torchao-config", true),
    ("--enable-hierarchical-cache", false),
    ("--hicache-ratio", true),
    ("--hicache-size", true),
    ("--enable-lora", false),
    ("--lora-paths", true),
    ("--max-loras-per-batch", true),
    ("--max-lora-rank", true),
    ("--lora-target-modules", true),
    ("--cpu-offload-gb", true),
    ("--moe-a2a-backend", true),
    ("--moe-runner-backend", true),
    ("--moe-dense-tp-size", true),
    ("--enable-dp-lm-head", false),
    ("--enable-two-batch-overlap", false),
    ("--enable-eplb", false),
    ("--ep-num-redundant-experts", true),
    ("--deepep-mode", true),
    ("--prefill-attention-backend", true),
    ("--decode-attention-backend", true),
    ("--disaggregation-mode", true),
    ("--max-prefill-tokens", true),
    ("--swa-full-tokens-ratio", true),
    ("--mamba-full-memory-ratio", true),
    ("--max-mamba-cache-size", true),
    ("--enable-memory-saver", false),
    ("--is-embedding", false),
    ("--speculative-adaptive", false),
    ("--speculative-token-map", true),
    ("--speculative-draft-model-quantization", true),
    ("--speculative-draft-attention-backend", true),
    ("--speculative-moe-runner-backend", true),
    ("--speculative-draft-window-size", true),
    ("--speculative-draft-kv-cache-dtype", true),
];

/// Flags of servers that others begin with, and that are read before their parser sees them or do not matter.
pub(super) const WRITTEN_OUT: [&str; 8] = [
    "--config",
    "--help",
    "--version",
    "--device",
    "--api-key",
    "--quantization-param-path",
    "--log-requests",
    "--task",
];

/// Flags with the values that are what is planned anyway; other values are not planned.
pub(super) const AS_PLANNED: &[(&str, &[&str])] = &[
    ("-ngld", &["all", "auto", "-1", "99", "999"]),
    ("--gpu-layers-draft", &["all", "auto", "-1", "99", "999"]),
    ("--n-gpu-layers-draft", &["all", "auto", "-1", "99", "999"]),
    ("--spec-draft-ngl", &["all", "auto", "-1", "99", "999"]),
    ("-cd", &["0"]),
    ("--ctx-size-draft", &["0"]),
    ("-ctkd", &["f16"]),
    ("-ctvd", &["f16"]),
    ("--cache-type-k-draft", &["f16"]),
    ("--cache-type-v-draft", &["f16"]),
    ("-dev", &["CUDA0"]),
    ("--device", &["CUDA0", "cuda"]),
    ("--speculative-draft-model-quantization", &["unquant"]),
    ("--moe-a2a-backend", &["none"]),
    ("--moe-runner-backend", &["auto"]),
    ("--attention-backend", &["auto"]),
    ("--task", &["auto", "generate"]),
    ("--runner", &["auto", "generate"]),
    ("--convert", &["auto", "none"]),
    ("--mm-encoder-tp-mode", &["weights"]),
];

/// Flags that take several values, one behind the other.
pub(super) const SEVERAL: [&str; 9] = [
    "--served-model-name",
    "--lora-modules",
    "--lora-paths",
    "--lora-target-modules",
    "--cuda-graph-bs",
    "--cudagraph-capture-sizes",
    "--cuda-graph-sizes",
    "--allowed-origins",
    "--middleware",
];

/// Ollama's, by `envconfig/config.go`.
pub(super) const OLLAMA_VARIABLES: &[Flag] = &[
    ("OLLAMA_CONTEXT_LENGTH", Effect::Sets(cells_or_own)),
    ("OLLAMA_SCHED_SPREAD", Effect::Sets(spread)),
    ("OLLAMA_NUM_PARALLEL", Effect::Sets(users)),
    ("OLLAMA_KV_CACHE_TYPE", Effect::Sets(cache_type)),
    ("OLLAMA_FLASH_ATTENTION", Effect::Sets(flash)),
    ("OLLAMA_HOST", Effect::Value),
    ("OLLAMA_MODELS", Effect::Value),
    ("OLLAMA_KEEP_ALIVE", Effect::Value),
    ("OLLAMA_DEBUG", Effect::Value),
    ("OLLAMA_ORIGINS", Effect::Value),
    ("OLLAMA_NOPRUNE", Effect::Value),
    ("OLLAMA_LOAD_TIMEOUT", Effect::Value),
    ("OLLAMA_MAX_LOADED_MODELS", Effect::Value),
    ("OLLAMA_MAX_QUEUE", Effect::Value),
    ("OLLAMA_NOHISTORY", Effect::Value),
    ("OLLAMA_TMPDIR", Effect::Value),
    ("OLLAMA_MULTIUSER_CACHE", Effect::Value),
    ("OLLAMA_REGISTRY", Effect::Value),
    ("OLLAMA_REMOTES", Effect::Value),
    ("OLLAMA_GPU_OVERHEAD", Effect::Sets(overhead)),
];

pub(super) const OLLAMA: &[Flag] = &[
    ("--verbose", Effect::Bare),
    ("--nowordwrap", Effect::Bare),
    ("--keepalive", Effect::Value),
    ("--format", Effect::Value),
    ("--think", Effect::Value),
    ("--hidethinking", Effect::Bare),
];

/// LM Studio's `lms load`.
pub(super) const LM_STUDIO: &[Flag] = &[
    ("--context-length", Effect::Sets(cells)),
    ("-c", Effect::Sets(cells)),
    ("--gpu", Effect::Sets(offload)),
    ("--parallel", Effect::Sets(users)),
    ("--identifier", Effect::Value),
    ("--ttl", Effect::Value),
    ("-y", Effect::Bare),
    ("--yes", Effect::Bare),
];

/// `KoboldCpp`'s.
pub(super) const KOBOLD: &[Flag] = &[
    ("--model", Effect::Model),
    ("-m", Effect::Model),
    ("--contextsize", Effect::Sets(cells)),
    ("--gpulayers", Effect::Sets(layers)),
    ("--quantkv", Effect::Sets(kobold_cache)),
    ("--flashattention", Effect::Turns(|question| question.attention = Some(Attention::Flash))),
    ("--usecublas", Effect::Bare),
    ("--usecuda", Effect::Bare),
    ("--port", Effect::Value),
    ("--threads", Effect::Value),
    ("--blasbatchsize", Effect::Sets(chunk)),
    ("--batchsize", Effect::Sets(chunk)),
    ("--blasthreads", Effect::Value),
    ("--host", Effect::Value),
    ("--usevulkan", Effect::Value),
    ("--useclblast", Effect::Value),
    ("--usemmap", Effect::Bare),
    ("--usemlock", Effect::Bare),
    ("--quiet", Effect::Bare),
    ("--skiplauncher", Effect::Bare),
    ("--nomodel", Effect::Bare),
    ("--multiuser", Effect::Bare),
    ("--noshift", Effect::Bare),
    ("--smartcontext", Effect::Bare),
    ("--launch", Effect::Bare),
];

/// llama.cpp's that `LLAMA` and `PLACED` do not have, or have only for what is certain.
pub(super) const LLAMA_HERE: &[Flag] = &[
    ("-c", Effect::Sets(cells_or_own)),
    ("--ctx-size", Effect::Sets(cells_or_own)),
    ("-cb", Effect::Bare),
    ("--cont-batching", Effect::Bare),
    ("-nocb", Effect::Bare),
    ("--no-cont-batching", Effect::Bare),
    ("--context-shift", Effect::Bare),
    ("--no-context-shift", Effect::Bare),
    ("--cache-reuse", Effect::Value),
    ("--reasoning-format", Effect::Value),
    ("--reasoning-budget", Effect::Value),
    ("--chat-template-file", Effect::Value),
    ("--chat-template-kwargs", Effect::Value),
    ("--offline", Effect::Bare),
    ("--slots", Effect::Bare),
    ("--no-slots", Effect::Bare),
    ("--props", Effect::Bare),
    ("--color", Effect::Bare),
    ("-i", Effect::Bare),
    ("--interactive", Effect::Bare),
    ("--repeat-penalty", Effect::Value),
    ("--presence-penalty", Effect::Value),
    ("--rope-scaling", Effect::Value),
    ("--rope-scale", Effect::Value),
    ("--rope-freq-base", Effect::Value),
    ("--rope-freq-scale", Effect::Value),
    ("--yarn-orig-ctx", Effect::Value),
    ("--prio", Effect::Value),
    ("--numa", Effect::Value),
    ("-to", Effect::Value),
    ("--timeout", Effect::Value),
    ("--hf-token", Effect::Value),
    ("--draft-min", Effect::Value),
    ("--draft-n-min", Effect::Value),
    ("--spec-draft-n-min", Effect::Value),
    ("--draft-p-min", Effect::Value),
    ("--spec-draft-p-min", Effect::Value),
    ("--draft-p-split", Effect::Value),
    ("--spec-draft-p-split", Effect::Value),
    ("-td", Effect::Value),
    ("--threads-draft", Effect::Value),
    ("-tbd", Effect::Value),
    ("--threads-batch-draft", Effect::Value),
    ("-C", Effect::Value),
    ("--cpu-mask", Effect::Value),
    ("-Cr", Effect::Value),
    ("--cpu-range", Effect::Value),
    ("--cpu-strict", Effect::Value),
    ("--poll", Effect::Value),
    ("--prio-batch", Effect::Value),
    ("--keep", Effect::Value),
    ("--yarn-ext-factor", Effect::Value),
    ("--yarn-attn-factor", Effect::Value),
    ("--yarn-beta-slow", Effect::Value),
    ("--yarn-beta-fast", Effect::Value),
    ("-dt", Effect::Value),
    ("--defrag-thold", Effect::Value),
    ("-lm", Effect::Value),
    ("--load-mode", Effect::Value),
    ("--override-kv", Effect::Value),
    ("-hff", Effect::Value),
    ("--hf-file", Effect::Value),
    ("-hft", Effect::Value),
    ("--log-colors", Effect::Value),
    ("--verbosity", Effect::Value),
    ("--samplers", Effect::Value),
    ("--sampling-seq", Effect::Value),
    ("--temperature", Effect::Value),
    ("--top-nsigma", Effect::Value),
    ("--xtc-probability", Effect::Value),
    ("--xtc-threshold", Effect::Value),
    ("--typical", Effect::Value),
    ("--repeat-last-n", Effect::Value),
    ("--frequency-penalty", Effect::Value),
    ("--dry-multiplier", Effect::Value),
    ("--dry-base", Effect::Value),
    ("--dry-allowed-length", Effect::Value),
    ("--dry-penalty-last-n", Effect::Value),
    ("--dry-sequence-breaker", Effect::Value),
    ("--dynatemp-range", Effect::Value),
    ("--dynatemp-exp", Effect::Value),
    ("--mirostat", Effect::Value),
    ("--mirostat-lr", Effect::Value),
    ("--mirostat-ent", Effect::Value),
    ("-l", Effect::Value),
    ("--logit-bias", Effect::Value),
    ("--grammar", Effect::Value),
    ("--grammar-file", Effect::Value),
    ("-j", Effect::Value),
    ("--json-schema", Effect::Value),
    ("-r", Effect::Value),
    ("--reverse-prompt", Effect::Value),
    ("-sys", Effect::Value),
    ("--system-prompt", Effect::Value),
    ("--tags", Effect::Value),
    ("--path", Effect::Value),
    ("--api-prefix", Effect::Value),
    ("--api-key-file", Effect::Value),
    ("--ssl-key-file", Effect::Value),
    ("--ssl-cert-file", Effect::Value),
    ("--threads-http", Effect::Value),
    ("--slot-save-path", Effect::Value),
    ("--media-path", Effect::Value),
    ("--reasoning-effort", Effect::Value),
    ("-sps", Effect::Value),
    ("--slot-prompt-similarity", Effect::Value),
    ("--sleep-idle-seconds", Effect::Value),
    ("--swa-checkpoints", Effect::Value),
    ("--ctx-checkpoints", Effect::Value),
    ("-ctxcp", Effect::Value),
    ("-cram", Effect::Value),
    ("--cache-ram", Effect::Value),
    ("-fitt", Effect::Value),
    ("--fit-target", Effect::Value),
    ("-fitc", Effect::Value),
    ("--fit-ctx", Effect::Value),
    ("--tools", Effect::Value),
    ("--webui-config-file", Effect::Value),
    ("--sse-ping-interval", Effect::Value),
    ("--in-prefix", Effect::Value),
    ("--in-suffix", Effect::Value),
    ("--image", Effect::Value),
    ("-e", Effect::Bare),
    ("--escape", Effect::Bare),
    ("--no-escape", Effect::Bare),
    ("--perf", Effect::Bare),
    ("--no-perf", Effect::Bare),
    ("--repack", Effect::Bare),
    ("-nr", Effect::Bare),
    ("--no-repack", Effect::Bare),
    ("--check-tensors", Effect::Bare),
    ("--log-disable", Effect::Bare),
    ("--log-prefix", Effect::Bare),
    ("--log-timestamps", Effect::Bare),
    ("-sp", Effect::Bare),
    ("--special", Effect::Bare),
    ("--warmup", Effect::Bare),
    ("--cache-prompt", Effect::Bare),
    ("--no-cache-prompt", Effect::Bare),
    ("--webui", Effect::Bare),
    ("--ui", Effect::Bare),
    ("--no-ui", Effect::Bare),
    ("--no-jinja", Effect::Bare),
    ("--prefill-assistant", Effect::Bare),
    ("--no-prefill-assistant", Effect::Bare),
    ("--spm-infill", Effect::Bare),
    ("-mli", Effect::Bare),
    ("--multiline-input", Effect::Bare),
    ("-co", Effect::Bare),
    ("--simple-io", Effect::Bare),
    ("--mmap", Effect::Bare),
    ("--kv-offload", Effect::Bare),
    ("-kvo", Effect::Bare),
    ("--op-offload", Effect::Bare),
    ("--cache-idle-slots", Effect::Bare),
    ("--no-cache-idle-slots", Effect::Bare),
    ("--reuse-port", Effect::Bare),
    ("--conversation", Effect::Bare),
    ("--no-mmproj-auto", Effect::Bare),
    ("--no-mmproj", Effect::Bare),
    ("-no-kvu", Effect::Turns(separate)),
    ("--no-kv-unified", Effect::Turns(separate)),
    ("-fit", Effect::Switches(nothing)),
    ("--fit", Effect::Switches(nothing)),
];

/// vLLM's that `VLLM` does not have, or has only for what is certain.
pub(super) const VLLM_HERE: &[Flag] = &[
    ("--quantization", Effect::Sets(quantization)),
    ("-q", Effect::Sets(quantization)),
    ("--dtype", Effect::Sets(dtype)),
    ("--mamba-ssm-cache-dtype", Effect::Sets(state_dtype)),
    ("--limit-mm-per-prompt", Effect::Sets(limits)),
    ("--limit-mm-per-prompt.image", Effect::Sets(images)),
    ("--limit-mm-per-prompt.video", Effect::Sets(videos)),
    ("--language-model-only", Effect::Turns(|question| question.language_model_only = true)),
    ("--skip-mm-profiling", Effect::Turns(|question| question.skip_mm_profiling = true)),
    ("--mm-processor-kwargs", Effect::Sets(processor)),
    ("--enable-chunked-prefill", Effect::Bare),
    ("--no-enable-chunked-prefill", Effect::Bare),
    ("--enable-auto-tool-choice", Effect::Bare),
    ("--tool-call-parser", Effect::Value),
    ("--reasoning-parser", Effect::Value),
    ("--enable-reasoning", Effect::Bare),
    ("--enable-log-requests", Effect::Bare),
    ("--no-enable-log-requests", Effect::Bare),
    ("--uvicorn-log-level", Effect::Value),
    ("--allowed-origins", Effect::Value),
    ("--distributed-executor-backend", Effect::Value),
    ("--revision", Effect::Value),
    ("--tokenizer-mode", Effect::Value),
    ("--config-format", Effect::Value),
    ("--generation-config", Effect::Value),
    ("--override-generation-config", Effect::Value),
    ("--max-log-len", Effect::Value),
    ("--disable-fastapi-docs", Effect::Bare),
    ("--response-role", Effect::Value),
    ("--code-revision", Effect::Value),
    ("--tokenizer-revision", Effect::Value),
    ("--hf-config-path", Effect::Value),
    ("--hf-token", Effect::Value),
    ("--hf-overrides", Effect::Value),
    ("--rope-scaling", Effect::Value),
    ("--rope-theta", Effect::Value),
    ("--allowed-local-media-path", Effect::Value),
    ("--allowed-media-domains", Effect::Value),
    ("--chat-template-content-format", Effect::Value),
    ("--chat-template-kwargs", Effect::Value),
    ("--default-chat-template-kwargs", Effect::Value),
    ("--guided-decoding-backend", Effect::Value),
    ("--structured-outputs-config", Effect::Value),
    ("--max-parallel-loading-workers", Effect::Value),
    ("--model-loader-extra-config", Effect::Value),
    ("--model-impl", Effect::Value),
    ("--safetensors-load-strategy", Effect::Value),
    ("--ignore-patterns", Effect::Value),
    ("--scheduling-policy", Effect::Value),
    ("--long-prefill-token-threshold", Effect::Value),
    ("--max-logprobs", Effect::Value),
    ("--logprobs-mode", Effect::Value),
    ("--max-long-partial-prefills", Effect::Value),
    ("--max-num-partial-prefills", Effect::Value),
    ("--num-scheduler-steps", Effect::Value),
    ("--stream-interval", Effect::Value),
    ("--master-addr", Effect::Value),
    ("--master-port", Effect::Value),
    ("--nnodes", Effect::Value),
    ("--node-rank", Effect::Value),
    ("--data-parallel-address", Effect::Value),
    ("--data-parallel-rpc-port", Effect::Value),
    ("--data-parallel-size-local", Effect::Value),
    ("--data-parallel-start-rank", Effect::Value),
    ("--data-parallel-backend", Effect::Value),
    ("--data-parallel-rank", Effect::Value),
    ("--prefix-caching-hash-algo", Effect::Value),
    ("--root-path", Effect::Value),
    ("--ssl-keyfile", Effect::Value),
    ("--ssl-certfile", Effect::Value),
    ("--ssl-ca-certs", Effect::Value),
    ("--log-config-file", Effect::Value),
    ("--max-cpu-loras", Effect::Value),
    ("--media-io-kwargs", Effect::Value),
    ("--mm-processor-cache-gb", Effect::Value),
    ("--mm-processor-cache-type", Effect::Value),
    ("--tool-parser-plugin", Effect::Value),
    ("--otlp-traces-endpoint", Effect::Value),
    ("--uds", Effect::Value),
    ("--api-server-count", Effect::Value),
    ("--reasoning-parser-plugin", Effect::Value),
    ("--show-hidden-metrics-for-version", Effect::Value),
    ("--lora-modules", Effect::Value),
    ("--allowed-methods", Effect::Value),
    ("--allowed-headers", Effect::Value),
    ("--middleware", Effect::Value),
    ("--async-scheduling", Effect::Bare),
    ("--no-async-scheduling", Effect::Bare),
    ("--disable-custom-all-reduce", Effect::Bare),
    ("--disable-uvicorn-access-log", Effect::Bare),
    ("--use-v2-block-manager", Effect::Bare),
    ("--disable-frontend-multiprocessing", Effect::Bare),
    ("--enable-request-id-headers", Effect::Bare),
    ("--enable-prompt-tokens-details", Effect::Bare),
    ("--enable-force-include-usage", Effect::Bare),
    ("--enable-server-load-tracking", Effect::Bare),
    ("--trust-request-chat-template", Effect::Bare),
    ("--allow-credentials", Effect::Bare),
    ("--interleave-mm-strings", Effect::Bare),
    ("--disable-cascade-attn", Effect::Bare),
    ("--disable-mm-preprocessor-cache", Effect::Bare),
    ("--disable-async-output-proc", Effect::Bare),
    ("--headless", Effect::Bare),
    ("--exclude-tools-when-tool-choice-none", Effect::Bare),
    ("--return-tokens-as-token-ids", Effect::Bare),
    ("--enable-log-outputs", Effect::Bare),
    ("--use-tqdm-on-load", Effect::Bare),
    ("--no-use-tqdm-on-load", Effect::Bare),
    ("-O", Effect::Sets(level)),
    ("-O0", Effect::Turns(|question| question.optimization_level = Some(0))),
    ("-O1", Effect::Turns(|question| question.optimization_level = Some(1))),
    ("-O2", Effect::Turns(|question| question.optimization_level = Some(2))),
    ("-O3", Effect::Turns(|question| question.optimization_level = Some(3))),
];

/// `SGLang`'s that `SGLANG` does not have.
pub(super) const SGLANG_HERE: &[Flag] = &[
    ("--context-length", Effect::Sets(longest)),
    ("--quantization", Effect::Sets(quantization)),
    ("--dtype", Effect::Sets(dtype)),
    ("--pp", Effect::Sets(stages)),
    ("--pp-size", Effect::Sets(stages)),
    ("--pipeline-parallel-size", Effect::Sets(stages)),
    ("--tp", Effect::Sets(ranks)),
    ("--dp", Effect::Sets(copies)),
    ("--dp-size", Effect::Sets(copies)),
    ("--data-parallel-size", Effect::Sets(copies)),
    ("--enable-dp-attention", Effect::Turns(|question| question.enable_dp_attention = true)),
    ("--ep", Effect::Sets(experts)),
    ("--ep-size", Effect::Sets(experts)),
    ("--expert-parallel-size", Effect::Sets(experts)),
    ("--page-size", Effect::Sets(page)),
    ("--max-total-tokens", Effect::Sets(pool)),
    ("--mamba-ssm-dtype", Effect::Sets(state_dtype)),
    ("--trust-remote-code", Effect::Bare),
    ("--disable-radix-cache", Effect::Bare),
    ("--enable-metrics", Effect::Bare),
    ("--log-level", Effect::Value),
    ("--served-model-name", Effect::Value),
    ("--tokenizer-path", Effect::Value),
    ("--chat-template", Effect::Value),
    ("--reasoning-parser", Effect::Value),
    ("--tool-call-parser", Effect::Value),
    ("--api-key", Effect::Value),
    ("--random-seed", Effect::Value),
    ("--schedule-policy", Effect::Value),
    ("--cuda-graph-max-bs", Effect::Sets(captured)),
    ("--cuda-graph-max-bs-decode", Effect::Sets(captured)),
    ("--revision", Effect::Value),
    ("--load-format", Effect::Value),
    ("--download-dir", Effect::Value),
    ("--model-impl", Effect::Value),
    ("--device", Effect::Value),
    ("--tokenizer-mode", Effect::Value),
    ("--tokenizer-worker-num", Effect::Value),
    ("--stream-interval", Effect::Value),
    ("--watchdog-timeout", Effect::Value),
    ("--soft-watchdog-timeout", Effect::Value),
    ("--dist-timeout", Effect::Value),
    ("--dist-init-addr", Effect::Value),
    ("--nccl-init-addr", Effect::Value),
    ("--nnodes", Effect::Value),
    ("--node-rank", Effect::Value),
    ("--nccl-port", Effect::Value),
    ("--base-gpu-id", Effect::Value),
    ("--gpu-id-step", Effect::Value),
    ("--log-level-http", Effect::Value),
    ("--log-requests-level", Effect::Value),
    ("--decode-log-interval", Effect::Value),
    ("--sampling-backend", Effect::Value),
    ("--grammar-backend", Effect::Value),
    ("--schedule-conservativeness", Effect::Value),
    ("--max-queued-requests", Effect::Value),
    ("--radix-eviction-policy", Effect::Value),
    ("--load-balance-method", Effect::Value),
    ("--model-loader-extra-config", Effect::Value),
    ("--preferred-sampling-params", Effect::Value),
    ("--sampling-defaults", Effect::Value),
    ("--hf-chat-template-name", Effect::Value),
    ("--completion-template", Effect::Value),
    ("--file-storage-path", Effect::Value),
    ("--admin-api-key", Effect::Value),
    ("--fastapi-root-path", Effect::Value),
    ("--crash-dump-folder", Effect::Value),
    ("--warmups", Effect::Value),
    ("--tool-server", Effect::Value),
    ("--json-model-override-args", Effect::Value),
    ("--num-continuous-decode-steps", Effect::Value),
    ("--constrained-json-whitespace-pattern", Effect::Value),
    ("--speculative-draft-model-revision", Effect::Value),
    ("--speculative-draft-load-format", Effect::Value),
    ("--speculative-accept-threshold-single", Effect::Value),
    ("--speculative-accept-threshold-acc", Effect::Value),
    ("--speculative-attention-mode", Effect::Value),
    ("--skip-tokenizer-init", Effect::Bare),
    ("--skip-server-warmup", Effect::Bare),
    ("--log-requests", Effect::Bare),
    ("--show-time-cost", Effect::Bare),
    ("--enable-cache-report", Effect::Bare),
    ("--enable-p2p-check", Effect::Bare),
    ("--disable-custom-all-reduce", Effect::Bare),
    ("--disable-overlap-schedule", Effect::Bare),
    ("--disable-cuda-graph-padding", Effect::Bare),
    ("--enable-nan-detection", Effect::Bare),
    ("--enable-metrics-for-all-schedulers", Effect::Bare),
    ("--enable-custom-logit-processor", Effect::Bare),
    ("--sleep-on-idle", Effect::Bare),
    ("--enable-tokenizer-batch-encode", Effect::Bare),
    ("--disable-tokenizer-batch-decode", Effect::Bare),
    ("--enable-request-time-stats-logging", Effect::Bare),
    ("--enable-mixed-chunk", Effect::Bare),
    ("--disable-chunked-prefix-cache", Effect::Bare),
    ("--disable-outlines-disk-cache", Effect::Bare),
    ("--stream-output", Effect::Bare),
    ("--enable-priority-scheduling", Effect::Bare),
];

/// llama-cpp-python's server, by `llama_cpp/server/settings.py`.
pub(super) const LLAMA_PYTHON: &[Flag] = &[
    ("--model", Effect::Model),
    ("--n-gpu-layers", Effect::Sets(layers_or_all)),
    ("--n-ctx", Effect::Sets(cells_or_own)),
    ("--n-ubatch", Effect::Sets(chunk)),
    ("--n-threads", Effect::Value),
    ("--n-threads-batch", Effect::Value),
    ("--chat-format", Effect::Value),
    ("--model-alias", Effect::Value),
    ("--hf-model-repo-id", Effect::Model),
    ("--host", Effect::Value),
    ("--port", Effect::Value),
    ("--api-key", Effect::Value),
    ("--verbose", Effect::Value),
    ("--use-mmap", Effect::Value),
    ("--use-mlock", Effect::Value),
    ("--cache", Effect::Value),
    ("--interrupt-requests", Effect::Value),
];

/// Variables of llama.cpp's whose name is not that of their flag.
pub(super) const LLAMA_VARIABLES: [(&str, &str); 9] = [
    ("N_PARALLEL", "--parallel"),
    ("BATCH", "--batch-size"),
    ("UBATCH", "--ubatch-size"),
    ("ENDPOINT_METRICS", "--metrics"),
    ("ENDPOINT_SLOTS", "--slots"),
    ("ENDPOINT_PROPS", "--props"),
    ("THINK", "--reasoning-format"),
    ("THINK_BUDGET", "--reasoning-budget"),
    ("SPEC_DRAFT_MODEL", "--model-draft"),
];

/// Programs of engines that are not modelled.
pub(super) const OTHER_PROGRAMS: [(&str, &str); 9] = [
    ("text-generation-launcher", "Text Generation Inference (TGI)"),
    ("trtllm-serve", "TensorRT-LLM"),
    ("mlx_lm.server", "MLX"),
    ("mlx_lm.generate", "MLX"),
    ("lmdeploy", "LMDeploy"),
    ("mlc_llm", "MLC LLM"),
    ("ktransformers", "KTransformers"),
    ("tritonserver", "Triton Inference Server"),
    ("infinity_emb", "Infinity"),
];

/// Variables of servers that change no memory of theirs.
pub(super) const OTHER_VARIABLES: [&str; 14] = [
    "VLLM_USE_V1",
    "VLLM_LOGGING_LEVEL",
    "VLLM_CONFIGURE_LOGGING",
    "VLLM_WORKER_MULTIPROC_METHOD",
    "VLLM_HOST_IP",
    "VLLM_PORT",
    "VLLM_API_KEY",
    "VLLM_ALLOW_LONG_MAX_MODEL_LEN",
    "VLLM_CACHE_ROOT",
    "VLLM_NO_USAGE_STATS",
    "VLLM_DO_NOT_TRACK",
    "VLLM_USE_MODELSCOPE",
    "VLLM_ENGINE_READY_TIMEOUT_S",
    "SGLANG_USE_MODELSCOPE",
];

/// GPUs that whole experts are dealt out over: 1 splits each of them.
fn experts(question: &mut Question, text: &str) -> Result<(), String> {
    question.enable_expert_parallel = number(text)? > 1;
    Ok(())
}

fn page(question: &mut Question, text: &str) -> Result<(), String> {
    question.block_size = Some(number(text)?);
    Ok(())
}

fn pool(question: &mut Question, text: &str) -> Result<(), String> {
    question.max_total_tokens = Some(number(text)?);
    Ok(())
}

pub(super) fn users(question: &mut Question, text: &str) -> Result<(), String> {
    question.users = Some(number(text)?).filter(|users| *users > 1);
    Ok(())
}

fn flash(question: &mut Question, text: &str) -> Result<(), String> {
    question.attention = match text {
        "1" | "true" => Some(Attention::Flash),
        "0" | "false" => Some(Attention::Eager),
        _ => return Err(String::new()),
    };
    Ok(())
}

/// LM Studio's share of the layers: `max`, `off`.
fn offload(question: &mut Question, text: &str) -> Result<(), String> {
    question.ngl = match text {
        "max" | "1" | "1.0" => Some(Count::All),
        "off" | "0" => Some(Count::Some(0)),
        "auto" => None,
        _ => return Err("is a share of the layers: say their number with `--ngl`".to_owned()),
    };
    Ok(())
}

fn layers(question: &mut Question, text: &str) -> Result<(), String> {
    question.ngl = Some(parsed(text)?);
    Ok(())
}

/// `KoboldCpp`'s numbers for formats of the cache.
fn kobold_cache(question: &mut Question, text: &str) -> Result<(), String> {
    let format = match text {
        "0" => "f16",
        "1" => "q8_0",
        "2" => "q4_0",
        other => other,
    };
    cache_type(question, format)
}

/// `-c 0` is the model's own context.
fn cells_or_own(question: &mut Question, text: &str) -> Result<(), String> {
    if text == "0" { Ok(()) } else { cells(question, text) }
}

/// `SGLang`'s longest request, a plain number.
fn longest(question: &mut Question, text: &str) -> Result<(), String> {
    question.context = Some(number(text)?);
    Ok(())
}

/// A method that quantizes at load, or that of a checkpoint by its name; what only its files tell is left to them.
#[allow(clippy::unnecessary_wraps, reason = "as all that set a key")]
fn quantization(question: &mut Question, text: &str) -> Result<(), String> {
    if let Some(format) = format_of_method(text) {
        question.dtype = Some(format);
    }
    Ok(())
}

/// The format that a method makes, or that of the checkpoints that it reads.
pub(super) fn format_of_method(text: &str) -> Option<WeightFormat> {
    const METHODS: [(&str, &str); 11] = [
        ("modelopt", "fp8"),
        ("modelopt_fp8", "fp8"),
        ("modelopt_fp4", "nvfp4"),
        ("w8a8_fp8", "fp8"),
        ("w8a8_int8", "w8a8"),
        ("awq_marlin", "awq-int4"),
        ("gptq_marlin", "gptq-int4"),
        ("fbgemm_fp8", "fp8-dynamic"),
        ("ptpc_fp8", "fp8-dynamic"),
        ("petit_nvfp4", "nvfp4"),
        ("bitsandbytes", "nf4"),
    ];
    let method = METHODS.iter().find(|(method, _)| *method == text);
    method.map_or(text, |(_, format)| format).parse().ok()
}

/// The type of recurrent layers' states.
fn state_dtype(question: &mut Question, text: &str) -> Result<(), String> {
    question.mamba_ssm_cache_dtype = if text == "auto" { None } else { Some(parsed(text)?) };
    Ok(())
}

/// The type of what is not quantized.
fn dtype(question: &mut Question, text: &str) -> Result<(), String> {
    let format = if text == "auto" { None } else { Some(parsed::<WeightFormat>(text)?) };
    if question.dtype.is_none_or(WeightFormat::is_float) {
        question.dtype = format;
    }
    Ok(())
}

/// `image=4`, or the same as JSON; of several, each says what it names.
fn limits(question: &mut Question, text: &str) -> Result<(), String> {
    let told: MediaLimits = text.parse().map_err(|why| format!("is not read here: {why}"))?;
    let before = question.limit_mm_per_prompt.unwrap_or_default();
    question.limit_mm_per_prompt = Some(MediaLimits {
        images: told.images.or(before.images),
        videos: told.videos.or(before.videos),
    });
    Ok(())
}

fn images(question: &mut Question, text: &str) -> Result<(), String> {
    limits(question, &format!("image={text}"))
}

fn videos(question: &mut Question, text: &str) -> Result<(), String> {
    limits(question, &format!("video={text}"))
}

/// Whether what a processor of images is told is its pixels and nothing else.
pub(super) fn says_pixels(text: &str) -> bool {
    const PIXELS: [&str; 3] = ["max_pixels", "min_pixels", "size"];
    let told: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(text).ok();
    // What is no JSON is refused where it is read.
    told.is_none_or(|told| told.keys().all(|key| PIXELS.contains(&key.as_str())))
}

/// What a processor of images is told, as JSON: pixels of the largest, by either of their names.
fn processor(question: &mut Question, text: &str) -> Result<(), String> {
    let told: serde_json::Value = serde_json::from_str(text).map_err(|_| {
        "is not read here: expected JSON, such as `{\"max_pixels\": 1003520}`".to_owned()
    })?;
    let named = told.get("max_pixels").or_else(|| told.pointer("/size/longest_edge"));
    question.max_pixels = named.and_then(serde_json::Value::as_u64).or(question.max_pixels);
    Ok(())
}

/// llama-cpp-python's `-1` is all layers.
fn layers_or_all(question: &mut Question, text: &str) -> Result<(), String> {
    if text == "-1" {
        question.ngl = Some(Count::All);
        return Ok(());
    }
    layers(question, text)
}

/// Over all cards, whatever one of them has room for.
#[allow(clippy::unnecessary_wraps, reason = "as all that set a key")]
fn spread(question: &mut Question, text: &str) -> Result<(), String> {
    if matches!(text, "1" | "true") {
        question.split = Some(Split::Layer);
    }
    Ok(())
}

/// Bytes that Ollama leaves to others on every card.
fn overhead(question: &mut Question, text: &str) -> Result<(), String> {
    question.other_use = Some(Bytes::new(parsed(text)?)).filter(|size| !size.is_zero());
    Ok(())
}

/// Slots with cells of their own.
fn separate(question: &mut Question) {
    question.no_kv_unified = true;
}

/// Says nothing of what is planned, whatever its value.
#[allow(clippy::unnecessary_wraps, reason = "as all that set a key")]
const fn nothing(_question: &mut Question, _text: &str) -> Result<(), String> {
    Ok(())
}
