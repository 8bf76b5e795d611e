// Attention of a chunk of tokens: online softmax over the tiles of the cache.
//
// A block takes 64 query rows of one kv head, 16 per warp, and reads all keys and values that they may
// see, a tile at a time through shared memory, two tiles by turns. With head_dim 256 two warps share 16
// rows, each for half of the channels of the output. int8 becomes f16 in registers; scales multiply logits
// and weights, as in `decode_mma.cu`.
//
// Reads per block 2 · (head_dim + 2) bytes per live token, once; writes the output and, for
// `prefill_scores.cu`, the base-2 log-sum-exp of each row.
// Compiled for each HEAD_DIM. Block: 128 threads, 256 for head_dim 256; grid: (row blocks, kv_heads).
#include "prefill.cuh"

constexpr int PARTS = HEAD_DIM > 128 ? 2 : 1;  // of the output's channels
constexpr int WARPS = ROWS / 16 * PARTS;
constexpr int THREADS = WARPS * WARP;
constexpr int KEYS = HEAD_DIM > 128 ? 32 : 64;  // of a tile
constexpr int VALUE_PIECE = HEAD_DIM < 128 ? HEAD_DIM / 8 : 16;  // bytes of a value row in each of 8 lanes
constexpr float WEIGHT_ONE = 32768.0f;
static_assert(HEAD_DIM % 64 == 0 && HEAD_DIM <= 256, "sizes that the layout is made for");

struct Tile {
    unsigned char keys[KEYS][HEAD_DIM], values[KEYS][HEAD_DIM];
    float key_scales[KEYS], value_scales[KEYS];
    int viewers[KEYS];
};

// 16-byte pieces of a row are swapped so that lanes which read together meet no bank twice: keys of
// neighbouring rows, values of every second row.
__device__ __forceinline__ int key_piece(int row, int piece) {
    return HEAD_DIM < 128 ? piece : piece ^ (row & 1) << 2;
}
__device__ __forceinline__ int value_piece(int row, int piece) {
    return HEAD_DIM < 128 ? piece ^ (row >> 1 & 1) << 1 : piece ^ (row >> 1 & 3) << 1;
}

// Which tiles of `KEYS` tokens a block reads: those of the pinned region, then of the slots.
struct Walk {
    Live live;
    Clock clock;
    int pinned, filled, ring_first, count;

    __device__ Walk(const Prefill &prefill, Clock clock, int last_token)
        : live(live_after(prefill.layer, clock, prefill.tokens, prefill.pinning)), clock(clock) {
        // A pinned chunk is causal: what lies behind the block's last token is not read.
        pinned = div_up(prefill.pinning ? clock.pinned_len + last_token + 1 : live.pinned, KEYS);
        filled = div_up(live.filled, KEYS);
        ring_first = max(filled, live.ring_start / KEYS);
        const int ring_end = live.ring > 0 ? div_up(live.ring_start + live.ring, KEYS) : 0;
        count = pinned + (prefill.pinning ? 0 : filled + max(ring_end - ring_first, 0));
    }
    __device__ int first_token(int tile) const {
        if (tile < pinned) return tile * KEYS;
        tile -= pinned;
        return (tile < filled ? tile : tile - filled + ring_first) * KEYS;
    }
};

// Starts copying a tile.
__device__ __forceinline__ void fetch(Tile &to, const Prefill &prefill, const Walk &walk, int tile) {
    const bool pinned = tile < walk.pinned;
    const Region &region = pinned ? prefill.layer.pinned : prefill.layer.slots;
    const size_t head = (size_t)blockIdx.y * region.capacity;
    const int first = walk.first_token(tile), last = region.capacity - 1;
    constexpr int PIECES = HEAD_DIM / 16;
    for (int i = threadIdx.x; i < KEYS * PIECES; i += THREADS) {
        const int row = i / PIECES, piece = i % PIECES;
        const size_t from = (head + min(first + row, last)) * HEAD_DIM + 16 * piece;
        copy_async_16(&to.keys[row][16 * key_piece(row, piece)], region.keys + from);
        copy_async_16(&to.values[row][16 * value_piece(row, piece)], region.values + from);
    }
    copy_commit();
    const Chunk chunk = chunk_of(prefill, walk.clock);
    for (int row = threadIdx.x; row < KEYS; row += THREADS) {
        const int token = first + row;
        const int viewer = pinned ? viewer_of_pinned(chunk, token)
                                  : viewer_of_slot(chunk, prefill.layer, walk.live, token);
        const bool seen = viewer != NOBODY;
        to.viewers[row] = viewer;
        to.key_scales[row] = seen ? __half2float(region.key_scales[head + token]) : 0.0f;
        to.value_scales[row] = seen ? __half2float(region.value_scales[head + token]) : 0.0f;
    }
}

