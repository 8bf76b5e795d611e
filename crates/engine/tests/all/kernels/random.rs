//! Numbers that differ from run to run, unless `VRAMPLAN_SEED` says otherwise.

use std::time::SystemTime;

pub struct Random(u64);

impl Random {
    /// A generator for the test `name`, whose seed is printed.
    pub fn new(name: &str) -> Self {
        let chosen = std::env::var("VRAMPLAN_SEED").ok().map(|seed| seed.parse().unwrap());
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos();
        let seed = chosen.unwrap_or_else(|| now() as u64 & 0xffff_ffff);
        println!("{name}: VRAMPLAN_SEED={seed}");
        Self(seed)
    }

    /// splitmix64
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `[0, 1)`.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 24) as f32
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f32 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.unit()).cos()
    }

    pub fn normals(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.normal() * scale).collect()
    }
}
