//! Programs that misbehave: the books stay right, and nothing is left behind.
#![cfg(target_os = "linux")]

mod common;

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{GIB, MIB, l4, plain, rehearse, rehearse_command};
use vramplan_virtual_gpu::{Card, Machine, Rehearsal};

const FREE: u64 = (23_034 - 475 - 258) * MIB;

/// A program that a test which fails does not leave behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn on_l4() -> Machine {
    Machine::of(vec![l4()])
}

#[test]
fn a_crash_is_the_programs_and_its_peak_is_known() {
    let shown = rehearse(&on_l4(), "libcudart.so.12", &["crash"]);
    assert_eq!(shown.output.status.signal(), Some(libc::SIGSEGV));
    assert_eq!(shown.report.cards[0].peak.malloc, FREE / GIB * GIB);
    assert!(!shown.report.processes[0].ended);
    assert!(!shown.folder.exists(), "the folder is removed");
}

#[test]
fn a_killed_program_gives_its_memory_back() {
    let rehearsal = Rehearsal::new(&on_l4()).unwrap();
    let mut holder = Command::new(plain());
    holder.args(["libcudart.so.12", "hold"]).stdout(Stdio::null());
    rehearsal.prepare(&mut holder).unwrap();
    let mut holder = Running(holder.spawn().unwrap());
    let begun = Instant::now();
    while !rehearsal.so_far().ran_out() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // The program waits: nothing gets on, and that is what a hang looks like.
    let progress = rehearsal.progress();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(rehearsal.progress(), progress);
    assert!(progress.calls >= 22 && progress.work >= 21, "{progress:?}");
    let describe = || {
        let mut second = Command::new(plain());
        second.args(["libcudart.so.12", "describe"]);
        rehearsal.prepare(&mut second).unwrap();
        String::from_utf8(second.output().unwrap().stdout).unwrap()
    };
    // A second process: the first one's memory and context are gone from it, and its own context.
    let beside = FREE - FREE / GIB * GIB - 258 * MIB;
    assert!(describe().contains(&format!("at first free {beside} of")), "{}", describe());
    holder.0.kill().unwrap();
    // Not waited for: a zombie holds nothing either. A signal takes its time.
    let free = || describe().contains(&format!("at first free {FREE} of"));
    let begun = Instant::now();
    while !free() && begun.elapsed() < Duration::from_secs(20) {}
    assert!(free(), "{}", describe());
    holder.0.wait().unwrap();
    let folder = rehearsal.folder().to_owned();
    let report = rehearsal.finish();
    assert_eq!(report.cards[0].peak.malloc, FREE / GIB * GIB);
    assert_eq!(report.cards[0].peak.context, 2 * 258 * MIB);
    assert!(!folder.exists());
}

#[test]
fn a_fork_of_a_program_that_used_the_card_cannot() {
    let shown = rehearse(&on_l4(), "libcudart.so.12", &["fork"]);
    let total = (23_034 - 475) * MIB;
    assert_eq!(
        shown.stdout,
        format!(
            "parent free {FREE} of {total} (0)\n\
             child free 0 of 0 (3)\n\
             parent again free {FREE} of {total} (0)\n"
        )
    );
}

#[test]
fn a_child_that_forked_first_is_a_process_of_its_own() {
    let shown = rehearse(&on_l4(), "libcudart.so.12", &["fork-first"]);
    let total = (23_034 - 475) * MIB;
    let child = FREE - 4 * GIB;
    assert_eq!(
        shown.stdout,
        format!("child free {child} of {total} (0)\nparent free {FREE} of {total} (0)\n")
    );
    assert_eq!(shown.report.processes.len(), 2);
    assert!(shown.report.processes.iter().all(|process| process.ended));
}

#[test]
fn a_program_that_closes_every_descriptor_is_heard_and_its_files_are_not_written_to() {
    let own = tempfile::NamedTempFile::new().unwrap();
    let path = own.path().to_str().unwrap();
    let shown = rehearse(&on_l4(), "libcudart.so.12", &["close", path]);
    assert!(
        shown.stdout.contains(&format!("closed free {} of", FREE - 3 * GIB)),
        "{}",
        shown.stdout
    );
    assert!(shown.stdout.contains("own 1"), "the program got our number: {}", shown.stdout);
    assert_eq!(own.as_file().metadata().unwrap().len(), 0);
    assert_eq!(shown.report.cards[0].timeline.last().map(|m| m.bytes), Some(3 * GIB + 258 * MIB));
    assert!(shown.report.processes[0].ended);
}

