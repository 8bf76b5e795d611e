// How the next token's victim is handed on: per kv head the smallest of these keys.
#pragma once
#include "cache.cuh"

constexpr unsigned long long NO_VICTIM = ~0ull;
constexpr unsigned LEAVER = 0xfffffffeu;  // in place of a slot: the token that leaves the ring loses

__device__ __forceinline__ unsigned long long victim_key(float score, unsigned slot) {
    return (unsigned long long)ordered(score) << 32 | slot;
}

__device__ __forceinline__ unsigned long long lanes_min(unsigned long long key) {
#pragma unroll
    for (int by = WARP / 2; by > 0; by /= 2) key = min(key, __shfl_xor_sync(ALL_LANES, key, by));
    return key;
}
