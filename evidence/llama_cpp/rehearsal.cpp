// What llama.cpp takes of a card: loads a model, makes a context, reads a prompt that fills it and decodes, through the
// public API, and says where each begins. For a virtual card (docs/virtual-gpu.md): nothing is computed on the CPU either.
//
// usage: rehearsal MODEL.gguf [FLAG VALUE]...    with the flags of llama-server that change memory:
//        -c -b -ub -np -ngl --n-cpu-moe -ot -ts -ctk -ctv, -fa on|off|auto, and of switches 0|1: -kvu --swa-full -nkvo --no-op-offload --all-outputs
//        -p TOKENS of every sequence (-1: as many as fit), -n TOKENS decoded after that
// environment: COMPUTE=1 computes on the CPU what is placed there
// prints a line of JSON; on a virtual card load, context, prefill and decode are marked among its events
#include "llama.h"
#include "ggml-backend.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>
#include <string>
#include <vector>
#include <unistd.h>
#include <dlfcn.h>

// Numbers of experts have to be some: 0, 1, ... for every token.
static void number(ggml_cgraph * graph) {
    for (int i = 0; i < ggml_graph_n_nodes(graph); i++) {
        ggml_tensor * node = ggml_graph_node(graph, i);
        if (node->op != GGML_OP_ARGSORT && node->op != GGML_OP_TOP_K) { continue; }
        int32_t * to = (int32_t *) node->data;
        for (int64_t at = 0; at < ggml_nelements(node); at++) { to[at] = (int32_t) (at % node->ne[0]); }
    }
}

// The CPU backend is a plug-in that calls this by name, and finds the program's before its own.
struct ggml_cplan;
extern "C" ggml_status ggml_graph_compute(ggml_cgraph * graph, ggml_cplan * plan) {
    static const bool computes = getenv("COMPUTE") != nullptr;
    if (!computes) {
        number(graph);
        return GGML_STATUS_SUCCESS;
    }
    static const auto real = [] {
        void * cpu = dlopen("libggml-cpu.so", RTLD_LAZY | RTLD_NOLOAD);
        return (ggml_status (*)(ggml_cgraph *, ggml_cplan *)) (cpu ? dlsym(cpu, "ggml_graph_compute") : nullptr);
    }();
    return real ? real(graph, plan) : GGML_STATUS_FAILED;
}

// What is alive of buffers, by their kind: libraries that ask for one or give it back find these before their own, too.
static std::map<ggml_backend_buffer_t, size_t> buffers;
extern "C" ggml_backend_buffer_t ggml_backend_buft_alloc_buffer(ggml_backend_buffer_type_t type, size_t size) {
    static const auto real = (decltype(&ggml_backend_buft_alloc_buffer)) dlsym(RTLD_NEXT, "ggml_backend_buft_alloc_buffer");
    auto buffer = real(type, size);
    if (buffer) { buffers[buffer] = size; }
    return buffer;
}
extern "C" void ggml_backend_buffer_free(ggml_backend_buffer_t buffer) {
    static const auto real = (decltype(&ggml_backend_buffer_free)) dlsym(RTLD_NEXT, "ggml_backend_buffer_free");
    buffers.erase(buffer);
    real(buffer);
}

static std::string held() {
    std::map<std::string, size_t> sums;
    for (auto & [buffer, size] : buffers) { sums[ggml_backend_buffer_name(buffer)] += size; }
    std::string text;
    for (auto & [name, size] : sums) { text += (text.empty() ? "\"" : ", \"") + name + "\": " + std::to_string(size); }
    return "{" + text + "}";
}

static ggml_type type_named(const std::string & name) {
    for (int t = 0; t < GGML_TYPE_COUNT; t++) {
        const char * known = ggml_type_name((ggml_type) t);
        if (known && name == known) { return (ggml_type) t; }
    }
    fprintf(stderr, "unknown type %s\n", name.c_str());
    exit(2);
}

// Tells `vramplan rehearse` what begins, or writes it into the stream of events, so that it stands among what was taken.
static void phase(const char * name) {
    const char * pipe = getenv("VRAMPLAN_PHASE_PATH"), * folder = getenv("VRAMPLAN_VIRTUAL_GPU_FOLDER");
    const std::string path = pipe ? pipe : folder ? std::string(folder) + "/events" : "";
    FILE * to = path.empty() ? nullptr : fopen(path.c_str(), "w");
    if (!to) { return; }
    if (pipe) { fprintf(to, "{\"phase\":\"%s\"}\n", name); }
    else { fprintf(to, "{\"pid\":%d,\"t\":0,\"event\":\"mark\",\"phase\":\"%s\"}\n", (int) getpid(), name); }
    fclose(to);
}

static void quiet(ggml_log_level level, const char * text, void *) {
    if (level != GGML_LOG_LEVEL_DEBUG) { fputs(text, stderr); }
}

struct Placement {
    std::vector<std::string> patterns;
    std::vector<llama_model_tensor_buft_override> overrides;
    float shares[16] = {};

    // PATTERN=DEVICE;...
    void add(const std::string & list) {
        std::istringstream parts(list);
        for (std::string part; std::getline(parts, part, ';');) {
            size_t at = part.rfind('=');
            patterns.push_back(part.substr(0, at));
            overrides.push_back({ nullptr, buffers_of(part.substr(at + 1)) });
        }
    }
    static ggml_backend_buffer_type_t buffers_of(const std::string & device) {
        for (size_t i = 0; i < ggml_backend_dev_count(); i++) {
            auto dev = ggml_backend_dev_get(i);
            if (device == ggml_backend_dev_name(dev)) { return ggml_backend_dev_buffer_type(dev); }
        }
        fprintf(stderr, "no device %s\n", device.c_str());
        exit(2);
    }
    void hand_over(llama_model_params & params) {
        for (size_t i = 0; i < patterns.size(); i++) { overrides[i].pattern = patterns[i].c_str(); }
        if (overrides.empty()) { return; }
        overrides.push_back({ nullptr, nullptr });
        params.tensor_buft_overrides = overrides.data();
    }
};

