// Chooses whom a chunk of tokens evicts, by the scores of all earlier queries.
//
// The tokens whose slots in the ring are about to be overwritten, the leavers, fill free slots first; the
// m that find none compete with all heavy slots, those just filled among them. The m lowest scores lose,
// of equal ones the lower slot, leavers last. Who stays moves into a freed slot, in order.
//
// A radix select finds the m-th lowest score: four passes, a histogram of one byte each. One more pass
// in the order of the candidates says who loses. Reads 4 bytes per heavy slot five times, from L2;
// writes destinations [kv_heads, tokens], the slot that each leaver moves to, or -1 (`write_tokens.cu`).
// Block: 1024 threads; grid: kv_heads. Shared memory: 4 bytes per token, dynamic.
#include "cache.cuh"
#include "common.cuh"

constexpr int THREADS = 1024;
constexpr int WARPS = THREADS / WARP;
constexpr int DIGITS = 256;

extern __shared__ __align__(16) unsigned char dynamic_shared[];

// A head's candidates: heavy slots in order, then the contenders.
struct Candidates {
    const Layer &layer;
    const float *scores;
    int heavy, contenders;       // how many
    int first_fill, end_fill;    // tokens that take the slot of their own number in this step
    int first_contender;         // token

    __device__ Candidates(const Layer &layer, Clock clock, int tokens)
        : layer(layer), scores(layer.scores + (size_t)blockIdx.x * layer.slots.capacity) {
        const int window = layer.recent_window, ring_start = layer.slots.capacity - window;
        const int start = max(clock.written - window, 0), end = max(clock.written + tokens - window, 0);
        heavy = ring_start - layer.sinks;
        first_fill = min(start, ring_start);
        end_fill = min(end, ring_start);
        first_contender = max(start, ring_start);
        contenders = max(end, ring_start) - first_contender;
    }
    __device__ int count() const { return heavy + contenders; }
    // The score of a slot that a leaver is about to fill is still in the ring.
    __device__ unsigned key(int candidate) const {
        if (candidate >= heavy) return ordered(scores[ring_slot(layer, first_contender + candidate - heavy)]);
        const int slot = layer.sinks + candidate;
        return ordered(scores[slot >= first_fill && slot < end_fill ? ring_slot(layer, slot) : slot]);
    }
};

// Exclusive prefix sum over the block; `total` gets the sum.
__device__ int prefix(int value, int &total) {
    __shared__ int sums[WARPS];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int sum = value;
#pragma unroll
    for (int by = 1; by < WARP; by *= 2) {
        const int other = __shfl_up_sync(ALL_LANES, sum, by);
        if (lane >= by) sum += other;
    }
    if (lane == WARP - 1) sums[warp] = sum;
    __syncthreads();
    int before = 0;
    total = 0;
    for (int i = 0; i < WARPS; i++) {
        if (i == warp) before = total;
        total += sums[i];
    }
    __syncthreads();
    return before + sum - value;
}

// The key of the `wanted`-th lowest candidate (from 1), and how many with this very key lose.
struct Threshold { unsigned key; int equal; };

__device__ Threshold select(const Candidates &candidates, int wanted) {
    __shared__ int histogram[DIGITS], left;
    __shared__ unsigned chosen;
    unsigned high = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        if (threadIdx.x < DIGITS) histogram[threadIdx.x] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < candidates.count(); i += THREADS) {
            const unsigned key = candidates.key(i);
            const bool same = shift == 24 || key >> (shift + 8) == high;
            if (same) atomicAdd(&histogram[key >> shift & 255], 1);
        }
        __syncthreads();
        int total;
        const int count = threadIdx.x < DIGITS ? histogram[threadIdx.x] : 0;
        const int below = prefix(count, total);
        if (below < wanted && wanted <= below + count) {
            chosen = high << 8 | threadIdx.x;
            left = wanted - below;
        }
        __syncthreads();
        high = chosen;
        wanted = left;
        __syncthreads();
    }
    return {high, wanted};
}

// Lists the freed slots and sends the survivors there. Candidates come in order, a block's worth at once.
__device__ void assign(const Candidates &candidates, Threshold threshold, int first_leaver,
                       int *destinations) {
    int *freed = reinterpret_cast<int *>(dynamic_shared);
    int equal_before = 0, lost_before = 0, stayed_before = 0;
    for (int start = 0; start < candidates.count(); start += THREADS) {
        const int i = start + threadIdx.x;
        const bool exists = i < candidates.count(), contends = exists && i >= candidates.heavy;
        const unsigned key = exists ? candidates.key(i) : 0;
        const bool equal = exists && key == threshold.key;
        int equals, losses, stays;
        const int rank = equal_before + prefix(equal, equals);
        const bool lost = exists && (key < threshold.key || (equal && rank < threshold.equal));
        const int slot_rank = lost_before + prefix(lost && !contends, losses);
        const int stay_rank = stayed_before + prefix(contends && !lost, stays);
        if (lost && !contends) freed[slot_rank] = candidates.layer.sinks + i;
        __syncthreads();  // heavy slots come before every contender
        const int token = candidates.first_contender + i - candidates.heavy;
        if (contends) destinations[token - first_leaver] = lost ? -1 : freed[stay_rank];
        // A token that would fill a slot and loses it does not move.
        if (lost && !contends) {
            const int slot = candidates.layer.sinks + i;
            if (slot >= candidates.first_fill && slot < candidates.end_fill)
                destinations[slot - first_leaver] = -1;
        }
        equal_before += equals;
        lost_before += losses;
        stayed_before += stays;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1)
evict(const __grid_constant__ Layer layer, const Clock *clock, int tokens, int *destinations) {
    const Candidates candidates(layer, *clock, tokens);
    int *mine = destinations + (size_t)blockIdx.x * tokens;
    const int first_leaver = clock->written - layer.recent_window;  // of the first new token
    for (int i = threadIdx.x; i < tokens; i += THREADS) {
        const int token = first_leaver + i;
        mine[i] = token >= candidates.first_fill && token < candidates.end_fill ? token : -1;
    }
    __syncthreads();
    if (candidates.contenders == 0) return;
    assign(candidates, select(candidates, candidates.contenders), first_leaver, mine);
}
