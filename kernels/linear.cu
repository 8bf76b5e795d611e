// out = x · weightᵀ for matrices that are not quantized, in f32.
//
// weight [columns, width] in the type of its file, x [rows, width] f32, out [rows, columns] f32. A warp
// takes one column and `ROWS` rows: it reads its row of the matrix once, and x from L1. For matrices of a
// quantized type candle's kernels serve. Reads the matrix once for every `ROWS` rows.
// Block: 256 threads; grid: (columns / 8, rows / ROWS), both rounded up. An entry per type.
#include "common.cuh"

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / WARP;
constexpr int ROWS = 8;

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(__half x) { return __half2float(x); }

// The upper half of an f32.
struct Bf16 { unsigned short bits; };
__device__ __forceinline__ float widen(Bf16 x) { return __uint_as_float((unsigned)x.bits << 16); }

template <class Type>
__device__ __forceinline__ void linear(const Type *weight, const float *x, float *out, int rows, int width,
                                       int columns) {
    const int lane = threadIdx.x % WARP, column = blockIdx.x * WARPS + threadIdx.x / WARP;
    if (column >= columns) return;
    const int first = blockIdx.y * ROWS, count = min(rows - first, ROWS);
    const Type *mine = weight + (size_t)column * width;
    const float *from = x + (size_t)first * width;
    float sums[ROWS];
#pragma unroll
    for (int row = 0; row < ROWS; row++) sums[row] = 0.0f;
    for (int i = lane; i < width; i += WARP) {
        const float w = widen(mine[i]);
#pragma unroll
        for (int row = 0; row < ROWS; row++)
            if (row < count) sums[row] += w * from[(size_t)row * width + i];
    }
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
        if (row >= count) break;
        const float sum = lanes_sum(sums[row]);
        if (lane == 0) out[(size_t)(first + row) * columns + column] = sum;
    }
}

#define LINEAR(NAME, TYPE)                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS)                                           \
    linear_##NAME(const TYPE *weight, const float *x, float *out, int rows, int width, int columns) { \
        linear<TYPE>(weight, x, out, rows, width, columns);                                         \
    }

LINEAR(f32, float)
LINEAR(f16, __half)
LINEAR(bf16, Bf16)
