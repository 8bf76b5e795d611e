//! Eight floats in a register: portable, and AVX2 with FMA.
//!
//! A processor's instructions are a value, which exists only where the processor has them. Registers are
//! made by it and by nothing else, so that whoever holds one may use its instructions.

#![allow(unsafe_code, reason = "instructions that not every processor has")]
#![allow(clippy::trivially_copy_pass_by_ref, reason = "read from where they are")]
#![allow(clippy::inline_always, reason = "inlined into code for several instruction sets")]

use super::super::policy::LANES;
use super::math::{mul_add, sum};
use super::simd::FMA;

/// Instructions that the processor has.
pub trait Instructions: Copy {
    /// Eight floats.
    type Lanes: Lanes;
    /// Whether a product and a sum are one instruction.
    const FMA: bool;
    fn splat(self, x: f32) -> Self::Lanes;
    fn load(self, x: &[f32; LANES]) -> Self::Lanes;
    fn widen(self, x: &[i8; LANES]) -> Self::Lanes;
}

/// Eight floats.
pub trait Lanes: Copy {
    /// `self · b + c`
    fn mul_add(self, b: Self, c: Self) -> Self;
    fn store(self) -> [f32; LANES];
    /// The sum of all eight: halves, quarters, eighths.
    fn sum(self) -> f32;
}

/// What every processor has.
#[derive(Clone, Copy)]
pub struct Portable;

/// Whatever the compiler makes of an array.
#[derive(Clone, Copy)]
pub struct Array([f32; LANES]);

impl Instructions for Portable {
    type Lanes = Array;
    const FMA: bool = FMA;

    #[inline(always)]
    fn splat(self, x: f32) -> Array {
        Array([x; LANES])
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Array {
        Array(*x)
    }

    #[inline(always)]
    fn widen(self, x: &[i8; LANES]) -> Array {
        Array(x.map(f32::from))
    }
}

impl Lanes for Array {
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
pub use wide::Avx2Fma;

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        __m128i, __m256, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_loadl_epi64, _mm_movehl_ps,
        _mm_shuffle_ps, _mm256_castps256_ps128, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
        _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps,
    };

    use super::{Instructions, LANES, Lanes};

    /// AVX2 with FMA (2013), on a processor that has both.
    #[derive(Clone, Copy)]
    pub struct Avx2Fma(());

    impl Avx2Fma {
        /// Nothing where the processor lacks one of them.
        #[inline]
        pub fn detected() -> Option<Self> {
            let both = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            both.then_some(Self(()))
        }
    }

    /// A register of [`Avx2Fma`], the only one to make it.
    #[derive(Clone, Copy)]
    pub struct Register(__m256);

    impl Instructions for Avx2Fma {
        type Lanes = Register;
        const FMA: bool = true;

        #[inline(always)]
        fn splat(self, x: f32) -> Register {
            // SAFETY: `self` says that there is AVX.
            Register(unsafe { _mm256_set1_ps(x) })
        }

        #[inline(always)]
        fn load(self, x: &[f32; LANES]) -> Register {
            // SAFETY: `self` says that there is AVX; reads the eight floats of `x`, aligned or not.
            Register(unsafe { _mm256_loadu_ps(x.as_ptr()) })
        }

        #[inline(always)]
        #[allow(clippy::cast_ptr_alignment, reason = "the load has none")]
        fn widen(self, x: &[i8; LANES]) -> Register {
            // SAFETY: `self` says that there is AVX2; reads the eight bytes of `x`, aligned or not.
            Register(unsafe {
                let bytes = _mm_loadl_epi64(x.as_ptr().cast::<__m128i>());
                _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))
            })
        }
    }

    impl Lanes for Register {
        #[inline(always)]
        fn mul_add(self, b: Self, c: Self) -> Self {
            // SAFETY: `self` was made by `Avx2Fma`: there is FMA.
            Self(unsafe { _mm256_fmadd_ps(self.0, b.0, c.0) })
        }

        #[inline(always)]
        fn store(self) -> [f32; LANES] {
            let mut out = [0.0; LANES];
            // SAFETY: `self` was made by `Avx2Fma`: there is AVX. Writes the eight floats of `out`, aligned
            // or not.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), self.0) };
            out
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            // SAFETY: `self` was made by `Avx2Fma`: there is AVX.
            unsafe {
                let high = _mm256_extractf128_ps::<1>(self.0);
                let four = _mm_add_ps(_mm256_castps256_ps128(self.0), high);
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
            }
        }
    }
}
