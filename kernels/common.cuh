// What all kernels share: warps, and int8 as f32 or f16.
#pragma once
#include <cuda_fp16.h>

#include "instructions.cuh"

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// Logits and log-sum-exps carry this factor, so that `exp2` serves as `exp`.
constexpr float LOG2_E = 1.44269504088896341f;

__host__ __device__ constexpr int div_up(int a, int b) { return (a + b - 1) / b; }

// Loads and stores are not moved across this by the compiler. Costs no instruction.
__device__ __forceinline__ void keep_order() { asm volatile("" ::: "memory"); }

// Sum, maximum over groups of `LANES` neighbouring lanes; every lane gets it.
template <int LANES = WARP> __device__ __forceinline__ float lanes_sum(float x) {
#pragma unroll
    for (int by = LANES / 2; by > 0; by /= 2) x += __shfl_xor_sync(ALL_LANES, x, by);
    return x;
}

template <int LANES = WARP> __device__ __forceinline__ float lanes_max(float x) {
#pragma unroll
    for (int by = LANES / 2; by > 0; by /= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, by));
    return x;
}

// The same over the lanes that differ in all but the last two bits: the rows of an mma fragment.
__device__ __forceinline__ float rows_sum(float x) {
#pragma unroll
    for (int by = 4; by < WARP; by *= 2) x += __shfl_xor_sync(ALL_LANES, x, by);
    return x;
}

__device__ __forceinline__ float rows_max(float x) {
#pragma unroll
    for (int by = 4; by < WARP; by *= 2) x = fmaxf(x, __shfl_xor_sync(ALL_LANES, x, by));
    return x;
}

// Four int8 as f32, exactly: 2^23 + 128 + x is a float whose low byte is x + 128.
__device__ __forceinline__ float4 widen_to_f32(unsigned four) {
    constexpr unsigned TWO_TO_23 = 0x4B000000u;
    constexpr float OFFSET = 8388608.0f + 128.0f;
    four ^= 0x80808080u;
    return make_float4(__uint_as_float(__byte_perm(four, TWO_TO_23, 0x7440)) - OFFSET,
                       __uint_as_float(__byte_perm(four, TWO_TO_23, 0x7441)) - OFFSET,
                       __uint_as_float(__byte_perm(four, TWO_TO_23, 0x7442)) - OFFSET,
                       __uint_as_float(__byte_perm(four, TWO_TO_23, 0x7443)) - OFFSET);
}

__device__ __forceinline__ unsigned as_bits(__half2 pair) {
    unsigned bits;
    memcpy(&bits, &pair, sizeof bits);
    return bits;
}

__device__ __forceinline__ __half2 as_half2(unsigned bits) {
    __half2 pair;
    memcpy(&pair, &bits, sizeof bits);
    return pair;
}

// Four int8 as two pairs of f16, exactly: 1024 + 128 + x is a half whose low byte is x + 128.
__device__ __forceinline__ void widen_to_f16(unsigned four, unsigned &low, unsigned &high) {
    constexpr unsigned TWO_TO_10 = 0x64646464u;
    const __half2 offset = __floats2half2_rn(1152.0f, 1152.0f);
    four ^= 0x80808080u;
    low = as_bits(__hsub2(as_half2(__byte_perm(four, TWO_TO_10, 0x4140)), offset));
    high = as_bits(__hsub2(as_half2(__byte_perm(four, TWO_TO_10, 0x4342)), offset));
}
