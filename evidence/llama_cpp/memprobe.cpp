// memprobe: ask the real libllama for its buffer sizes without a GPU.
//
// A stub backend registers itself as "CUDA0" (and "CUDA1" ... with MEMPROBE_GPUS): a GPU-type device whose buffers hold no memory,
// with CUDA's alignment, CUDA's get_alloc_size, CUDA's supports_op and CUDA's graph_optimize (those are the vendored sources
// themselves: see extract_cuda.py). llama.cpp then builds its graphs, the scheduler splits them, and ggml-alloc plans the
// compute buffers as in a CUDA build. The model is opened with no_alloc, so weights are never read: a sparse GGUF will do.
//
// usage: memprobe MODEL.gguf < jobs      one job a line: n_ctx n_ubatch n_batch n_seq_max fa(0|1|2=auto) type_k type_v n_outputs_max(0=n_batch) kv_unified swa_full
//        memprobe --quantize MODEL.gguf FTYPE_NUMBER [imatrix] [pure]    total size via llama_model_quantize(dry_run) (from the log)
//        output: one JSON object a line.
// environment: MEMPROBE_GPUS (1), MEMPROBE_FREE (free MiB of each GPU, separated by commas; 1 TiB), MEMPROBE_SPLIT (layer, or row without its
//              split buffers: weights stay with their layer), MEMPROBE_CC (890), MEMPROBE_ALLOC=1 (load with alloc on the stub: slow for large files), MEMPROBE_LOG=1 (whole log on stderr)
#include "llama.h"
#include "llama-ext.h"
#include "llama-model.h"
#include "ggml-backend-impl.h"
#include "ggml-backend.h"
#include "ggml-impl.h"
#include "ggml-cpu.h"
#include "llama-version.h"
#include <algorithm>
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

struct ggml_backend_cuda_buffer_type_context { int device; std::string name; };
struct ggml_backend_cuda_device_context { int device; std::string name; int op_offload_min_batch_size = 32; };
static const char * ggml_backend_cuda_buffer_type_get_name(ggml_backend_buffer_type_t buft) { return ((ggml_backend_cuda_buffer_type_context *) buft->context)->name.c_str(); }
static bool ggml_backend_buft_is_cuda(ggml_backend_buffer_type_t buft) { return buft->iface.get_name == ggml_backend_cuda_buffer_type_get_name; }
#include "cuda_host.inc"

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

// ---- pinned host buffers: ordinary memory under the name CUDA_Host ----
static const char * shb_name(ggml_backend_buffer_type_t) { return "CUDA_Host"; }
static void shb_free(ggml_backend_buffer_t b) { free(b->context); }
static ggml_backend_buffer_t shb_alloc(ggml_backend_buffer_type_t buft, size_t size) {
    void * p = nullptr;
    if (posix_memalign(&p, 64, size ? size : 64)) return nullptr;
    ggml_backend_buffer_t b = ggml_backend_cpu_buffer_from_ptr(p, size);
    b->buft = buft; b->iface.free_buffer = shb_free;
    return b;
}

static ggml_backend_reg_t stub_reg();
static ggml_backend_buffer_type_t stub_buft(int i) {
    static std::vector<ggml_backend_buffer_type> t = [] {
        std::vector<ggml_backend_buffer_type> v(16);
        for (int k = 0; k < 16; k++) {
            v[k].iface = { ggml_backend_cuda_buffer_type_get_name, sbt_alloc, sbt_align, nullptr, ggml_backend_cuda_buffer_type_get_alloc_size, nullptr };
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
static void be_free(ggml_backend_t b) { delete b; }
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
static ggml_backend_t dev_init(ggml_backend_dev_t d, const char *) {
    ggml_backend_i i = {};
    i.get_name = be_name; i.free = be_free; i.synchronize = be_sync; i.graph_compute = be_compute;
    i.set_tensor_async = be_set_async; i.get_tensor_async = be_get_async; i.cpy_tensor_async = be_cpy_async;
    i.event_record = be_event; i.event_wait = be_event;
    i.graph_optimize = ggml_backend_cuda_graph_optimize;
    return new ggml_backend{ be_guid(), i, d, nullptr };
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
    if (g_part.find(" size ") != std::string::npos || g_part.find("cells") != std::string::npos || g_part.find("not supported") != std::string::npos
        || g_part.find("n_ctx ") != std::string::npos || g_part.find("n_ctx_seq  ") != std::string::npos || g_part.find("sched copies") != std::string::npos || g_part.find("graph") != std::string::npos) g_lines.push_back(g_part);
    g_part.clear();
}
static std::string esc(const std::string & s) { std::string r; for (char c : s) { if (c == '"' || c == '\\') r += '\\'; if ((unsigned char) c >= 32) r += c; } return r; }
static std::string lines_json() { std::string r = "["; for (auto & l : g_lines) { if (r.size() > 1) r += ", "; r += "\"" + esc(l) + "\""; } return r + "]"; }
static ggml_type type_of(const std::string & s) { for (int i = 0; i < GGML_TYPE_COUNT; i++) if (ggml_type_name((ggml_type) i) && s == ggml_type_name((ggml_type) i)) return (ggml_type) i; fprintf(stderr, "type %s?\n", s.c_str()); exit(2); }

int main(int argc, char ** argv) {
    llama_log_set(on_log, nullptr);
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
    auto mp = llama_model_default_params();
    mp.n_gpu_layers = 999;
    if (getenv("MEMPROBE_SPLIT") && std::string(getenv("MEMPROBE_SPLIT")) == "row") mp.split_mode = LLAMA_SPLIT_MODE_ROW;
    mp.no_alloc = !getenv("MEMPROBE_ALLOC");
    if (mp.no_alloc) mp.load_mode = LLAMA_LOAD_MODE_NONE;
    llama_model * model = llama_model_load_from_file(argv[1], mp);
    if (!model) { printf("{\"error\": \"load\"}\n"); return 1; }
    // Weights are sized without being allocated; contexts are made as in earnest: without allocation the scheduler is asked for sizes by
    // ggml_backend_sched_reserve_size, which forgets on which GPU llama.cpp wants the first norm of a layer.
    std::map<ggml_backend_buffer_type_t, size_t> weights;
    for (auto & [buft, size] : model->memory_breakdown()) weights[buft] += size;
    const_cast<llama_hparams &>(model->hparams).no_alloc = false;
    std::string line;
    while (std::getline(std::cin, line)) {
        if (line.empty() || line[0] == '#') continue;
        std::istringstream is(line);
        auto cp = llama_context_default_params();
        int fa, unified, swa_full; std::string tk, tv;
        is >> cp.n_ctx >> cp.n_ubatch >> cp.n_batch >> cp.n_seq_max >> fa >> tk >> tv >> cp.n_outputs_max >> unified >> swa_full;
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
