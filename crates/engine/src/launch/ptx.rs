//! The compiled kernels, as text that the driver translates for its GPU.

use super::{Gpu, Op};

/// Op, `head_dim`, the oldest architecture that runs it, PTX. Written by `scripts/build-kernels`.
#[rustfmt::skip]
const PTX: &[(&str, Option<u32>, u32, &str)] = &[
    ("advance_clock", None, 75, include_str!("../../../../kernels/ptx/advance_clock.compute_75.ptx")),
    ("angles", None, 75, include_str!("../../../../kernels/ptx/angles.compute_75.ptx")),
    ("attention_weights", None, 75, include_str!("../../../../kernels/ptx/attention_weights.compute_75.ptx")),
    ("combine", None, 75, include_str!("../../../../kernels/ptx/combine.compute_75.ptx")),
    ("decode_core", Some(64), 75, include_str!("../../../../kernels/ptx/decode_core.d64.compute_75.ptx")),
    ("decode_core", Some(128), 75, include_str!("../../../../kernels/ptx/decode_core.d128.compute_75.ptx")),
    ("decode_core", Some(256), 75, include_str!("../../../../kernels/ptx/decode_core.d256.compute_75.ptx")),
    ("decode_mma", Some(64), 80, include_str!("../../../../kernels/ptx/decode_mma.d64.compute_80.ptx")),
    ("decode_mma", Some(128), 80, include_str!("../../../../kernels/ptx/decode_mma.d128.compute_80.ptx")),
    ("decode_mma", Some(256), 80, include_str!("../../../../kernels/ptx/decode_mma.d256.compute_80.ptx")),
    ("elementwise", None, 75, include_str!("../../../../kernels/ptx/elementwise.compute_75.ptx")),
    ("embed", None, 75, include_str!("../../../../kernels/ptx/embed.compute_75.ptx")),
    ("evict", None, 75, include_str!("../../../../kernels/ptx/evict.compute_75.ptx")),
    ("linear", None, 75, include_str!("../../../../kernels/ptx/linear.compute_75.ptx")),
    ("next_victim", None, 75, include_str!("../../../../kernels/ptx/next_victim.compute_75.ptx")),
    ("prefill", Some(64), 75, include_str!("../../../../kernels/ptx/prefill.d64.compute_75.ptx")),
    ("prefill", Some(64), 80, include_str!("../../../../kernels/ptx/prefill.d64.compute_80.ptx")),
    ("prefill", Some(128), 75, include_str!("../../../../kernels/ptx/prefill.d128.compute_75.ptx")),
    ("prefill", Some(128), 80, include_str!("../../../../kernels/ptx/prefill.d128.compute_80.ptx")),
    ("prefill", Some(256), 75, include_str!("../../../../kernels/ptx/prefill.d256.compute_75.ptx")),
    ("prefill", Some(256), 80, include_str!("../../../../kernels/ptx/prefill.d256.compute_80.ptx")),
    ("prefill_scores", Some(64), 75, include_str!("../../../../kernels/ptx/prefill_scores.d64.compute_75.ptx")),
    ("prefill_scores", Some(64), 80, include_str!("../../../../kernels/ptx/prefill_scores.d64.compute_80.ptx")),
    ("prefill_scores", Some(128), 75, include_str!("../../../../kernels/ptx/prefill_scores.d128.compute_75.ptx")),
    ("prefill_scores", Some(128), 80, include_str!("../../../../kernels/ptx/prefill_scores.d128.compute_80.ptx")),
    ("prefill_scores", Some(256), 75, include_str!("../../../../kernels/ptx/prefill_scores.d256.compute_75.ptx")),
    ("prefill_scores", Some(256), 80, include_str!("../../../../kernels/ptx/prefill_scores.d256.compute_80.ptx")),
    ("rms_norm", None, 75, include_str!("../../../../kernels/ptx/rms_norm.compute_75.ptx")),
    ("rope", None, 75, include_str!("../../../../kernels/ptx/rope.compute_75.ptx")),
    ("scores", None, 75, include_str!("../../../../kernels/ptx/scores.compute_75.ptx")),
    ("write_tokens", None, 75, include_str!("../../../../kernels/ptx/write_tokens.compute_75.ptx")),
];

/// Every op that the GPU can run, those for heads of other sizes than `head_dim` left out.
pub fn ops(head_dim: usize, gpu: Gpu) -> Vec<Op> {
    let is_wanted = |dim: Option<u32>| dim.is_none_or(|dim| usize::try_from(dim) == Ok(head_dim));
    let mut all = Vec::new();
    for (name, head_dim, ..) in PTX.iter().filter(|(_, dim, ..)| is_wanted(*dim)) {
        let op = Op { name, head_dim: *head_dim };
        if ptx(op, gpu).is_some() && !all.contains(&op) {
            all.push(op);
        }
    }
    all
}

/// The newest PTX of `op` that the GPU can run.
pub fn ptx(op: Op, gpu: Gpu) -> Option<&'static str> {
    let (major, minor) = gpu.capability;
    PTX.iter()
        .filter(|(name, head_dim, ..)| (*name, *head_dim) == (op.name, op.head_dim))
        .filter(|(_, _, oldest, _)| *oldest <= 10 * major + minor)
        .max_by_key(|(_, _, oldest, _)| *oldest)
        .map(|(.., text)| *text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_gets_the_newest_that_it_runs() {
        let op = |name| Op { name, head_dim: Some(128) };
        let gpu = |capability| Gpu { multiprocessors: 1, capability };
        let target = |name, capability| {
            let text = ptx(op(name), gpu(capability))?;
            text.lines().find_map(|line| line.strip_prefix(".target sm_"))
        };
        assert_eq!(target("prefill", (7, 5)), Some("75"));
        assert_eq!(target("prefill", (9, 0)), Some("80"));
        assert_eq!(target("decode_core", (8, 9)), Some("75"));
        assert_eq!(target("decode_mma", (7, 5)), None);
        assert_eq!(target("decode_mma", (12, 0)), Some("80"));
        assert_eq!(ops(128, gpu((8, 9))).len(), ops(64, gpu((9, 0))).len());
        assert_eq!(ops(128, gpu((7, 5))).len() + 1, ops(128, gpu((8, 0))).len());
        assert!(PTX.iter().all(|(name, .., text)| text.contains(".entry") && !name.is_empty()));
    }
}
