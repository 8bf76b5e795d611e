//! Which products with 4-bit weights bitsandbytes computes without expanding the weight to 16 bits.
//!
//! Before 0.50 a single row is multiplied by a kernel (`autograd/_functions.py`, `matmul_4bit`: one row,
//! inputs a multiple of the block). Since 0.50 up to four rows always are, and more where the library's
//! authors measured that its kernel is faster than expanding: [`is_fused`] is their rule, tier by tier
//! (bitsandbytes 0.50.2 `backends/cuda/ops.py`, `_gemm_4bit_use_custom_cuda`; 0.50.0 differs for compute
//! capability 12.1 only). `evidence/transformers/gemm_4bit.csv` has the library's own answers.

use crate::spec::{BitsandbytesVersion, ComputeCapability, GpuSpec, MOST_MULTIPROCESSORS};

/// Weights that share a scale: inputs have to be a multiple of it.
const BLOCK: u64 = 64;

/// Rows that every card multiplies so, and the most that any card does.
const ALWAYS: u64 = 4;
const NEVER_ABOVE: u64 = 1536;

/// A product of so many rows with a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Rows of the activations.
    pub rows: u64,
    /// Elements of an output row.
    pub outputs: u64,
    /// Elements of an input row.
    pub inputs: u64,
}

/// What the rule asks of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// Its multiprocessors.
    pub multiprocessors: u64,
    /// Its compute capability.
    pub capability: (u32, u32),
    /// Whether activations are f16 and not bf16.
    pub f16: bool,
}

impl Card {
    /// A card whose activations are f16 where it has no bf16.
    pub fn of(gpu: &GpuSpec) -> Self {
        let ComputeCapability { major, minor } = gpu.compute_capability;
        // The rule multiplies them by small numbers.
        let multiprocessors = gpu.sm_count.value.min(MOST_MULTIPROCESSORS);
        Self { multiprocessors, capability: (major, minor), f16: major < 8 }
    }
}

/// Whether a version computes a product without expanding the weight.
pub fn is_fused(version: BitsandbytesVersion, card: Card, product: Product) -> bool {
    if product.rows == 0 || !product.inputs.is_multiple_of(BLOCK) || product.rows > NEVER_ABOVE {
        return product.rows == 0;
    }
    match version {
        BitsandbytesVersion::SingleRow => product.rows == 1,
        BitsandbytesVersion::Current => product.rows <= ALWAYS || Tiers::new(card, product).hold(),
    }
}

/// The rule for more than a few rows.
#[derive(Clone, Copy)]
struct Tiers {
    capability: (u32, u32),
    f16: bool,
    /// Rows, outputs, inputs.
    m: u64,
    n: u64,
    k: u64,
    /// Blocks of 64 outputs, and multiprocessors to compute them.
    blocks: u64,
    units: u64,
}

impl Tiers {
    fn new(card: Card, product: Product) -> Self {
        Self {
            capability: card.capability,
            f16: card.f16,
            m: product.rows,
            n: product.outputs,
            k: product.inputs,
            blocks: product.outputs.div_ceil(64),
            units: card.multiprocessors,
        }
    }

    fn hold(self) -> bool {
        match self.capability {
            (..=6, _) => self.m < 8,
            (7, minor) if minor < 5 || !self.f16 => self.m < 8,
            (8, 7) | (11, _) => false,
            (10, _) => self.datacenter_blackwell(),
            _ if self.n * self.k < 4 << 20 => self.small_weight(),
            _ if self.m > 512 => false,
            _ if self.m < 8 => self.few_rows(),
            (7, 5) => self.turing(),
            (8, 0) => self.a100(),
            (8, 6) => self.ampere(),
            (9, _) => self.hopper(),
            (12, 1) if self.waves(1) => self.m <= 256,
            (12, 0) => self.blackwell(),
            _ => self.ada(),
        }
    }

    /// Whether the blocks fill the multiprocessors so many times.
    const fn waves(self, times: u64) -> bool {
        self.blocks >= self.units * times
    }

    const fn half_wave(self) -> bool {
        self.blocks >= self.units / 2
    }

    const fn is_hbm(self) -> bool {
        matches!(self.capability, (8, 0) | (9, _))
    }

    /// Inputs more than twice the outputs.
    const fn is_tall(self) -> bool {
        self.k > self.n * 2
    }

    const fn datacenter_blackwell(self) -> bool {
        if self.waves(3) { self.m <= 32 } else { self.waves(1) && self.k < self.n && self.m <= 8 }
    }

    /// Fewer than 4 Mi weights.
    fn small_weight(self) -> bool {
        let Self { m, n, k, blocks, units, capability, .. } = self;
        if k * 2 < n {
            return m <= self.short_inputs();
        }
        let quarter_wave = blocks * 4 <= units;
        if capability == (8, 0) && quarter_wave {
            let tall = if blocks * 8 <= units { 32 } else { 128 };
            return m <= if k >= n { tall } else { 384 };
        }
        if capability == (7, 5) && blocks < units && m > 8 {
            return m <= 64;
        }
        if quarter_wave {
            return m <= if k < n || self.is_hbm() { 32 } else { 23 };
        }
        blocks * 2 <= units && m <= 16
    }

    /// The most rows for a small weight with fewer inputs than half its outputs.
    const fn short_inputs(self) -> u64 {
        let Self { k, blocks, units, capability, .. } = self;
        let low = blocks * 3 < units;
        match capability {
            (8, 0) if low => 1536,
            (8, 0) => 512,
            (9, _) if low => 512,
            (7, 5) if !self.waves(3) && k >= 1024 => 64,
            (7, 5) if !self.waves(3) && k >= 704 => 96,
            (7, 5) | (9, _) => 320,
            _ if !self.waves(1) && blocks * k > units * 320 => 192,
            _ => 320,
        }
    }

