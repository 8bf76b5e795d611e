// The element by element operations of a decoder layer, in place, f32.
//
//     silu_mul   gate = silu(gate) · up          reads 8 bytes per element, writes 4
//     add        to += from                      reads 8, writes 4
//     add_bias   row += bias, for every row      reads 4, writes 4
//
// Block: 256 threads; grid: as many blocks as elements ask for, (parts of a row, rows) for `add_bias`.
#include "common.cuh"

constexpr int THREADS = 256;

extern "C" __global__ void __launch_bounds__(THREADS) silu_mul(float *gate, const float *up, int count) {
    const int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < count) gate[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}

extern "C" __global__ void __launch_bounds__(THREADS) add(float *to, const float *from, int count) {
    const int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < count) to[i] += from[i];
}

extern "C" __global__ void __launch_bounds__(THREADS) add_bias(float *rows, const float *bias, int width) {
    const int i = blockIdx.x * THREADS + threadIdx.x;
    if (i < width) rows[(size_t)blockIdx.y * width + i] += bias[i];
}
