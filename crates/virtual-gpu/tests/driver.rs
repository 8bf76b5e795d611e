//! The driver's own interface, NVML, and what a library takes by itself.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used)]

mod common;

use std::process::Command;

use common::{GIB, MIB, Shown, compiled, l4, rehearse_command};
use vramplan_virtual_gpu::{Card, Machine};

const FREE: u64 = 23_034 - 475 - 258;

fn driver(machine: &Machine, what: &str) -> Shown {
    let mut command = Command::new(compiled("driver", &["-ldl"]));
    command.arg(what);
    rehearse_command(machine, command)
}

fn on_l4() -> Machine {
    Machine::of(vec![l4()])
}

#[test]
fn reserved_addresses_cost_nothing_and_memory_lives_while_it_is_held() {
    let shown = driver(&on_l4(), "reservations");
    let line = |when: &str, held: u64| format!("{when} free {} MiB (0)\n", FREE - held);
    let expected = "init 0\ngranularity 2097152\n".to_owned()
        + &line("reserved", 0)
        + "odd size 1\n"
        + &line("created", 160)
        + "unmapped copy 1\nmap 0 0 taken 1 outside 1 access 0\nread 42\n"
        + &line("released while mapped", 160)
        + "retain 0\n"
        + &line("unmapped while held", 160)
        + &line("let go", 60)
        + &line("all gone", 0)
        + "free 0\ntoo much 2\n";
    assert_eq!(shown.stdout, expected);
    assert_eq!(shown.report.cards[0].peak.r#virtual, 160 * MIB);
    assert_eq!(shown.report.refusals[0].call, "cuMemCreate");
}

#[test]
fn a_driver_without_virtual_memory_says_so() {
    let mut machine = on_l4();
    machine.virtual_memory = false;
    let shown = driver(&machine, "reservations");
    assert!(shown.stdout.contains("odd size 801\n"), "{}", shown.stdout);
}

#[test]
fn managed_memory_leaves_the_card_when_it_must() {
    let shown = driver(&on_l4(), "managed");
    assert_eq!(
        shown.stdout,
        "init 0\nmanaged 0 beyond the card 0\nmanaged free 0 MiB (0)\nplain makes room 0\n\
         but not for more 2\nhost reads 7\n"
    );
    let card = &shown.report.cards[0];
    assert_eq!(card.peak_resident, card.capacity);
    assert_eq!((card.largest.managed, card.largest.malloc), (40 * GIB, 10 * GIB));
}

#[test]
fn cards_can_be_peers_where_the_machine_says_so() {
    let mut machine = Machine::of(vec![l4(), l4()]);
    let other = |machine: &Machine| driver(machine, "peers").stdout;
    let seen = |can: u32, codes: &str| {
        format!(
            "init 0\ncan {can} {codes}\non device 0 the memory of 1, type 2, 300 MiB\n\
             first card free {FREE} MiB (0)\nsecond card free {} MiB (0)\nhost pointer 1\n",
            FREE - 300
        )
    };
    assert_eq!(other(&machine), seen(0, "enable 217 again 217 self 217"));
    machine.peer_access = true;
    assert_eq!(other(&machine), seen(1, "enable 0 again 704 self 217"));
}

#[test]
fn functions_are_found_by_name_and_version() {
    let shown = driver(&on_l4(), "lookup");
    assert_eq!(shown.stdout, "init 0\nversioned 1\nby version 1 1\nunknown 500 (nil) 1\n");
}

#[test]
fn nvml_agrees_with_cuda() {
    let shown = driver(&on_l4(), "monitor");
    let used = 258 + 1000;
    assert_eq!(
        shown.stdout,
        format!(
            "init 0\n1 cards, NVIDIA L4, GPU-, total 23034 free {} used {}\n\
             second form: reserved 475 free {} used {used}\n\
             0: 1 process, {used} MiB\nfan 3, wrong card 2\n",
            FREE - 1000,
            475 + used,
            FREE - 1000
        )
    );
}

#[test]
fn cublas_takes_its_workspace_with_the_first_product() {
    let workspace = |machine: &Machine| {
        let shown = driver(machine, "workspace");
        let free = |when: &str| -> u64 {
            let line = shown.stdout.lines().find_map(|l| l.strip_prefix(when)).expect("a line");
            line.split(' ').nth(2).expect("a number").parse().expect("a number")
        };
        assert_eq!(free("first product"), free("second product"));
        free("handle") - free("first product")
    };
    assert_eq!(workspace(&on_l4()), 4);
    let h100 = Card::new("NVIDIA H100 80GB HBM3", (9, 0), 132, 81_559 * MIB);
    assert_eq!(workspace(&Machine::of(vec![h100])), 32);
    let mut none = on_l4();
    none.cublas_workspace = Some(0);
    assert_eq!(workspace(&none), 0);
}

#[test]
fn visible_devices_are_chosen_by_the_program() {
    let count = |list: &str| {
        let mut command = Command::new(compiled("driver", &["-ldl"]));
        command.arg("count").env("CUDA_VISIBLE_DEVICES", list);
        rehearse_command(&Machine::of(vec![l4(), l4()]), command).stdout
    };
    assert_eq!(count("1"), "init 0\ncount 1\n");
    assert_eq!(count("1,0"), "init 0\ncount 2\n");
    assert_eq!(count(""), "init 100\ncount 0\n");
}
