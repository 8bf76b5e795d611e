// Loads a model with all layers on the cards and makes a context, through llama.cpp's public API; optionally decodes.
// usage: driver MODEL.gguf N_CTX N_UBATCH N_BATCH N_SEQ FLASH TYPE_K TYPE_V N_OUTPUTS_MAX UNIFIED SWA_FULL [PROMPT [DECODE]]
//        driver --types MODEL.gguf FTYPE          what llama_model_quantize would make of each tensor (dry run)
//        driver --layers N ...                    as the first form, with N layers on the cards
#include "llama.h"
#include "ggml-backend.h"
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

static ggml_type type_named(const char * name) {
    for (int t = 0; t < GGML_TYPE_COUNT; t++) {
        const char * known = ggml_type_name((ggml_type) t);
        if (known && !strcmp(known, name)) { return (ggml_type) t; }
    }
    fprintf(stderr, "unknown type %s\n", name);
    exit(2);
}

static int types(const char * model, const char * ftype) {
    auto params = llama_model_quantize_default_params();
    params.ftype = (llama_ftype) atoi(ftype);
    params.dry_run = true;
    params.nthread = 1;
    return (int) llama_model_quantize(model, "/dev/null", &params);
}

static bool decode(llama_context * ctx, int tokens, int at_once) {
    std::vector<llama_token> batch(at_once, 1);
    for (int done = 0; done < tokens; done += at_once) {
        int n = tokens - done < at_once ? tokens - done : at_once;
        if (llama_decode(ctx, llama_batch_get_one(batch.data(), n))) { return false; }
    }
    llama_synchronize(ctx);
    return true;
}

static void log(ggml_log_level level, const char * text, void *) {
    if (level != GGML_LOG_LEVEL_DEBUG) { fputs(text, stderr); }
}

int main(int argc, char ** argv) {
    if (!getenv("VERBOSE")) { llama_log_set(log, nullptr); }
    llama_backend_init();
    ggml_backend_load_all_from_path(getenv("BACKENDS"));
    if (argc == 4 && !strcmp(argv[1], "--types")) { return types(argv[2], argv[3]); }
    auto model_params = llama_model_default_params();
    model_params.n_gpu_layers = 999;
    if (argc > 3 && !strcmp(argv[1], "--layers")) {
        model_params.n_gpu_layers = atoi(argv[2]);
        argv += 2;
        argc -= 2;
    }
    if (argc < 12) { fprintf(stderr, "usage: see the source\n"); return 2; }
    auto params = llama_context_default_params();
    params.n_ctx = atoi(argv[2]);
    params.n_ubatch = atoi(argv[3]);
    params.n_batch = atoi(argv[4]);
    params.n_seq_max = atoi(argv[5]);
    params.flash_attn_type = atoi(argv[6]) ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.type_k = type_named(argv[7]);
    params.type_v = type_named(argv[8]);
    if (atoi(argv[9])) { params.n_outputs_max = atoi(argv[9]); }
    params.kv_unified = atoi(argv[10]);
    params.swa_full = atoi(argv[11]);

    double begun = now();
    auto * model = llama_model_load_from_file(argv[1], model_params);
    if (!model) { printf("RESULT model refused\n"); return 3; }
    auto * ctx = llama_init_from_model(model, params);
    if (!ctx) { printf("RESULT context refused\n"); return 4; }
    double ready = now();
    int prompt = argc > 12 ? atoi(argv[12]) : 0, tokens = argc > 13 ? atoi(argv[13]) : 0;
    if (prompt && !decode(ctx, prompt, (int) params.n_batch)) { printf("RESULT prompt refused\n"); return 5; }
    if (tokens && !decode(ctx, tokens, 1)) { printf("RESULT token refused\n"); return 6; }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("RESULT ready in %.3f s, decoded in %.3f s, resident %.0f MiB\n", ready - begun, now() - ready, usage.ru_maxrss / 1024.0);
    fflush(stdout);
    // What is held is on record; tearing it down would only free it.
    _exit(0);
}
