// memprobe: ask the real libllama for its buffer sizes without a GPU.
//
// A stub backend registers itself as "CUDA0" (and "CUDA1" ... with MEMPROBE_GPUS): a GPU-type device whose buffers hold no memory,
// with CUDA's alignment, CUDA's get_alloc_size, CUDA's supports_op and CUDA's graph_optimize (those are the vendored sources
// themselves: see extract_cuda.py). llama.cpp then builds its graphs, the scheduler splits them, and ggml-alloc plans the
// compute buffers as in a CUDA build. The model is opened with no_alloc, so weights are never read: a sparse GGUF will do.
//
// usage: memprobe MODEL.gguf < jobs      one job a line: n_ctx n_ubatch n_batch n_seq_max fa(0|1|2=auto) type_k type_v n_outputs_max(0=n_batch) kv_unified swa_full
//        memprobe --quantize MODEL.gguf FTYPE_NUMBER [imatrix] [pure]    total size via llama_model_quantize(dry_run) (from the log)
//        a job may end in: no_kv_offload(0|1) no_op_offload(0|1)
//        memprobe --skeleton META.gguf OUT.gguf [SEED [biases]] writes the tensors that the library asks for under META's keys, with a hole for the data:
//                                                        matrices in Q4_K or, where rows do not divide or SEED says so, another type; prints the tensors
//        memprobe --fit MODEL.gguf < jobs                the placement that `--fit` chooses: one job a line: n_ctx n_ubatch n_batch n_seq_max fa type_k type_v kv_unified margin_mib
//        output: one JSON object a line.
// environment: MEMPROBE_NGL (999), MEMPROBE_OT (tensor overrides PATTERN=DEVICE, separated by ;), MEMPROBE_TS (proportions, separated by commas),
//              MEMPROBE_GPUS (1), MEMPROBE_FREE (free MiB of each GPU, separated by commas; 1 TiB), MEMPROBE_SPLIT (layer, or row without its
//              split buffers: weights stay with their layer), MEMPROBE_CC (890), MEMPROBE_ALLOC=1 (load with alloc on the stub: slow for large files), MEMPROBE_LOG=1 (whole log on stderr)
#include "llama.h"
#include "llama-ext.h"
#include "llama-model.h"
#include "ggml-backend-impl.h"
#include "ggml-backend.h"
#include "ggml-impl.h"
#include "ggml-cpu.h"
#include "llama-version.h"
#include "gguf.h"
#include <sys/mman.h>
#include <unistd.h>
#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

// ---- what the extracted CUDA host code needs ----
#define FLASH_ATTN_AVAILABLE
#define GGML_CUDA_USE_CUB
#define GGML_CUDA_CC_ADA_LOVELACE 890
#define QK_K 256
struct stub_dev_info { int cc; size_t smpb; };
struct stub_info { stub_dev_info devices[16]; };
static const stub_info & ggml_cuda_info() {
    static stub_info i = [] { stub_info r; int cc = getenv("MEMPROBE_CC") ? atoi(getenv("MEMPROBE_CC")) : 890; for (auto & d : r.devices) d = { cc, 49152 }; return r; }();
    return i;
}
static bool turing_mma_available(int cc) { return cc >= 750; }
static bool volta_mma_available(int cc)  { return cc == 700; }
static bool amd_mfma_available(int)      { return false; }
static bool amd_wmma_available(int)      { return false; }
static bool ggml_cuda_flash_attn_ext_mma_f16_may_use_sparse(int, int, int, int) { return false; } // decode only
static bool ggml_cuda_flash_attn_ext_mma_f16_shall_use_sparse(int, const ggml_tensor *, int, int) { return false; }
static bool ggml_cuda_lightning_indexer_supported(int, const ggml_tensor *) { return true; }
static void * ggml_cuda_get_fattn_vec_case(int64_t D, ggml_type k, ggml_type v) { return k == v && (D == 64 || D == 128 || D == 256) ? (void *) 1 : nullptr; } // decode only

