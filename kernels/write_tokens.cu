// Writes new tokens into the cache: moves those who leave the ring, quantizes keys and values, resets
// scores. The first kernel of a layer's attention.
//
// A leaver goes where `destinations` says (`evict.cu`, for chunks), or for a single token whose victim
// `scores.cu` has found, where `victims` says; into a free slot while there is one; or nowhere. Ring
// and other slots never overlap, so every (token, head) is independent.
//
// Symmetric int8, one f16 scale per token and head for each of keys and values: the smallest whose 127-fold
// is not below the largest magnitude; keys are divided by `smoothing` first. Bit for bit as
// `crates/engine/src/h2o/quant.rs`. Reads 8 bytes per element, and per move twice 2 · (head_dim + 2) + 4 bytes.
// Block: one warp; grid: (tokens, kv_heads).
#include "cache.cuh"
#include "common.cuh"
#include "victim.cuh"

struct Write {
    Layer layer;
    const Clock *clock;          // before these tokens
    const float *keys, *values;  // [tokens, kv_heads, head_dim], keys after RoPE
    const int *destinations;     // [kv_heads, tokens]: slot of each leaver, or -1; or null
    unsigned long long *victims; // [kv_heads], where there are no destinations
    int head_dim;
    int pinning;                 // the tokens belong to the system prompt
};

constexpr float LIMIT = 127.0f;

__device__ __forceinline__ __half scale_for(float largest) {
    __half scale = __float2half_rn(largest / LIMIT);
    if (__half2float(scale) * LIMIT < largest) scale = __ushort_as_half(__half_as_ushort(scale) + 1);
    const unsigned short bits = __half_as_ushort(scale);
    return __ushort_as_half(min(max((int)bits, 1), 0x7bff));  // the smallest and largest above 0
}

// Quantizes one row; `divisors` may be null.
__device__ void quantize(const float *row, const float *divisors, int head_dim, signed char *to,
                         __half *scale_to) {
    const int lane = threadIdx.x;
    float largest = 0.0f;
    for (int i = lane; i < head_dim; i += WARP)
        largest = fmaxf(largest, fabsf(divisors ? row[i] / divisors[i] : row[i]));
    const __half scale = scale_for(lanes_max(largest));
    for (int i = lane; i < head_dim; i += WARP) {
        const float x = (divisors ? row[i] / divisors[i] : row[i]) / __half2float(scale);
        to[i] = max(min(__float2int_rn(x), 127), -127);
    }
    if (lane == 0) *scale_to = scale;
}

// Copies a row of bytes; rows are multiples of 8 bytes.
__device__ void copy_row(signed char *to, const signed char *from, int head_dim) {
    for (int i = threadIdx.x; i < head_dim / 8; i += WARP)
        reinterpret_cast<uint2 *>(to)[i] = reinterpret_cast<const uint2 *>(from)[i];
}

__device__ void move(const Layer &layer, int head, int head_dim, int from, int to) {
    const Region &slots = layer.slots;
    const size_t first = (size_t)head * slots.capacity, a = first + from, b = first + to;
    copy_row(slots.keys + b * head_dim, slots.keys + a * head_dim, head_dim);
    copy_row(slots.values + b * head_dim, slots.values + a * head_dim, head_dim);
    if (threadIdx.x > 0) return;
    slots.key_scales[b] = slots.key_scales[a];
    slots.value_scales[b] = slots.value_scales[a];
    layer.scores[b] = layer.scores[a];
}

// Where the token goes that is `window` older than the new one, or -1.
__device__ int destination(const Write &write, int written, int head) {
    const int leaver = written - write.layer.recent_window + blockIdx.x;
    if (leaver < 0) return -1;
    if (write.destinations) return write.destinations[head * gridDim.x + blockIdx.x];
    if (leaver < write.layer.slots.capacity - write.layer.recent_window) return leaver;
    const unsigned slot = (unsigned)write.victims[head];
    return slot >= LEAVER ? -1 : (int)slot;
}

extern "C" __global__ void __launch_bounds__(WARP) write_tokens(const __grid_constant__ Write write) {
    const Layer &layer = write.layer;
    const int token = blockIdx.x, head = blockIdx.y, head_dim = write.head_dim;
    const Clock clock = *write.clock;
    const size_t row = (size_t)token * layer.kv_heads + head;
    const Region &region = write.pinning ? layer.pinned : layer.slots;
    int slot = clock.pinned_len + token;
    if (!write.pinning) {
        slot = ring_slot(layer, clock.written + token);
        const int to = destination(write, clock.written, head);
        if (to >= 0) move(layer, head, head_dim, slot, to);
        __syncwarp();
        if (threadIdx.x == 0) {
            layer.scores[(size_t)head * layer.slots.capacity + slot] = 0.0f;
            if (write.victims) write.victims[head] = NO_VICTIM;
        }
    }
    const size_t at = (size_t)head * region.capacity + slot;
    quantize(write.keys + row * head_dim, layer.smoothing + (size_t)head * head_dim, head_dim,
             region.keys + at * head_dim, region.key_scales + at);
    quantize(write.values + row * head_dim, nullptr, head_dim, region.values + at * head_dim,
             region.value_scales + at);
}
