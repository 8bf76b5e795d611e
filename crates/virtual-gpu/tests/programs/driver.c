/* A program of the driver and of NVML, without their headers. What it sees it prints. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*any)();
static void *driver, *nvml, *blas;

static any function(void *library, const char *name)
{
    any found = (any) dlsym(library, name);
    if (!found) {
        printf("missing %s\n", name);
        exit(9);
    }
    return found;
}
#define CU(name, ...) function(driver, #name)(__VA_ARGS__)
#define NVML(name, ...) function(nvml, #name)(__VA_ARGS__)
#define MIB ((size_t) 1 << 20)

static void *context(int device)
{
    void *made;
    CU(cuDevicePrimaryCtxRetain, &made, device);
    CU(cuCtxSetCurrent, made);
    return made;
}

static void memory(const char *when)
{
    size_t free_bytes = 0, total = 0;
    int code = CU(cuMemGetInfo_v2, &free_bytes, &total);
    printf("%s free %zu MiB (%d)\n", when, free_bytes / MIB, code);
}

/* CUmemAllocationProp: type, handles, location of type and number, and more. */
struct place {
    int type, handles, kind, number;
    char rest[32];
};

static void reservations(void)
{
    struct place on_card = {1, 0, 1, 0};
    size_t granularity = 0, at = 0;
    unsigned long long a, b, again, read = 0, written = 42;
    context(0);
    CU(cuMemGetAllocationGranularity, &granularity, &on_card, 0);
    printf("granularity %zu\n", granularity);
    CU(cuMemAddressReserve, &at, (size_t) 64 << 30, (size_t) 0, (size_t) 0, 0ull);
    memory("reserved");
    CU(cuMemCreate, &a, 100 * MIB, &on_card, 0ull);
    CU(cuMemCreate, &b, 60 * MIB, &on_card, 0ull);
    printf("odd size %d\n", CU(cuMemCreate, &again, (size_t) 5, &on_card, 0ull));
    memory("created");
    printf("unmapped copy %d\n", CU(cuMemcpyHtoD_v2, at, &written, sizeof written));
    printf("map %d", CU(cuMemMap, at, 100 * MIB, (size_t) 0, a, 0ull));
    printf(" %d", CU(cuMemMap, at + 100 * MIB, 60 * MIB, (size_t) 0, b, 0ull));
    printf(" taken %d", CU(cuMemMap, at, 60 * MIB, (size_t) 0, b, 0ull));
    printf(" outside %d", CU(cuMemMap, at + ((size_t) 64 << 30), 60 * MIB, (size_t) 0, b, 0ull));
    printf(" access %d\n", CU(cuMemSetAccess, at, 160 * MIB, &on_card, (size_t) 1));
    /* Across both mappings. */
    CU(cuMemcpyHtoD_v2, at + 100 * MIB - 4, &written, sizeof written);
    CU(cuMemcpyDtoH_v2, &read, at + 100 * MIB - 4, sizeof read);
    printf("read %llu\n", read);
    CU(cuMemRelease, a);
    memory("released while mapped");
    printf("retain %d\n", CU(cuMemRetainAllocationHandle, &again, at + 8));
    CU(cuMemUnmap, at, 100 * MIB);
    memory("unmapped while held");
    CU(cuMemRelease, again);
    memory("let go");
    CU(cuMemUnmap, at + 100 * MIB, 60 * MIB);
    CU(cuMemRelease, b);
    memory("all gone");
    printf("free %d\n", CU(cuMemAddressFree, at, (size_t) 64 << 30));
    printf("too much %d\n", CU(cuMemCreate, &a, (size_t) 30 << 30, &on_card, 0ull));
}

static void managed(void)
{
    size_t big, more, plain;
    context(0);
    printf("managed %d", CU(cuMemAllocManaged, &big, (size_t) 20 << 30, 1u));
    printf(" beyond the card %d\n", CU(cuMemAllocManaged, &more, (size_t) 20 << 30, 1u));
    memory("managed");
    printf("plain makes room %d\n", CU(cuMemAlloc_v2, &plain, (size_t) 10 << 30));
    printf("but not for more %d\n", CU(cuMemAlloc_v2, &plain, (size_t) 20 << 30));
    /* The host may use it. */
    *(volatile int *) big = 7;
    printf("host reads %d\n", *(volatile int *) big);
}