static void ggml_cuda_set_device(int) {}
static constexpr int WARP_SIZE = 32;
struct ggml_backend_cuda_context { int device; };
struct ggml_backend_cuda_buffer_type_context { int device; std::string name; };
struct ggml_backend_cuda_device_context { int device; std::string name; int op_offload_min_batch_size = 32; };
static const char * ggml_backend_cuda_buffer_type_get_name(ggml_backend_buffer_type_t buft) { return ((ggml_backend_cuda_buffer_type_context *) buft->context)->name.c_str(); }
static bool ggml_backend_buft_is_cuda(ggml_backend_buffer_type_t buft) { return buft->iface.get_name == ggml_backend_cuda_buffer_type_get_name; }
#include "cuda_host.inc"
#include "fit_host.inc"

// ---- buffers without memory ----
static void     sb_free(ggml_backend_buffer_t) {}
static void *   sb_base(ggml_backend_buffer_t b) { return b->context; }
static ggml_status sb_init(ggml_backend_buffer_t, ggml_tensor *) { return GGML_STATUS_SUCCESS; }
static void     sb_memset(ggml_backend_buffer_t, ggml_tensor *, uint8_t, size_t, size_t) {}
static void     sb_set(ggml_backend_buffer_t, ggml_tensor *, const void *, size_t, size_t) {}
static void     sb_get(ggml_backend_buffer_t, const ggml_tensor *, void * d, size_t, size_t n) { memset(d, 0, n); }
static bool     sb_cpy(ggml_backend_buffer_t, const ggml_tensor *, ggml_tensor *) { return true; }
static void     sb_clear(ggml_backend_buffer_t, uint8_t) {}
static ggml_backend_buffer_t sbt_alloc(ggml_backend_buffer_type_t buft, size_t size) {
    static uintptr_t next = 0x100000000000ull;
    ggml_backend_buffer_i i = {};
    i.free_buffer = sb_free; i.get_base = sb_base; i.init_tensor = sb_init; i.memset_tensor = sb_memset;
    i.set_tensor = sb_set; i.get_tensor = sb_get; i.cpy_tensor = sb_cpy; i.clear = sb_clear;
    void * base = (void *) next;
    next += GGML_PAD(size, 1 << 21) + (1 << 21);
    return ggml_backend_buffer_init(buft, i, base, size);
}
static size_t sbt_align(ggml_backend_buffer_type_t) { return 128; }   // ggml_backend_cuda_buffer_type_get_alignment

