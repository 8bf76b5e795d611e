// What every translation unit of kernels gets behind the .cu file: its shared memory and its door.
//
//     #include "decode.cu"
//     #include "emulator/module.h"
//     EMU_KERNELS({"decode", &emu::unpack<decode>, emu::count_of(decode)})
#pragma once
#include <link.h>

// As much as a block may have on any GPU (sm_90: 227 KiB).
constexpr size_t DYNAMIC_CAPACITY = 227 << 10;
alignas(16) thread_local unsigned char dynamic_shared[DYNAMIC_CAPACITY];

namespace emu {

struct Kernel { const char *name; void (*call)(void **); size_t parameters; };

struct Block { char *start; size_t bytes; };

inline int find_block(dl_phdr_info *info, size_t, void *data) {
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) &p = info->dlpi_phdr[i];
        char *start = static_cast<char *>(info->dlpi_tls_data);
        char *mine = reinterpret_cast<char *>(dynamic_shared);
        if (p.p_type != PT_TLS || start == nullptr || mine < start || mine >= start + p.p_memsz) continue;
        *static_cast<Block *>(data) = {start, p.p_memsz};
        return 1;
    }
    return 0;
}

// Fills every __shared__ variable of this module with NaNs. They are its only thread-local ones.
inline void poison() {
    asm volatile("" ::"r"(dynamic_shared));  // a thread's copy is made when it is first used
    Block block{};
    dl_iterate_phdr(find_block, &block);
    memset(block.start, 0xFF, block.bytes);
}

}  // namespace emu

#define EMU_KERNELS(...)                                                                            \
    static const emu::Kernel kernels[] = {__VA_ARGS__};                                             \
    extern "C" const char *module_launch(const char *name, size_t count, void **parameters,         \
                                         dim3 grid, dim3 block, unsigned shared, uint64_t seed) {   \
        for (const emu::Kernel &k : kernels) {                                                      \
            if (strcmp(k.name, name) != 0) continue;                                                \
            if (k.parameters != count) return "the kernel takes another number of arguments";       \
            return emu::emu_launch(k.call, parameters, grid, block, shared, seed, dynamic_shared,   \
                                   DYNAMIC_CAPACITY, emu::poison);                                  \
        }                                                                                           \
        return "no such kernel in this module";                                                     \
    }
