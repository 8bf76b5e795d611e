//! The cards of a plan as virtual cards.

use vramplan_planner::deployment::{Card, Cards};
use vramplan_planner::units::Bytes;
use vramplan_virtual_gpu as virtual_gpu;

/// The machine that a program finds: every card with the capacity, the reserve, the context and the
/// capability of its profile.
pub fn machine(cards: &Cards) -> virtual_gpu::Machine {
    virtual_gpu::Machine::of(cards.iter().map(card).collect())
}

/// The same where of every card only so much is usable.
pub fn machine_of(cards: &Cards, usable: Bytes) -> virtual_gpu::Machine {
    let mut machine = machine(cards);
    for card in &mut machine.cards {
        card.total = card.reserved + card.used_by_others + usable.get();
    }
    machine
}

fn card(card: &Card) -> virtual_gpu::Card {
    let gpu = &card.gpu;
    let capability = (gpu.compute_capability.major, gpu.compute_capability.minor);
    let multiprocessors = u32::try_from(gpu.sm_count.value).unwrap_or(u32::MAX);
    virtual_gpu::Card {
        reserved: card.capacity.reserved.get(),
        used_by_others: card.capacity.other_use.get(),
        context: gpu.context().value.expected.get(),
        ..virtual_gpu::Card::new(
            full_name(card),
            capability,
            multiprocessors,
            card.capacity.total.get(),
        )
    }
    .completed()
}

/// As CUDA and NVML print it.
fn full_name(card: &Card) -> String {
    let known = card.gpu.aliases.iter().find(|alias| alias.starts_with("NVIDIA "));
    known.cloned().unwrap_or_else(|| format!("NVIDIA {}", card.gpu.name))
}
