// Decode attention on CUDA cores in f32, for GPUs whose memory is slow beside their arithmetic (T4, L4).
//
// A tile is 64 tokens, 16 for each of 4 warps. For the logits a key row is spread over `KEY_LANES` lanes,
// 16 bytes each, whose partial sums are added by shuffles; for the output a value row is spread over
// `VALUE_LANES` lanes, 4 channels each, and each lane keeps its channels of all query heads. Up to a
// head_dim of 128 both are loaded before either is used: 4 KiB in flight per warp.
//
// Compiled for each HEAD_DIM (64, 128, 256), with an entry per size of a group; other groups take the next
// larger. Block: 128 threads; grid: (kv_heads · pieces of a group, splits). Layout and bytes: decode.cuh.
#include "decode.cuh"

constexpr int WARPS = 4;
constexpr int THREADS = WARPS * WARP;
constexpr int UNIT = TILE / WARPS;  // tokens of a warp in a tile

constexpr int KEY_LANES = HEAD_DIM / 16;
constexpr int KEY_ROWS = WARP / KEY_LANES;  // rows that a warp reads at once
constexpr int KEY_PASSES = UNIT / KEY_ROWS;
constexpr int KEY_GROUP = KEY_PASSES < 4 ? KEY_PASSES : 4;  // whose logits are found together

constexpr int VALUE_LANES = HEAD_DIM < 128 ? HEAD_DIM / 4 : WARP;
constexpr int VALUE_WORDS = HEAD_DIM / 4 / VALUE_LANES;  // of 4 channels
constexpr int VALUE_ROWS = WARP / VALUE_LANES;
constexpr int VALUE_PASSES = UNIT / VALUE_ROWS;
// Larger heads have no registers left for values while logits are found.
constexpr bool EARLY_VALUES = HEAD_DIM <= 128;
static_assert(HEAD_DIM == 64 || HEAD_DIM == 128 || HEAD_DIM == 256, "sizes that the layout is made for");

// Shared memory of a block with `GROUP` query heads.
template <int GROUP> struct Shared {
    float4 query[GROUP][4][KEY_LANES];      // [query][word of a lane's 16 bytes][lane]
    float logits[WARPS][GROUP][UNIT];       // then the values' weights
    float tops[2][WARPS][GROUP];            // of a warp's tokens; two tiles by turns
    float outputs[WARPS][MAX_GROUP][HEAD_DIM];
    float sums[WARPS][MAX_GROUP], final_tops[MAX_GROUP];
};

// Queries times smoothing, so ordered that neighbouring lanes read neighbouring words.
template <int GROUP>
__device__ __forceinline__ void load_queries(Shared<GROUP> &shared, const Decode &decode, const Work &work) {
    const float scale = LOG2_E / sqrtf((float)HEAD_DIM);
    const float *smoothing = decode.layer.smoothing + (size_t)work.head * HEAD_DIM;
    for (int i = threadIdx.x; i < GROUP * HEAD_DIM; i += THREADS) {
        const int query = i / HEAD_DIM, channel = i % HEAD_DIM;
        float x = 0.0f;
        if (query < work.queries)
            x = decode.queries[(size_t)(work.first_query + query) * HEAD_DIM + channel] *
                smoothing[channel] * scale;
        float4 &word = shared.query[query][channel % 16 / 4][channel / 16];
        (&word.x)[channel % 4] = x;
    }
}

// This lane's bytes of the warp's keys and values.
struct Loaded {
    uint4 keys[KEY_PASSES];
    unsigned values[VALUE_PASSES][VALUE_WORDS];
};

// The value row of a pass: each group of lanes takes tokens that follow each other.
__device__ __forceinline__ int value_row(int lane, int pass) {
    return lane / VALUE_LANES * VALUE_PASSES + pass;
}

__device__ __forceinline__ void load_keys(Loaded &loaded, const Rows &rows, int first, int lane) {
    const int chunk = lane % KEY_LANES;
#pragma unroll
    for (int pass = 0; pass < KEY_PASSES; pass++) {
        const size_t token = min(first + pass * KEY_ROWS + lane / KEY_LANES, rows.last);
        loaded.keys[pass] = *reinterpret_cast<const uint4 *>(rows.keys + token * HEAD_DIM + 16 * chunk);
    }
}

__device__ __forceinline__ void load_values(Loaded &loaded, const Rows &rows, int first, int lane) {
    const int word = lane % VALUE_LANES;
#pragma unroll
    for (int pass = 0; pass < VALUE_PASSES; pass++) {
        const size_t token = min(first + value_row(lane, pass), rows.last);
#pragma unroll
        for (int i = 0; i < VALUE_WORDS; i++) {
            const int at = 4 * (word + i * VALUE_LANES);
            loaded.values[pass][i] = *reinterpret_cast<const unsigned *>(rows.values + token * HEAD_DIM + at);
        }
    }
}