static void peers(void)
{
    int can = -1, device = -1, ordinal = -1;
    void *first = context(0), *second = context(1);
    size_t at = 0, bytes = 0;
    unsigned type = 0;
    CU(cuDeviceCanAccessPeer, &can, 0, 1);
    printf("can %d enable %d", can, CU(cuCtxEnablePeerAccess, first, 0u));
    printf(" again %d self %d\n", CU(cuCtxEnablePeerAccess, first, 0u), CU(cuCtxEnablePeerAccess, second, 0u));
    CU(cuMemAlloc_v2, &at, 300 * MIB);
    CU(cuCtxSetCurrent, first);
    CU(cuCtxGetDevice, &device);
    CU(cuPointerGetAttribute, &ordinal, 9, at + 5);
    CU(cuPointerGetAttribute, &type, 2, at + 5);
    CU(cuPointerGetAttribute, &bytes, 12, at + 5);
    printf("on device %d the memory of %d, type %u, %zu MiB\n", device, ordinal, type, bytes / MIB);
    memory("first card");
    CU(cuCtxSetCurrent, second);
    memory("second card");
    printf("host pointer %d\n", CU(cuPointerGetAttribute, &type, 2, (size_t) &type));
}

static void lookup(void)
{
    void *old = 0, *found = 0, *none = (void *) 1;
    int result = -1;
    CU(cuGetProcAddress_v2, "cuMemAlloc", &found, 12080, 0ull, &result);
    printf("versioned %d\n", found == dlsym(driver, "cuMemAlloc_v2") && result == 0);
    CU(cuGetProcAddress_v2, "cuStreamGetCaptureInfo", &old, 11080, 0ull, &result);
    CU(cuGetProcAddress_v2, "cuStreamGetCaptureInfo", &found, 13000, 0ull, &result);
    printf("by version %d %d\n", old == dlsym(driver, "cuStreamGetCaptureInfo"),
           found == dlsym(driver, "cuStreamGetCaptureInfo_v3"));
    int code = CU(cuGetProcAddress_v2, "cuNoSuchFunction", &none, 12080, 0ull, &result);
    printf("unknown %d %p %d\n", code, none, result);
}

static void monitor(void)
{
    void *card;
    unsigned long long v1[3], v2[5] = {0};
    unsigned count = 0, processes = 4;
    char name[96], uuid[96], processes_buffer[4 * 24];
    size_t at;
    NVML(nvmlInit_v2);
    NVML(nvmlDeviceGetCount_v2, &count);
    NVML(nvmlDeviceGetHandleByIndex_v2, 0u, &card);
    NVML(nvmlDeviceGetName, card, name, 96u);
    NVML(nvmlDeviceGetUUID, card, uuid, 96u);
    context(0);
    CU(cuMemAlloc_v2, &at, 1000 * MIB);
    NVML(nvmlDeviceGetMemoryInfo, card, v1);
    NVML(nvmlDeviceGetMemoryInfo_v2, card, v2);
    printf("%u cards, %s, %.4s, total %llu free %llu used %llu\n", count, name, uuid, v1[0] / MIB, v1[1] / MIB, v1[2] / MIB);
    printf("second form: reserved %llu free %llu used %llu\n", v2[2] / MIB, v2[3] / MIB, v2[4] / MIB);
    int code = NVML(nvmlDeviceGetComputeRunningProcesses_v3, card, &processes, processes_buffer);
    printf("%d: %u process, %llu MiB\n", code, processes, *(unsigned long long *) (processes_buffer + 8) / MIB);
    printf("fan %d, wrong card %d\n", NVML(nvmlDeviceGetFanSpeed, card, &count), NVML(nvmlDeviceGetHandleByIndex_v2, 9u, &card));
}

static void workspace(void)
{
    void *handle;
    context(0);
    function(blas, "cublasCreate_v2")(&handle);
    memory("handle");
    function(blas, "cublasSgemm_v2")(handle);
    memory("first product");
    function(blas, "cublasSgemm_v2")(handle);
    memory("second product");
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    driver = dlopen("libcuda.so.1", RTLD_NOW);
    nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW);
    blas = dlopen("libcublas.so.12", RTLD_NOW);
    printf("init %d\n", CU(cuInit, 0u));
    if (!strcmp(argv[1], "reservations"))
        reservations();
    else if (!strcmp(argv[1], "managed"))
        managed();
    else if (!strcmp(argv[1], "peers"))
        peers();
    else if (!strcmp(argv[1], "lookup"))
        lookup();
    else if (!strcmp(argv[1], "monitor"))
        monitor();
    else if (!strcmp(argv[1], "workspace"))
        workspace();
    else if (!strcmp(argv[1], "count")) {
        int count = -1;
        CU(cuDeviceGetCount, &count);
        printf("count %d\n", count);
    }
    return 0;
}
