// The tensor-core and copy instructions of kernels/instructions.cuh, in plain C++.
#pragma once
#include "cuda_fp16.h"

inline void mma_m16n8k16(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], EMU_PLACE) {
    emu::Lane *lane = emu::emu_lane();
    memcpy(lane->in, a, 16);
    memcpy(lane->in + 4, b, 8);
    memcpy(lane->in + 6, c, 16);
    emu::emu_collective(emu::Op::Mma, ~0u, {file, line});
    memcpy(c, lane->out, 16);
}

inline unsigned transpose_8x8(unsigned pair, EMU_PLACE) {
    emu::Lane *lane = emu::emu_lane();
    lane->in[0] = pair;
    emu::emu_collective(emu::Op::Transpose, ~0u, {file, line});
    return lane->out[0];
}

// The copy happens as late as it may, when its group is waited for: who forgets to wait reads stale data.
inline void copy_async_16(void *shared, const void *global) { emu::emu_copy_async(shared, global, 16); }
inline void copy_async_8(void *shared, const void *global) { emu::emu_copy_async(shared, global, 8); }
inline void copy_commit() { emu::emu_copy_commit(); }
template <int N> void copy_wait() { emu::emu_copy_wait(N); }
inline float exp2_fast(float x) { return exp2f(x); }
