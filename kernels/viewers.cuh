// Which of a step's tokens see a token of the cache. The step's tokens are written already.
#pragma once
#include "cache.cuh"

constexpr int NOBODY = 0x7fffffff;

struct Chunk {
    Clock clock;  // before the step
    int tokens;
    int pinning;  // the tokens are part of the system prompt
};

// The first of the step's tokens that sees a pinned token, or a slot; `NOBODY` where none does.
__device__ __forceinline__ int viewer_of_pinned(Chunk chunk, int token) {
    const int end = chunk.clock.pinned_len + (chunk.pinning ? chunk.tokens : 0);
    return token < end ? max(token - chunk.clock.pinned_len, 0) : NOBODY;
}

__device__ __forceinline__ int viewer_of_slot(Chunk chunk, const Layer &layer, const Live &live, int slot) {
    if (chunk.pinning || !live.slot(slot)) return NOBODY;
    if (slot < live.ring_start) return 0;
    const int window = layer.recent_window;
    const int index = (slot - live.ring_start - chunk.clock.written % window + window) % window;
    return index < chunk.tokens ? index : 0;
}