// ---- buffers in main memory, pinned ones under the name CUDA_Host: addresses of which no page is ever touched ----
static const char * shb_name(ggml_backend_buffer_type_t) { return "CUDA_Host"; }
static void shb_free(ggml_backend_buffer_t b) { munmap(b->context, std::max<size_t>(b->size, 64)); }
static ggml_backend_buffer_t shb_alloc(ggml_backend_buffer_type_t buft, size_t size) {
    void * p = mmap(nullptr, std::max<size_t>(size, 64), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    ggml_backend_buffer_t b = ggml_backend_cpu_buffer_from_ptr(p, size);
    b->buft = buft; b->iface.free_buffer = shb_free; b->iface.clear = sb_clear;
    return b;
}

static ggml_backend_reg_t stub_reg();
static ggml_backend_buffer_type_t stub_buft(int i) {
    static std::vector<ggml_backend_buffer_type> t = [] {
        std::vector<ggml_backend_buffer_type> v(16, ggml_backend_buffer_type{});
        for (int k = 0; k < 16; k++) {
            v[k].iface.get_name = ggml_backend_cuda_buffer_type_get_name; v[k].iface.alloc_buffer = sbt_alloc;
            v[k].iface.get_alignment = sbt_align; v[k].iface.get_alloc_size = ggml_backend_cuda_buffer_type_get_alloc_size;
            v[k].context = new ggml_backend_cuda_buffer_type_context{ k, "CUDA" + std::to_string(k) };
        }
        return v;
    }();
    if (!t[i].device) t[i].device = ggml_backend_reg_dev_get(stub_reg(), i);
    return &t[i];
}
static ggml_backend_buffer_type_t stub_host_buft() {
    static ggml_backend_buffer_type t = [] { ggml_backend_buffer_type r = *ggml_backend_cpu_buffer_type();
        r.iface.get_name = shb_name; r.iface.alloc_buffer = shb_alloc; return r; }();
    t.device = ggml_backend_reg_dev_get(stub_reg(), 0);
    return &t;
}

// ---- backend (stream) ----
static const char * be_name(ggml_backend_t b) { return ((ggml_backend_cuda_device_context *) b->device->context)->name.c_str(); }
static void be_free(ggml_backend_t b) { delete (ggml_backend_cuda_context *) b->context; delete b; }
static void be_sync(ggml_backend_t) {}
static ggml_status be_compute(ggml_backend_t, ggml_cgraph *) { return GGML_STATUS_SUCCESS; }
static void be_set_async(ggml_backend_t, ggml_tensor *, const void *, size_t, size_t) {}
static void be_get_async(ggml_backend_t, const ggml_tensor *, void * d, size_t, size_t n) { memset(d, 0, n); }
static bool be_cpy_async(ggml_backend_t, ggml_backend_t, const ggml_tensor *, ggml_tensor *) { return true; }
static void be_event(ggml_backend_t, ggml_backend_event_t) {}
static ggml_guid_t be_guid() { static ggml_guid g = { 0x6d, 0x65, 0x6d, 0x70, 0x72, 0x6f, 0x62, 0x65 }; return &g; }

static const char * dev_name(ggml_backend_dev_t d) { return ((ggml_backend_cuda_device_context *) d->context)->name.c_str(); }
static const char * dev_desc(ggml_backend_dev_t) { return "stub of a CUDA device"; }
static void dev_mem(ggml_backend_dev_t d, size_t * f, size_t * t) {
    *f = *t = (size_t) 1 << 40;
    std::istringstream list(getenv("MEMPROBE_FREE") ? getenv("MEMPROBE_FREE") : "");
    std::string mib;
    for (int k = 0; k <= ((ggml_backend_cuda_device_context *) d->context)->device && std::getline(list, mib, ','); k++) *f = *t = (size_t) atoll(mib.c_str()) << 20;
}
static enum ggml_backend_dev_type dev_type(ggml_backend_dev_t) { return GGML_BACKEND_DEVICE_TYPE_GPU; }
static void dev_props(ggml_backend_dev_t d, ggml_backend_dev_props * p) {
    *p = {};
    p->name = dev_name(d); p->description = dev_desc(d); p->type = dev_type(d); p->device_id = dev_name(d);
    dev_mem(d, &p->memory_free, &p->memory_total);
    p->caps.async = true; p->caps.host_buffer = true; p->caps.buffer_from_host_ptr = false; p->caps.events = true; p->caps.mmap_support = true;
}
// MEMPROBE_GRAPH=1: what the backend is given of every graph, a node a line, on stderr
static void dump(const ggml_cgraph * graph) {
    fprintf(stderr, "graph of %d nodes\n", graph->n_nodes);
    for (int i = 0; i < graph->n_nodes; i++) {
        const ggml_tensor * t = graph->nodes[i];
        fprintf(stderr, "%4d %-14s %-28s [%lld %lld %lld %lld] %s", i, ggml_op_desc(t), t->name, (long long) t->ne[0], (long long) t->ne[1], (long long) t->ne[2], (long long) t->ne[3], ggml_type_name(t->type));
        for (int k = 0; k < GGML_MAX_SRC; k++) if (t->src[k]) fprintf(stderr, " <- %s", t->src[k]->name);
        fprintf(stderr, "\n");
    }
}
static void optimize(ggml_backend_t backend, ggml_cgraph * graph, ggml_backend_graph_optimize_params * params) {
    ggml_backend_cuda_graph_optimize(backend, graph, params);
    if (getenv("MEMPROBE_GRAPH")) dump(graph);
}
static ggml_backend_t dev_init(ggml_backend_dev_t d, const char *) {
    ggml_backend_i i = {};
    i.get_name = be_name; i.free = be_free; i.synchronize = be_sync; i.graph_compute = be_compute;
    i.set_tensor_async = be_set_async; i.get_tensor_async = be_get_async; i.cpy_tensor_async = be_cpy_async;
    i.event_record = be_event; i.event_wait = be_event;
    i.graph_optimize = optimize;
    return new ggml_backend{ be_guid(), i, d, new ggml_backend_cuda_context{ ((ggml_backend_cuda_device_context *) d->context)->device } };
}
static ggml_backend_buffer_type_t dev_buft(ggml_backend_dev_t d) { return stub_buft(((ggml_backend_cuda_device_context *) d->context)->device); }
static ggml_backend_buffer_type_t dev_host_buft(ggml_backend_dev_t) { return stub_host_buft(); }
static bool dev_supports_buft(ggml_backend_dev_t d, ggml_backend_buffer_type_t b) { return ggml_backend_buft_is_cuda(b) && b->device == d; }
static bool dev_offload_op(ggml_backend_dev_t d, const ggml_tensor * op) { return get_op_batch_size(op) >= ((ggml_backend_cuda_device_context *) d->context)->op_offload_min_batch_size; }
static ggml_backend_event_t dev_event_new(ggml_backend_dev_t d) { return new ggml_backend_event{ d, nullptr }; }
static void dev_event_free(ggml_backend_dev_t, ggml_backend_event_t e) { delete e; }
static void dev_event_sync(ggml_backend_dev_t, ggml_backend_event_t) {}

static const char * reg_name(ggml_backend_reg_t) { return "CUDA"; }
static size_t reg_count(ggml_backend_reg_t) { return getenv("MEMPROBE_GPUS") ? atoi(getenv("MEMPROBE_GPUS")) : 1; }
static ggml_backend_dev_t reg_dev(ggml_backend_reg_t, size_t i) {
    static std::vector<ggml_backend_dev_t> devs = [] {
        std::vector<ggml_backend_dev_t> v;
        for (int k = 0; k < 16; k++) {
            ggml_backend_device_i f = { dev_name, dev_desc, dev_mem, dev_type, dev_props, dev_init, dev_buft, dev_host_buft, nullptr,
                ggml_backend_cuda_device_supports_op, dev_supports_buft, dev_offload_op, dev_event_new, dev_event_free, dev_event_sync };
            v.push_back(new ggml_backend_device{ f, stub_reg(), new ggml_backend_cuda_device_context{ k, "CUDA" + std::to_string(k) } });
        }
        return v;
    }();
    return devs[i];
}
static ggml_backend_buffer_type_t no_split_buft(int, const float *) { return nullptr; }
static void * reg_proc(ggml_backend_reg_t, const char * name) { return strcmp(name, "ggml_backend_split_buffer_type") ? nullptr : (void *) no_split_buft; }
static ggml_backend_reg_t stub_reg() {
    static ggml_backend_reg r = { GGML_BACKEND_API_VERSION, { reg_name, reg_count, reg_dev, reg_proc }, nullptr };
    return &r;
}

// ---- log lines worth keeping ----
static std::vector<std::string> g_lines;
static std::string g_part;
static void on_log(ggml_log_level level, const char * text, void *) {
    g_part += text;
    if (g_part.empty() || g_part.back() != '\n') return;
    g_part.pop_back();
    if (getenv("MEMPROBE_LOG") || level == GGML_LOG_LEVEL_ERROR) fprintf(stderr, "%s\n", g_part.c_str());
    if (g_part.rfind("llama_graph_n_input", 0) != 0 && g_part.rfind("graph_reserve", 0) != 0)
    if (g_part.find(" size ") != std::string::npos || g_part.find("cells") != std::string::npos || g_part.find("lash") != std::string::npos || g_part.find("not supported") != std::string::npos
        || g_part.find("n_ctx ") != std::string::npos || g_part.find("n_ctx_seq  ") != std::string::npos || g_part.find("sched copies") != std::string::npos || g_part.find("graph") != std::string::npos) g_lines.push_back(g_part);
    g_part.clear();
}
// Where a library keeps that it was asked for sizes only: with the numbers of the model, or with the parameters it was loaded with.
struct opened : llama_model { static auto params_of() { return &opened::params; } };
template <class H> static auto forget_no_alloc(H & hparams, llama_model *, int) -> decltype((void) hparams.no_alloc) { hparams.no_alloc = false; }
template <class H> static void forget_no_alloc(H &, llama_model * model, long) { (model->*opened::params_of()).no_alloc = false; }
static std::string esc(const std::string & s) { std::string r; for (char c : s) { if (c == '"' || c == '\\') r += '\\'; if ((unsigned char) c >= 32) r += c; } return r; }
static std::string lines_json() { std::string r = "["; for (auto & l : g_lines) { if (r.size() > 1) r += ", "; r += "\"" + esc(l) + "\""; } return r + "]"; }
static ggml_type type_of(const std::string & s) { for (int i = 0; i < GGML_TYPE_COUNT; i++) if (ggml_type_name((ggml_type) i) && s == ggml_type_name((ggml_type) i)) return (ggml_type) i; fprintf(stderr, "type %s?\n", s.c_str()); exit(2); }

static void no_data(ggml_tensor *, void *) {}
// The tensors of a file of some architecture, asked of the library itself: it makes a model of metadata alone.
static int skeleton(const char * meta_path, const char * out_path, unsigned seed, bool biases) {
    gguf_context * meta = gguf_init_from_file(meta_path, { true, nullptr });
    if (!meta) return 1;
    ggml_backend_register(stub_reg());
    llama_backend_init();
    auto mp = llama_model_default_params();
    mp.n_gpu_layers = 999;
    llama_model * model = llama_model_init_from_user(meta, no_data, nullptr, mp);
    if (!model) { printf("{\"error\": \"skeleton\"}\n"); return 1; }
    gguf_context * out = gguf_init_empty();
    gguf_set_kv(out, meta);
    static const ggml_type exotic[] = { GGML_TYPE_Q6_K, GGML_TYPE_Q8_0, GGML_TYPE_F16, GGML_TYPE_Q5_K, GGML_TYPE_IQ4_XS, GGML_TYPE_Q3_K };
    printf("[");
    const char * sep = "";
    for (auto & [name, tensor] : model->tensors_by_name) {
        // scales go with NVFP4; most biases are optional
        const auto ends = [&, &name = name](const std::string & end) { return name.size() >= end.size() && name.compare(name.size() - end.size(), end.size(), end) == 0; };
        if (gguf_find_tensor(out, name.c_str()) >= 0 || ends(".scale") || ends(".input_scale") || (!biases && ends(".bias"))) continue;
        ggml_tensor t = *tensor;
        const bool matrix = name.size() > 7 && name.compare(name.size() - 7, 7, ".weight") == 0 && t.ne[1] > 1 && name.find("norm") == std::string::npos && name.find("conv") == std::string::npos
            && name.find("ffn_gate_inp") == std::string::npos && name.find("ssm_a") == std::string::npos && name.find("lerp") == std::string::npos && t.ne[0] % 32 == 0;
        t.type = GGML_TYPE_F32;
        if (matrix) t.type = t.ne[0] % 256 == 0 ? GGML_TYPE_Q4_K : GGML_TYPE_Q8_0;
        const auto stem = name.substr(name.rfind('.', name.size() - 8) + 1);
        if (matrix && t.ne[0] % 256 == 0 && seed % 3 == 1) t.type = exotic[(seed + std::hash<std::string>{}(stem)) % 6];
        if (matrix && seed % 3 == 2) t.type = GGML_TYPE_F16;
        t.nb[0] = ggml_type_size(t.type); t.nb[1] = ggml_row_size(t.type, t.ne[0]);
        for (int i = 2; i < GGML_MAX_DIMS; i++) t.nb[i] = t.nb[i - 1] * t.ne[i - 1];
        t.buffer = nullptr; t.data = nullptr; t.view_src = nullptr; t.op = GGML_OP_NONE;
        memset(t.src, 0, sizeof t.src);
        gguf_add_tensor(out, &t);
        printf("%s[\"%s\", \"%s\", [%lld, %lld, %lld, %lld]]", sep, name.c_str(), ggml_type_name(t.type), (long long) t.ne[0], (long long) t.ne[1], (long long) t.ne[2], (long long) t.ne[3]);
        sep = ", ";
    }
    printf("]\n");
    gguf_write_to_file(out, out_path, true);
    size_t end = gguf_get_meta_size(out);
    for (int64_t i = 0; i < gguf_get_n_tensors(out); i++) end = std::max(end, gguf_get_meta_size(out) + gguf_get_tensor_offset(out, i) + GGML_PAD(gguf_get_tensor_size(out, i), 32));
    return truncate(out_path, end);
}

#ifdef HAS_FIT
// What llama-server does before it loads a model that does not fit.
static int fit(const char * path) {
    ggml_backend_register(stub_reg());
    llama_backend_init();
    ggml_backend_cpu_buffer_type()->iface.alloc_buffer = shb_alloc;
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream is(line);
        auto mp = llama_model_default_params();
        auto cp = llama_context_default_params();
        int fa, unified; std::string tk, tv; size_t margin;
        is >> cp.n_ctx >> cp.n_ubatch >> cp.n_batch >> cp.n_seq_max >> fa >> tk >> tv >> unified >> margin;
        cp.flash_attn_type = fa ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
        cp.type_k = type_of(tk); cp.type_v = type_of(tv); cp.kv_unified = unified;
        cp.n_outputs_max = cp.n_seq_max; cp.n_outputs_max_per_seq = 1;
        std::vector<float> split(16, 0.0f);
        std::vector<llama_model_tensor_buft_override> overrides(llama_max_tensor_buft_overrides() + 1, { nullptr, nullptr });
        std::vector<size_t> margins(16, margin << 20);
        const int status = common_fit_params(path, &mp, &cp, split.data(), overrides.data(), margins.data(), 4096, nullptr, GGML_LOG_LEVEL_ERROR);
        printf("{\"job\": \"%s\", \"status\": %d, \"n_ctx\": %u, \"ngl\": %d, \"split\": [", esc(line).c_str(), status, cp.n_ctx, mp.n_gpu_layers);
        for (size_t i = 0; i < reg_count(nullptr); i++) printf("%s%g", i ? ", " : "", split[i]);
        printf("], \"overrides\": [");
        for (size_t i = 0; overrides[i].pattern; i++)
            printf("%s\"%s=%s\"", i ? ", " : "", esc(overrides[i].pattern).c_str(), overrides[i].buft == ggml_backend_cpu_buffer_type() ? "CPU" : ggml_backend_buft_name(overrides[i].buft));
        printf("], \"version\": \"%s %s\"}\n", LLAMA_VERSION, LLAMA_COMMIT);
        fflush(stdout);
    }
    return 0;
}
#endif