// A warp's place: rows `first_row + row` and `+ 8`, and its part of the channels.
struct Lane {
    int row, pair, part, first_row;
    __device__ Lane() {
        const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
        row = lane / 4;
        pair = lane % 4;
        part = warp % PARTS;
        first_row = blockIdx.x * ROWS + warp / PARTS * 16;
    }
};

// Two rows of a lane: output and sum are relative to `top` (a logit) and `scale` (of values).
struct State {
    float output[HEAD_DIM / PARTS / 8][4];
    float top[2], sum[2], scale;
    int token[2];  // of each row

    __device__ State(const Lane &lane, int group) : top{-INFINITY, -INFINITY}, sum{0.0f, 0.0f}, scale(0.0f) {
#pragma unroll
        for (int i = 0; i < 2; i++) token[i] = (lane.first_row + lane.row + 8 * i) / group;
#pragma unroll
        for (int n = 0; n < HEAD_DIM / PARTS / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) output[n][i] = 0.0f;
    }
};

// Logits of 16 rows with a tile: `logits[n]` are those with keys 8 n ...
__device__ __forceinline__ void find_logits(float (&logits)[KEYS / 8][4], const Tile &tile,
                                            const unsigned (&query)[STEPS][4], const State &state,
                                            const Lane &lane) {
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++) {
        const int key = 8 * n + lane.row;
#pragma unroll
        for (int i = 0; i < 4; i++) logits[n][i] = 0.0f;
#pragma unroll
        for (int piece = 0; piece < KEY_PIECES; piece++) {
            const uint4 four = *reinterpret_cast<const uint4 *>(
                &tile.keys[key][16 * key_piece(key, 4 * piece + lane.pair)]);
            const unsigned words[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
            for (int word = 0; word < 4; word++) {
                unsigned keys[2];
                widen_to_f16(words[word], keys[0], keys[1]);
                mma_m16n8k16(logits[n], query[4 * piece + word], keys);
            }
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int column = 8 * n + 2 * lane.pair + i % 2;
            const bool seen = tile.viewers[column] <= state.token[i / 2];
            logits[n][i] = seen ? logits[n][i] * tile.key_scales[column] : -INFINITY;
        }
    }
}

// Raises the running maxima to the tile's, and the state with them.
__device__ __forceinline__ void raise(State &state, const Tile &tile, const float (&logits)[KEYS / 8][4]) {
    float scale = state.scale;
    for (int i = threadIdx.x % WARP; i < KEYS; i += WARP) scale = fmaxf(scale, tile.value_scales[i]);
    scale = lanes_max(scale);
    const float by_scale = scale > 0.0f ? state.scale / scale : 0.0f;
    state.scale = scale;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float top = state.top[r];
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) top = fmaxf(top, fmaxf(logits[n][2 * r], logits[n][2 * r + 1]));
        top = lanes_max<4>(top);
        const float factor = top == -INFINITY ? 0.0f : exp2_fast(state.top[r] - top);
        state.top[r] = top;
        state.sum[r] *= factor;
#pragma unroll
        for (int n = 0; n < HEAD_DIM / PARTS / 8; n++) {
            state.output[n][2 * r] *= factor * by_scale;
            state.output[n][2 * r + 1] *= factor * by_scale;
        }
    }
}

// From logits to the weights of the values, as an operand.
__device__ __forceinline__ void weigh(State &state, unsigned (&weights)[KEYS / 8][2],
                                      const float (&logits)[KEYS / 8][4], const Tile &tile,
                                      const Lane &lane) {
    const float unit = state.scale > 0.0f ? WEIGHT_ONE / state.scale : 0.0f;
#pragma unroll
    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float top = state.top[r] == -INFINITY ? 0.0f : state.top[r];
            float weight[2];
#pragma unroll
            for (int i = 0; i < 2; i++) {
                const float p = exp2_fast(logits[n][2 * r + i] - top);
                state.sum[r] += p;
                weight[i] = p * unit * tile.value_scales[8 * n + 2 * lane.pair + i];
            }
            weights[n][r] = as_bits(__floats2half2_rn(weight[0], weight[1]));
        }
}