// Tokens of all sequences at once, as a server's busy slots hand them over.
static bool decode(llama_context * ctx, int sequences, int each, int from, bool all) {
    llama_batch batch = llama_batch_init(sequences * each, 0, 1);
    for (int s = 0; s < sequences; s++) {
        for (int i = 0; i < each; i++) {
            int at = batch.n_tokens++;
            batch.token[at] = 1;
            batch.pos[at] = from + i;
            batch.n_seq_id[at] = 1;
            batch.seq_id[at][0] = s;
            batch.logits[at] = all || i + 1 == each;
        }
    }
    int refused = llama_decode(ctx, batch);
    llama_synchronize(ctx);
    llama_batch_free(batch);
    return refused == 0;
}

int main(int argc, char ** argv) {
    if (argc < 2) { fprintf(stderr, "usage: see the source\n"); return 2; }
    if (!getenv("VERBOSE")) { llama_log_set(quiet, nullptr); }
    llama_backend_init();
    ggml_backend_load_all();
    auto loaded = llama_model_default_params();
    auto params = llama_context_default_params();
    loaded.n_gpu_layers = 999;
    params.n_ctx = 4096;
    params.n_batch = 2048;
    params.n_ubatch = 512;
    params.n_seq_max = 1;
    params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_AUTO;
    Placement placement;
    bool all = false;
    int prompt = 0, tokens = 0;
    for (int i = 2; i + 1 < argc; i += 2) {
        const std::string flag = argv[i], value = argv[i + 1];
        const int number = atoi(argv[i + 1]);
        if (flag == "-c") { params.n_ctx = number; }
        else if (flag == "-b") { params.n_batch = number; }
        else if (flag == "-ub") { params.n_ubatch = number; }
        else if (flag == "-np") { params.n_seq_max = number; }
        else if (flag == "-kvu") { params.kv_unified = number; }
        else if (flag == "--swa-full") { params.swa_full = number; }
        else if (flag == "-nkvo") { params.offload_kqv = !number; }
        else if (flag == "--no-op-offload") { params.op_offload = !number; }
        else if (flag == "--all-outputs") { all = number; }
        else if (flag == "-ctk") { params.type_k = type_named(value); }
        else if (flag == "-ctv") { params.type_v = type_named(value); }
        else if (flag == "-fa") {
            params.flash_attn_type = value == "on" ? LLAMA_FLASH_ATTN_TYPE_ENABLED
                : value == "off" ? LLAMA_FLASH_ATTN_TYPE_DISABLED : LLAMA_FLASH_ATTN_TYPE_AUTO;
        }
        else if (flag == "-ngl") { loaded.n_gpu_layers = number; }
        else if (flag == "-ot") { placement.add(value); }
        else if (flag == "--n-cpu-moe") {
            for (int layer = 0; layer < number; layer++) {
                placement.add("blk\\." + std::to_string(layer) + "\\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU");
            }
        }
        else if (flag == "-ts") {
            std::istringstream parts(value);
            int card = 0;
            for (std::string part; card < 16 && std::getline(parts, part, ',');) { placement.shares[card++] = (float) atof(part.c_str()); }
            loaded.tensor_split = placement.shares;
        }
        else if (flag == "-p") { prompt = number; }
        else if (flag == "-n") { tokens = number; }
        else { fprintf(stderr, "unknown flag %s\n", flag.c_str()); return 2; }
    }
    placement.hand_over(loaded);
    if (!all) { params.n_outputs_max = params.n_seq_max; }
    phase("load");
    auto * model = llama_model_load_from_file(argv[1], loaded);
    if (!model) { printf("{\"refused\": \"model\"}\n"); return 3; }
    phase("context");
    auto * ctx = llama_init_from_model(model, params);
    if (!ctx) { printf("{\"refused\": \"context\"}\n"); return 4; }
    phase("prefill");
    const std::string planned = held();
    const int sequences = (int) params.n_seq_max, batch = (int) llama_n_batch(ctx);
    const int cells = (int) llama_n_ctx(ctx) / (params.kv_unified ? sequences : 1);
    const int slot = params.kv_unified ? cells : (int) llama_n_ctx_seq(ctx);
    const int wanted = prompt < 0 ? slot - tokens : prompt;
    const int step = batch / sequences > 0 ? batch / sequences : 1;
    int done = 0;
    while (done < wanted) {
        int n = wanted - done < step ? wanted - done : step;
        // Rows of logits are copied to main memory: once is enough.
        if (!decode(ctx, sequences, n, done, all && done + n == wanted)) { printf("{\"refused\": \"prompt\", \"at\": %d}\n", done); return 5; }
        done += n;
    }
    phase("decode");
    for (int i = 0; i < tokens; i++, done++) {
        if (!decode(ctx, sequences, 1, done, all)) { printf("{\"refused\": \"token\", \"at\": %d}\n", done); return 6; }
    }
    printf("{\"n_ctx\": %u, \"n_ubatch\": %u, \"tokens\": %d, \"buffers\": %s, \"after\": %s}\n", llama_n_ctx(ctx), llama_n_ubatch(ctx), done, planned.c_str(), held().c_str());
    fflush(stdout);
    // What is held is on record; tearing it down would only free it.
    _exit(0);
}
