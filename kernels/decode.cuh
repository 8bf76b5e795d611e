// What the two decode kernels share: arguments, which tiles a block takes, and how it ends.
//
// Decode attention is split over the cache: block (x, y) takes one kv head with all its query heads
// (up to 8; more are several blocks), and the y-th part of the live tiles. It reads each key and value
// once and leaves, per query head, an unnormalized output with its maximum and sum (`combine.cu`).
//
// For the score update it also leaves what each slot got: `probabilities` holds
// 2^15 · exp(logit - top), `tops` the largest logit of each head and tile of 64 slots. 2^15 keeps small
// ones out of f16's subnormals: the relative error is 2^-11 down to exp(-19). `scores.cu` rescales them
// once the sum over the whole cache is known.
//
// Reads 2 · (head_dim + 2) bytes per live token and kv head, and writes 2 bytes per slot and query head.
#pragma once
#include "cache.cuh"
#include "common.cuh"

constexpr int MAX_GROUP = 8;  // query heads of a block: the columns of an mma
constexpr float PROBABILITY_ONE = 32768.0f;

struct Decode {
    Layer layer;
    const Clock *clock;     // before this token
    const float *queries;   // [query_heads, head_dim], after RoPE
    __half *probabilities;  // [query_heads, N], or null where nothing is scored
    float *tops;            // [query_heads, tiles of N]
    float *partials;        // [query_heads, splits, head_dim + 2]: output, maximum, sum
};

// One kv head of a region.
struct Rows {
    const signed char *keys, *values;
    const __half *key_scales, *value_scales;
    int last;  // tokens beyond the region are read as its last one, and masked
};

__device__ __forceinline__ Rows rows_of(const Region &region, int head) {
    const size_t first = (size_t)head * region.capacity;
    return {region.keys + first * HEAD_DIM, region.values + first * HEAD_DIM, region.key_scales + first,
            region.value_scales + first, region.capacity - 1};
}

// A block's part of the work.
struct Work {
    int head;         // kv head
    int first_query;  // query head
    int queries;      // how many
    Live live;
    Tiles tiles;
    int first_tile, end_tile;
    Rows pinned, slots;

    __device__ explicit Work(const Decode &decode)
        : live(live_after(decode.layer, *decode.clock, 1, false)), tiles(live) {
        const int group = decode.layer.gqa_group, pieces = div_up(group, MAX_GROUP);
        const int piece = blockIdx.x % pieces;
        head = blockIdx.x / pieces;
        first_query = head * group + piece * MAX_GROUP;
        queries = min(group - piece * MAX_GROUP, MAX_GROUP);
        first_tile = (long long)tiles.count * blockIdx.y / gridDim.y;
        end_tile = (long long)tiles.count * (blockIdx.y + 1) / gridDim.y;
        pinned = rows_of(decode.layer.pinned, head);
        slots = rows_of(decode.layer.slots, head);
    }

    // The rows in which a tile lies. Field by field, so that they stay in registers.
    __device__ __forceinline__ Rows rows(int tile) const {
        const bool p = tiles.is_pinned(tile);
        return {p ? pinned.keys : slots.keys, p ? pinned.values : slots.values,
                p ? pinned.key_scales : slots.key_scales, p ? pinned.value_scales : slots.value_scales,
                p ? pinned.last : slots.last};
    }

    // The first of the tokens that warp `warp` takes of a tile, `unit` for each warp.
    __device__ __forceinline__ int first_token(int tile, int warp, int unit) const {
        return tiles.place(tile) * TILE + warp * unit;
    }

    __device__ __forceinline__ bool is_live(int tile, int token) const {
        return tiles.is_pinned(tile) ? token < live.pinned : live.slot(token);
    }
};

// Of 16 tokens from `first` on, lanes 0-15 get the scales of the keys, lanes 16-31 those of the values;
// 0 where not live.
__device__ __forceinline__ float fetch_scale(const Work &work, int tile, int first) {
    const int lane = threadIdx.x % WARP, token = first + lane % 16;
    const Rows rows = work.rows(tile);
    const __half *scales = lane < 16 ? rows.key_scales : rows.value_scales;
    return work.is_live(tile, token) ? __half2float(scales[token]) : 0.0f;
}

// Where query head `query` of this block leaves its output, maximum and sum.
__device__ __forceinline__ float *partial_of(const Decode &decode, const Work &work, int query) {
    const size_t row = (size_t)(work.first_query + query) * gridDim.y + blockIdx.y;
    return decode.partials + row * (HEAD_DIM + 2);
}

__device__ __forceinline__ bool is_scored(const Decode &decode, const Work &work, int tile) {
    return decode.probabilities != nullptr && !work.tiles.is_pinned(tile);
}

// Where a tile's largest logit goes.
__device__ __forceinline__ float *top_of(const Decode &decode, const Work &work, int tile, int query) {
    const int count = div_up(decode.layer.slots.capacity, TILE);
    return decode.tops + (size_t)(work.first_query + query) * count + work.tiles.place(tile);
}

// Adds what the warps left in shared memory, [warps][MAX_GROUP][HEAD_DIM] and [warps][MAX_GROUP], and
// stores it with the maxima, [MAX_GROUP].
__device__ __forceinline__ void store_partials(const Decode &decode, const Work &work, int warps,
                                               const float *outputs, const float *sums,
                                               const float *tops, float unit) {
    for (int i = threadIdx.x; i < work.queries * HEAD_DIM; i += blockDim.x) {
        float sum = 0.0f;
        for (int warp = 0; warp < warps; warp++) sum += outputs[warp * MAX_GROUP * HEAD_DIM + i];
        partial_of(decode, work, i / HEAD_DIM)[i % HEAD_DIM] = sum * unit;
    }
    if (threadIdx.x < work.queries) {
        float *to = partial_of(decode, work, threadIdx.x) + HEAD_DIM, sum = 0.0f;
        for (int warp = 0; warp < warps; warp++) sum += sums[warp * MAX_GROUP + threadIdx.x];
        to[0] = tops[threadIdx.x];
        to[1] = sum;
    }
}
