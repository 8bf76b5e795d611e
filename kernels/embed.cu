// Looks up rows of an embedding in the type that its file has, as f32: the table stays quantized.
//
//     out[row] = table[ids[row]]
//
// table [vocab] rows of `width` elements in whole blocks of ggml's layout (`ggml-common.h`), ids [rows],
// out [rows, width]. Reads a row's bytes about once, writes 4 bytes per element.
// Block: 256 threads; grid: (parts of a row, rows). An entry per type.
#include "common.cuh"

constexpr int THREADS = 256;

typedef unsigned char byte;

// Blocks lie on even addresses.
__device__ __forceinline__ float half_at(const byte *at) {
    return __half2float(__ushort_as_half(*reinterpret_cast<const unsigned short *>(at)));
}

// Each type: elements and bytes of a block, and one element of it.

struct F32 {
    static constexpr int ELEMENTS = 1, BYTES = 4;
    static __device__ float get(const byte *block, int) { return *reinterpret_cast<const float *>(block); }
};

struct F16 {
    static constexpr int ELEMENTS = 1, BYTES = 2;
    static __device__ float get(const byte *block, int) { return half_at(block); }
};

struct Bf16 {
    static constexpr int ELEMENTS = 1, BYTES = 2;
    static __device__ float get(const byte *block, int) {
        return __uint_as_float((unsigned)*reinterpret_cast<const unsigned short *>(block) << 16);
    }
};

// Low nibbles are the first 16 elements, high nibbles the rest.
__device__ __forceinline__ int nibble(const byte *quants, int i) { return quants[i % 16] >> (i / 16 * 4) & 15; }

__device__ __forceinline__ int fifth_bit(const byte *bits, int i) { return (bits[i / 8] >> (i % 8) & 1) << 4; }

struct Q4_0 {
    static constexpr int ELEMENTS = 32, BYTES = 18;
    static __device__ float get(const byte *block, int i) { return half_at(block) * (nibble(block + 2, i) - 8); }
};

struct Q4_1 {
    static constexpr int ELEMENTS = 32, BYTES = 20;
    static __device__ float get(const byte *block, int i) {
        return half_at(block) * nibble(block + 4, i) + half_at(block + 2);
    }
};

struct Q5_0 {
    static constexpr int ELEMENTS = 32, BYTES = 22;
    static __device__ float get(const byte *block, int i) {
        return half_at(block) * ((nibble(block + 6, i) | fifth_bit(block + 2, i)) - 16);
    }
};

struct Q5_1 {
    static constexpr int ELEMENTS = 32, BYTES = 24;
    static __device__ float get(const byte *block, int i) {
        return half_at(block) * (nibble(block + 8, i) | fifth_bit(block + 4, i)) + half_at(block + 2);
    }
};

struct Q8_0 {
    static constexpr int ELEMENTS = 32, BYTES = 34;
    static __device__ float get(const byte *block, int i) { return half_at(block) * (signed char)block[2 + i]; }
};

struct Q2_K {
    static constexpr int ELEMENTS = 256, BYTES = 84;
    static __device__ float get(const byte *block, int i) {
        const int scale = block[i / 16], quant = block[16 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        return half_at(block + 80) * (scale & 15) * quant - half_at(block + 82) * (scale >> 4);
    }
};

struct Q3_K {
    static constexpr int ELEMENTS = 256, BYTES = 110;
    static __device__ float get(const byte *block, int i) {
        const byte *high = block, *low = block + 32, *scales = block + 96;
        const int s = i / 16;
        const int scale = (s < 8 ? scales[s] & 15 : scales[s - 8] >> 4) | (scales[8 + s % 4] >> (s / 4 * 2) & 3) << 4;
        const int quant = (low[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3) | (high[i % 32] >> (i / 32) & 1) << 2;
        return half_at(block + 108) * (scale - 32) * (quant - 4);
    }
};

// Six bits each of a scale and a minimum, the `s`-th of eight pairs in 12 bytes.
__device__ __forceinline__ int2 scale_and_min(const byte *packed, int s) {
    if (s < 4) return {packed[s] & 63, packed[s + 4] & 63};
    return {(packed[s + 4] & 15) | packed[s - 4] >> 6 << 4, packed[s + 4] >> 4 | packed[s] >> 6 << 4};
}

struct Q4_K {
    static constexpr int ELEMENTS = 256, BYTES = 144;
    static __device__ float get(const byte *block, int i) {
        const int2 pair = scale_and_min(block + 4, i / 32);
        const int quant = block[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
        return half_at(block) * pair.x * quant - half_at(block + 2) * pair.y;
    }
};

struct Q5_K {
    static constexpr int ELEMENTS = 256, BYTES = 176;
    static __device__ float get(const byte *block, int i) {
        const int2 pair = scale_and_min(block + 4, i / 32);
        const int low = block[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
        const int quant = low | (block[16 + i % 32] >> (i / 32) & 1) << 4;
        return half_at(block) * pair.x * quant - half_at(block + 2) * pair.y;
    }
};

struct Q6_K {
    static constexpr int ELEMENTS = 256, BYTES = 210;
    static __device__ float get(const byte *block, int i) {
        const int half = i / 128, part = i / 32 % 4, at = i % 32;
        const int low = block[half * 64 + part % 2 * 32 + at] >> (part / 2 * 4) & 15;
        const int high = block[128 + half * 32 + at] >> (part * 2) & 3;
        const int scale = (signed char)block[192 + i / 16];
        return half_at(block + 208) * scale * ((low | high << 4) - 32);
    }
};

template <class Type>
__device__ __forceinline__ void embed(const byte *table, const int *ids, float *out, int width) {
    const int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= width) return;
    const size_t row = (size_t)ids[blockIdx.y] * (width / Type::ELEMENTS) * Type::BYTES;
    const byte *block = table + row + (size_t)(i / Type::ELEMENTS) * Type::BYTES;
    out[(size_t)blockIdx.y * width + i] = Type::get(block, i % Type::ELEMENTS);
}

#define EMBED(NAME, TYPE)                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)               \
    embed_##NAME(const byte *table, const int *ids, float *out, int width) { \
        embed<TYPE>(table, ids, out, width);                            \
    }

EMBED(f32, F32)
EMBED(f16, F16)
EMBED(bf16, Bf16)
EMBED(q4_0, Q4_0)
EMBED(q4_1, Q4_1)
EMBED(q5_0, Q5_0)
EMBED(q5_1, Q5_1)
EMBED(q8_0, Q8_0)
EMBED(q2_k, Q2_K)
EMBED(q3_k, Q3_K)
EMBED(q4_k, Q4_K)
EMBED(q5_k, Q5_K)
EMBED(q6_k, Q6_K)
