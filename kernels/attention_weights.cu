// What each of a step's tokens gives to everything that the cache holds, for whoever wants to see it.
//
//     weights[query head, token, :] = softmax over what the token sees, pinned tokens first, 0 elsewhere
//
// Behind the step's attention, with the clock as it was before the step. Not on the path of any token: a
// thread takes whole key rows. Reads head_dim + 2 bytes per live token and row, writes 4 per column.
// Block: 256 threads; grid: (query_heads, tokens). Shared memory: 4 bytes per channel, dynamic.
#include "cache.cuh"
#include "common.cuh"
#include "viewers.cuh"

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / WARP;

extern __shared__ __align__(16) unsigned char dynamic_shared[];

struct Look {
    Layer layer;
    const Clock *clock;    // before the step
    const float *queries;  // [tokens, query_heads, head_dim], after RoPE
    float *weights;        // [query_heads, tokens, P + N]
    int tokens;
    int pinning;           // the step is part of the system prompt
    int head_dim;
    int unused;
};

// Of the block; every thread gets it. `TOP` says largest, otherwise the sum.
template <bool TOP> __device__ float over_block(float x) {
    __shared__ float parts[WARPS];
    x = TOP ? lanes_max(x) : lanes_sum(x);
    __syncthreads();
    if (threadIdx.x % WARP == 0) parts[threadIdx.x / WARP] = x;
    __syncthreads();
    x = parts[0];
    for (int i = 1; i < WARPS; i++) x = TOP ? fmaxf(x, parts[i]) : x + parts[i];
    return x;
}

__device__ __forceinline__ float logit_of(const Region &region, int head, int token, const float *query,
                                          int head_dim) {
    const size_t at = (size_t)head * region.capacity + token;
    const signed char *key = region.keys + at * head_dim;
    float sum = 0.0f;
    for (int i = 0; i < head_dim; i++) sum += query[i] * key[i];
    return sum * __half2float(region.key_scales[at]);
}

extern "C" __global__ void __launch_bounds__(THREADS)
attention_weights(const __grid_constant__ Look look) {
    const Layer &layer = look.layer;
    const int query_head = blockIdx.x, token = blockIdx.y, head = query_head / layer.gqa_group;
    const int head_dim = look.head_dim, pinned = layer.pinned.capacity, columns = pinned + layer.slots.capacity;
    const Chunk chunk = {*look.clock, look.tokens, look.pinning};
    const Live live = live_after(layer, chunk.clock, chunk.tokens, chunk.pinning);
    float *query = reinterpret_cast<float *>(dynamic_shared);
    const size_t from = ((size_t)token * gridDim.x + query_head) * head_dim;
    for (int i = threadIdx.x; i < head_dim; i += THREADS)
        query[i] = look.queries[from + i] * layer.smoothing[(size_t)head * head_dim + i] / sqrtf((float)head_dim);
    __syncthreads();

    float *row = look.weights + ((size_t)query_head * look.tokens + token) * columns;
    float top = -INFINITY;
    for (int i = threadIdx.x; i < columns; i += THREADS) {
        const bool is_pinned = i < pinned;
        const int at = is_pinned ? i : i - pinned;
        const int viewer = is_pinned ? viewer_of_pinned(chunk, at) : viewer_of_slot(chunk, layer, live, at);
        const bool seen = viewer <= token;
        const Region &region = is_pinned ? layer.pinned : layer.slots;
        row[i] = seen ? logit_of(region, head, at, query, head_dim) : -INFINITY;
        top = fmaxf(top, row[i]);
    }
    top = over_block<true>(top);
    float sum = 0.0f;
    for (int i = threadIdx.x; i < columns; i += THREADS) {
        row[i] = expf(row[i] - top);
        sum += row[i];
    }
    sum = over_block<false>(sum);
    for (int i = threadIdx.x; i < columns; i += THREADS) row[i] /= sum;
}
