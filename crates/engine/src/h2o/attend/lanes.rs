//! Eight floats in a register: portable, and AVX2 with FMA.

#![allow(unsafe_code, reason = "instructions that not every processor has")]
#![allow(clippy::trivially_copy_pass_by_ref, reason = "read from where they are")]
#![allow(clippy::inline_always, reason = "inlined into code for several instruction sets")]

use super::super::policy::LANES;
use super::math::{mul_add, sum};
use super::simd::FMA;

/// Eight floats.
pub trait Lanes: Copy {
    /// Whether a product and a sum are one instruction.
    const FMA: bool;
    fn splat(x: f32) -> Self;
    fn load(x: &[f32; LANES]) -> Self;
    fn widen(x: &[i8; LANES]) -> Self;
    /// `self · b + c`
    fn mul_add(self, b: Self, c: Self) -> Self;
    fn store(self) -> [f32; LANES];
    /// The sum of all eight: halves, quarters, eighths.
    fn sum(self) -> f32;
}

/// Whatever the compiler makes of an array.
#[derive(Clone, Copy)]
pub struct Portable([f32; LANES]);

impl Lanes for Portable {
    const FMA: bool = FMA;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    fn load(x: &[f32; LANES]) -> Self {
        Self(*x)
    }

    #[inline(always)]
    fn widen(x: &[i8; LANES]) -> Self {
        Self(x.map(f32::from))
    }

    #[inline(always)]
    fn mul_add(self, b: Self, c: Self) -> Self {
        Self(std::array::from_fn(|i| mul_add::<FMA>(self.0[i], b.0[i], c.0[i])))
    }

    #[inline(always)]
    fn store(self) -> [f32; LANES] {
        self.0
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        sum(self.0)
    }
}

#[cfg(target_arch = "x86_64")]
pub use wide::Wide;

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        __m128i, __m256, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_loadl_epi64, _mm_movehl_ps,
        _mm_shuffle_ps, _mm256_castps256_ps128, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
        _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps,
    };

    use super::{LANES, Lanes};

    /// AVX2 with FMA. To be used nowhere but in functions compiled for both, which `simd` calls where
    /// the processor has them.
    #[derive(Clone, Copy)]
    pub struct Wide(__m256);

    impl Lanes for Wide {
        const FMA: bool = true;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: AVX, see `Wide`.
            Self(unsafe { _mm256_set1_ps(x) })
        }

        #[inline(always)]
        fn load(x: &[f32; LANES]) -> Self {
            // SAFETY: AVX, see `Wide`; reads the eight floats of `x`, aligned or not.
            Self(unsafe { _mm256_loadu_ps(x.as_ptr()) })
        }

        #[inline(always)]
        #[allow(clippy::cast_ptr_alignment, reason = "the load has none")]
        fn widen(x: &[i8; LANES]) -> Self {
            // SAFETY: AVX2, see `Wide`; reads the eight bytes of `x`, aligned or not.
            Self(unsafe {
                let bytes = _mm_loadl_epi64(x.as_ptr().cast::<__m128i>());
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
            })
        }

        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: FMA, see `Wide`.
            Self(unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) })
        }

        #[inline(always)]
        fn store(self) -> [f32; LANES] {
            let mut out = [0.0; LANES];
            // SAFETY: AVX, see `Wide`; writes the eight floats of `out`, aligned or not.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), self.0) };
            out
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            // SAFETY: AVX, see `Wide`.
            unsafe {
                let high = _mm256_extractf128_ps::<1>(self.0);
                let four = _mm_add_ps(_mm256_castps256_ps128(self.0), high);
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
            }
        }
    }
}
