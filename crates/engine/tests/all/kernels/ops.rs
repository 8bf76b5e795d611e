//! The small operations beside plain arithmetic.

use half::f16;
use vramplan_engine::launch::{
    HeadRows, ProductShape, Rows, TableShape, add, add_bias, angles, clock_words, embed, linear,
    rms_norm, rope, silu_mul,
};
use vramplan_planner::dtype::GgmlType;

use crate::kernels::attention::difference;
use crate::kernels::device::{Device, Open, download, on_devices, poisoned, run, upload};
use crate::kernels::random::Random;

/// Of the largest element, for sums and products in f32.
const TOLERANCE: f64 = 2e-6;

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

fn assert_near(what: &str, found: &[f32], expected: &[f64]) {
    let off = difference(found, expected);
    assert!(off < TOLERANCE, "{what} is off by {off:.1e}");
}

fn on(open: Open, name: &str, test: impl Fn(&mut dyn Device, &mut Random)) {
    let mut random = Random::new(name);
    let mut device = open(random.bits());
    test(&mut *device, &mut random);
    device.release().unwrap();
}

fn norms(device: &mut dyn Device, random: &mut Random) {
    for (rows, width) in [(1, 64), (3, 5120), (7, 100)] {
        let (x, weight) = (random.normals(rows * width, 3.0), random.normals(width, 1.0));
        let spans = [upload(device, "x", &x), upload(device, "weight", &weight)];
        let out = poisoned(device, "out", rows * width * 4);
        let launch = rms_norm(spans[0], spans[1], out, Rows { rows, width }, 1e-6).unwrap();
        run(device, &launch);
        let expected: Vec<f64> = wide(&x)
            .chunks_exact(width)
            .flat_map(|row| {
                let mean = row.iter().map(|x| x * x).sum::<f64>() / width as f64;
                let factor = 1.0 / (mean + 1e-6).sqrt();
                row.iter()
                    .zip(&weight)
                    .map(move |(x, w)| x * factor * f64::from(*w))
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_near("norm", &download(device, out), &expected);
        run(device, &rms_norm(spans[0], spans[1], spans[0], Rows { rows, width }, 1e-6).unwrap());
        assert_near("norm in place", &download(device, spans[0]), &expected);
    }
}

fn rotations(device: &mut dyn Device, random: &mut Random) {
    let (rows, heads, dim) = (3, 5, 96);
    let frequencies: Vec<f32> =
        (0..dim / 2).map(|i| 1e6_f32.powf(-2.0 * i as f32 / dim as f32)).collect();
    let clock = upload(device, "clock", &clock_words(40, 1000).unwrap());
    let spans = upload(device, "frequencies", &frequencies);
    let rotation = poisoned(device, "rotation", rows * dim * 4);
    run(device, &angles(clock, spans, 1.25, rotation, Rows { rows, width: dim }).unwrap());
    let mut expected = Vec::new();
    for row in 0..rows {
        // The angle is an f32 product: at these positions its rounding is far above the tolerance.
        let angle = |i: usize| f64::from((1040 + row) as f32 * frequencies[i]);
        expected.extend((0..dim / 2).map(|i| angle(i).cos() * 1.25));
        expected.extend((0..dim / 2).map(|i| angle(i).sin() * 1.25));
    }
    assert_near("rotation", &download(device, rotation), &expected);

    let x = random.normals(rows * heads * dim, 1.0);
    let span = upload(device, "x", &x);
    run(device, &rope(span, rotation, HeadRows { rows, heads, head_dim: dim }).unwrap());
    let mut turned = wide(&x);
    for (at, head) in turned.chunks_exact_mut(dim).enumerate() {
        let row = &expected[at / heads * dim..][..dim];
        for i in 0..dim / 2 {
            let (a, b, cos, sin) = (head[i], head[i + dim / 2], row[i], row[i + dim / 2]);
            (head[i], head[i + dim / 2]) = (a * cos - b * sin, a * sin + b * cos);
        }
    }
    assert_near("rotated", &download(device, span), &turned);
}

fn element_by_element(device: &mut dyn Device, random: &mut Random) {
    let (rows, width) = (3, 700);
    let (a, b) = (random.normals(rows * width, 4.0), random.normals(rows * width, 1.0));
    let other = upload(device, "other", &b);
    let gate = upload(device, "gate", &a);
    run(device, &silu_mul(gate, other, rows * width).unwrap());
    let pairs = || wide(&a).into_iter().zip(wide(&b));
    let expected: Vec<f64> = pairs().map(|(a, b)| a / (1.0 + (-a).exp()) * b).collect();
    assert_near("silu", &download(device, gate), &expected);
    let sum = upload(device, "sum", &a);
    run(device, &add(sum, other, rows * width).unwrap());
    assert_near("sum", &download(device, sum), &pairs().map(|(a, b)| a + b).collect::<Vec<_>>());
    let biased = upload(device, "biased", &a);
    run(device, &add_bias(biased, other, Rows { rows, width }).unwrap());
    let bias = |at: usize| f64::from(b[at % width]);
    let expected: Vec<f64> = wide(&a).iter().enumerate().map(|(at, a)| a + bias(at)).collect();
    assert_near("bias", &download(device, biased), &expected);
}

on_devices! {
    rows_are_normalized => |open| on(open, "rms_norm", norms);
    heads_are_rotated => |open| on(open, "rope", rotations);
    elements_are_combined => |open| on(open, "elementwise", element_by_element);
    embeddings_of_every_type_are_looked_up => |open| on(open, "embed", embeddings);
    matrices_of_floats_are_multiplied => |open| on(open, "linear", products);
}

fn products(device: &mut dyn Device, random: &mut Random) {
    for (rows, width, columns) in [(1, 64, 5), (3, 100, 17), (8, 33, 8), (21, 96, 9)] {
        let x = random.normals(rows * width, 1.0);
        let exact = random.normals(columns * width, 0.3);
        let span = upload(device, "x", &x);
        for ty in [GgmlType::F32, GgmlType::F16, GgmlType::Bf16] {
            let (bytes, stored) = stored(ty, &exact);
            let weight = upload(device, "weight", &bytes);
            let out = poisoned(device, "out", rows * columns * 4);
            let shape = ProductShape { rows, width, columns };
            run(device, &linear(ty, weight, span, out, shape).unwrap());
            let dot = |at: usize| -> f64 {
                let x = &x[at / columns * width..][..width];
                let row = &stored[at % columns * width..][..width];
                x.iter().zip(row).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum()
            };
            let expected: Vec<f64> = (0..rows * columns).map(dot).collect();
            assert_near(ty.name(), &download(device, out), &expected);
        }
    }
}

/// Numbers in a type, and what they are there.
fn stored(ty: GgmlType, numbers: &[f32]) -> (Vec<u8>, Vec<f32>) {
    let halves = |bits: fn(f32) -> u16, back: fn(u16) -> f32| {
        let bits: Vec<u16> = numbers.iter().map(|&x| bits(x)).collect();
        let bytes = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
        (bytes, bits.into_iter().map(back).collect())
    };
    match ty {
        GgmlType::F16 => halves(|x| f16::from_f32(x).to_bits(), |b| f16::from_bits(b).to_f32()),
        GgmlType::Bf16 => {
            let back = |bits| half::bf16::from_bits(bits).to_f32();
            halves(|x| half::bf16::from_f32(x).to_bits(), back)
        }
        _ => (numbers.iter().flat_map(|x| x.to_le_bytes()).collect(), numbers.to_vec()),
    }
}

fn embeddings(device: &mut dyn Device, random: &mut Random) {
    use GgmlType::*;
    let types = [F32, F16, Bf16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K];
    let (vocab, width) = (11, 512);
    for ty in types {
        let layout = ty.layout();
        let row = width / layout.elements as usize * layout.bytes as usize;
        let mut table: Vec<u8> = (0..vocab * row).map(|_| random.bits() as u8).collect();
        for block in table.chunks_exact_mut(layout.bytes as usize) {
            make_finite(ty, block, random);
        }
        let ids: Vec<i32> = [3, 10, 0, 3].to_vec();
        let spans = [upload(device, "table", &table), upload(device, "ids", &ids)];
        let out = poisoned(device, "out", ids.len() * width * 4);
        let shape = TableShape { rows: ids.len(), width, vocab };
        let launch = embed(ty, spans[0], spans[1], out, shape).unwrap();
        run(device, &launch);
        let mut expected = Vec::new();
        for &id in &ids {
            let row = &table[id as usize * row..][..row];
            row.chunks_exact(layout.bytes as usize)
                .for_each(|block| expected.extend(expand(ty, block)));
        }
        assert_near(ty.name(), &download(device, out), &expected);
    }
}

/// Where a block's f16 numbers are.
fn halves(ty: GgmlType) -> &'static [usize] {
    match ty {
        GgmlType::F16 | GgmlType::Q4_0 | GgmlType::Q5_0 | GgmlType::Q8_0 => &[0],
        GgmlType::Q4_1 | GgmlType::Q5_1 | GgmlType::Q4K | GgmlType::Q5K => &[0, 2],
        GgmlType::Q2K => &[80, 82],
        GgmlType::Q3K => &[108],
        GgmlType::Q6K => &[208],
        _ => &[],
    }
}

fn make_finite(ty: GgmlType, block: &mut [u8], random: &mut Random) {
    for &at in halves(ty) {
        block[at..at + 2].copy_from_slice(&f16::from_f32(random.normal()).to_le_bytes());
    }
    match ty {
        GgmlType::F32 => block.copy_from_slice(&random.normal().to_le_bytes()),
        GgmlType::Bf16 => block.copy_from_slice(&random.normal().to_le_bytes()[2..]),
        _ => {}
    }
}

/// A block as ggml's `dequantize_row_*` walk it, in order.
fn expand(ty: GgmlType, block: &[u8]) -> Vec<f64> {
    let half = |at: usize| f16::from_le_bytes([block[at], block[at + 1]]).to_f64();
    match ty {
        GgmlType::F32 => vec![f64::from(f32::from_le_bytes(block.try_into().unwrap()))],
        GgmlType::F16 => vec![half(0)],
        GgmlType::Bf16 => vec![half::bf16::from_le_bytes([block[0], block[1]]).to_f64()],
        GgmlType::Q4_0 => small(&block[2..], None, half(0), -8.0 * half(0)),
        GgmlType::Q4_1 => small(&block[4..], None, half(0), half(2)),
        GgmlType::Q5_0 => small(&block[6..], Some(&block[2..6]), half(0), -16.0 * half(0)),
        GgmlType::Q5_1 => small(&block[8..], Some(&block[4..8]), half(0), half(2)),
        GgmlType::Q8_0 => {
            block[2..].iter().map(|&q| f64::from(q.cast_signed()) * half(0)).collect()
        }
        GgmlType::Q2K => two_bits(block, half(80), half(82)),
        GgmlType::Q3K => three_bits(block, half(108)),
        GgmlType::Q4K => pairs(&block[4..16], None, &block[16..], half(0), half(2)),
        GgmlType::Q5K => pairs(&block[4..16], Some(&block[16..48]), &block[48..], half(0), half(2)),
        GgmlType::Q6K => six_bits(block, half(208)),
        _ => unreachable!("no kernel"),
    }
}

/// 32 elements: low nibbles, then high ones, with a fifth bit each where there are any.
fn small(quants: &[u8], fifth: Option<&[u8]>, scale: f64, offset: f64) -> Vec<f64> {
    let bits = fifth.map_or(0, |bits| u32::from_le_bytes(bits.try_into().unwrap()));
    let low = quants[..16].iter().map(|q| q & 15);
    let all = low.chain(quants[..16].iter().map(|q| q >> 4));
    all.enumerate()
        .map(|(at, q)| f64::from(u32::from(q) | ((bits >> at & 1) << 4)) * scale + offset)
        .collect()
}

fn two_bits(block: &[u8], scale: f64, min: f64) -> Vec<f64> {
    let mut out = Vec::new();
    let mut scales = block[..16].iter();
    for quants in block[16..80].chunks_exact(32) {
        for shift in [0, 2, 4, 6] {
            for sixteen in quants.chunks_exact(16) {
                let packed = scales.next().unwrap();
                let (d, m) = (scale * f64::from(packed & 15), min * f64::from(packed >> 4));
                out.extend(sixteen.iter().map(|q| d * f64::from(q >> shift & 3) - m));
            }
        }
    }
    out
}

fn three_bits(block: &[u8], scale: f64) -> Vec<f64> {
    let word = |at: usize| u32::from_le_bytes(block[96 + 4 * at..][..4].try_into().unwrap());
    let (low, high, top) = (word(0), word(1), word(2));
    let unpacked = [
        (low & 0x0f0f_0f0f) | ((top & 0x0303_0303) << 4),
        (high & 0x0f0f_0f0f) | ((top >> 2 & 0x0303_0303) << 4),
        (low >> 4 & 0x0f0f_0f0f) | ((top >> 4 & 0x0303_0303) << 4),
        (high >> 4 & 0x0f0f_0f0f) | ((top >> 6 & 0x0303_0303) << 4),
    ];
    let mut scales = unpacked.into_iter().flat_map(u32::to_le_bytes);
    let mut out = Vec::new();
    let mut mask = 1;
    for quants in block[32..96].chunks_exact(32) {
        for shift in [0, 2, 4, 6] {
            for (half, sixteen) in quants.chunks_exact(16).enumerate() {
                let d = scale * (f64::from(scales.next().unwrap()) - 32.0);
                out.extend(sixteen.iter().zip(&block[16 * half..]).map(|(q, high)| {
                    let missing = if high & mask == 0 { 4.0 } else { 0.0 };
                    d * (f64::from(q >> shift & 3) - missing)
                }));
            }
            mask = mask.wrapping_shl(1);
        }
    }
    out
}

fn pairs(packed: &[u8], fifth: Option<&[u8]>, quants: &[u8], scale: f64, min: f64) -> Vec<f64> {
    let mut out = Vec::new();
    let six_bits = |at: usize| -> (u8, u8) {
        if at < 4 {
            return (packed[at] & 63, packed[at + 4] & 63);
        }
        let low = packed[at + 4];
        ((low & 15) | (packed[at - 4] >> 6 << 4), (low >> 4) | (packed[at] >> 6 << 4))
    };
    for (at, quants) in quants.chunks_exact(32).enumerate() {
        for (half, shift) in [(0, 0), (1, 4)] {
            let (d, m) = six_bits(2 * at + half);
            let (d, m) = (scale * f64::from(d), min * f64::from(m));
            out.extend(quants.iter().enumerate().map(|(l, q)| {
                let top = fifth.map_or(0, |bits| (bits[l] >> (2 * at + half) & 1) << 4);
                d * f64::from((q >> shift & 15) + top) - m
            }));
        }
    }
    out
}

fn six_bits(block: &[u8], scale: f64) -> Vec<f64> {
    let mut out = vec![0.0; 256];
    for half in 0..2 {
        let (low, high) = (&block[64 * half..], &block[128 + 32 * half..]);
        let scales = &block[192 + 8 * half..];
        for l in 0..32 {
            let quants = [
                (low[l] & 15) | ((high[l] & 3) << 4),
                (low[l + 32] & 15) | ((high[l] >> 2 & 3) << 4),
                (low[l] >> 4) | ((high[l] >> 4 & 3) << 4),
                (low[l + 32] >> 4) | ((high[l] >> 6 & 3) << 4),
            ];
            for (part, q) in quants.into_iter().enumerate() {
                let d = scale * f64::from(scales[l / 16 + 2 * part].cast_signed());
                out[128 * half + 32 * part + l] = d * (f64::from(q) - 32.0);
            }
        }
    }
    out
}
