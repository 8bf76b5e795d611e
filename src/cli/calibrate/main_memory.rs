//! A plan where the engine runs on the CPU: for main memory, in which it holds the same buffers.

use super::CalibrateArgs;
use crate::calibrate::Device;
use crate::cli::problem::Problem;
use crate::cli::scenario::resolve;
use vramplan_planner::deployment::{Cards, Deployment, card_on};
use vramplan_planner::recommend::answer;
use vramplan_planner::spec::{Basis, Bounds, Fact, GpuSpec, Runtime};
use vramplan_planner::units::Bytes;

/// What a worker holds in main memory beside its buffers: code, threads, the file's header, the
/// kernels' workspaces.
const PROCESS: [u64; 3] = [3 << 20, 8 << 20, 48 << 20];
const PROCESS_SOURCE: &str =
    "resident memory of `vramplan-worker` beside what it states, x86-64 Linux";

/// The plan's flags on main memory. A GPU that is named says how large the cache is, no more.
pub fn resolved(args: &CalibrateArgs, device: &Device) -> anyhow::Result<Deployment> {
    let catalog = args.catalog.known();
    let mut flags = super::question(args)?;
    flags.runtime.map_or(Ok(()), super::only_the_engine)?;
    if flags.gpu.is_some() && flags.cache_tokens.is_none() {
        let on_gpu = resolve(&flags, &catalog)?;
        flags.cache_tokens = Some(answer(&on_gpu)?.cache_tokens);
    }
    let total = args.capacity.or(device.total).ok_or_else(|| {
        Problem::new("the system does not say how much main memory there is")
            .hint("give it: `--capacity SIZE`")
    })?;
    let [low, expected, high] = PROCESS.map(Bytes::new);
    let process =
        Fact::new(Bounds::new(low, expected, high), Basis::Assumed, PROCESS_SOURCE.to_owned());
    let gpu = GpuSpec::main_memory(total, process);
    let card = card_on(&flags, gpu, Runtime::Vramplan, Bytes::ZERO)?;
    let located = catalog.locate(flags.model.as_deref().unwrap_or_default())?;
    catalog.resolve_on(&flags, &located, Cards::one(card))
}
