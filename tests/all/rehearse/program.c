/* A plain CUDA program without CUDA's headers: its first argument says what it does, sizes are in MiB. */
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef int (*any)();
static void *runtime;

static any function(const char *name)
{
    any found = (any) dlsym(runtime, name);
    if (!found) {
        printf("missing %s\n", name);
        exit(9);
    }
    return found;
}
#define CALL(name, ...) function(#name)(__VA_ARGS__)
struct dim3 { unsigned x, y, z; };

static int take(size_t mib, char **at)
{
    int code = CALL(cudaMalloc, at, mib << 20);
    if (code)
        fprintf(stderr, "CUDA error: out of memory (%d)\n", code);
    return code;
}

static void launch(void)
{
    struct dim3 one = { 1, 1, 1 };
    int (*kernel)(const void *, struct dim3, struct dim3, void **, size_t, void *) =
        (void *) dlsym(runtime, "cudaLaunchKernel");
    kernel((void *) 0x1234, one, one, NULL, 0, NULL);
}

static void say(const char *line)
{
    FILE *pipe = fopen(getenv("VRAMPLAN_PHASE_PATH"), "w");
    fprintf(pipe, "%s\n", line);
    fclose(pipe);
}

/* Loads, makes a context, computes and answers as llama.cpp does, with its words. */
static int engine(size_t weights, size_t cache, size_t compute)
{
    char *at, *pool;
    int result;
    fprintf(stderr, "load_tensors: loading model tensors, this can take a while...\n");
    if (take(weights, &at))
        return 1;
    fprintf(stderr, "load_tensors:        CUDA0 model buffer size = %7zu.00 MiB\n", weights);
    fprintf(stderr, "llama_context: constructing llama_context\n");
    if (take(cache, &pool))
        return 1;
    fprintf(stderr, "llama_kv_cache:      CUDA0 KV buffer size = %7zu.00 MiB\n", cache);
    if (take(compute, &pool))
        return 1;
    fprintf(stderr, "sched_reserve:      CUDA0 compute buffer size = %7zu.00 MiB\n", compute);
    launch();
    if (take(4, &pool))
        return 1;
    CALL(cudaMemcpy, &result, at, sizeof result, 2);
    return 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *what = argc > 1 ? argv[1] : "";
    size_t size[4] = { 0 };
    for (int i = 2; i < argc && i < 6; i++)
        size[i - 2] = strtoull(argv[i], NULL, 10);
    char *at;
    runtime = dlopen("libcudart.so.12", RTLD_NOW);
    if (!runtime) {
        printf("no runtime\n");
        return 8;
    }
    if (!strcmp(what, "take")) {
        /* so much, in one piece; 7 where it is refused */
        return take(size[0], &at) ? 7 : 0;
    } else if (!strcmp(what, "fill")) {
        size_t taken = 0;
        while (!CALL(cudaMalloc, &at, size[0] << 20))
            taken += size[0];
        printf("taken %zu MiB then %d\n", taken, CALL(cudaGetLastError));
        return 0;
    } else if (!strcmp(what, "greedy")) {
        /* nine tenths of what is free, and it needs so much */
        size_t free_bytes, total;
        CALL(cudaMemGetInfo, &free_bytes, &total);
        return take((free_bytes >> 20) / 10 * 9, &at) || (free_bytes >> 20) / 10 * 9 < size[0];
    } else if (!strcmp(what, "retry")) {
        /* is refused, asks for less, and goes on */
        return CALL(cudaMalloc, &at, (size_t) 1 << 40) == 2 ? take(size[0], &at) : 6;
    } else if (!strcmp(what, "engine")) {
        return engine(size[0], size[1], size[2]);
    } else if (!strcmp(what, "serve")) {
        if (engine(size[0], size[1], size[2]))
            return 1;
        fprintf(stderr, "main: server is listening on http://127.0.0.1:8080\n");
        pause();
    } else if (!strcmp(what, "phases")) {
        say("{\"phase\":\"load\"}");
        take(size[0], &at);
        say("{\"phase\":\"prefill\"}");
        take(size[1], &at);
        CALL(cudaFree, at);
        say("{\"phase\":\"decode\"}");
        say("{\"component\":\"weights\",\"bytes\":1048576}");
        take(size[2], &at);
        say("no phase");
    } else if (!strcmp(what, "wait")) {
        take(size[0], &at);
        pause();
    } else if (!strcmp(what, "poll")) {
        void *stream;
        take(size[0], &at);
        CALL(cudaStreamCreate, &stream);
        for (;;) {
            CALL(cudaStreamQuery, stream);
            usleep(1000);
        }
    } else if (!strcmp(what, "crash")) {
        take(size[0], &at);
        raise(SIGSEGV);
    } else if (!strcmp(what, "child")) {
        /* a child of its own takes half and is killed */
        pid_t child = fork();
        if (!child) {
            take(size[0], &at);
            raise(SIGKILL);
        }
        int status;
        waitpid(child, &status, 0);
        return take(size[0], &at) ? 7 : 0;
    } else if (!strcmp(what, "flood")) {
        for (int i = 0; i < 150000; i++) {
            CALL(cudaMalloc, &at, (size_t) 2 << 20);
            CALL(cudaFree, at);
        }
        return take(size[0], &at);
    } else if (!strcmp(what, "static")) {
        void *table;
        runtime = dlopen("libcuda.so.1", RTLD_NOW);
        CALL(cuGetExportTable, &table, "0123456789abcdef");
        pause();
    } else if (!strcmp(what, "print")) {
        printf("out\n");
        fprintf(stderr, "err\n");
    }
    return 0;
}
