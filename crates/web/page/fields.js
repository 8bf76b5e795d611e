// What can be asked: a row for each flag of `budget`. Everything else can be said under "More flags".

/** The runtimes that have a flag, by what their rules say. */
const has = (ability) => (runtime) => Boolean(runtime[ability]);
const shares = (key) => (runtime) => runtime.share === key;

/** Formats of the cache; where tensors are placed one by one also one for keys and one for values. */
function cacheFormats({ kv, places }) {
  const of = (keys) => kv.filter((values) => values !== keys).map((values) => `${keys}/${values}`);
  return [["both", kv], ...(places ? [["keys / values", kv.flatMap(of)]] : [])];
}

const tokens = (of) => ({ min: 0, step: 256, max: of });
const contextOf = ({ resolved }) => Math.min(resolved.context ?? 32768, 1 << 20);

const GROUPS = [
  { id: "work", title: "Context and users", open: true },
  { id: "formats", title: "Engine and formats", open: true },
  { id: "placement", title: "Placement", when: has("places") },
  { id: "pool", title: "Share of the card", when: has("share") },
  { id: "server", title: "The server", when: has("server") },
  { id: "beside", title: "Beside the model", when: has("places") },
  { id: "capture", title: "Captured activations", when: has("captures") },
  { id: "card", title: "Card and speed" },
];

