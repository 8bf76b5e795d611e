//! Bit for bit what the oracle stores and evicts, and its outputs and scores to 2e-5.

use std::path::Path;

use half::f16;
use vramplan_engine::h2o::{Heads, Policy, Rows, replay};

use super::case::Text;
use super::source::Source;

/// Of outputs, whose elements are at most 1, and of scores, relative to 1 or more. The oracle's own sums
/// are f32; it is within 3e-6 of f64.
const TOLERANCE: f32 = 2e-5;
/// Where logits are near a thousand, whose f32 are 6e-5 apart.
const COARSE: f32 = 1e-4;

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self, count: usize) -> Vec<[u8; N]> {
        let (taken, rest) = self.0.split_at(count * N);
        self.0 = rest;
        taken.as_chunks().0.to_vec()
    }

    fn i32s(&mut self, count: usize) -> Vec<i32> {
        self.take(count).into_iter().map(i32::from_le_bytes).collect()
    }

    fn f32s(&mut self, count: usize) -> Vec<f32> {
        self.take(count).into_iter().map(f32::from_le_bytes).collect()
    }

    /// Keys, their scales, values, their scales have to be these.
    fn expect_rows(&mut self, rows: Rows<'_>, what: &str) {
        for (payload, scales) in [(rows.keys, rows.key_scales), (rows.values, rows.value_scales)] {
            let expected: Vec<_> =
                self.take(payload.len()).into_iter().map(i8::from_le_bytes).collect();
            assert!(payload == expected, "{what}: payload");
            let expected: Vec<_> =
                self.take(scales.len()).into_iter().map(f16::from_le_bytes).collect();
            assert!(scales == expected, "{what}: scales");
        }
    }
}

struct Header<'a>(&'a str);

impl<'a> Header<'a> {
    fn text(&self, key: &str) -> &'a str {
        let mut fields = self.0.split(' ').filter_map(|field| field.split_once('='));
        fields.find(|(name, _)| *name == key).unwrap().1
    }

    fn number(&self, key: &str) -> usize {
        self.text(key).parse().unwrap()
    }

    fn numbers(&self, key: &str) -> Vec<usize> {
        self.text(key).split(',').map(|number| number.parse().unwrap()).collect()
    }
}

fn compare(path: &Path) {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let bytes = fs_err::read(path).unwrap();
    let line = bytes.iter().position(|&byte| byte == b'\n').unwrap();
    let header = Header(std::str::from_utf8(&bytes[..line]).unwrap());
    let mut reader = Reader(&bytes[line + 1..]);

    let shape = header.numbers("heads");
    let heads = Heads::new(shape[0], shape[1], shape[2]).unwrap();
    let policy = Policy::new(header.number("pinned"), header.number("n"), header.number("w"));
    let policy = policy.unwrap().with_sinks(header.number("sinks")).unwrap();
    let policy = policy.with_decay(header.text("decay").parse().unwrap()).unwrap();
    let chunks = header.numbers("chunks");
    let tokens = chunks.iter().sum();
    let seed = header.number("seed") as u64;
    let ties = header.text("kind") == "ties";
    let text = Text::new(heads, policy.pinned(), tokens, seed, ties);

    let (cache, output, shadow) = text.read(policy, &chunks, |cache, _, evicted| {
        for (head, evicted) in evicted.iter().enumerate() {
            let expected = reader.i32s(evicted.len());
            let evicted: Vec<_> =
                evicted.iter().map(|&token| i32::try_from(token).unwrap()).collect();
            assert_eq!(evicted, expected, "{name}: head {head} before token {}", cache.written());
        }
    });
    for slots in &shadow.slots {
        let slots: Vec<_> =
            slots.iter().map(|s| s.map_or(-1, |t| i32::try_from(t).unwrap())).collect();
        assert_eq!(slots, reader.i32s(slots.len()), "{name}: positions");
    }
    for (slot, (ours, theirs)) in
        cache.scores().iter().zip(reader.f32s(cache.scores().len())).enumerate()
    {
        let held = shadow.slots[slot / policy.max_cache_tokens()][slot % policy.max_cache_tokens()];
        let error = (ours - theirs).abs() / theirs.max(1.0);
        let tolerance = if ties { COARSE } else { TOLERANCE };
        assert!(held.is_none() || error < tolerance, "{name}: score {slot}: {ours} for {theirs}");
    }
    reader.expect_rows(cache.pinned().rows(), name);
    reader.expect_rows(cache.slots().rows(), name);
    for token in (0..tokens).filter(|&token| token % 16 == 15 || token == tokens - 1) {
        let ours = &output[token * heads.query_width()..][..heads.query_width()];
        for (ours, theirs) in ours.iter().zip(reader.f32s(ours.len())) {
            assert!(
                (ours - theirs).abs() < TOLERANCE,
                "{name}: token {token}: {ours} for {theirs}"
            );
        }
    }
    assert!(reader.0.is_empty(), "{name}: {} B are left", reader.0.len());
}

#[test]
fn the_cache_does_what_the_oracle_does() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../evidence/h2o/vectors");
    let mut files: Vec<_> =
        fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 16);
    for path in files {
        compare(&path);
    }
}

#[test]
fn a_replay_keeps_the_mass_that_the_oracle_keeps() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../evidence/h2o/replay.csv");
    let (tokens, mut compared) = (300, 0);
    let attention = attention(tokens, 5);
    for line in fs_err::read_to_string(file).unwrap().lines().skip(2) {
        let row: Vec<f64> = line.split(',').map(|number| number.parse().unwrap()).collect();
        let [n, w, sinks] = [0, 1, 2].map(|at| format!("{}", row[at]).parse().unwrap());
        let policy = Policy::new(4, n, w).unwrap().with_sinks(sinks).unwrap();
        let mass = replay(&attention, tokens, &policy.with_decay(row[3]).unwrap()).unwrap();
        assert!((mass - row[4]).abs() < 1e-6, "{line}: {mass}");
        compared += 1;
    }
    assert_eq!(compared, 21);
}

/// `attention` of `vectors.py`.
#[allow(clippy::cast_possible_truncation, reason = "probabilities are f32")]
fn attention(tokens: usize, seed: u64) -> Vec<f32> {
    let mut source = Source(seed);
    let heavy: Vec<_> =
        (0..tokens).map(|_| 0.05 / (1.02 - f64::from(source.next()).abs())).collect();
    let rows = (0..tokens).flat_map(|query| {
        let weight = |token: usize| {
            let lag = query as f64 - token as f64;
            let first = if token == 0 { 2.0 } else { 0.0 };
            if token > query {
                first
            } else {
                4.0 / (1.0 + lag * lag / 64.0) + heavy[token] + first
            }
        };
        let row: Vec<f64> = (0..tokens).map(weight).collect();
        let sum: f64 = row.iter().sum();
        row.into_iter().map(move |weight| (weight / sum) as f32)
    });
    rows.collect()
}