int main(int argc, char ** argv) {
    llama_log_set(on_log, nullptr);
#ifdef HAS_FIT
    if (argc == 3 && std::string(argv[1]) == "--fit") return fit(argv[2]);
#endif
    if (argc >= 4 && std::string(argv[1]) == "--skeleton") return skeleton(argv[2], argv[3], argc > 4 ? atoi(argv[4]) : 0, argc > 5);
    if (argc >= 4 && std::string(argv[1]) == "--quantize") {
        llama_backend_init();
        auto p = llama_model_quantize_default_params();
        p.ftype = (llama_ftype) atoi(argv[3]); p.dry_run = true; p.nthread = 1; p.allow_requantize = true;
        for (int i = 4; i < argc; i++) { if (std::string(argv[i]) == "pure") p.pure = true; }
        // an importance matrix only matters by being there (sizes); give an empty-named entry
        llama_model_imatrix_data im[2] = { { "none", nullptr, 0 }, { nullptr, nullptr, 0 } };
        for (int i = 4; i < argc; i++) if (std::string(argv[i]) == "imatrix") p.imatrix = im;
        uint32_t rc = llama_model_quantize(argv[2], "/dev/null", &p);
        printf("{\"rc\": %u, \"lines\": %s}\n", rc, lines_json().c_str());
        return 0;
    }
    if (argc < 2) { fprintf(stderr, "usage: see the head of memprobe.cpp\n"); return 2; }
    ggml_backend_register(stub_reg());
    llama_backend_init();
    ggml_backend_cpu_buffer_type()->iface.alloc_buffer = shb_alloc;
    auto mp = llama_model_default_params();
    mp.n_gpu_layers = getenv("MEMPROBE_NGL") ? atoi(getenv("MEMPROBE_NGL")) : 999;
    static std::vector<std::string> patterns;
    static std::vector<llama_model_tensor_buft_override> overrides;
    {
        std::istringstream list(getenv("MEMPROBE_OT") ? getenv("MEMPROBE_OT") : "");
        std::vector<std::string> devices;
        for (std::string one; std::getline(list, one, ';');) { auto at = one.find('='); patterns.push_back(one.substr(0, at)); devices.push_back(one.substr(at + 1)); }
        for (size_t k = 0; k < patterns.size(); k++)
            overrides.push_back({ patterns[k].c_str(), devices[k] == "CPU" ? ggml_backend_cpu_buffer_type() : stub_buft(atoi(devices[k].c_str() + 4)) });
        if (!overrides.empty()) { overrides.push_back({ nullptr, nullptr }); mp.tensor_buft_overrides = overrides.data(); }
    }
    static float split[16] = {};
    if (getenv("MEMPROBE_TS")) {
        std::istringstream list(getenv("MEMPROBE_TS"));
        int k = 0;
        for (std::string one; k < 16 && std::getline(list, one, ',');) split[k++] = std::stof(one);
        mp.tensor_split = split;
    }
    if (getenv("MEMPROBE_SPLIT") && std::string(getenv("MEMPROBE_SPLIT")) == "row") mp.split_mode = LLAMA_SPLIT_MODE_ROW;
    mp.no_alloc = !getenv("MEMPROBE_ALLOC");
    if (mp.no_alloc) mp.load_mode = LLAMA_LOAD_MODE_NONE;
    llama_model * model = llama_model_load_from_file(argv[1], mp);
    if (!model) { printf("{\"error\": \"load\"}\n"); return 1; }
    // Weights are sized without being allocated; contexts are made as in earnest: without allocation the scheduler is asked for sizes by
    // ggml_backend_sched_reserve_size, which forgets on which GPU llama.cpp wants the first norm of a layer.
    std::map<ggml_backend_buffer_type_t, size_t> weights;
    for (auto & [buft, size] : model->memory_breakdown()) weights[buft] += size;
    forget_no_alloc(const_cast<llama_hparams &>(model->hparams), model, 0);
    std::string line;
    while (std::getline(std::cin, line)) {
        if (line.empty() || line[0] == '#') continue;
        std::istringstream is(line);
        auto cp = llama_context_default_params();
        int fa, unified, swa_full, nkvo = 0, noop = 0; std::string tk, tv;
        is >> cp.n_ctx >> cp.n_ubatch >> cp.n_batch >> cp.n_seq_max >> fa >> tk >> tv >> cp.n_outputs_max >> unified >> swa_full >> nkvo >> noop;
        cp.offload_kqv = !nkvo; cp.op_offload = !noop;
        cp.flash_attn_type = fa == 0 ? LLAMA_FLASH_ATTN_TYPE_DISABLED : fa == 1 ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_AUTO;
        cp.type_k = type_of(tk); cp.type_v = type_of(tv);
        cp.kv_unified = unified; cp.swa_full = swa_full;
        if (cp.n_outputs_max) cp.n_outputs_max_per_seq = 1;
        g_lines.clear();
        llama_context * ctx = llama_init_from_model(model, cp);
        if (!ctx) { printf("{\"job\": \"%s\", \"error\": \"context\", \"lines\": %s}\n", esc(line).c_str(), lines_json().c_str()); fflush(stdout); continue; }
        printf("{\"job\": \"%s\", \"n_ctx\": %u, \"n_ctx_seq\": %u, \"bufs\": {", esc(line).c_str(), llama_n_ctx(ctx), llama_n_ctx_seq(ctx));
        const char * sep = "";
        for (auto & [buft, d] : llama_get_memory_breakdown(ctx)) {
            printf("%s\"%s\": [%zu, %zu, %zu]", sep, ggml_backend_buft_name(buft), weights[buft], d.context, d.compute);
            sep = ", ";
        }
        printf("}, \"version\": \"%s %s\", \"lines\": %s}\n", LLAMA_VERSION, LLAMA_COMMIT, lines_json().c_str());
        fflush(stdout);
        llama_free(ctx);
    }
    llama_model_free(model);
    return 0;
}
