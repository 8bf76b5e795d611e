//! A plain program sees the described cards, and is refused as they would refuse it.
#![cfg(target_os = "linux")]

mod common;

use common::{GIB, MIB, l4, rehearse, rtx_3060};
use vramplan_virtual_gpu::{Kind, Machine};

#[test]
fn an_l4_is_filled_until_it_refuses() {
    let shown = rehearse(&Machine::of(vec![l4()]), "libcudart.so.12", &["fill", "1073741824"]);
    let total = (23_034 - 475) * MIB;
    let free = total - 258 * MIB;
    let fits = free / GIB * GIB;
    assert_eq!(
        shown.stdout,
        format!(
            "cards 1 (0 no error)\n\
             card 0 NVIDIA L4 sm_89 58 SMs, total in properties {total}\n\
             at first free {free} of {total} (0)\n\
             taken {fits} then 2 out of memory\n\
             last error 2, then 0\n"
        )
    );
    assert_eq!(shown.stderr, "");
    let card = &shown.report.cards[0];
    assert_eq!((card.peak.malloc, card.peak.context), (fits, 258 * MIB));
    assert_eq!((card.peak_resident, card.refusals), (fits + 258 * MIB, 1));
    assert_eq!(card.capacity, total);
    assert_eq!(card.timeline.last().map(|m| m.bytes), Some(fits + 258 * MIB));
    let refusal = &shown.report.refusals[0];
    assert_eq!((refusal.bytes, refusal.free, refusal.kind), (GIB, free - fits, Kind::Malloc));
    assert_eq!(refusal.call, "cudaMalloc");
    assert!(shown.report.processes[0].ended);
    assert_eq!((shown.report.dropped, shown.report.ran_out()), (0, true));
}

#[test]
fn a_3060_is_filled_to_the_last_two_mib() {
    let shown = rehearse(&Machine::of(vec![rtx_3060()]), "libcudart.so.13", &["fill", "2097152"]);
    let free = (12_288 - 375 - 150) * MIB;
    let taken = free / (2 * MIB) * 2 * MIB;
    assert!(
        shown.stdout.contains("card 0 NVIDIA GeForce RTX 3060 sm_86 28 SMs"),
        "{}",
        shown.stdout
    );
    assert!(
        shown.stdout.contains(&format!("taken {taken} then 2 out of memory")),
        "{}",
        shown.stdout
    );
    assert_eq!(shown.report.cards[0].peak.total(), taken + 150 * MIB);
}

#[test]
fn two_l4s_are_two_cards() {
    let shown =
        rehearse(&Machine::of(vec![l4(), l4()]), "libcudart.so.11.0", &["fill", "4294967296"]);
    let free = (23_034 - 475 - 258) * MIB;
    assert!(shown.stdout.starts_with("cards 2 (0 no error)\n"), "{}", shown.stdout);
    assert_eq!(shown.stdout.matches(&format!("at first free {free} of")).count(), 2);
    // The program fills the card that it chose last.
    let [first, second] = &shown.report.cards[..] else { panic!("two cards") };
    assert_eq!((first.peak.malloc, second.peak.malloc), (0, 5 * 4 * GIB));
    assert_eq!((first.refusals, second.refusals), (0, 1));
    assert_eq!(shown.report.refusals[0].card, 1);
}

#[test]
fn every_runtime_is_found_by_every_name() {
    for (name, major) in
        [("libcudart.so.11.0", 11), ("libcudart.so.12", 12), ("libcudart.so.13", 13)]
    {
        let mut machine = Machine::of(vec![l4()]);
        machine.cuda_major = major;
        for name in [name, "libcudart.so"] {
            let shown = rehearse(&machine, name, &["describe"]);
            assert!(shown.stdout.contains("card 0 NVIDIA L4 sm_89"), "{name}: {}", shown.stdout);
        }
        // An absolute path, as Python's wheels name their libraries: only the auditor sees it.
        let path = format!("/nowhere/nvidia/cu{major}/lib/{name}");
        let shown = rehearse(&machine, &path, &["describe"]);
        assert!(shown.stdout.contains("card 0 NVIDIA L4 sm_89"), "{path}: {}", shown.stdout);
    }
}

#[test]
fn small_requests_share_two_mib() {
    let shown = rehearse(&Machine::of(vec![l4()]), "libcudart.so.12", &["threads"]);
    let total = (23_034 - 475) * MIB;
    assert_eq!(shown.stdout, format!("after threads free {} of {total} (0)\n", total - 258 * MIB));
    // Eight threads hold 64 blocks of 4 to 256 KiB each, 8.1 MiB a thread: shared granules lose
    // their tails, but 512 blocks do not take 512 granules.
    let peak = shown.report.cards[0].peak.malloc;
    assert!((8 * MIB..=96 * MIB).contains(&peak), "{peak}");
    assert_eq!(peak % (2 * MIB), 0);
}

#[test]
fn values_that_a_program_wrote_come_back() {
    let shown = rehearse(&Machine::of(vec![l4()]), "libcudart.so.12", &["values"]);
    assert_eq!(shown.stdout, "round trip kept, unwritten 0 0\noutside 1, freed 1\ntwice 1\n");
    assert_eq!(shown.report.host_to_device, 4000);
}

#[test]
fn a_model_of_17_gib_takes_no_memory_of_the_host() {
    let shown = rehearse(&Machine::of(vec![l4()]), "libcudart.so.12", &["upload"]);
    assert_eq!(shown.stdout, "uploaded, resident little\n");
    let peak = shown.report.cards[0].peak;
    assert_eq!((peak.malloc, peak.pinned), (17 * GIB, 64 * MIB));
    assert_eq!(shown.report.host_to_device, 17 * GIB);
}

#[test]
fn a_pool_keeps_what_its_threshold_lets_it() {
    let shown = rehearse(&Machine::of(vec![l4()]), "libcudart.so.12", &["pool"]);
    let free = (23_034 - 475 - 258) * MIB;
    let line = |when: &str, held: u64| {
        format!("{when} free {} of {} (0)\n", free - held * MIB, (23_034 - 475) * MIB)
    };
    // Chunks of 32 MiB hold one request of 20 MiB each.
    let expected = line("pool full", 128)
        + &format!("reserved {} used {}\n", 128 * MIB, 80 * MIB)
        + &line("freed", 128)
        + &line("synchronized", 0)
        + &line("kept", 32)
        + &line("trimmed", 0);
    assert_eq!(shown.stdout, expected);
    assert_eq!(shown.report.cards[0].largest.pool, 128 * MIB);
}

#[test]
fn a_capture_spreads_by_events_and_becomes_a_graph() {
    let shown = rehearse(&Machine::of(vec![l4()]), "libcudart.so.12", &["capture"]);
    assert_eq!(
        shown.stdout,
        "capturing 1 joined 1, synchronize 900\n\
         joined 0, nodes 1, instantiate 0 launch 0, of nothing 400\n"
    );
}

#[test]
fn a_function_that_only_succeeds_is_named_once() {
    let shown = rehearse(&Machine::of(vec![l4()]), "libcudart.so.12", &["stub"]);
    assert_eq!(shown.stdout, "stub 0\nstub 0\n");
    assert_eq!(shown.report.stubs, ["cudart: cudaGraphicsMapResources"]);
}
