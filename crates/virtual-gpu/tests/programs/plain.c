/* A plain CUDA program without CUDA's headers: it opens the runtime by the name that it is given and
 * does what its second argument says. What it sees it prints, one fact a line. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
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

static const char *message(int code)
{
    return ((const char *(*)(int)) dlsym(runtime, "cudaGetErrorString"))(code);
}

static void memory(const char *when)
{
    size_t free_bytes = 0, total = 0;
    int code = CALL(cudaMemGetInfo, &free_bytes, &total);
    printf("%s free %zu of %zu (%d)\n", when, free_bytes, total, code);
}

/* Takes `step` bytes at a time until the card refuses; leaves them taken. */
static void fill(size_t step)
{
    size_t taken = 0;
    int code;
    void *at;
    while ((code = CALL(cudaMalloc, &at, step)) == 0)
        taken += step;
    printf("taken %zu then %d %s\n", taken, code, message(code));
    int last = CALL(cudaGetLastError);
    printf("last error %d, then %d\n", last, CALL(cudaGetLastError));
}

static void describe(void)
{
    int count = -1, code = CALL(cudaGetDeviceCount, &count);
    printf("cards %d (%d %s)\n", count, code, message(code));
    for (int card = 0; card < count; card++) {
        /* cudaDeviceProp begins with the name in every version; 4096 holds any of them. */
        char properties[4096];
        int sms = 0, major = 0, minor = 0;
        CALL(cudaSetDevice, card);
        CALL(cudaGetDeviceProperties, properties, card);
        CALL(cudaDeviceGetAttribute, &sms, 16, card);
        CALL(cudaDeviceGetAttribute, &major, 75, card);
        CALL(cudaDeviceGetAttribute, &minor, 76, card);
        printf("card %d %s sm_%d%d %d SMs, total in properties %zu\n", card, properties, major, minor, sms,
               *(size_t *) (properties + 288));
        memory("at first");
    }
}

static void *worker(void *unused)
{
    void *held[64];
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 64; i++)
            if (CALL(cudaMalloc, &held[i], (size_t) (i + 1) << 12) != 0)
                printf("thread refused\n");
        for (int i = 0; i < 64; i++)
            if (CALL(cudaFree, held[i]) != 0)
                printf("free failed\n");
    }
    return unused;
}

static void threads(void)
{
    pthread_t all[8];
    for (int i = 0; i < 8; i++)
        pthread_create(&all[i], NULL, worker, NULL);
    for (int i = 0; i < 8; i++)
        pthread_join(all[i], NULL);
    memory("after threads");
}

static void values(void)
{
    int in[1000], out[1000], zeros[1000];
    char *at;
    for (int i = 0; i < 1000; i++)
        in[i] = i * 3 + 1;
    memset(out, 0, sizeof out);
    memset(zeros, 7, sizeof zeros);
    CALL(cudaMalloc, &at, (size_t) 3 << 30);
    CALL(cudaMemcpy, at + 12345, in, sizeof in, 1);
    CALL(cudaMemcpy, out, at + 12345, sizeof out, 2);
    CALL(cudaMemcpy, zeros, at + ((size_t) 2 << 30), sizeof zeros, 2);
    printf("round trip %s, unwritten %d %d\n", memcmp(in, out, sizeof in) ? "lost" : "kept", zeros[0], zeros[999]);
    int outside = CALL(cudaMemcpy, out, at + ((size_t) 3 << 30) - 4, (size_t) 8, 2);
    CALL(cudaFree, at);
    printf("outside %d, freed %d\n", outside, CALL(cudaMemcpy, out, at, (size_t) 8, 2));
    printf("twice %d\n", CALL(cudaFree, at));
}