// Leaves the logits of the warp's tokens from pass `START` on in shared memory.
template <int START, int GROUP>
__device__ __forceinline__ void find_logits(Shared<GROUP> &shared, const Loaded &loaded, const Work &work,
                                            int tile, int first, float scale) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, chunk = lane % KEY_LANES;
    float dot[KEY_GROUP][GROUP];
#pragma unroll
    for (int word = 0; word < 4; word++) {
        keep_order();  // the next word's queries would take registers early
        float4 key[KEY_GROUP];
#pragma unroll
        for (int i = 0; i < KEY_GROUP; i++) {
            const uint4 k = loaded.keys[START + i];
            key[i] = widen_to_f32(word == 0 ? k.x : word == 1 ? k.y : word == 2 ? k.z : k.w);
        }
#pragma unroll
        for (int query = 0; query < GROUP; query++) {
            const float4 q = shared.query[query][word][chunk];
#pragma unroll
            for (int i = 0; i < KEY_GROUP; i++) {
                float sum = word == 0 ? 0.0f : dot[i][query];
                sum += q.x * key[i].x;
                sum += q.y * key[i].y;
                sum += q.z * key[i].z;
                dot[i][query] = sum + q.w * key[i].w;
            }
        }
    }
#pragma unroll
    for (int i = 0; i < KEY_GROUP; i++) {
        const int row = (START + i) * KEY_ROWS + lane / KEY_LANES;
        const float key_scale = __shfl_sync(ALL_LANES, scale, row);
        const bool shown = work.is_live(tile, first + row);
#pragma unroll
        for (int query = 0; query < GROUP; query++) {
            const float logit = lanes_sum<KEY_LANES>(dot[i][query]) * key_scale;
            if (chunk == query % KEY_LANES) shared.logits[warp][query][row] = shown ? logit : -INFINITY;
        }
    }
}

// Leaves the largest of the warp's logits of each query in shared memory.
template <int GROUP> __device__ __forceinline__ void find_tops(Shared<GROUP> &shared, int turn) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    __syncwarp();
#pragma unroll
    for (int query = 0; query < GROUP; query++) {
        const float top = lanes_max<UNIT>(shared.logits[warp][query][lane % UNIT]);
        if (lane == 0) shared.tops[turn][warp][query] = top;
    }
}

// Running state: output and sum are relative to `top`.
template <int GROUP> struct State {
    float4 output[GROUP][VALUE_WORDS];
    float top[GROUP], sum[GROUP];  // the sum is this lane's part

    __device__ State() {
#pragma unroll
        for (int query = 0; query < GROUP; query++) {
            top[query] = -INFINITY;
            sum[query] = 0.0f;
#pragma unroll
            for (int i = 0; i < VALUE_WORDS; i++) output[query][i] = make_float4(0, 0, 0, 0);
        }
    }
};

__device__ __forceinline__ void multiply(float4 &x, float by) {
    x.x *= by;
    x.y *= by;
    x.z *= by;
    x.w *= by;
}

// Turns the warp's logits into weights of its values; stores scores where they are kept. Half of the lanes
// take the even queries.
template <int GROUP>
__device__ __forceinline__ void weigh(State<GROUP> &state, Shared<GROUP> &shared, const Decode &decode,
                                      const Work &work, int tile, int first, float scale, int turn) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, token = lane % UNIT;
    const float value_scale = __shfl_sync(ALL_LANES, scale, UNIT + token);
    const bool scored = is_scored(decode, work, tile);
#pragma unroll
    for (int query = 0; query < GROUP; query++) {
        float tile_top = -INFINITY;
#pragma unroll
        for (int other = 0; other < WARPS; other++) tile_top = fmaxf(tile_top, shared.tops[turn][other][query]);
        const float top = fmaxf(state.top[query], tile_top);
        const float factor = exp2_fast(state.top[query] - top);
        state.top[query] = top;
        state.sum[query] *= factor;
#pragma unroll
        for (int i = 0; i < VALUE_WORDS; i++) multiply(state.output[query][i], factor);
        if (lane / UNIT != query % 2) continue;
        const float p = exp2_fast(shared.logits[warp][query][token] - tile_top);
        const float weight = p * exp2_fast(tile_top - top);
        state.sum[query] += weight;
        shared.logits[warp][query][token] = weight * value_scale;
        if (!scored || query >= work.queries) continue;
        const int slot = first + token, slots = decode.layer.slots.capacity;
        if (slot < slots)
            decode.probabilities[(size_t)(work.first_query + query) * slots + slot] =
                __float2half_rn(p * PROBABILITY_ONE);
        if (warp == 0 && token == 0) *top_of(decode, work, tile, query) = tile_top;
    }
    __syncwarp();
}

