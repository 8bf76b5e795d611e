//! What a process takes before it allocates anything: CUDA context, module images, libraries'
//! workspaces.
//!
//! The context grows with the number of multiprocessors and with the kernels loaded; lazy loading
//! is the default on Linux since CUDA 12.2. Per-card figures come from processes seen in public
//! out-of-memory messages (process − allocated − reserved), or from `calibrate`.

use super::{Buffers, Component, Formula, Kind, Life, Phase, Scenario};
use crate::estimate::BufferId;
use crate::spec::{Basis, Bounds, Fact};

/// The first compute capability whose cuBLAS workspace is 32 MiB.
const HOPPER: u32 = 9;

fn kind(basis: Basis, source: &str) -> Kind<'_> {
    let life = Life::From(Phase::Load);
    Kind { component: Component::RuntimeOverhead, life, basis, source }
}

/// Lists the CUDA context, with the kernels that a process loads.
pub fn push_context(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    push_context_of(buffers, scenario, scenario.gpu.context().value);
}

/// Lists the context alone: vLLM counts what kernels take once they are loaded among its libraries,
/// so that the high bound of a card's processes, which have loaded theirs, would count it twice.
pub fn push_bare_context(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    let size = scenario.gpu.context().value;
    if scenario.gpu.is_calibrated() {
        return push_context_of(buffers, scenario, size);
    }
    let measured = scenario.gpu.calibrated.libraries.as_ref();
    let loaded = measured.unwrap_or(&scenario.runtime.libraries).value.expected;
    let high = size.high.minus_or_zero(loaded).max(size.expected);
    push_context_of(buffers, scenario, Bounds::new(size.low, size.expected, high));
}

fn push_context_of(buffers: &mut Buffers, scenario: &Scenario<'_>, size: Bounds) {
    let context = scenario.gpu.context();
    buffers.push(
        kind(context.basis, &context.source),
        BufferId::CudaContext,
        size,
        Formula::text(
            if scenario.gpu.is_calibrated() && scenario.gpu.calibrated.libraries.is_some() {
                "measured on this card: held once the device was open"
            } else if scenario.gpu.is_calibrated() {
                "measured on this card: held at the peak − taken by the allocator's pool"
            } else {
                "observed on this card, or per multiprocessor"
            },
            &[],
        ),
    );
}

/// Lists a part that was measured, where it was told apart.
fn push_measured(
    buffers: &mut Buffers,
    id: BufferId,
    fact: Option<&Fact<Bounds>>,
    formula: &'static str,
) {
    if let Some(fact) = fact {
        let formula = Formula::text(formula, &[]);
        buffers.push(kind(fact.basis, &fact.source), id, fact.value, formula);
    }
}

/// Lists what libraries take, as measured or as the runtime's profile has it, unless the context was measured with them.
pub fn push_libraries(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    push_libraries_from(buffers, scenario, Phase::Load);
}

/// The same where what the profile has comes with a later phase.
pub fn push_libraries_from(buffers: &mut Buffers, scenario: &Scenario<'_>, begins: Phase) {
    let measured = scenario.gpu.calibrated.libraries.as_ref();
    if scenario.gpu.is_calibrated() || measured.is_some() {
        push_measured(
            buffers,
            BufferId::Libraries,
            measured,
            "measured on this card: held once loaded",
        );
        return;
    }
    let libraries = &scenario.runtime.libraries;
    let life = Life::From(begins);
    buffers.push(
        Kind { life, ..kind(libraries.basis, &libraries.source) },
        BufferId::Libraries,
        libraries.value,
        Formula::text("constant of the runtime", &[]),
    );
}

/// Lists cuBLAS's workspace, unless the context was measured with it.
pub fn push_workspace(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    if scenario.gpu.is_calibrated() {
        let formula = "measured on this card: came beside the pool later, kernels included";
        let measured = scenario.gpu.calibrated.workspaces.as_ref();
        push_measured(buffers, BufferId::Workspaces, measured, formula);
        return;
    }
    let hopper = scenario.gpu.compute_capability.major >= HOPPER;
    let workspace = if hopper {
        &scenario.runtime.blas_workspace_hopper
    } else {
        &scenario.runtime.blas_workspace
    };
    buffers.push(
        kind(workspace.basis, &workspace.source),
        BufferId::BlasWorkspace,
        Bounds::exactly(workspace.value),
        Formula::text("constant of the library", &[]),
    );
}

/// Lists what a process holds in main memory beside its buffers, where it runs there.
fn push_process(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    let process = scenario.gpu.context();
    buffers.push(
        kind(process.basis, &process.source),
        BufferId::Process,
        process.value,
        Formula::text("code, threads, the file's header, workspaces of kernels", &[]),
    );
}

/// Lists context, libraries and cuBLAS workspace.
pub fn push(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    if scenario.gpu.is_main_memory() {
        push_process(buffers, scenario);
        return;
    }
    push_context(buffers, scenario);
    push_libraries(buffers, scenario);
    push_workspace(buffers, scenario);
}

/// The same without the libraries.
pub fn push_apart(buffers: &mut Buffers, scenario: &Scenario<'_>) {
    if scenario.gpu.is_main_memory() {
        push_process(buffers, scenario);
        return;
    }
    push_context(buffers, scenario);
    push_workspace(buffers, scenario);
}
