// out = x / sqrt(mean(x^2) + eps) · weight, row by row. `out` may be `x`.
//
// x and out [rows, width] f32, weight [width]. Reads 4 bytes per element twice (the second time from L1 or
// L2) and writes 4. Block: 256 threads; grid: rows.
#include "common.cuh"

constexpr int THREADS = 256;

extern "C" __global__ void __launch_bounds__(THREADS)
rms_norm(const float *x, const float *weight, float *out, int width, float eps) {
    __shared__ float sums[THREADS / WARP];
    const size_t row = (size_t)blockIdx.x * width;
    float sum = 0.0f;
    for (int i = threadIdx.x; i < width; i += THREADS) sum += x[row + i] * x[row + i];
    sum = lanes_sum(sum);
    if (threadIdx.x % WARP == 0) sums[threadIdx.x / WARP] = sum;
    __syncthreads();
    sum = 0.0f;
    for (int i = 0; i < THREADS / WARP; i++) sum += sums[i];
    const float factor = 1.0f / sqrtf(sum / width + eps);
    for (int i = threadIdx.x; i < width; i += THREADS) out[row + i] = x[row + i] * factor * weight[i];
}