template <int GROUP>
__device__ __forceinline__ void add_values(State<GROUP> &state, const Shared<GROUP> &shared,
                                           const Loaded &loaded) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
#pragma unroll
    for (int pass = 0; pass < VALUE_PASSES; pass += 4) {
        keep_order();
        float4 weights[GROUP];
#pragma unroll
        for (int query = 0; query < GROUP; query++)
            weights[query] =
                *reinterpret_cast<const float4 *>(&shared.logits[warp][query][value_row(lane, pass)]);
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int word = 0; word < VALUE_WORDS; word++) {
                const float4 value = widen_to_f32(loaded.values[pass + i][word]);
#pragma unroll
                for (int query = 0; query < GROUP; query++) {
                    const float4 w = weights[query];
                    const float weight = i == 0 ? w.x : i == 1 ? w.y : i == 2 ? w.z : w.w;
                    float4 &out = state.output[query][word];
                    out.x += weight * value.x;
                    out.y += weight * value.y;
                    out.z += weight * value.z;
                    out.w += weight * value.w;
                }
            }
    }
}

// Adds the lanes that hold the same channels, then the warps.
template <int GROUP>
__device__ __forceinline__ void finish(const State<GROUP> &state, Shared<GROUP> &shared,
                                       const Decode &decode, const Work &work) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
#pragma unroll
    for (int query = 0; query < GROUP; query++) {
        const float sum = lanes_sum(state.sum[query]);
        if (lane == 0) shared.sums[warp][query] = sum;
        if (threadIdx.x == 0) shared.final_tops[query] = state.top[query];
#pragma unroll
        for (int word = 0; word < VALUE_WORDS; word++) {
            float4 out = state.output[query][word];
#pragma unroll
            for (int by = VALUE_LANES; by < WARP; by *= 2) {
                out.x += __shfl_xor_sync(ALL_LANES, out.x, by);
                out.y += __shfl_xor_sync(ALL_LANES, out.y, by);
                out.z += __shfl_xor_sync(ALL_LANES, out.z, by);
                out.w += __shfl_xor_sync(ALL_LANES, out.w, by);
            }
            const int at = 4 * (lane % VALUE_LANES + word * VALUE_LANES);
            if (lane < VALUE_LANES)
                *reinterpret_cast<float4 *>(&shared.outputs[warp][query][at]) = out;
        }
    }
    __syncthreads();
    store_partials(decode, work, WARPS, &shared.outputs[0][0][0], &shared.sums[0][0], shared.final_tops, 1.0f);
}

template <int GROUP> __device__ __forceinline__ void decode_with(const Decode &decode) {
    __shared__ __align__(16) Shared<GROUP> shared;
    const int warp = threadIdx.x / WARP;
    const Work work(decode);
    load_queries(shared, decode, work);
    __syncthreads();
    State<GROUP> state;
    for (int tile = work.first_tile; tile < work.end_tile; tile++) {
        const int first = work.first_token(tile, warp, UNIT), turn = (tile - work.first_tile) & 1;
        const Rows rows = work.rows(tile);
        Loaded loaded;
        load_keys(loaded, rows, first, threadIdx.x % WARP);
        if (EARLY_VALUES) load_values(loaded, rows, first, threadIdx.x % WARP);
        const float scale = fetch_scale(work, tile, first);
        find_logits<0>(shared, loaded, work, tile, first, scale);
        if (KEY_GROUP < KEY_PASSES) find_logits<KEY_PASSES - KEY_GROUP>(shared, loaded, work, tile, first, scale);
        find_tops(shared, turn);
        if (!EARLY_VALUES) load_values(loaded, rows, first, threadIdx.x % WARP);
        __syncthreads();
        weigh(state, shared, decode, work, tile, first, scale, turn);
        add_values(state, shared, loaded);
        __syncwarp();
    }
    finish(state, shared, decode, work);
}

#define DECODE_CORE(GROUP)                                                                      \
    extern "C" __global__ void __launch_bounds__(THREADS, GROUP > 4 ? 2 : 3)                    \
    decode_core_##GROUP(const __grid_constant__ Decode decode) { decode_with<GROUP>(decode); }

DECODE_CORE(1)
DECODE_CORE(4)
DECODE_CORE(5)
DECODE_CORE(8)