/* As an engine loads a model: one large buffer, uploaded from a file of holes in pieces. */
static void upload(void)
{
    size_t size = (size_t) 17 << 30, piece = (size_t) 64 << 20;
    char *host, *at;
    struct rusage usage;
    CALL(cudaHostAlloc, &host, piece, 0u);
    if (CALL(cudaMalloc, &at, size))
        printf("refused\n");
    for (size_t done = 0; done < size; done += piece)
        CALL(cudaMemcpy, at + done, host, piece, 1);
    getrusage(RUSAGE_SELF, &usage);
    printf("uploaded, resident %s\n", usage.ru_maxrss < 100 << 10 ? "little" : "much");
}

static void pool(void)
{
    void *at[4];
    unsigned long long threshold = ~0ull, reserved = 0, used = 0;
    void *pool;
    for (int i = 0; i < 4; i++)
        CALL(cudaMallocAsync, &at[i], (size_t) 20 << 20, NULL);
    memory("pool full");
    CALL(cudaDeviceGetDefaultMemPool, &pool, 0);
    CALL(cudaMemPoolGetAttribute, pool, 5, &reserved);
    CALL(cudaMemPoolGetAttribute, pool, 7, &used);
    printf("reserved %llu used %llu\n", reserved, used);
    for (int i = 0; i < 4; i++)
        CALL(cudaFreeAsync, at[i], NULL);
    memory("freed");
    CALL(cudaDeviceSynchronize);
    memory("synchronized");
    CALL(cudaMemPoolSetAttribute, pool, 4, &threshold);
    CALL(cudaMallocAsync, &at[0], (size_t) 20 << 20, NULL);
    CALL(cudaFreeAsync, at[0], NULL);
    CALL(cudaDeviceSynchronize);
    memory("kept");
    CALL(cudaMemPoolTrimTo, pool, (size_t) 0);
    memory("trimmed");
}

static void capture(void)
{
    void *stream, *event, *other, *graph, *executable;
    int capturing = -1, joined = -1;
    size_t nodes = 0;
    CALL(cudaStreamCreate, &stream);
    CALL(cudaStreamCreate, &other);
    CALL(cudaEventCreate, &event);
    CALL(cudaStreamBeginCapture, stream, 0);
    CALL(cudaEventRecord, event, stream);
    CALL(cudaStreamWaitEvent, other, event, 0);
    CALL(cudaStreamIsCapturing, stream, &capturing);
    CALL(cudaStreamIsCapturing, other, &joined);
    printf("capturing %d joined %d, synchronize %d\n", capturing, joined, CALL(cudaStreamSynchronize, stream));
    char byte = 1, *at;
    CALL(cudaMalloc, &at, (size_t) 1);
    CALL(cudaMemcpyAsync, at, &byte, (size_t) 1, 1, other);
    CALL(cudaStreamEndCapture, stream, &graph);
    CALL(cudaStreamIsCapturing, other, &joined);
    CALL(cudaGraphGetNodes, graph, NULL, &nodes);
    int made = CALL(cudaGraphInstantiate, &executable, graph, 0ull);
    int launched = CALL(cudaGraphLaunch, executable, stream);
    printf("joined %d, nodes %zu, instantiate %d launch %d, of nothing %d\n", joined, nodes, made, launched,
           CALL(cudaGraphLaunch, (void *) 0x12345, stream));
}

