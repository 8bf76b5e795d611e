//! The parts of a decode step, one by one, against the whole and against prefill.

use vramplan_engine::h2o::attend::decode::{Decode, Work, prepare_queries};
use vramplan_engine::h2o::attend::prefill::{Prefill, worker_len};
use vramplan_engine::h2o::{Heads, OwnedCache, Pinned, Policy, ScratchSize, Slots, evict, place};

use super::case::Text;

/// A cache that has evicted, with the token that comes next written into it.
fn written(heads: Heads, policy: Policy) -> (OwnedCache, Text, OwnedCache, Vec<f32>) {
    let text = Text::new(heads, policy.pinned(), 401, 21, false);
    let chunks: Vec<_> = std::iter::repeat_n(25, 16).collect();
    let (before, _, _) = text.read(policy, &chunks, |_, _, _| {});
    let mut after = before.clone();
    let mut output = vec![0.0; heads.query_width()];
    after.step(text.chunk(400, 1), &mut output).unwrap();
    (before, text, after, output)
}

#[test]
fn the_parts_make_the_step_and_prefill_agrees() {
    for (query_heads, kv_heads, dim) in [(10, 2, 128), (4, 4, 64), (11, 1, 24)] {
        let heads = Heads::new(query_heads, kv_heads, dim).unwrap();
        let policy = Policy::new(100, 300, 150).unwrap();
        let (before, text, after, expected) = written(heads, policy);
        let (mut rows, mut scores) = (before.slots().clone(), before.scores().to_vec());
        let new = text.chunk(400, 1);
        let step = policy.step(400, 1).unwrap();
        let smoothing = vec![1.0; heads.kv_width()];

        let mut victims = vec![0; heads.kv_heads()];
        evict(
            heads,
            &step,
            &mut Slots { rows: rows.rows_mut(), scores: &mut scores },
            &mut victims,
        );
        let mut row = vec![0.0; dim];
        let slot = |_| step.new_slot(0);
        place(heads, &mut rows.rows_mut(), slot, &smoothing, (new.keys, new.values), &mut row);
        assert_eq!(&rows, after.slots());
        for scores in scores.chunks_exact_mut(300) {
            scores[step.new_slot(0)] = 0.0;
        }

        let pinned = Pinned { rows: before.pinned().rows(), len: 100 };
        let mut floats = vec![0.0; ScratchSize::decode(heads, &policy).floats];
        let mut work = Work::new(heads, &policy, &mut floats);
        prepare_queries(heads, new.queries, &smoothing, work.queries);
        let live = step.live();
        let decode = Decode { heads, pinned, slots: rows.rows(), live: &live };
        let mut output = vec![0.0; heads.query_width()];
        decode.split(&mut work);
        decode.combine(&mut work, &mut output);
        assert_eq!(output, expected);
        let mut decoded = scores.clone();
        decode.score(&mut work, 1.0, &mut decoded);
        assert_eq!(decoded, after.scores());

        let prefill = Prefill::of_step(heads, pinned, rows.rows(), &step, &smoothing, new.queries);
        let mut sums = vec![0.0; heads.query_heads()];
        let mut scratch = vec![0.0; worker_len(heads)];
        prefill.attend(&mut output, &mut sums, &mut scratch);
        prefill.score(&sums, 1.0, &mut scores, &mut scratch);
        let close = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-5 * b.abs().max(1.0))
        };
        assert!(close(&output, &expected) && close(&scores, &decoded), "{query_heads} heads");
    }
}
