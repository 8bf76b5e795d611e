// Put before llama-server's own libraries (LD_PRELOAD) on a virtual card: nothing is computed on the CPU, and every buffer that
// ggml asks for or gives back is written to the file that BUFFERS names, a line each: "+ DEVICE BYTES" or "- DEVICE BYTES".
//     g++ -std=c++17 -O1 -shared -fPIC interposed.cpp -o BIN/interposed.so -I llama.cpp/ggml/include -ldl
#include "ggml-backend.h"
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <fcntl.h>
#include <map>
#include <mutex>
#include <string>
#include <unistd.h>

// Numbers of experts have to be some: 0, 1, ... for every token.
struct ggml_cplan;
extern "C" ggml_status ggml_graph_compute(ggml_cgraph * graph, ggml_cplan *) {
    static const auto nodes = (int (*)(ggml_cgraph *)) dlsym(RTLD_DEFAULT, "ggml_graph_n_nodes");
    static const auto node_of = (ggml_tensor * (*)(ggml_cgraph *, int)) dlsym(RTLD_DEFAULT, "ggml_graph_node");
    static const auto elements = (int64_t (*)(const ggml_tensor *)) dlsym(RTLD_DEFAULT, "ggml_nelements");
    for (int i = 0; i < nodes(graph); i++) {
        ggml_tensor * node = node_of(graph, i);
        if (node->op != GGML_OP_ARGSORT && node->op != GGML_OP_TOP_K) { continue; }
        int32_t * to = (int32_t *) node->data;
        for (int64_t at = 0; at < elements(node); at++) { to[at] = (int32_t) (at % node->ne[0]); }
    }
    return GGML_STATUS_SUCCESS;
}

static void write_line(char sign, ggml_backend_buffer_t buffer, size_t size) {
    static const auto name_of = (const char * (*)(ggml_backend_buffer_t)) dlsym(RTLD_DEFAULT, "ggml_backend_buffer_name");
    static const char * path = getenv("BUFFERS");
    if (!path || !buffer) { return; }
    // Opened for each line: whoever reads may begin anew.
    const int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0) { return; }
    const std::string line = std::string(1, sign) + " " + name_of(buffer) + " " + std::to_string(size) + "\n";
    if (write(file, line.data(), line.size()) < 0) { perror("BUFFERS"); }
    close(file);
}

static std::mutex lock;
static std::map<ggml_backend_buffer_t, size_t> sizes;

extern "C" ggml_backend_buffer_t ggml_backend_buft_alloc_buffer(ggml_backend_buffer_type_t type, size_t size) {
    static const auto real = (decltype(&ggml_backend_buft_alloc_buffer)) dlsym(RTLD_NEXT, "ggml_backend_buft_alloc_buffer");
    auto buffer = real(type, size);
    std::lock_guard<std::mutex> held(lock);
    if (buffer) { sizes[buffer] = size; }
    write_line('+', buffer, size);
    return buffer;
}

extern "C" void ggml_backend_buffer_free(ggml_backend_buffer_t buffer) {
    static const auto real = (decltype(&ggml_backend_buffer_free)) dlsym(RTLD_NEXT, "ggml_backend_buffer_free");
    {
        std::lock_guard<std::mutex> held(lock);
        const auto known = sizes.find(buffer);
        if (known != sizes.end()) {
            write_line('-', buffer, known->second);
            sizes.erase(known);
        }
    }
    real(buffer);
}
