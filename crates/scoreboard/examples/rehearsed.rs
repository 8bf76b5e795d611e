//! Compares jobs of llama.cpp on virtual cards with their plans, card by card.
//!
//!     cargo run -p vramplan-scoreboard --example rehearsed -- ROWS.csv [off|all]

#![allow(clippy::print_stdout, reason = "it is what this program is for")]

use vramplan_planner::read::Catalog;
use vramplan_planner::spec::Bounds;
use vramplan_planner::units::Bytes;
use vramplan_scoreboard::csv;
use vramplan_scoreboard::llama_rehearsed::{measured, planned, planned_server};

/// Cards that were compared, and how many were right.
#[derive(Default)]
struct Count {
    cards: u32,
    buffers: u32,
    pools: u32,
    totals: u32,
}

fn main() -> anyhow::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_default();
    let everything = std::env::args().nth(2).is_some_and(|word| word == "all");
    let catalog = Catalog::built_in();
    let mut count = Count::default();
    for row in csv::rows(&fs_err::read_to_string(path)?) {
        if row.text("outcome") != "done" {
            println!("{} {}", row.text("outcome"), row.line());
            continue;
        }
        let is_server = row.has("flags");
        let planned =
            if is_server { planned_server(&catalog, &row) } else { planned(&catalog, &row) };
        let planned = match planned {
            Ok(planned) => planned,
            Err(error) => {
                println!("not planned: {error:#}: {}", row.line());
                continue;
            }
        };
        for (card, (planned, measured)) in planned.iter().zip(measured(&row)?).enumerate() {
            count.cards += 1;
            let is_exact = planned.buffers.expected == measured.buffers;
            let [pool, total] =
                [is_inside(planned.pool, measured.pool), is_inside(planned.total, measured.total)];
            count.buffers += u32::from(is_exact);
            count.pools += u32::from(pool);
            count.totals += u32::from(total);
            if everything || !(is_exact && pool && total) {
                println!(
                    "{is_exact:5} {pool:5} {total:5} card {card} buffers {}{:+} pool {} for {} total {} for {}: {}",
                    mib(measured.buffers),
                    signed(planned.buffers.expected) - signed(measured.buffers),
                    range(planned.pool),
                    mib(measured.pool),
                    range(planned.total),
                    mib(measured.total),
                    row.line()
                );
            }
        }
    }
    let Count { cards, buffers, pools, totals } = count;
    println!(
        "{cards} cards: buffers of {buffers} exact, pools of {pools} and totals of {totals} inside"
    );
    Ok(())
}

fn is_inside(bounds: Bounds, size: Bytes) -> bool {
    (bounds.low..=bounds.high).contains(&size)
}

const fn mib(size: Bytes) -> u64 {
    size.get() >> 20
}

const fn signed(size: Bytes) -> i64 {
    size.get().cast_signed()
}

fn range(bounds: Bounds) -> String {
    format!("{}..{}..{}", mib(bounds.low), mib(bounds.expected), mib(bounds.high))
}
