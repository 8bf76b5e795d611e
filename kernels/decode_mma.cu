// Decode attention with tensor cores, for sm_80 and newer.
//
// A tile is 64 tokens: 16 for each of 4 warps, which never wait for each other's data. Each lane copies
// to shared memory (cp.async) the very bytes that it will read, 64 KiB of them ahead per block, so
// copies need no barrier; the one barrier a tile has is for the maximum over its tokens. What a lane
// reads is chosen so that it is the lane's own part of an mma operand:
//
//     logits   16 tokens × 8 queries  +=  keys, 16 tokens × 16 channels  ·  queries, 16 channels × 8
//     output   16 channels × 8        +=  values, 16 channels × 16 tokens  ·  weights, 16 tokens × 8
//
// Channels may be numbered in any order as long as both operands agree. int8 becomes f16 exactly; a
// query is the sum of two f16, so that logits have 22 bits; the scale of a key multiplies its logit, that
// of a value its weight, relative to the largest such scale so far, which keeps weights within f16.
//
// Compiled for each HEAD_DIM. Block: 128 threads; grid: (kv_heads · pieces of a group, splits).
// Shared memory: 64 KiB, dynamic. Layout and bytes: decode.cuh.
#include "decode.cuh"

constexpr int WARPS = 4;
constexpr int THREADS = WARPS * WARP;
constexpr int UNIT = TILE / WARPS;  // tokens of a warp in a tile

constexpr int STEPS = HEAD_DIM / 16;                              // mma per product
constexpr int KEY_PIECES = HEAD_DIM / 64;                         // 16 bytes of a row, in each of 4 lanes
constexpr int VALUE_PIECE = HEAD_DIM < 128 ? HEAD_DIM / 8 : 16;   // bytes of a row, in each of 8 lanes
constexpr int VALUE_PIECES = HEAD_DIM / 8 / VALUE_PIECE;
constexpr int LANE_PIECES = HEAD_DIM / 16;                        // 16 bytes of a tile in each lane
constexpr int VALUES = LANE_PIECES / 2;                           // the first piece of values
constexpr int STAGES = 512 / HEAD_DIM;
static_assert(UNIT == 16 && HEAD_DIM % 64 == 0 && STAGES >= 2, "sizes that the layout is made for");

extern __shared__ __align__(16) unsigned char dynamic_shared[];

// This lane's place in a warp's fragments.
struct Lane {
    int warp, lane, row, pair;
    __device__ Lane() : warp(threadIdx.x / WARP), lane(threadIdx.x % WARP), row(lane / 4), pair(lane % 4) {}
};

// Bytes that only this lane writes and reads: pieces of 16, neighbours of other lanes'.
__device__ __forceinline__ unsigned char *piece_of(int stage, int piece) {
    return dynamic_shared + ((stage * LANE_PIECES + piece) * THREADS + threadIdx.x) * 16;
}

// Where the `index`-th of this lane's four value rows lies in a stage.
__device__ __forceinline__ unsigned char *value_of(int stage, int index, int piece) {
    if (VALUE_PIECE == 16) return piece_of(stage, VALUES + index * VALUE_PIECES + piece);
    return piece_of(stage, VALUES + index / 2) + index % 2 * VALUE_PIECE;
}

// The tokens of this lane's value rows, in the order of an operand's registers.
__device__ __forceinline__ int value_token(const Lane &lane, int index) {
    return 2 * lane.pair + index % 2 + index / 2 * 8;
}

// Starts copying what this lane needs of 16 tokens.
__device__ __forceinline__ void fetch(const Rows &rows, int first, int stage, const Lane &lane) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const size_t token = min(first + lane.row + 8 * half, rows.last);
#pragma unroll
        for (int piece = 0; piece < KEY_PIECES; piece++)
            copy_async_16(piece_of(stage, half * KEY_PIECES + piece),
                          rows.keys + token * HEAD_DIM + 64 * piece + 16 * lane.pair);
    }
#pragma unroll
    for (int index = 0; index < 4; index++) {
        const size_t token = min(first + value_token(lane, index), rows.last);
#pragma unroll
        for (int piece = 0; piece < VALUE_PIECES; piece++) {
            const signed char *from = rows.values + token * HEAD_DIM + 128 * piece + VALUE_PIECE * lane.row;
            if (VALUE_PIECE == 16) copy_async_16(value_of(stage, index, piece), from);
            else copy_async_8(value_of(stage, index, piece), from);
        }
    }
}

