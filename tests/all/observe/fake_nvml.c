/* A libnvidia-ml.so.1 for tests. It holds no figures of its own: all of them are in the file that
 * FAKE_NVML names, which is read anew at every call, `key=value` a line:
 *
 *   total, reserved, used      MiB of the device
 *   process                    PID:MIB[,PID:MIB...]; MIB `?` where the driver does not say
 *   error.CALL                 the NVML error code that a call returns, e.g. error.memory=15
 *   name, uuid, driver, count, mig, ecc, persistence, mode
 *
 * Calls: init, count, handle, memory, processes, name, uuid, driver. Compiled with -DNO_MEMORY_V2 it lacks
 * nvmlDeviceGetMemoryInfo_v2, as drivers before R510 do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Return;
typedef void *Device;

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7 };

static char value[4096];

/* The value of a key; NULL where the file does not have it. */
static const char *get(const char *key) {
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return NULL;
    char line[4096];
    const char *found = NULL;
    size_t length = strlen(key);
    while (!found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            line[strcspn(line, "\n")] = 0;
            strcpy(value, line + length + 1);
            found = value;
        }
    }
    fclose(file);
    return found;
}

static unsigned long long number(const char *key, unsigned long long otherwise) {
    const char *text = get(key);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static Return error_of(const char *call) {
    char key[64];
    snprintf(key, sizeof key, "error.%s", call);
    return (Return)number(key, SUCCESS);
}

static Return text_of(const char *key, const char *otherwise, char *to, unsigned size) {
    Return error = error_of(key);
    if (error) return error;
    const char *text = get(key);
    snprintf(to, size, "%s", text ? text : otherwise);
    return SUCCESS;
}

const char *nvmlErrorString(Return r) { (void)r; return "fake"; }
Return nvmlInit_v2(void) { return error_of("init"); }
Return nvmlInitWithFlags(unsigned flags) { (void)flags; return error_of("init"); }
Return nvmlShutdown(void) { return SUCCESS; }
Return nvmlSystemGetDriverVersion(char *to, unsigned size) { return text_of("driver", "0.0-fake", to, size); }
Return nvmlSystemGetNVMLVersion(char *to, unsigned size) { return text_of("nvml", "0.0-fake", to, size); }
Return nvmlSystemGetCudaDriverVersion_v2(int *to) { *to = 13000; return SUCCESS; }
Return nvmlSystemGetCudaDriverVersion(int *to) { *to = 13000; return SUCCESS; }

Return nvmlDeviceGetCount_v2(unsigned *count) {
    *count = (unsigned)number("count", 1);
    return error_of("count");
}

Return nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) {
    if (index >= number("count", 1)) return INVALID_ARGUMENT;
    *device = (Device)(size_t)(index + 1);
    return error_of("handle");
}

Return nvmlDeviceGetHandleByUUID(const char *uuid, Device *device) {
    const char *known = get("uuid");
    if (strcmp(uuid, known ? known : "GPU-fake")) return NOT_FOUND;
    *device = (Device)1;
    return error_of("handle");
}

Return nvmlDeviceGetName(Device d, char *to, unsigned size) { (void)d; return text_of("name", "Fake GPU", to, size); }
Return nvmlDeviceGetUUID(Device d, char *to, unsigned size) { (void)d; return text_of("uuid", "GPU-fake", to, size); }

#ifndef NO_MEMORY_V2
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } Memory;

Return nvmlDeviceGetMemoryInfo_v2(Device d, Memory *memory) {
    (void)d;
    Return error = error_of("memory");
    if (error) return error;
    memory->total = number("total", 1024) << 20;
    memory->reserved = number("reserved", 0) << 20;
    memory->used = number("used", 0) << 20;
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}
#endif

typedef struct { unsigned pid; unsigned long long used; unsigned gpu, compute; } Process;

Return nvmlDeviceGetComputeRunningProcesses_v3(Device d, unsigned *count, Process *to) {
    (void)d;
    Return error = error_of("processes");
    if (error) return error;
    const char *list = get("process");
    Process rows[64];
    unsigned n = 0;
    while (list && *list && n < 64) {
        char *end;
        rows[n].pid = (unsigned)strtoul(list, &end, 10);
        rows[n].used = end[1] == '?' ? ~0ull : strtoull(end + 1, NULL, 10) << 20;
        rows[n].gpu = rows[n].compute = ~0u;
        n++;
        list = strchr(end, ',');
        if (list) list++;
    }
    unsigned room = *count;
    *count = n;
    if (n > room || (n && !to)) return INSUFFICIENT_SIZE;
    memcpy(to, rows, n * sizeof *rows);
    return SUCCESS;
}

static Return state(const char *key, unsigned *to, unsigned *pending) {
    const char *text = get(key);
    if (!text) return NOT_SUPPORTED;
    *to = (unsigned)atoi(text);
    if (pending) *pending = *to;
    return SUCCESS;
}

Return nvmlDeviceGetMigMode(Device d, unsigned *now, unsigned *then) { (void)d; return state("mig", now, then); }
Return nvmlDeviceGetEccMode(Device d, unsigned *now, unsigned *then) { (void)d; return state("ecc", now, then); }
Return nvmlDeviceGetPersistenceMode(Device d, unsigned *now) { (void)d; return state("persistence", now, NULL); }
Return nvmlDeviceGetComputeMode(Device d, unsigned *now) { (void)d; return state("mode", now, NULL); }
Return nvmlDeviceGetCudaComputeCapability(Device d, int *major, int *minor) { (void)d; *major = 8; *minor = 9; return SUCCESS; }
