// decode: run a GGUF file on the CPU and say whether what comes out is sane. For files that `vramplan synth` made.
// usage: decode MODEL.gguf [TOKENS (32)]     one JSON object: tokens, logits' smallest, largest and root mean square, how many are not finite
#include "llama.h"
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>
int main(int argc, char ** argv) {
    if (argc < 2) return 2;
    const int n = argc > 2 ? atoi(argv[2]) : 32;
    llama_log_set([](ggml_log_level level, const char * text, void *) { if (level >= GGML_LOG_LEVEL_ERROR) fputs(text, stderr); }, nullptr);
    llama_backend_init();
    llama_model * model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (!model) return 1;
    llama_context_params cp = llama_context_default_params();
    cp.n_ctx = 512; cp.n_threads = cp.n_threads_batch = 2;
    llama_context * ctx = llama_init_from_model(model, cp);
    if (!ctx) return 1;
    const int vocab = llama_vocab_n_tokens(llama_model_get_vocab(model));
    std::vector<llama_token> text;
    for (int i = 0; i < n; i++) text.push_back((i * 37 + 65) % (vocab < 256 ? vocab : 256));
    if (llama_decode(ctx, llama_batch_get_one(text.data(), n))) return 1;
    llama_token next = 0;
    double low = INFINITY, high = -INFINITY, squares = 0; long bad = 0, all = 0;
    for (int step = 0; step < n; step++) {
        const float * logits = llama_get_logits_ith(ctx, -1);
        for (int i = 0; i < vocab; i++, all++) {
            if (!std::isfinite(logits[i])) { bad++; continue; }
            if (logits[i] > logits[next] || !std::isfinite(logits[next])) next = i;
            low = std::fmin(low, logits[i]); high = std::fmax(high, logits[i]); squares += (double) logits[i] * logits[i];
        }
        if (llama_decode(ctx, llama_batch_get_one(&next, 1))) return 1;
    }
    printf("{\"tokens\": %d, \"low\": %.3f, \"high\": %.3f, \"rms\": %.3f, \"not_finite\": %ld}\n", 2 * n, low, high, std::sqrt(squares / (all - bad)), bad);
    return bad != 0;
}