// A query times smoothing, in the operand order of `logits_of`, as the sum of two f16.
struct Query { unsigned high[STEPS][2], low[STEPS][2]; };

__device__ __forceinline__ void load_query(Query &query, const Decode &decode, const Work &work,
                                           const Lane &lane) {
    const float scale = LOG2_E / sqrtf((float)HEAD_DIM);
    const bool exists = lane.row < work.queries;
    const float *from = decode.queries + (size_t)(work.first_query + (exists ? lane.row : 0)) * HEAD_DIM;
    const float *smoothing = decode.layer.smoothing + (size_t)work.head * HEAD_DIM;
#pragma unroll
    for (int step = 0; step < STEPS; step++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int channel = step / 4 * 64 + 16 * lane.pair + step % 4 * 4 + 2 * i;
            const float2 q = *reinterpret_cast<const float2 *>(from + channel);
            const float2 factor = *reinterpret_cast<const float2 *>(smoothing + channel);
            const float x = exists ? q.x * factor.x * scale : 0.0f;
            const float y = exists ? q.y * factor.y * scale : 0.0f;
            const __half2 high = __floats2half2_rn(x, y);
            const float2 rounded = __half22float2(high);
            query.high[step][i] = as_bits(high);
            query.low[step][i] = as_bits(__floats2half2_rn(x - rounded.x, y - rounded.y));
        }
}

// Products of this lane's two tokens with two queries: token `row`, then token `row + 8`.
__device__ __forceinline__ void logits_of(float (&logits)[4], int stage, const Query &query) {
    float small[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < 4; i++) logits[i] = 0.0f;
#pragma unroll
    for (int piece = 0; piece < KEY_PIECES; piece++) {
        const uint4 upper = *reinterpret_cast<const uint4 *>(piece_of(stage, piece));
        const uint4 lower = *reinterpret_cast<const uint4 *>(piece_of(stage, KEY_PIECES + piece));
        const unsigned up[4] = {upper.x, upper.y, upper.z, upper.w};
        const unsigned low[4] = {lower.x, lower.y, lower.z, lower.w};
#pragma unroll
        for (int word = 0; word < 4; word++) {
            unsigned keys[4];
            widen_to_f16(up[word], keys[0], keys[2]);
            widen_to_f16(low[word], keys[1], keys[3]);
            mma_m16n8k16(logits, keys, query.high[piece * 4 + word]);
            mma_m16n8k16(small, keys, query.low[piece * 4 + word]);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++) logits[i] += small[i];
}

// Adds 16 weighted values to the output: two registers of four rows make two operands' halves.
__device__ __forceinline__ void add_values(float (&output)[STEPS][4], int stage,
                                           const unsigned (&weights)[2]) {
#pragma unroll
    for (int piece = 0; piece < VALUE_PIECES; piece++)
#pragma unroll
        for (int word = 0; word < VALUE_PIECE / 4; word++) {
            unsigned row[4];
#pragma unroll
            for (int index = 0; index < 4; index++)
                row[index] = reinterpret_cast<const unsigned *>(value_of(stage, index, piece))[word];
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const unsigned pick = half == 0 ? 0x5140 : 0x7362;
                unsigned values[4];
                widen_to_f16(__byte_perm(row[0], row[1], pick), values[0], values[1]);
                widen_to_f16(__byte_perm(row[2], row[3], pick), values[2], values[3]);
                mma_m16n8k16(output[piece * 8 + word * 2 + half], values, weights);
            }
        }
}

// The channel of `output[step][0]` and `[1]`; that of `[2]` and `[3]` is the next.
__device__ __forceinline__ int channel_of(const Lane &lane, int step) {
    return step / 8 * 128 + VALUE_PIECE * lane.row + step % 8 * 2;
}

// Running state: output and sum are relative to `top` (a logit, per query) and `scale` (of values).
struct State {
    float output[STEPS][4];
    float top[2], sum[2], scale;