const FIELDS = [
  { group: "work", key: "cache_tokens", label: "Cached tokens", kind: "slider", none: "solved",
    about: "Tokens of the conversation's cache. Left alone, the largest that leaves the headroom free.",
    range: tokens((plan) => Math.max(contextOf(plan) - (plan.resolved.system_tokens ?? 0), 512)) },
  { group: "work", key: "context", label: "Context", kind: "number",
    about: "Positions, where they are not the model's own: `32k` is 32,768." },
  { group: "work", key: "batch", label: "Users at once", kind: "slider", none: "1",
    about: "Sequences processed together, each with a cache of its own.",
    range: { min: 1, step: 1, max: () => 64 } },
  { group: "work", key: "users", label: "Users who share the card", kind: "number",
    about: "Instead of users at once: each with the conversation that there is room for." },
  { group: "work", key: "context_per_user", label: "Context of each user", kind: "number",
    about: "Instead of context and cached tokens; without users, as many as there is room for." },
  { group: "work", key: "parallel", label: "Slots that share a cache", kind: "number", when: has("places"),
    about: "Slots of a llama.cpp server (`-np`), instead of users with caches of their own." },
  { group: "work", key: "system_tokens", label: "Pinned prompt", kind: "slider",
    about: "Tokens of the system prompt, which stay.",
    range: tokens((plan) => Math.max(contextOf(plan) - 512, 512)) },
  { group: "work", key: "recent_window", label: "Recent window", kind: "number", when: has("evicts"),
    about: "Newest tokens that are never evicted; else the published half." },
  { group: "work", key: "prefill_chunk", label: "Tokens of a prefill step", kind: "slider",
    about: "llama.cpp: `-ub`; vLLM: `--max-num-batched-tokens`.",
    range: { min: 64, step: 64, max: ({ resolved }) => Math.max(4096, resolved.prefill_chunk ?? 0) } },
  { group: "work", key: "images", label: "Images of a prompt", kind: "number",
    about: "0 plans a multimodal model's language model alone." },

  { group: "formats", key: "runtime", label: "Engine", kind: "select", none: "by the model",
    options: (lists) => lists.runtimes.map(({ name }) => name) },
  { group: "formats", key: "runtime_version", label: "Its version", kind: "text", when: has("versioned"),
    suggest: (runtime) => runtime.versions },
  { group: "formats", key: "weights", label: "Weights", kind: "select",
    options: (lists, runtime) => [["usual", runtime.weights], ["all", lists.weights.filter((name) => !runtime.weights.includes(name))]] },
  { group: "formats", key: "kv", label: "Keys and values", kind: "select", options: (_, runtime) => cacheFormats(runtime) },
  { group: "formats", key: "attention", label: "Attention", kind: "select", options: (_, runtime) => runtime.attention },
  { group: "formats", key: "logits", label: "Logits of", kind: "select", options: () => ["last", "all"] },
  { group: "formats", key: "cache", label: "Cache", kind: "select", when: has("grows"), options: () => ["preallocated", "grown"] },
  { group: "formats", key: "expandable_segments", label: "Expandable segments", kind: "flag", when: has("segments") },

  { group: "placement", key: "ngl", label: "Layers on the GPU", kind: "slider", none: "auto",
    about: "`-ngl`; the output head is one more. Left alone: all, or what fits.",
    range: { min: 0, step: 1, max: ({ layers }) => layers + 1 } },
  { group: "placement", key: "n_cpu_moe", label: "Layers with experts in main memory", kind: "slider",
    about: "`--n-cpu-moe`, the first layers of the model.",
    range: { min: 0, step: 1, max: ({ layers }) => layers } },
  { group: "placement", key: "ram", label: "Main memory", kind: "text", about: "What the run may take, such as `64GiB`." },
  { group: "placement", key: "ram_bandwidth", label: "Its speed", kind: "text", about: "Bytes a second, such as `80GB`." },
  { group: "placement", key: "override_tensor", label: "Tensors elsewhere", kind: "text", about: "`-ot`, such as `exps=CPU`." },
  { group: "placement", key: "tensor_split", label: "Split in proportion", kind: "text", about: "`-ts`, such as `3,1`." },
  { group: "placement", key: "split_mode", label: "Split mode", kind: "select", options: () => ["layer", "row", "none"] },
  { group: "placement", key: "main_gpu", label: "Main GPU", kind: "number" },
  { group: "placement", key: "batch_size", label: "Logical batch", kind: "number", about: "`-b`, of which prefill steps are cut." },
  { group: "placement", key: "cpu_moe", label: "All experts in main memory", kind: "flag" },
  { group: "placement", key: "no_kv_offload", label: "Caches in main memory", kind: "flag" },
  { group: "placement", key: "no_op_offload", label: "No copies for large batches", kind: "flag" },
  { group: "placement", key: "swa_full", label: "Windowed layers cache every token", kind: "flag" },
  { group: "placement", key: "no_kv_unified", label: "Slots have cells of their own", kind: "flag" },

  { group: "pool", key: "gpu_memory_utilization", label: "Share of the card", kind: "text", when: shares("gpu_memory_utilization"),
    about: "`0.9`, or `auto` for the largest that is safe." },
  { group: "pool", key: "mem_fraction_static", label: "Share of what is free", kind: "text", when: shares("mem_fraction_static"),
    about: "`--mem-fraction-static`, or `auto` for the largest that is safe." },
  { group: "pool", key: "max_model_len", label: "Longest sequence", kind: "number" },
  { group: "pool", key: "max_seqs", label: "Most sequences", kind: "number" },
  { group: "pool", key: "enforce_eager", label: "No graphs", kind: "flag" },

  { group: "server", key: "tensor_parallel_size", label: "Tensor parallel", kind: "number" },
  { group: "server", key: "pipeline_parallel_size", label: "Pipeline parallel", kind: "number" },
  { group: "server", key: "data_parallel_size", label: "Data parallel", kind: "number" },
  { group: "server", key: "max_loras", label: "Adapters in a batch", kind: "number" },
  { group: "server", key: "max_lora_rank", label: "Their largest rank", kind: "number" },
  { group: "server", key: "draft_tokens", label: "Draft's tokens ahead", kind: "number" },
  { group: "server", key: "cpu_offload_gb", label: "Weights in main memory, GiB", kind: "text" },
  { group: "server", key: "kv_offloading_size", label: "Cache in main memory, GiB", kind: "text" },
  { group: "server", key: "kv_cache_memory_bytes", label: "Size of the pool", kind: "text" },
  { group: "server", key: "block_size", label: "Tokens of a block", kind: "number" },
  { group: "server", key: "max_cudagraph_capture_size", label: "Largest captured step", kind: "number" },
  { group: "server", key: "optimization_level", label: "Optimization level", kind: "select", options: () => ["0", "1", "2", "3"] },
  { group: "server", key: "limit_mm_per_prompt", label: "Images and videos per prompt", kind: "text", about: "`image=4,video=0`." },
  { group: "server", key: "language_model_only", label: "Without image encoder", kind: "flag" },
  { group: "server", key: "skip_mm_profiling", label: "Encoder not profiled", kind: "flag" },
  { group: "server", key: "max_pixels", label: "Pixels of the largest image", kind: "number" },
  { group: "server", key: "enable_prefix_caching", label: "Prefixes shared", kind: "flag" },
  { group: "server", key: "no_enable_prefix_caching", label: "Prefixes not shared", kind: "flag" },
  { group: "server", key: "enable_expert_parallel", label: "Experts spread over ranks", kind: "flag" },

  { group: "beside", key: "mmproj", label: "Image encoder", kind: "text", about: "`auto` for the model's own in f16." },
  { group: "beside", key: "draft", label: "Draft model", kind: "text", suggest: (_, lists) => lists.models.map(({ name }) => name) },
  { group: "beside", key: "mtp", label: "Tokens predicted ahead", kind: "number" },

  { group: "capture", key: "capture_layers", label: "Layers", kind: "text", about: "A number, or `all`." },
  { group: "capture", key: "capture_tokens", label: "Tokens of the pass", kind: "number" },
  { group: "capture", key: "capture_attention", label: "Attention weights too", kind: "flag" },
  { group: "capture", key: "capture_keep", label: "Kept on the GPU", kind: "flag" },

  { group: "card", key: "other_use", label: "Held by others", kind: "text", about: "What other processes hold of each card, such as `2GiB`." },
  { group: "card", key: "headroom", label: "Headroom", kind: "text", about: "A size or a share to leave free, such as `1GiB` or `5%`." },
  { group: "card", key: "min_decode_speed", label: "Slowest generation", kind: "text", about: "Tokens a second with the cache full." },
  { group: "card", key: "split", label: "Spread over cards by", kind: "select", options: () => ["layer", "tensor"] },
];

/** Fields that have a place of their own on the page. */
const PLACED = ["model", "gpu", "gpus"];

const fieldOf = (key) => FIELDS.find((field) => field.key === key);
const groupOf = (field) => GROUPS.find(({ id }) => id === field.group);

/** Whether a runtime has a flag. */
function applies(key, runtime) {
  const field = fieldOf(key);
  if (!field) return true;
  const { when = () => true } = field;
  const { when: whenGroup = () => true } = groupOf(field);
  return when(runtime) && whenGroup(runtime);
}
