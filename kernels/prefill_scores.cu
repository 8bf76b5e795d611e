// Adds what each slot got from a chunk's queries to its score: the logits once more, and the sum over the
// rows of exp(logit - log-sum-exp). Needs no memory for probabilities, and reads no values.
//
//     score = decay · score + sum over tokens and the group's query heads
//
// A warp keeps 16 keys in registers as operands; all query rows of the kv head pass by, 64 at a time. No
// two blocks add to one score. Reads head_dim + 2 bytes per slot and 4 · head_dim bytes per row and block,
// from L2.
// Compiled for each HEAD_DIM. Block: 256 threads; grid: (parts of 128 slots, kv_heads).
#include "prefill.cuh"

constexpr int WARPS = 8;
constexpr int THREADS = WARPS * WARP;
constexpr int SLOTS = WARPS * 16;
constexpr int PIECES = HEAD_DIM / 8;  // 16 bytes of a row

// Query rows as f16. In a row the first 8 of each lane's 16 channels lie together, then the second 8.
struct Rows {
    uint4 queries[ROWS][PIECES];
    float log_sum_exp[ROWS];
    int token[ROWS];
};

// Pieces of neighbouring rows are swapped so that lanes which read together meet no bank twice.
__device__ __forceinline__ int piece_of(int row, int piece) { return piece ^ (row & 1) << 2; }

__device__ __forceinline__ void load_rows(Rows &rows, const Prefill &prefill, int first) {
    const int group = prefill.layer.gqa_group, count = prefill.tokens * group, head = blockIdx.y;
    for (int i = threadIdx.x; i < ROWS * PIECES; i += THREADS) {
        const int row = i / PIECES, piece = i % PIECES;
        const int channel = piece / 8 * 64 + piece % 4 * 16 + piece / 4 % 2 * 8;
        uint4 eight;
        eight.x = load_query(prefill, head, first + row, channel);
        eight.y = load_query(prefill, head, first + row, channel + 2);
        eight.z = load_query(prefill, head, first + row, channel + 4);
        eight.w = load_query(prefill, head, first + row, channel + 6);
        rows.queries[row][piece_of(row, piece)] = eight;
    }
    for (int i = threadIdx.x; i < ROWS; i += THREADS) {
        const bool exists = first + i < count;
        rows.log_sum_exp[i] = exists ? prefill.log_sum_exp[(size_t)head * count + first + i] : INFINITY;
        rows.token[i] = (first + i) / group;
    }
}

// Two keys of a lane, `row` and `row + 8` of the warp's 16.
struct Keys {
    unsigned operand[STEPS][4];
    float scale[2];
    int viewer[2];
};

__device__ __forceinline__ void load_keys(Keys &keys, const Prefill &prefill, Clock clock,
                                          const Live &live, int first, int row, int pair) {
    const Region &region = prefill.layer.slots;
    const size_t head = (size_t)blockIdx.y * region.capacity;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int slot = first + row + 8 * half;
        keys.viewer[half] = viewer_of_slot(chunk_of(prefill, clock), prefill.layer, live, slot);
        const bool seen = keys.viewer[half] != NOBODY;
        keys.scale[half] = seen ? __half2float(region.key_scales[head + slot]) : 0.0f;
        const signed char *from = region.keys + (head + (seen ? slot : 0)) * HEAD_DIM + 16 * pair;
#pragma unroll
        for (int step = 0; step < STEPS; step++) {
            const unsigned four = *reinterpret_cast<const unsigned *>(from + step / 4 * 64 + step % 4 * 4);
            widen_to_f16(four, keys.operand[step][half], keys.operand[step][half + 2]);
        }
    }
}

// Adds the probabilities of 8 rows, `8 n` and on.
__device__ __forceinline__ void add_rows(float (&sum)[2], const Keys &keys, const Rows &rows, int n, int row,
                                         int pair) {
    float logits[4] = {0, 0, 0, 0};
    const int mine = 8 * n + row;
#pragma unroll
    for (int piece = 0; piece < KEY_PIECES; piece++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const uint4 q = rows.queries[mine][piece_of(mine, 8 * piece + 4 * half + pair)];
            const unsigned first[2] = {q.x, q.y}, second[2] = {q.z, q.w};
            mma_m16n8k16(logits, keys.operand[4 * piece + 2 * half], first);
            mma_m16n8k16(logits, keys.operand[4 * piece + 2 * half + 1], second);
        }
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int column = 8 * n + 2 * pair + i % 2, half = i / 2;
        if (keys.viewer[half] <= rows.token[column])
            sum[half] += exp2_fast(logits[i] * keys.scale[half] - rows.log_sum_exp[column]);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, HEAD_DIM > 128 ? 1 : 2)
prefill_scores(const __grid_constant__ Prefill prefill, float decay) {
    __shared__ Rows rows;
    const Layer &layer = prefill.layer;
    const Clock clock = *prefill.clock;
    const Live live = live_after(layer, clock, prefill.tokens, false);
    const int lane = threadIdx.x % WARP, row = lane / 4, pair = lane % 4;
    const int first = blockIdx.x * SLOTS, mine = first + threadIdx.x / WARP * 16;
    const bool any = first < live.filled || (first + SLOTS > live.ring_start && first < live.ring_start + live.ring);
    if (!any) return;
    Keys keys;
    load_keys(keys, prefill, clock, live, mine, row, pair);
    float sum[2] = {0.0f, 0.0f};
    for (int block = 0; block < prefill.tokens * layer.gqa_group; block += ROWS) {
        __syncthreads();
        load_rows(rows, prefill, block);
        __syncthreads();
#pragma unroll
        for (int n = 0; n < ROWS / 8; n++) add_rows(sum, keys, rows, n, row, pair);
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const float total = lanes_sum<4>(sum[half]);
        const int slot = mine + row + 8 * half;
        if (pair != 0 || keys.viewer[half] == NOBODY) continue;
        float &score = layer.scores[(size_t)blockIdx.y * layer.slots.capacity + slot];
        score = decay * score + total;
    }
}