    __device__ State() : top{-INFINITY, -INFINITY}, sum{0.0f, 0.0f}, scale(0.0f) {
#pragma unroll
        for (int step = 0; step < STEPS; step++)
#pragma unroll
            for (int i = 0; i < 4; i++) output[step][i] = 0.0f;
    }
};

// What a lane has of a tile: two tokens (`row`, `row + 8`) by two queries.
struct Tokens {
    float logits[4], value_scale[2], tile_top[2];
};

// Scales the logits and masks those that are not live.
__device__ __forceinline__ void apply_scales(Tokens &tokens, const Work &work, int tile, int first,
                                             float scale, const Lane &lane) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int row = lane.row + 8 * half;
        const float key_scale = __shfl_sync(ALL_LANES, scale, row);
        tokens.value_scale[half] = __shfl_sync(ALL_LANES, scale, UNIT + row);
        const bool shown = work.is_live(tile, first + row);
#pragma unroll
        for (int q = 0; q < 2; q++) {
            float &logit = tokens.logits[2 * half + q];
            logit = shown ? logit * key_scale : -INFINITY;
        }
    }
}

// Largest logit of each query, and largest scale of a value, of each warp.
struct Exchange { float top[WARPS][MAX_GROUP], scale[WARPS]; };

__device__ __forceinline__ void share_maxima(Exchange &shared, const Tokens &tokens, const Lane &lane) {
    const float top0 = rows_max(fmaxf(tokens.logits[0], tokens.logits[2]));
    const float top1 = rows_max(fmaxf(tokens.logits[1], tokens.logits[3]));
    const float scale = rows_max(fmaxf(tokens.value_scale[0], tokens.value_scale[1]));
    if (lane.row != 0) return;
    shared.top[lane.warp][2 * lane.pair] = top0;
    shared.top[lane.warp][2 * lane.pair + 1] = top1;
    if (lane.pair == 0) shared.scale[lane.warp] = scale;
}

// The tile's maxima over all warps; the running ones rise to them, and the state with them.
__device__ __forceinline__ void raise(State &state, Tokens &tokens, const Exchange &shared,
                                      const Lane &lane) {
    float scale = state.scale;
    tokens.tile_top[0] = tokens.tile_top[1] = -INFINITY;
#pragma unroll
    for (int warp = 0; warp < WARPS; warp++) {
        tokens.tile_top[0] = fmaxf(tokens.tile_top[0], shared.top[warp][2 * lane.pair]);
        tokens.tile_top[1] = fmaxf(tokens.tile_top[1], shared.top[warp][2 * lane.pair + 1]);
        scale = fmaxf(scale, shared.scale[warp]);
    }
    const float by_scale = state.scale / scale;
    state.scale = scale;
#pragma unroll
    for (int q = 0; q < 2; q++) {
        const float top = fmaxf(state.top[q], tokens.tile_top[q]);
        const float factor = exp2_fast(state.top[q] - top);
        state.top[q] = top;
        state.sum[q] *= factor;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            state.output[step][q] *= factor * by_scale;
            state.output[step][q + 2] *= factor * by_scale;
        }
    }
}

// From logits to `p`, relative to the tile's maximum, and to the weights of the values as an operand.
__device__ __forceinline__ void weigh(State &state, const Tokens &tokens, float (&p)[4],
                                      unsigned (&weights)[2]) {
    float weight[4];
#pragma unroll
    for (int q = 0; q < 2; q++) {
        const float factor = exp2_fast(tokens.tile_top[q] - state.top[q]);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int i = 2 * half + q;
            p[i] = exp2_fast(tokens.logits[i] - tokens.tile_top[q]);
            state.sum[q] += p[i] * factor;
            weight[i] = p[i] * factor * PROBABILITY_ONE * (tokens.value_scale[half] / state.scale);
        }
    }
    weights[0] = transpose_8x8(as_bits(__floats2half2_rn(weight[0], weight[1])));
    weights[1] = transpose_8x8(as_bits(__floats2half2_rn(weight[2], weight[3])));
}