#[test]
fn a_flood_of_events_is_bounded_and_the_peak_exact() {
    let begun = Instant::now();
    let shown = rehearse(&on_l4(), "libcudart.so.12", &["flood"]);
    assert!(
        shown.stdout.contains(&format!("flooded free {} of", FREE - 5 * GIB)),
        "{}",
        shown.stdout
    );
    assert_eq!(shown.report.cards[0].peak.malloc, 5 * GIB);
    assert!(shown.report.dropped > 400_000, "{}", shown.report.dropped);
    assert!(shown.report.cards[0].timeline.len() <= 4096);
    // The new peak is told though the process had sent its share.
    assert_eq!(shown.report.cards[0].timeline.last().map(|m| m.bytes), Some(5 * GIB + 258 * MIB));
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}

#[test]
fn a_program_that_replaces_itself_begins_with_an_empty_card() {
    let shown = rehearse(&on_l4(), "libcudart.so.12", &["exec"]);
    assert!(shown.stdout.contains(&format!("at first free {FREE} of")), "{}", shown.stdout);
    assert_eq!(shown.report.cards[0].peak.malloc, 8 * GIB);
}

#[test]
fn what_a_program_does_after_its_end_changes_nothing() {
    let shown = rehearse(&on_l4(), "libcudart.so.12", &["late"]);
    assert!(shown.stdout.ends_with("late 0 0\n"), "{}", shown.stdout);
    assert_eq!(shown.report.cards[0].peak.malloc, 0);
    assert!(shown.report.processes[0].ended);
}

#[test]
fn memory_that_another_process_opens_is_counted_once() {
    let shown = rehearse(&on_l4(), "libcudart.so.12", &["share"]);
    let total = (23_034 - 475) * MIB;
    let (both, owner) = (FREE - 3 * GIB - 258 * MIB, FREE - 3 * GIB);
    assert_eq!(
        shown.stdout,
        format!(
            "opened 0\nuser free {both} of {total} (0)\nclosed 0\nowner free {owner} of {total} (0)\n"
        )
    );
    assert_eq!(shown.report.cards[0].peak.malloc, 3 * GIB);
}

#[test]
fn two_rehearsals_at_once_do_not_see_each_other() {
    let both = std::thread::scope(|scope| {
        let run = || rehearse(&on_l4(), "libcudart.so.12", &["fill", "1073741824"]);
        let (a, b) = (scope.spawn(run), scope.spawn(run));
        [a.join().unwrap(), b.join().unwrap()]
    });
    for shown in both {
        assert_eq!(shown.report.cards[0].peak.malloc, FREE / GIB * GIB);
        assert_eq!(shown.report.processes.len(), 1);
    }
}

#[test]
fn nothing_outside_the_program_sees_the_cards() {
    let card = Card::new("A card of this test alone", (8, 9), 58, 8 * GIB);
    let rehearsal = Rehearsal::new(&Machine::of(vec![card])).unwrap();
    let describe = || {
        let mut command = Command::new(plain());
        command.args(["libcudart.so.12", "describe"]);
        command
    };
    let mut inside = describe();
    rehearsal.prepare(&mut inside).unwrap();
    let seen = |output: std::process::Output| String::from_utf8(output.stdout).unwrap();
    assert!(seen(inside.output().unwrap()).contains("A card of this test alone"));
    assert!(!seen(describe().output().unwrap()).contains("A card of this test alone"));
}

#[test]
fn a_runtime_that_is_linked_in_is_named_when_it_shows_itself() {
    let mut command = Command::new(plain());
    command.args(["libcuda.so.1", "static"]);
    let shown = rehearse_command(&on_l4(), command);
    assert_eq!(shown.stdout, "table 801 (nil)\n");
    let reason = shown.report.impossible.expect("a reason");
    assert!(reason.contains("linked into the program"), "{reason}");
}
