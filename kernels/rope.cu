// Rotates the heads of every row in place: channels (i, i + head_dim / 2) by the angle of pair i.
//
// x [rows, heads, head_dim] f32; rotation [rows, head_dim]: cosines in the first half of a row, sines in
// the second (`angles.cu`). Reads and writes 4 bytes per element. Block: 128 threads; grid: (heads, rows).
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(128)
rope(float *x, const float *rotation, int head_dim) {
    const int half = head_dim / 2;
    float *head = x + ((size_t)blockIdx.y * gridDim.x + blockIdx.x) * head_dim;
    const float *cosines = rotation + (size_t)blockIdx.y * head_dim, *sines = cosines + half;
    for (int i = threadIdx.x; i < half; i += blockDim.x) {
        const float a = head[i], b = head[i + half];
        head[i] = a * cosines[i] - b * sines[i];
        head[i + half] = a * sines[i] + b * cosines[i];
    }
}