// Adds weighted values, 16 tokens at a time.
__device__ __forceinline__ void add_values(State &state, const unsigned (&weights)[KEYS / 8][2],
                                           const Tile &tile, const Lane &lane) {
#pragma unroll
    for (int k = 0; k < KEYS / 16; k++) {
        const unsigned operand[4] = {weights[2 * k][0], weights[2 * k][1], weights[2 * k + 1][0],
                                     weights[2 * k + 1][1]};
        const unsigned *rows[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int row = 16 * k + 2 * lane.pair + i % 2 + i / 2 * 8;
            const int byte = 128 * lane.part + VALUE_PIECE * lane.row;
            rows[i] = reinterpret_cast<const unsigned *>(
                &tile.values[row][16 * value_piece(row, byte / 16) + byte % 16]);
        }
#pragma unroll
        for (int word = 0; word < VALUE_PIECE / 4; word++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const unsigned pick = half == 0 ? 0x5140 : 0x7362;
                unsigned even[2], odd[2];
                widen_to_f16(__byte_perm(rows[0][word], rows[1][word], pick), even[0], odd[0]);
                widen_to_f16(__byte_perm(rows[2][word], rows[3][word], pick), even[1], odd[1]);
                mma_m16n8k16(state.output[4 * word + 2 * half], operand, even);
                mma_m16n8k16(state.output[4 * word + 2 * half + 1], operand, odd);
            }
    }
}

// Column 2 pair + i of `output[n]` is channel VALUE_PIECE · (2 pair + i) + n of the lane's part.
__device__ __forceinline__ void store(const Prefill &prefill, const State &state, const Lane &lane) {
    const int group = prefill.layer.gqa_group, width = prefill.layer.kv_heads * group;
    const int rows = prefill.tokens * group, head = blockIdx.y;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        const int row = lane.first_row + lane.row + 8 * r;
        const float sum = lanes_sum<4>(state.sum[r]);
        if (row >= rows) continue;
        const size_t query = (size_t)(row / group) * width + head * group + row % group;
        const float unit = state.scale / WEIGHT_ONE / sum;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float *to = prefill.output + query * HEAD_DIM + 128 * lane.part + VALUE_PIECE * (2 * lane.pair + i);
#pragma unroll
            for (int n = 0; n < HEAD_DIM / PARTS / 8; n++) to[n] = state.output[n][2 * r + i] * unit;
        }
        if (lane.pair == 0 && lane.part == 0)
            prefill.log_sum_exp[(size_t)head * rows + row] = state.top[r] + log2f(sum);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, PARTS == 1 ? 2 : 1)
prefill(const __grid_constant__ Prefill prefill) {
    __shared__ __align__(16) Tile tiles[2];
    const Lane lane;
    const int group = prefill.layer.gqa_group;
    const int last_row = min(((int)blockIdx.x + 1) * ROWS, prefill.tokens * group) - 1;
    const Walk walk(prefill, *prefill.clock, last_row / group);
    fetch(tiles[0], prefill, walk, 0);
    unsigned query[STEPS][4];
#pragma unroll
    for (int step = 0; step < STEPS; step++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            query[step][i] = load_query(prefill, blockIdx.y, lane.first_row + lane.row + i % 2 * 8,
                                        channel_of_step(step, lane.pair, i / 2));
    State state(lane, group);
    for (int i = 0; i < walk.count; i++) {
        const Tile &tile = tiles[i & 1];
        if (i + 1 < walk.count) {
            fetch(tiles[(i + 1) & 1], prefill, walk, i + 1);
            copy_wait<1>();
        } else {
            copy_wait<0>();
        }
        __syncthreads();
        float logits[KEYS / 8][4];
        unsigned weights[KEYS / 8][2];
        find_logits(logits, tile, query, state, lane);
        raise(state, tile, logits);
        weigh(state, weights, logits, tile, lane);
        add_values(state, weights, tile, lane);
        __syncthreads();
    }
    store(prefill, state, lane);
}
