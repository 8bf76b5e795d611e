// Half precision for the emulator: IEEE arithmetic through the compiler's own type.
#pragma once
#include "emulator.h"

struct __half { _Float16 value; };
struct __half2 { __half x, y; };
typedef __half half;
typedef __half2 half2;

inline __half __float2half_rn(float x) { return {(_Float16)x}; }
inline __half __float2half(float x) { return {(_Float16)x}; }
inline float __half2float(__half h) { return (float)h.value; }
inline unsigned short __half_as_ushort(__half h) { unsigned short u; memcpy(&u, &h, 2); return u; }
inline __half __ushort_as_half(unsigned short u) { __half h; memcpy(&h, &u, 2); return h; }
inline __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline __half __low2half(__half2 h) { return h.x; }
inline __half __high2half(__half2 h) { return h.y; }
inline float2 __half22float2(__half2 h) { return {__half2float(h.x), __half2float(h.y)}; }
inline __half2 __hsub2(__half2 a, __half2 b) {
    return {{(_Float16)(a.x.value - b.x.value)}, {(_Float16)(a.y.value - b.y.value)}};
}
