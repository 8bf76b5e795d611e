// One layer's cache, as every kernel sees it, and which of its tokens are live.
//
//     pinned [0, P)        the system prompt: attended to, never scored, never evicted
//     slots  [0, S)        sinks: the first tokens of the conversation, never evicted
//            [S, N - W)    heavy hitters: per kv head, the lowest score is evicted
//            [N - W, N)    the recent window, a ring: token t is in slot N - W + t mod W
//
// `crates/engine/src/h2o/policy.rs` is the same for the CPU; `launch/cache.rs` there mirrors these structs.
#pragma once
#include "common.cuh"

// Room for `capacity` tokens: 2 · (head_dim + 2) bytes per token and kv head.
struct Region {
    signed char *keys;     // [kv_heads, capacity, head_dim], key / smoothing / scale, after RoPE
    __half *key_scales;    // [kv_heads, capacity]
    signed char *values;   // [kv_heads, capacity, head_dim], value / scale
    __half *value_scales;  // [kv_heads, capacity]
    int capacity;
    int unused;
};

struct Layer {
    Region pinned;           // capacity P
    Region slots;            // capacity N
    float *scores;           // [kv_heads, N], attention mass that each slot has gathered
    const float *smoothing;  // [kv_heads, head_dim]
    int kv_heads;
    int gqa_group;  // query heads per kv head
    int recent_window;
    int sinks;
};

// Before the step: tokens of the system prompt, and of the conversation, that are written. In device
// memory, so that a captured graph serves every step.
struct Clock {
    int pinned_len;
    int written;
};

// Slots that one tile of scores covers.
constexpr int TILE = 64;

// What is live once a step's tokens are written.
struct Live {
    int pinned;      // [0, pinned) of the pinned region
    int filled;      // slots [0, filled)
    int ring_start;  // slots [ring_start, ring_start + ring)
    int ring;

    __device__ bool slot(int slot) const {
        return slot < filled || (slot >= ring_start && slot < ring_start + ring);
    }
};

// `pinning`: the step's tokens belong to the system prompt.
__device__ __forceinline__ Live live_after(const Layer &layer, Clock clock, int tokens, bool pinning) {
    const int window = layer.recent_window, ring_start = layer.slots.capacity - window;
    const int written = clock.written + (pinning ? 0 : tokens);
    return {clock.pinned_len + (pinning ? tokens : 0), min(max(written - window, 0), ring_start),
            ring_start, min(written, window)};
}

// The tiles that hold live tokens, numbered without gaps: those of the pinned region, those of the
// filled slots, those of the ring that are not among them.
struct Tiles {
    int pinned, filled, ring_first, count;

    __device__ explicit Tiles(const Live &live) {
        pinned = div_up(live.pinned, TILE);
        filled = div_up(live.filled, TILE);
        ring_first = max(filled, live.ring_start / TILE);
        const int ring_end = live.ring > 0 ? div_up(live.ring_start + live.ring, TILE) : 0;
        count = pinned + filled + max(ring_end - ring_first, 0);
    }
    __device__ bool is_pinned(int tile) const { return tile < pinned; }
    // Where a tile begins in its region, in tiles.
    __device__ int place(int tile) const {
        if (tile < pinned) return tile;
        tile -= pinned;
        return tile < filled ? tile : tile - filled + ring_first;
    }
};

// A score as an integer of the same order (`f32::total_cmp`).
__device__ __forceinline__ unsigned ordered(float score) {
    const unsigned bits = __float_as_uint(score);
    return bits ^ ((bits & 0x80000000u) ? 0xffffffffu : 0x80000000u);
}

// The slot in which a conversation's token is while it is recent.
__device__ __forceinline__ int ring_slot(const Layer &layer, int token) {
    return layer.slots.capacity - layer.recent_window + token % layer.recent_window;
}
