// What the two kernels of a chunk share: arguments, who sees whom, and queries as operands.
//
// A chunk's queries are rows: for each kv head, `tokens · gqa_group` of them, row = token · group + query
// head of the group. Its keys and values are written already.
#pragma once
#include "cache.cuh"
#include "common.cuh"
#include "viewers.cuh"

struct Prefill {
    Layer layer;
    const Clock *clock;    // before the chunk
    const float *queries;  // [tokens, query_heads, head_dim], after RoPE
    float *output;         // [tokens, query_heads, head_dim]
    float *log_sum_exp;    // [kv_heads, tokens · gqa_group], base 2
    int tokens;
    int pinning;           // the chunk is part of the system prompt
};

constexpr int ROWS = 64;  // query rows of a block
constexpr int STEPS = HEAD_DIM / 16;
constexpr int KEY_PIECES = HEAD_DIM / 64;

__device__ __forceinline__ Chunk chunk_of(const Prefill &prefill, Clock clock) {
    return {clock, prefill.tokens, prefill.pinning};
}

// Two neighbouring channels of a query row times smoothing, as f16. Rows that there are not are zero.
__device__ __forceinline__ unsigned load_query(const Prefill &prefill, int head, int row, int channel) {
    const Layer &layer = prefill.layer;
    const int group = layer.gqa_group, width = layer.kv_heads * group;
    if (row >= prefill.tokens * group) return 0;
    const size_t query = (size_t)(row / group) * width + head * group + row % group;
    const float2 q = *reinterpret_cast<const float2 *>(prefill.queries + query * HEAD_DIM + channel);
    const float2 factor =
        *reinterpret_cast<const float2 *>(layer.smoothing + (size_t)head * HEAD_DIM + channel);
    const float scale = LOG2_E / sqrtf((float)HEAD_DIM);
    return as_bits(__floats2half2_rn(q.x * factor.x * scale, q.y * factor.y * scale));
}

// The channel that register `half` of step `step` begins with, in lane 4 · row + pair: a lane holds 16
// neighbouring channels of every 64.
__device__ __forceinline__ int channel_of_step(int step, int pair, int half) {
    return step / 4 * 64 + 16 * pair + step % 4 * 4 + 2 * half;
}
