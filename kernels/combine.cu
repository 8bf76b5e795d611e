// Combines the parts of a split decode attention (decode.cuh) into one output per query head.
//
// Reads partials [query_heads, splits, head_dim + 2] (output, maximum, sum; base-2 logits), which decode
// left in L2; writes output [query_heads, head_dim]. Block: 128 threads; grid: query_heads.
#include "common.cuh"

constexpr int THREADS = 128;
constexpr int MAX_SPLITS = 256;

extern "C" __global__ void __launch_bounds__(THREADS)
combine(const float *__restrict__ partials, float *__restrict__ output, int splits, int head_dim) {
    __shared__ float weights[MAX_SPLITS], warp_part[2][THREADS / WARP];
    const int width = head_dim + 2, warp = threadIdx.x / WARP;
    const float *parts = partials + (size_t)blockIdx.x * splits * width;

    float top = -INFINITY;
    for (int i = threadIdx.x; i < splits; i += THREADS) top = fmaxf(top, parts[i * width + head_dim]);
    top = lanes_max(top);
    if (threadIdx.x % WARP == 0) warp_part[0][warp] = top;
    __syncthreads();
    for (int i = 0; i < THREADS / WARP; i++) top = fmaxf(top, warp_part[0][i]);

    float sum = 0.0f;
    for (int i = threadIdx.x; i < splits; i += THREADS) {
        weights[i] = exp2_fast(parts[i * width + head_dim] - top);
        sum += parts[i * width + head_dim + 1] * weights[i];
    }
    sum = lanes_sum(sum);
    if (threadIdx.x % WARP == 0) warp_part[1][warp] = sum;
    __syncthreads();
    sum = 0.0f;
    for (int i = 0; i < THREADS / WARP; i++) sum += warp_part[1][i];

    for (int channel = threadIdx.x; channel < head_dim; channel += THREADS) {
        float out = 0.0f;
#pragma unroll 8
        for (int i = 0; i < splits; i++) out += parts[i * width + channel] * weights[i];
        output[(size_t)blockIdx.x * head_dim + channel] = out / sum;
    }
}