    /// Five to seven rows: all but three shapes on cards with fast memory.
    const fn few_rows(self) -> bool {
        let Self { m, n, k, blocks, units, capability, .. } = self;
        let hopper = capability.0 == 9;
        if !self.is_hbm() || m < 6 || blocks < if hopper { 36 } else { 48 } {
            return true;
        }
        let (below_75, below_60) = (blocks * 4 < units * 3, blocks * 5 < units * 3);
        if k > n && below_75 {
            return false;
        }
        !(k == n && if hopper { below_75 && !below_60 } else { below_60 })
    }

    const fn turing(self) -> bool {
        let wide = if self.k < self.n { 128 } else { 64 };
        let rows = match (self.waves(3), self.half_wave()) {
            (true, _) => wide,
            (_, true) => 64,
            _ => 32,
        };
        self.m <= rows
    }

    const fn a100(self) -> bool {
        let Self { m, n, k, blocks, units, .. } = self;
        if self.waves(3) {
            return m <= 128;
        }
        if self.waves(1) {
            return m <= if k < n { 64 } else { 32 };
        }
        let very_tall = k >= n * 3 && blocks * 4 > units;
        let square = k == n && blocks >= 48 && blocks * 5 < units * 3;
        let tall = blocks * 2 < units && k > n && blocks * 3 >= units;
        if very_tall || square || tall {
            return false;
        }
        let wide = (blocks * 2 < units && k <= n) || (self.half_wave() && k < n);
        m <= if wide { 128 } else { 16 }
    }

    const fn ampere(self) -> bool {
        let rows = match (self.waves(1), self.half_wave()) {
            (true, _) => 128,
            (_, true) => 64,
            _ => 16,
        };
        self.m <= rows
    }

    const fn hopper(self) -> bool {
        let Self { m, n, k, blocks, units, .. } = self;
        if self.waves(1) {
            let rows = match (self.waves(3), self.waves(2)) {
                (true, _) => 64,
                (_, true) => 48,
                _ => 32,
            };
            return m <= rows;
        }
        let tall = k >= n && blocks * 4 < units * 3;
        self.half_wave() && !tall && m <= 16
    }

    /// Blackwell with GDDR7.
    const fn blackwell(self) -> bool {
        let Self { m, n, k, blocks, units, .. } = self;
        let rows = if self.waves(3) {
            256
        } else if self.waves(2) {
            128
        } else if blocks * 5 >= units * 4 {
            if k >= n { 96 } else { 64 }
        } else if self.half_wave() {
            if k * 2 >= n && blocks >= 128 { 64 } else { 8 }
        } else if self.is_tall() && blocks > 64 {
            16
        } else {
            8
        };
        m <= rows
    }

    /// Ada, and every card that no other tier is for.
    const fn ada(self) -> bool {
        let Self { m, n, k, blocks, units, .. } = self;
        let rows = if self.waves(3) {
            256
        } else if self.waves(2) {
            128
        } else if blocks * 5 >= units * 4 {
            self.ada_near_wave()
        } else if self.half_wave() {
            match (self.is_tall(), blocks >= 64) {
                (true, _) => 64,
                (_, true) => 8,
                _ => 32,
            }
        } else if k > n && blocks <= 48 {
            if k >= n * 3 { 12 } else { 10 }
        } else if self.is_tall() || blocks < 48 {
            16
        } else {
            8
        };
        m <= rows
    }

    const fn ada_near_wave(self) -> u64 {
        let Self { n, k, blocks, units, .. } = self;
        if self.is_tall() || blocks >= 200 || (k >= n && units >= 60) {
            return 128;
        }
        if k >= n { 32 } else { 64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The library's own answers: multiprocessors, capability, type, shape, and one digit for every
    /// number of rows that the header names.
    const RULE: &str = include_str!("../../../../../evidence/transformers/gemm_4bit.csv");

    #[test]
    fn the_rule_is_that_of_the_library() {
        let mut lines = RULE.lines();
        let header = lines.next().unwrap().rsplit(',').next().unwrap();
        let rows: Vec<u64> = header.split(' ').map(|rows| rows.parse().unwrap()).collect();
        let mut checked = 0;
        for line in lines {
            let cells: Vec<&str> = line.split(',').collect();
            let (major, minor) = cells[2].split_once('.').unwrap();
            let card = Card {
                multiprocessors: cells[1].parse().unwrap(),
                capability: (major.parse().unwrap(), minor.parse().unwrap()),
                f16: cells[3] == "float16",
            };
            let (outputs, inputs) = (cells[4].parse().unwrap(), cells[5].parse().unwrap());
            assert_eq!(cells[6].len(), rows.len());
            for (&rows, answer) in rows.iter().zip(cells[6].chars()) {
                let product = Product { rows, outputs, inputs };
                let fused = is_fused(BitsandbytesVersion::Current, card, product);
                assert_eq!(fused, answer == '1', "{rows} rows: {line}");
                checked += 1;
            }
        }
        assert!(checked > 20_000, "{checked}");
    }

    #[test]
    fn older_versions_multiply_one_row_of_whole_blocks() {
        let card = Card { multiprocessors: 58, capability: (8, 9), f16: false };
        let fused = |rows, inputs| {
            let product = Product { rows, outputs: 4096, inputs };
            is_fused(BitsandbytesVersion::SingleRow, card, product)
        };
        assert!(fused(1, 4096));
        assert!(!fused(2, 4096));
        assert!(!fused(1, 4096 + 32));
    }
}
