//! Smoothing keeps the resolution of channels beside ones with a large bias.

use vramplan_engine::h2o::{Heads, choose_smoothing, quantize};

use super::source::Source;

const DIM: usize = 128;
/// Channels whose keys have a bias, and how large: two RoPE pairs, as Qwen2's keys have.
const BIAS: [(usize, f32); 4] = [(60, 50.0), (124, 50.0), (5, 30.0), (69, 30.0)];

/// About normally distributed, with a deviation of 1.
fn normal(source: &mut Source) -> f32 {
    (0..12).map(|_| source.next()).sum::<f32>() / 2.0
}

/// Rotates a head's pairs `(i, i + DIM / 2)` to position `at`.
fn rope(row: &mut [f32], at: usize) {
    for i in 0..DIM / 2 {
        let angle = at as f32 * 1e6_f32.powf(-(2.0 * i as f32) / DIM as f32);
        let (sin, cos) = angle.sin_cos();
        let (a, b) = (row[i], row[i + DIM / 2]);
        (row[i], row[i + DIM / 2]) = (a * cos - b * sin, a * sin + b * cos);
    }
}

/// The root mean square error of logits, with keys in int8.
fn error(keys: &[f32], queries: &[f32], smoothing: &[f32]) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    let mut stored = [0; DIM];
    for key in keys.chunks_exact(DIM) {
        let smooth: Vec<_> = key.iter().zip(smoothing).map(|(key, factor)| key / factor).collect();
        let scale = f64::from(quantize(&smooth, &mut stored).to_f32());
        for query in queries.chunks_exact(DIM) {
            let error: f64 = (0..DIM)
                .map(|i| {
                    let read = f64::from(stored[i]) * scale * f64::from(smoothing[i]);
                    f64::from(query[i]) * (read - f64::from(key[i]))
                })
                .sum();
            sum += error * error / DIM as f64;
            count += 1.0;
        }
    }
    (sum / count).sqrt()
}

#[test]
fn logits_of_biased_keys_are_far_more_exact() {
    let mut source = Source(3);
    let mut bias = vec![0.0; DIM];
    for (channel, size) in BIAS {
        bias[channel] = size;
    }
    let mut keys: Vec<_> = (0..2000 * DIM).map(|i| normal(&mut source) + bias[i % DIM]).collect();
    keys.chunks_exact_mut(DIM).enumerate().for_each(|(at, key)| rope(key, at));
    let queries: Vec<_> = (0..64 * DIM).map(|_| normal(&mut source)).collect();
    let heads = Heads::new(1, 1, DIM).unwrap();
    let plain = error(&keys, &queries, &[1.0; DIM]);
    // The oracle has 0.115 without, and 0.018 with factors from all keys.
    assert!(plain > 0.1, "{plain}");
    let mut factors = vec![0.0; DIM];
    for (name, bias, sample, times) in [
        ("all keys", &[][..], keys.as_slice(), 5.0),
        ("a first chunk", &[], &keys[..256 * DIM], 4.0),
        ("the bias and a first chunk", &bias, &keys[..256 * DIM], 3.0),
    ] {
        choose_smoothing(heads, bias, sample, &mut factors);
        let smooth = error(&keys, &queries, &factors);
        assert!(smooth < plain / times, "{name}: {smooth} against {plain}");
    }
}
