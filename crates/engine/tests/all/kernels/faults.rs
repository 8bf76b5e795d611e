//! The emulator finds what a GPU would hang on, or silently get wrong.

use vramplan_engine::launch::{Arguments, Launch, Op, Span};

use crate::kernels::device::{Device as _, download, upload};
use crate::kernels::emulator::Emulator;

/// 64 threads, over 64 numbers that are all 2.
fn launch(function: &'static str, data: Span) -> Launch {
    Launch {
        op: Op { name: "faulty", head_dim: None },
        function,
        grid: [1; 3],
        block: 64,
        shared_bytes: 32,
        arguments: Arguments::new(&[&data]),
    }
}

/// What comes of a kernel: what the launch says, or what the release of its memory says.
fn complaint(function: &'static str) -> String {
    let mut emulator = Emulator::new(7);
    let data = upload(&mut emulator, "data", &[2.0_f32; 64]);
    let ran = emulator.run(&launch(function, data));
    let released = emulator.release();
    ran.and(released).expect_err("this kernel is wrong")
}

#[track_caller]
fn assert_complains(function: &'static str, expected: &[&str]) {
    let found = complaint(function);
    assert!(expected.iter().all(|part| found.contains(part)), "{function}: {found}");
}

#[test]
fn divergent_barriers_are_found() {
    assert_complains("half_of_the_block_waits", &["deadlock", "waits at faulty.cu:"]);
    assert_complains("two_barriers_meet", &["barrier at faulty.cu:", "waits at faulty.cu:"]);
}

#[test]
fn divergent_warps_are_found() {
    assert_complains("a_lane_stays_away", &["lane 7 of mask ffffffff is not running"]);
    assert_complains("a_lane_reads_who_is_absent", &["reads lane", "which takes no part"]);
}

#[test]
fn memory_outside_of_a_buffer_is_out_of_reach() {
    assert_complains("one_element_too_far", &["byte 256 of `data`, which has 256"]);
    assert_complains("one_byte_too_far", &["byte 256 of `data`, which has 256"]);
    assert_complains("reads_behind_the_end", &["of `data`, which has 256"]);
    assert_complains("more_shared_memory_than_asked_for", &["of 32 asked for"]);
}

#[test]
fn a_misaligned_vector_is_found() {
    assert_complains("a_misaligned_vector", &["misaligned"]);
}

#[test]
fn an_odd_length_is_guarded_to_the_byte() {
    let mut emulator = Emulator::new(7);
    let data = emulator.upload("odd", &[0; 64 * 4 - 3]);
    emulator.run(&launch("one_element_too_far", data)).unwrap_err();
    let error = emulator.release().unwrap_err();
    assert!(error.contains("`odd` of 253 bytes was written at byte 253"), "{error}");
}

/// Shared memory begins as NaNs, so whoever reads too early reads one, whatever the order.
#[test]
fn a_missing_barrier_or_wait_shows() {
    for function in ["a_missing_barrier", "a_copy_nobody_waits_for"] {
        let mut emulator = Emulator::new(7);
        let data = upload(&mut emulator, "data", &[2.0_f32; 64]);
        emulator.run(&launch(function, data)).unwrap();
        let found: Vec<f32> = download(&emulator, data);
        assert!(found.iter().any(|x| x.is_nan()), "{function}: {found:?}");
    }
}
