//! The compiled kernels, as text that the driver translates for its GPU.

use super::{Gpu, Op};

/// Op, `head_dim`, the oldest architecture that runs it, PTX: what the build script unpacked.
const PTX: &[(&str, Option<u32>, u32, &str)] = include!(concat!(env!("OUT_DIR"), "/ptx.rs"));

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
