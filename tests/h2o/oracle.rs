//! Bit for bit what the oracle stores and evicts, and its outputs and scores to 2e-5.

use std::path::Path;

use half::f16;
use vramplan::h2o::{Heads, Policy, Rows};

use super::case::Text;

/// Of outputs, whose elements are at most 1, and of scores, relative to 1 or more. The oracle's own sums
/// are f32; it is within 3e-6 of f64.
const TOLERANCE: f32 = 2e-5;

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
        assert!(held.is_none() || error < TOLERANCE, "{name}: score {slot}: {ours} for {theirs}");
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
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/h2o/vectors");
    let mut files: Vec<_> =
        fs_err::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 16);
    files.iter().for_each(|path| compare(path));
}
