// Finds the victim of the next token after a chunk, as `scores.cu` does after a single one.
//
// Reads 4 bytes per heavy slot and kv head. Block: 256 threads; grid: (parts of the slots, kv_heads).
#include "cache.cuh"
#include "common.cuh"
#include "victim.cuh"

constexpr int THREADS = 256;

extern "C" __global__ void __launch_bounds__(THREADS)
next_victim(const __grid_constant__ Layer layer, const Clock *clock, unsigned long long *victims) {
    const int slots = layer.slots.capacity, ring_start = slots - layer.recent_window;
    const int leaver = clock->written - layer.recent_window;
    if (leaver < ring_start) return;
    const float *scores = layer.scores + (size_t)blockIdx.y * slots;
    unsigned long long lowest = NO_VICTIM;
    const int first = blockIdx.x * THREADS + threadIdx.x;
    if (first == 0) lowest = victim_key(scores[ring_slot(layer, leaver)], LEAVER);
    for (int slot = first; slot < ring_start; slot += gridDim.x * THREADS)
        if (slot >= layer.sinks) lowest = min(lowest, victim_key(scores[slot], slot));
    lowest = lanes_min(lowest);
    if (threadIdx.x % WARP == 0 && lowest != NO_VICTIM) atomicMin(&victims[blockIdx.y], lowest);
}
