//! Random jobs of llama.cpp itself on virtual cards: what it asked of every card, and the pool that no log shows.

use std::collections::BTreeSet;

use vramplan_planner::read::Catalog;
use vramplan_planner::spec::Bounds;
use vramplan_planner::units::Bytes;
use vramplan_scoreboard::csv::{Row, rows};
use vramplan_scoreboard::llama_rehearsed::{
    Held, JOBS, SERVERS, measured, planned, planned_server,
};

/// A card of a job that ended, and what was planned for it.
struct Card {
    row: String,
    measured: Held<Bytes>,
    planned: Held<Bounds>,
}

/// What was drawn once nothing of the others was off.
fn is_held_back(row: &Row) -> bool {
    row.text("seed").split('/').next().is_some_and(|seed| seed.ends_with('0'))
}

/// A few jobs did not end: the card is too small, or expert numbers depend on what no kernel computed.
fn jobs(keep: impl Fn(&Row) -> bool) -> Vec<Row> {
    rows(JOBS).filter(|row| row.text("outcome") == "done" && keep(row)).collect()
}

/// The same of servers.
fn servers(keep: impl Fn(&Row) -> bool) -> Vec<Row> {
    rows(SERVERS).filter(|row| row.text("outcome") == "done" && keep(row)).collect()
}

fn cards(jobs: &[Row]) -> Vec<Card> {
    let catalog = Catalog::built_in();
    let of_job = |row: &Row| -> Vec<Card> {
        let is_server = row.has("flags");
        let planned =
            if is_server { planned_server(&catalog, row) } else { planned(&catalog, row) };
        let planned = planned.unwrap();
        let measured = measured(row).unwrap();
        assert_eq!(planned.len(), measured.len(), "{}", row.line());
        let both = planned.into_iter().zip(measured);
        both.map(|(planned, measured)| Card { row: row.line(), measured, planned }).collect()
    };
    // Nothing is on a card that no layer is on.
    let is_used = |card: &Card| !card.measured.total.is_zero();
    jobs.iter().flat_map(of_job).filter(is_used).collect()
}

fn is_inside(bounds: Bounds, size: Bytes) -> bool {
    (bounds.low..=bounds.high).contains(&size)
}

/// Buffers to the byte on 98 of a hundred cards and inside the bounds on all (what is off is GLM-4.5-Air by its name: 32 KiB
/// of routing, which a file without the keys of its gate says otherwise; planned from that file it is exact); pool and
/// everything together inside the bounds on 99 of a hundred.
fn check(cards: &[Card]) {
    let is_off = |card: &&Card| card.planned.buffers.expected != card.measured.buffers;
    let off: Vec<_> = cards.iter().filter(is_off).collect();
    assert!(off.len() * 50 <= cards.len(), "{} of {} are off", off.len(), cards.len());
    for card in off {
        assert!(card.row.contains("glm-4.5-air"), "{}", card.row);
        assert!(is_inside(card.planned.buffers, card.measured.buffers), "{}", card.row);
    }
    let outside = |size: fn(&Held<Bytes>) -> Bytes, bounds: fn(&Held<Bounds>) -> Bounds| {
        let is_outside = |card: &&Card| !is_inside(bounds(&card.planned), size(&card.measured));
        let outside: Vec<_> = cards.iter().filter(is_outside).map(|card| &*card.row).collect();
        assert!(outside.len() * 100 <= cards.len(), "{}", outside.join("\n"));
        outside.len()
    };
    let pools = outside(|held| held.pool, |held| held.pool);
    let totals = outside(|held| held.total, |held| held.total);
    #[allow(clippy::print_stdout, reason = "a report")]
    {
        println!("{} cards: {pools} pools and {totals} totals are outside", cards.len());
    }
}

#[test]
fn engines_on_virtual_cards_take_what_is_planned() {
    check(&cards(&jobs(|row| !is_held_back(row))));
}

#[test]
fn so_do_those_that_no_formula_was_read_from() {
    check(&cards(&jobs(is_held_back)));
}

/// Servers of which the buffers need not be the plan's to the byte: GLM-4.5-Air by its name (above), encoders whose attention is
/// not fused, and placements of experts that `--fit` chose, which are no flags.
fn is_within_bounds_only(row: &Row) -> bool {
    !row.text("mmproj").is_empty() && row.text("flags").contains("-fa off")
        || row.text("model") == "glm-4.5-air"
}

