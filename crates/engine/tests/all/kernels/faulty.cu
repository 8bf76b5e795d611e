// Kernels that are wrong, each in one way. The emulator has to say so.
#include "instructions.cuh"

extern __shared__ __align__(16) unsigned char dynamic_shared[];

extern "C" __global__ void half_of_the_block_waits(float *data) {
    if (threadIdx.x < 40) __syncthreads();
    __syncwarp();
    data[threadIdx.x] = 1.0f;
}

extern "C" __global__ void two_barriers_meet(float *data) {
    if (threadIdx.x < 32)
        __syncthreads();
    else
        __syncthreads();
    data[threadIdx.x] = 1.0f;
}

extern "C" __global__ void a_lane_stays_away(float *data) {
    float x = data[threadIdx.x];
    if (threadIdx.x % 32 != 7) x = __shfl_xor_sync(0xffffffffu, x, 1);
    data[threadIdx.x] = x;
}

extern "C" __global__ void a_lane_reads_who_is_absent(float *data) {
    float x = data[threadIdx.x];
    if (threadIdx.x % 32 < 16) x = __shfl_xor_sync(0x0000ffffu, x, 16);
    data[threadIdx.x] = x;
}

extern "C" __global__ void one_element_too_far(float *data) { data[threadIdx.x + 1] = 1.0f; }

extern "C" __global__ void one_byte_too_far(float *data) {
    reinterpret_cast<char *>(data)[64 * 4] = 1;
}

extern "C" __global__ void reads_behind_the_end(float *data) { data[0] = data[64 * 4 + threadIdx.x]; }

extern "C" __global__ void a_misaligned_vector(float *data) {
    const float4 x = *reinterpret_cast<const float4 *>(data + 1);
    data[0] = x.y;
}

extern "C" __global__ void a_missing_barrier(float *data) {
    __shared__ float shared[64];
    shared[threadIdx.x] = threadIdx.x;
    data[threadIdx.x] = shared[63 - threadIdx.x];
}

extern "C" __global__ void a_copy_nobody_waits_for(float *data) {
    __shared__ __align__(16) float shared[64 * 4];
    if (threadIdx.x < 16) copy_async_16(&shared[4 * threadIdx.x], data + 4 * threadIdx.x);
    copy_commit();
    __syncthreads();
    data[threadIdx.x] = shared[threadIdx.x];
}

extern "C" __global__ void more_shared_memory_than_asked_for(float *data) {
    dynamic_shared[threadIdx.x] = 1;
    data[0] = 1.0f;
}