/* Runs after the virtual GPU has heard of the end. */
static void late(void)
{
    void *at;
    int code = CALL(cudaMalloc, &at, (size_t) 40 << 30);
    printf("late %d %d\n", code, CALL(cudaFree, at));
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    const char *what = argc > 2 ? argv[2] : "";
    runtime = dlopen(argv[1], RTLD_NOW);
    if (!runtime) {
        printf("no runtime: %s\n", dlerror());
        return 8;
    }
    if (!strcmp(what, "describe")) {
        describe();
    } else if (!strcmp(what, "fill")) {
        describe();
        fill((size_t) strtoull(argv[3], NULL, 10));
    } else if (!strcmp(what, "threads")) {
        threads();
    } else if (!strcmp(what, "values")) {
        values();
    } else if (!strcmp(what, "upload")) {
        upload();
    } else if (!strcmp(what, "pool")) {
        pool();
    } else if (!strcmp(what, "capture")) {
        capture();
    } else if (!strcmp(what, "crash")) {
        fill((size_t) 1 << 30);
        *(volatile int *) 8 = 1;
    } else if (!strcmp(what, "hold")) {
        fill((size_t) 1 << 30);
        pause();
    } else if (!strcmp(what, "fork")) {
        memory("parent");
        pid_t child = fork();
        if (!child) {
            memory("child");
            _exit(0);
        }
        waitpid(child, NULL, 0);
        memory("parent again");
    } else if (!strcmp(what, "fork-first")) {
        pid_t child = fork();
        if (!child) {
            void *at;
            CALL(cudaMalloc, &at, (size_t) 4 << 30);
            memory("child");
            exit(0);
        }
        waitpid(child, NULL, 0);
        memory("parent");
    } else if (!strcmp(what, "close")) {
        /* As a daemon does; then its own file under a number that was ours. */
        void *at;
        CALL(cudaMalloc, &at, (size_t) 1 << 30);
        for (int fd = 3; fd < 1024; fd++)
            close(fd);
        int own[600];
        char path[256];
        snprintf(path, sizeof path, "%s", argv[3]);
        for (int i = 0; i < 600; i++) {
            FILE *file = fopen(path, "a");
            own[i] = file ? fileno(file) : -1;
        }
        CALL(cudaMalloc, &at, (size_t) 2 << 30);
        memory("closed");
        printf("own %d\n", own[599] > 500);
    } else if (!strcmp(what, "flood")) {
        void *at;
        for (int i = 0; i < 300000; i++) {
            CALL(cudaMalloc, &at, (size_t) 2 << 20);
            CALL(cudaFree, at);
        }
        CALL(cudaMalloc, &at, (size_t) 5 << 30);
        memory("flooded");
    } else if (!strcmp(what, "exec")) {
        void *at;
        CALL(cudaMalloc, &at, (size_t) 8 << 30);
        execl(argv[0], argv[0], argv[1], "describe", NULL);
    } else if (!strcmp(what, "share")) {
        /* Its memory, opened by a program that it starts. */
        void *at;
        unsigned char handle[64];
        char text[129];
        CALL(cudaMalloc, &at, (size_t) 3 << 30);
        CALL(cudaIpcGetMemHandle, handle, at);
        for (int i = 0; i < 64; i++)
            sprintf(text + 2 * i, "%02x", handle[i]);
        if (!fork()) {
            execl(argv[0], argv[0], argv[1], "open", text, NULL);
            _exit(1);
        }
        wait(NULL);
        memory("owner");
    } else if (!strcmp(what, "open")) {
        struct { unsigned char bytes[64]; } handle;
        void *at;
        unsigned byte;
        for (int i = 0; i < 64; i++) {
            sscanf(argv[3] + 2 * i, "%02x", &byte);
            handle.bytes[i] = byte;
        }
        int (*open)(void **, __typeof__(handle), unsigned) = (void *) dlsym(runtime, "cudaIpcOpenMemHandle");
        int code = open(&at, handle, 1);
        printf("opened %d\n", code);
        memory("user");
        code = CALL(cudaIpcCloseMemHandle, at);
        printf("closed %d\n", code);
    } else if (!strcmp(what, "late")) {
        atexit(late);
        memory("at first");
    } else if (!strcmp(what, "stub")) {
        for (int i = 0; i < 2; i++)
            printf("stub %d\n", CALL(cudaGraphicsMapResources));
    } else if (!strcmp(what, "static")) {
        /* What a runtime that is linked in does first. */
        void *table = &table;
        int code = CALL(cuGetExportTable, &table, "0123456789abcdef");
        printf("table %d %p\n", code, table);
    }
    return 0;
}