// Stores what 16 slots got of this lane's query, `row`, and the tile's maxima.
__device__ __forceinline__ void store_scores(const Decode &decode, const Work &work, int tile, int first,
                                             const float (&p)[4], const Tokens &tokens,
                                             const Lane &lane) {
    const int slots = decode.layer.slots.capacity;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const float one = PROBABILITY_ONE;
        const unsigned by_token = as_bits(__floats2half2_rn(p[2 * half] * one, p[2 * half + 1] * one));
        const __half2 pair = as_half2(transpose_8x8(by_token));
        const int slot = first + 8 * half + 2 * lane.pair;
        if (lane.row >= work.queries) continue;
        __half *to = decode.probabilities + (size_t)(work.first_query + lane.row) * slots;
        if (slot < slots) to[slot] = __low2half(pair);
        if (slot + 1 < slots) to[slot + 1] = __high2half(pair);
    }
    if (lane.warp > 0 || lane.row > 0) return;
#pragma unroll
    for (int q = 0; q < 2; q++)
        if (2 * lane.pair + q < work.queries)
            *top_of(decode, work, tile, 2 * lane.pair + q) = tokens.tile_top[q];
}

// Adds the warps' outputs, through shared memory that the copies no longer use.
__device__ __forceinline__ void finish(const Decode &decode, const Work &work, const State &state,
                                       const Lane &lane) {
    float *outputs = reinterpret_cast<float *>(dynamic_shared);  // [WARPS][MAX_GROUP][HEAD_DIM]
    __shared__ float sums[WARPS][MAX_GROUP], tops[MAX_GROUP];
    copy_wait<0>();
    __syncthreads();
#pragma unroll
    for (int q = 0; q < 2; q++) {
        const int query = 2 * lane.pair + q;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            float *to = outputs + (lane.warp * MAX_GROUP + query) * HEAD_DIM + channel_of(lane, step);
            to[0] = state.output[step][q];
            to[1] = state.output[step][q + 2];
        }
        const float sum = rows_sum(state.sum[q]);
        if (lane.row != 0) continue;
        sums[lane.warp][query] = sum;
        if (lane.warp == 0) tops[query] = state.top[q];
    }
    __syncthreads();
    store_partials(decode, work, WARPS, outputs, &sums[0][0], tops, state.scale / PROBABILITY_ONE);
}

// Starts copying a tile; closes a group of copies even where there is no tile left.
__device__ __forceinline__ void fetch_tile(const Work &work, int tile, int stage, const Lane &lane) {
    if (tile < work.end_tile)
        fetch(work.rows(tile), work.first_token(tile, lane.warp, UNIT), stage, lane);
    copy_commit();
}

__device__ __forceinline__ float scale_of_tile(const Work &work, int tile, const Lane &lane) {
    return tile < work.end_tile ? fetch_scale(work, tile, work.first_token(tile, lane.warp, UNIT)) : 0.0f;
}

extern "C" __global__ void __launch_bounds__(THREADS, HEAD_DIM > 128 ? 2 : 3)
decode_mma(const __grid_constant__ Decode decode) {
    __shared__ Exchange exchange[2];
    const Lane lane;
    const Work work(decode);
    for (int i = 0; i < STAGES - 1; i++) fetch_tile(work, work.first_tile + i, i, lane);
    float next_scale = scale_of_tile(work, work.first_tile, lane);
    Query query;
    load_query(query, decode, work, lane);
    State state;
    int stage = 0;
    for (int tile = work.first_tile; tile < work.end_tile; tile++) {
        const float scale = next_scale;
        next_scale = scale_of_tile(work, tile + 1, lane);
        const int first = work.first_token(tile, lane.warp, UNIT);
        Exchange &shared = exchange[(tile - work.first_tile) & 1];
        Tokens tokens;
        copy_wait<STAGES - 2>();
        logits_of(tokens.logits, stage, query);
        apply_scales(tokens, work, tile, first, scale, lane);
        share_maxima(shared, tokens, lane);
        __syncthreads();
        raise(state, tokens, shared, lane);
        float p[4];
        unsigned weights[2];
        weigh(state, tokens, p, weights);
        if (is_scored(decode, work, tile)) store_scores(decode, work, tile, first, p, tokens, lane);
        add_values(state.output, stage, weights);
        fetch_tile(work, tile + STAGES - 1, (stage + STAGES - 1) % STAGES, lane);
        stage = (stage + 1) % STAGES;
    }
    finish(decode, work, state, lane);
}
