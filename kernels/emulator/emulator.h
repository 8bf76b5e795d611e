// CUDA on the CPU, one block at a time, for tests: the .cu files compile unchanged against it.
//
// Every CUDA thread is a fiber. A fiber runs until it meets a barrier or a warp operation; the last to
// arrive completes it. Which fiber runs next is drawn at random, so that a missing barrier shows.
// What is an error on a GPU, or undefined, ends the launch with a message: barriers met by a part of
// the block, warp operations met by a part of their mask or at different places, reading a lane that
// takes no part, waiting for ever, and reads and writes outside of a buffer (pages without access lie
// around each). Shared memory is full of NaNs when a block begins.
//
// Not modelled: the memory model within a barrier interval beyond random order, and time.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#define __restrict__ __restrict
// A block runs on one thread of the operating system, so its shared memory is that thread's own.
#define __shared__ thread_local
#define __constant__

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x, y, z; };
struct int2 { int x, y; };
struct float2 { float x, y; };
struct uint2 { unsigned x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(16) float4 { float x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

namespace emu {

// Where a barrier or warp operation stands in the source.
struct Place { const char *file; int line; };

enum class Op : uint8_t { None, Syncwarp, Shuffle, Ballot, Mma, Transpose, Barrier };

// What a lane brings to a warp operation and takes from it.
struct Lane {
    Op op;
    unsigned mask;
    Place place;
    int source;           // Shuffle: the lane to read
    uint32_t in[16];
    uint32_t out[4];
};

struct Thread { uint3 index; dim3 block, grid; uint3 block_index; };

// Everything below is in emulator.cpp, one copy for all kernels.
extern "C" {
extern __thread Thread *emu_thread;
Lane *emu_lane();
void emu_collective(Op op, unsigned mask, Place place);
void emu_barrier(Place place);
void emu_copy_async(void *to, const void *from, size_t bytes);
void emu_copy_commit();
void emu_copy_wait(unsigned groups_left);
[[noreturn]] void emu_fail(const char *format, ...);
const char *emu_launch(void (*kernel)(void **), void **parameters, dim3 grid, dim3 block,
                       unsigned shared_bytes, uint64_t seed, unsigned char *dynamic_shared,
                       size_t dynamic_capacity, void (*poison)());
void *emu_allocate(size_t bytes, const char *name);
const char *emu_free(void *pointer);
}

template <class... A, size_t... I>
void call_with(void (*kernel)(A...), void **parameters, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_reference_t<A> *>(parameters[I])...);
}
template <class... A> size_t count_of(void (*)(A...)) { return sizeof...(A); }
template <auto KERNEL, class... A> void unpack_as(void (*)(A...), void **parameters) {
    call_with<A...>(KERNEL, parameters, std::index_sequence_for<A...>{});
}
// Calls a kernel with arguments given by address, as cuLaunchKernel does.
template <auto KERNEL> void unpack(void **parameters) { unpack_as<KERNEL>(KERNEL, parameters); }

}  // namespace emu

#define threadIdx (emu::emu_thread->index)
#define blockIdx (emu::emu_thread->block_index)
#define blockDim (emu::emu_thread->block)
#define gridDim (emu::emu_thread->grid)
#define warpSize 32

#define EMU_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(EMU_PLACE) { emu::emu_barrier({file, line}); }
inline void __syncwarp(unsigned mask = ~0u, EMU_PLACE) {
    emu::emu_collective(emu::Op::Syncwarp, mask, {file, line});
}
inline void __threadfence() {}

namespace emu {
template <class T> T shuffle(unsigned mask, T value, int source, Place place) {
    static_assert(sizeof(T) <= 8, "shuffles move at most 8 bytes");
    Lane *lane = emu_lane();
    memcpy(lane->in, &value, sizeof(T));
    lane->source = source;
    emu_collective(Op::Shuffle, mask, place);
    T result;
    memcpy(&result, lane->out, sizeof(T));
    return result;
}
inline int lane_index() {
    const Thread &t = *emu_thread;
    return (t.index.x + t.block.x * (t.index.y + t.block.y * t.index.z)) & 31;
}
}  // namespace emu

template <class T> T __shfl_sync(unsigned mask, T value, int source, int width = 32, EMU_PLACE) {
    int base = emu::lane_index() & ~(width - 1);
    return emu::shuffle(mask, value, base | (source & (width - 1)), {file, line});
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int by, EMU_PLACE) {
    return emu::shuffle(mask, value, emu::lane_index() ^ by, {file, line});
}
template <class T> T __shfl_down_sync(unsigned mask, T value, int by, EMU_PLACE) {
    int lane = emu::lane_index();
    return emu::shuffle(mask, value, lane + by < 32 ? lane + by : lane, {file, line});
}
template <class T> T __shfl_up_sync(unsigned mask, T value, int by, EMU_PLACE) {
    int lane = emu::lane_index();
    return emu::shuffle(mask, value, lane >= by ? lane - by : lane, {file, line});
}
inline unsigned __ballot_sync(unsigned mask, int predicate, EMU_PLACE) {
    emu::Lane *lane = emu::emu_lane();
    lane->in[0] = predicate != 0;
    emu::emu_collective(emu::Op::Ballot, mask, {file, line});
    return lane->out[0];
}
inline int __any_sync(unsigned mask, int predicate, EMU_PLACE) {
    return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, EMU_PLACE) {
    return __ballot_sync(mask, predicate, file, line) == mask;
}

// Blocks run one after another and fibers never at once: a plain read and write is atomic.
template <class T> T atomicAdd(T *at, T value) { T old = *at; *at = old + value; return old; }
template <class T> T atomicMin(T *at, T value) { T old = *at; if (value < old) *at = value; return old; }
template <class T> T atomicMax(T *at, T value) { T old = *at; if (value > old) *at = value; return old; }

inline unsigned __float_as_uint(float x) { unsigned u; memcpy(&u, &x, 4); return u; }
inline float __uint_as_float(unsigned u) { float x; memcpy(&x, &u, 4); return x; }
inline int __float_as_int(float x) { int u; memcpy(&u, &x, 4); return u; }
// Saturates; not-a-number is 0.
inline int __float2int_rn(float x) {
    if (x != x) return 0;
    float r = nearbyintf(x);
    return r >= 2147483648.0f ? INT32_MAX : r <= -2147483648.0f ? INT32_MIN : (int)r;
}
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return expf(x); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
template <class T> T min(T a, T b) { return b < a ? b : a; }
template <class T> T max(T a, T b) { return a < b ? b : a; }
template <class T> T __ldg(const T *at) { return *at; }

// Four of the eight bytes of {b, a}, each named by a nibble of the selector.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    uint64_t bytes = (uint64_t(b) << 32) | a;
    unsigned result = 0;
    for (int i = 0; i < 4; i++) {
        unsigned pick = (selector >> (4 * i)) & 15;
        unsigned byte = (bytes >> (8 * (pick & 7))) & 255;
        if (pick & 8) byte = byte & 128 ? 255 : 0;
        result |= byte << (8 * i);
    }
    return result;
}
