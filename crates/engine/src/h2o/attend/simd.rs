//! The same kernels for several instruction sets, the best of them chosen when the program runs.
//!
//! Kernels are written once, over arrays that compilers keep in vector registers, and compiled for what
//! every processor of an architecture has, and on x86-64 again for AVX2 with FMA (2013).

#![allow(unsafe_code, reason = "instructions that not every processor has")]

use half::f16;

use super::kernels::{self, TileRows};
#[cfg(target_arch = "x86_64")]
use super::lanes::Avx2Fma;
use super::lanes::Portable;
use super::panels::{self, PANEL};

/// Whether every processor of this architecture multiplies and adds in one instruction.
pub const FMA: bool = cfg!(target_arch = "aarch64");

macro_rules! for_every_processor {
    ($($(#[$doc:meta])* $module:ident::$name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {$(
        $(#[$doc])*
        #[inline]
        pub fn $name($($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            if Avx2Fma::detected().is_some() {
                #[target_feature(enable = "avx2,fma")]
                fn wide($($arg: $type),*) $(-> $result)? {
                    $module::$name::<true>($($arg),*)
                }
                // SAFETY: the processor has both.
                return unsafe { wide($($arg),*) };
            }
            $module::$name::<FMA>($($arg),*)
        }
    )*};
}

/// [`kernels::attend_tile`]
#[inline]
pub fn attend_tile(
    queries: &[f32],
    rows: TileRows<'_>,
    p: &mut [f32],
    tops: &mut [f32],
    partial: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    if let Some(cpu) = Avx2Fma::detected() {
        #[target_feature(enable = "avx2,fma")]
        fn wide(
            cpu: Avx2Fma,
            queries: &[f32],
            rows: TileRows<'_>,
            p: &mut [f32],
            tops: &mut [f32],
            partial: &mut [f32],
        ) {
            kernels::attend_tile(cpu, queries, rows, p, tops, partial);
        }
        // SAFETY: the processor has both.
        return unsafe { wide(cpu, queries, rows, p, tops, partial) };
    }
    kernels::attend_tile(Portable, queries, rows, p, tops, partial);
}

for_every_processor! {
    /// [`kernels::add_scores`]
    kernels::add_scores(scores: &mut [f32], decay: f32, p: &[f32], weights: &[f32]);
    /// [`panels::widen_keys`]
    panels::widen_keys(keys: &[i8], scales: &[f16], out: &mut [f32]);
    /// [`panels::widen_values`]
    panels::widen_values(values: &[i8], scales: &[f16], out: &mut [f32]);
    /// [`panels::logits`]
    panels::logits(keys: &[f32], count: usize, queries: &[f32], logits: &mut [f32]);
    /// [`panels::softmax`]
    panels::softmax(
        logits: &mut [f32], count: usize, max: &mut [f32; PANEL], sum: &mut [f32; PANEL],
    ) -> [f32; PANEL];
    /// [`panels::weighted_sum`]
    panels::weighted_sum(
        probabilities: &[f32], count: usize, values: &[f32], factors: &[f32; PANEL],
        output: &mut [f32], stride: usize,
    );
    /// [`panels::column_sums`]
    panels::column_sums(logits: &[f32], log_sum_exp: &[f32; PANEL], scores: &mut [f32]);
}
