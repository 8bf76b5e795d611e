// Cosines and sines of a step's positions, which follow what the clock says is written.
//
// frequencies [head_dim / 2] f32, the angle of each pair per position; out rotation [rows, head_dim].
// Block: 128 threads; grid: rows.
#include "cache.cuh"

extern "C" __global__ void __launch_bounds__(128)
angles(const Clock *clock, const float *frequencies, float magnitude, int head_dim, float *rotation) {
    const int half = head_dim / 2;
    const float position = clock->pinned_len + clock->written + (int)blockIdx.x;
    float *row = rotation + (size_t)blockIdx.x * head_dim;
    for (int i = threadIdx.x; i < half; i += blockDim.x) {
        float sine, cosine;
        sincosf(position * frequencies[i], &sine, &cosine);
        row[i] = cosine * magnitude;
        row[i + half] = sine * magnitude;
    }
}
