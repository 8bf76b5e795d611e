// Instructions that CUDA C++ has no function for, one function each. Newer GPUs have them, sm_75 gets
// the same result from older ones. The emulator has its own (emulator/instructions.h).
#pragma once
#ifdef VRAMPLAN_EMULATOR
#include "emulator/instructions.h"
#else
#include <cuda_fp16.h>

// C += A · B for one warp: A is 16 × 16 and B 16 × 8 in f16, C 16 × 8 in f32.
//
// With lane = 4 · group + pair, a lane holds two neighbours in each register:
//     a[0] A[group][2 pair ..]      a[1] A[group + 8][2 pair ..]
//     a[2] A[group][2 pair + 8 ..]  a[3] A[group + 8][2 pair + 8 ..]
//     b[0] B[2 pair ..][group]      b[1] B[2 pair + 8 ..][group]
//     c[0], c[1] C[group][2 pair ..]     c[2], c[3] C[group + 8][2 pair ..]
__device__ __forceinline__ void mma_m16n8k16(float (&c)[4], const unsigned (&a)[4],
                                             const unsigned (&b)[2]) {
#if __CUDA_ARCH__ >= 800
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
    for (int half = 0; half < 2; half++)
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                     "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                     : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
#endif
}

// Transposes an 8 × 8 matrix of f16: lane 4 · group + pair gives M[group][2 pair ..] and gets
// M[2 pair ..][group].
__device__ __forceinline__ unsigned transpose_8x8(unsigned pair) {
    unsigned transposed;
    asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(pair));
    return transposed;
}

// Copies to shared memory without waiting. Both addresses are aligned to the size.
__device__ __forceinline__ void copy_async_16(void *shared, const void *global) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;"
                 ::"r"((unsigned)__cvta_generic_to_shared(shared)), "l"(global) : "memory");
#else
    *static_cast<uint4 *>(shared) = *static_cast<const uint4 *>(global);
#endif
}

__device__ __forceinline__ void copy_async_8(void *shared, const void *global) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8;"
                 ::"r"((unsigned)__cvta_generic_to_shared(shared)), "l"(global) : "memory");
#else
    *static_cast<uint2 *>(shared) = *static_cast<const uint2 *>(global);
#endif
}

// Closes a group of copies.
__device__ __forceinline__ void copy_commit() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all but the last N groups of this thread have arrived.
template <int N> __device__ __forceinline__ void copy_wait() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

// 2^x, relative error 2^-22.
__device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#endif