/// Whether the prompts filled the caches: the pool follows what is attended to. Long contexts that `--fit` chose were not filled.
fn is_filled(row: &Row) -> bool {
    let has = |flag: &str| row.text("flags").split(' ').any(|word| word == flag);
    let is_shared = has("-kvu") || !has("-np");
    let room = row.number("slot_tokens") * if is_shared { 1 } else { row.number("slots") };
    row.number("busy") * 10 >= room * 9
}

/// llama-server itself, all slots busy at once: buffers to the byte, pool and everything together inside the bounds on 99 of a
/// hundred cards.
fn check_servers(jobs: &[Row]) {
    let is_planned = |row: &&Row| row.text("chosen") != "overrides";
    for row in jobs.iter().filter(is_planned).filter(|row| !is_within_bounds_only(row)) {
        let own = cards(std::slice::from_ref(row));
        for card in own {
            assert_eq!(card.planned.buffers.expected, card.measured.buffers, "{}", card.row);
        }
    }
    let planned: Vec<_> = jobs.iter().filter(is_planned).filter(|row| is_filled(row)).collect();
    let all: Vec<_> = planned.iter().flat_map(|row| cards(std::slice::from_ref(row))).collect();
    let is_off = |card: &&Card| {
        !(is_inside(card.planned.buffers, card.measured.buffers)
            && is_inside(card.planned.pool, card.measured.pool)
            && is_inside(card.planned.total, card.measured.total))
    };
    let off: Vec<_> = all.iter().filter(is_off).map(|card| &*card.row).collect();
    assert!(off.len() * 100 <= all.len(), "{} of {}:\n{}", off.len(), all.len(), off.join("\n"));
}

#[test]
fn servers_take_what_the_plan_of_their_command_says() {
    check_servers(&servers(|row| !is_held_back(row)));
}

#[test]
fn so_do_servers_that_no_formula_was_read_from() {
    check_servers(&servers(is_held_back));
}

/// As many slots as a plan has users, by the command that it emits: all of them fill their context at once, on the card that it
/// said they have room on.
#[test]
fn every_user_of_a_plan_has_a_slot() {
    let of_users = |row: &Row| row.text("seed").starts_with("users");
    let all: Vec<_> = rows(SERVERS).filter(of_users).collect();
    assert!(all.len() >= 20);
    for row in all {
        let line = row.line();
        assert_eq!(row.text("outcome"), "done", "{line}");
        let users = row.text("flags").split(" -np ").nth(1).and_then(|rest| rest.split(' ').next());
        let slots = row.number("slots");
        assert_eq!(users, Some(&*slots.to_string()), "{line}");
        assert!(row.number("slot_tokens") * slots >= row.number("busy"), "{line}");
    }
}

#[test]
fn servers_are_of_all_kinds() {
    let all = servers(|_| true);
    let count = |is: &dyn Fn(&Row) -> bool| all.iter().filter(|row| is(row)).count();
    let has = |row: &Row, flag: &str| row.text("flags").split(' ').any(|word| word == flag);
    assert!(all.len() >= 100);
    for version in ["0.5.0", "0.6.0"] {
        assert!(count(&|row| row.text("llama_cpp_version") == version) >= 20, "{version}");
    }
    assert!(count(&|row| !row.text("draft").is_empty()) >= 20);
    assert!(count(&|row| !row.text("mmproj").is_empty()) >= 10);
    assert!(count(&|row| !has(row, "--fit")) >= 10);
    assert!(count(&|row| row.text("cards").contains(',')) >= 20);
    assert!(count(&|row| has(row, "-kvu")) >= 10 && count(&|row| !has(row, "-np")) >= 10);
    assert!(count(&|row| has(row, "-ctk")) >= 20 && count(&|row| has(row, "-ngl")) >= 10);
}

#[test]
fn jobs_are_of_all_kinds() {
    let jobs = jobs(|_| true);
    let several = |column: &str| -> usize {
        jobs.iter().map(|row| row.text(column).to_owned()).collect::<BTreeSet<_>>().len()
    };
    assert!(jobs.len() >= 300);
    assert!(several("model") >= 15 && several("cards") >= 10 && several("llama_cpp_version") >= 2);
    let count = |is: fn(&Row) -> bool| jobs.iter().filter(|row| is(row)).count();
    assert!(count(|row| row.text("flash_attn") == "off") >= 20);
    assert!(count(|row| !row.flag("vmm")) >= 20);
    assert!(count(|row| row.text("cards").contains(',')) >= 20);
    let of_experts = |row: &Row| {
        matches!(row.text("model"), "qwen1.5-moe-a2.7b" | "deepseek-v2-lite")
            && row.text("file_type") == "bf16"
    };
    assert!(count(of_experts) >= 2);
}
