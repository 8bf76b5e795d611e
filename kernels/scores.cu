// Adds what each slot got from one token to its score, and finds the next token's victim.
//
//     score = decay · score + sum over the group's query heads of exp(logit - log-sum-exp)
//
// with the probabilities and tops that decode left (decode.cuh). The victim of a kv head is the lowest
// score among the heavy slots and the token that leaves the ring next; of equal scores the lower slot
// loses, the leaver last. It is a minimum over 64-bit keys, score above slot, so that blocks need no
// order; `write_tokens.cu` takes it and leaves `NO_VICTIM` behind.
//
// Needed at the next token only: a graph may run it beside the rest of the layer. Reads 2 bytes per slot
// and query head, reads and writes 4 per slot and kv head, mostly from L2.
// Block: 256 threads; grid: (parts of the slots, kv_heads).
#include "cache.cuh"
#include "common.cuh"
#include "victim.cuh"

constexpr int THREADS = 256;
constexpr int MAX_GROUP_HERE = 64;
constexpr float PROBABILITY_ONE = 32768.0f;

// Base-2 log-sum-exp of one query head over all splits, by one warp.
__device__ __forceinline__ float log_sum_exp(const float *parts, int splits, int head_dim) {
    const int width = head_dim + 2, lane = threadIdx.x % WARP;
    float top = -INFINITY, sum = 0.0f;
    for (int i = lane; i < splits; i += WARP) top = fmaxf(top, parts[i * width + head_dim]);
    top = lanes_max(top);
    for (int i = lane; i < splits; i += WARP)
        sum += parts[i * width + head_dim + 1] * exp2_fast(parts[i * width + head_dim] - top);
    return top + log2f(lanes_sum(sum));
}

extern "C" __global__ void __launch_bounds__(THREADS, 3)
scores(const __grid_constant__ Layer layer, const Clock *clock, const __half *__restrict__ probabilities,
       const float *__restrict__ tops, const float *__restrict__ partials, int splits, int head_dim,
       float decay, unsigned long long *victims) {
    __shared__ float sums[MAX_GROUP_HERE];
    const int head = blockIdx.y, group = layer.gqa_group, slots = layer.slots.capacity;
    const int tiles = div_up(slots, TILE), written = clock->written + 1;
    const Live live = live_after(layer, *clock, 1, false);
    for (int g = threadIdx.x / WARP; g < group; g += THREADS / WARP) {
        const size_t query = (size_t)head * group + g;
        const float sum = log_sum_exp(partials + query * splits * (head_dim + 2), splits, head_dim);
        if (threadIdx.x % WARP == 0) sums[g] = sum;
    }
    __syncthreads();

    const int leaver = written - layer.recent_window;  // of the next token
    const bool contested = leaver >= live.ring_start;
    const int leaver_slot = leaver >= 0 ? ring_slot(layer, leaver) : -1;
    unsigned long long lowest = NO_VICTIM;
    for (int slot = blockIdx.x * THREADS + threadIdx.x; slot < slots; slot += gridDim.x * THREADS) {
        if (!live.slot(slot)) continue;
        float &score = layer.scores[(size_t)head * slots + slot];
        float sum = decay * score;
        for (int g = 0; g < group; g++) {
            const size_t query = (size_t)head * group + g;
            const float unit = exp2_fast(tops[query * tiles + slot / TILE] - sums[g]) / PROBABILITY_ONE;
            sum += __half2float(probabilities[query * slots + slot]) * unit;
        }
        score = sum;
        const bool heavy = slot >= layer.sinks && slot < live.ring_start;
        if (contested && heavy) lowest = min(lowest, victim_key(sum, slot));
        if (contested && slot == leaver_slot) lowest = min(lowest, victim_key(sum, LEAVER));
    }
    lowest = lanes_min(lowest);
    if (threadIdx.x % WARP == 0 && lowest != NO_VICTIM) atomicMin(&victims[head], lowest);
}
