//! Runs of transformers on a virtual GPU, of the seed that formulas were read from and of one drawn afterwards.

use vramplan_planner::read::Catalog;
use vramplan_scoreboard::csv::{Row, rows};
use vramplan_scoreboard::rehearsed::{Planned, RUNS, plan};

/// A row, and what is planned for it.
struct Run {
    row: Row,
    planned: Planned,
}

fn runs(is_held_back: bool) -> Vec<Run> {
    let catalog = Catalog::built_in();
    rows(RUNS)
        .filter(|row| (row.text("seed") == "apart") == is_held_back)
        // What HQQ copies depends on its version and on what it reads: its bounds are assumed.
        .filter(|row| row.text("kv") == "bf16")
        .map(|row| Run { planned: plan(&catalog, &row).unwrap(), row })
        .collect()
}

fn quantile(mut numbers: Vec<f64>, percent: usize) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[(numbers.len() - 1) * percent / 100]
}

#[allow(clippy::cast_precision_loss, reason = "bytes of a GPU")]
fn error(planned: u64, measured: u64) -> f64 {
    (planned as f64 / measured as f64 - 1.0).abs()
}

/// How far the most that is asked for in a phase lies from the truth, in the middle and at 95%.
fn errors(runs: &[Run], phase: &str, planned: impl Fn(&Run) -> u64) -> [f64; 2] {
    let errors = |run: &Run| error(planned(run), run.row.number(phase));
    let errors: Vec<_> = runs.iter().map(errors).collect();
    [50, 95].map(|percent| quantile(errors.clone(), percent))
}

/// The smallest card on which the run ended. A few runs do not on some larger ones (`surely` says from where on they
/// do), since what transformers takes first depends on the card: no plan of one size says that.
fn wanted(run: &Run) -> u64 {
    run.row.number("needed")
}

fn share(runs: &[Run], holds: impl Fn(&Run, u64) -> bool) -> f64 {
    let held = runs.iter().filter(|run| holds(run, wanted(run))).count();
    #[allow(clippy::cast_precision_loss, reason = "some hundred runs")]
    let share = held as f64 / runs.len() as f64;
    share
}

/// How far the bounds lie apart, of what the card must have.
fn width(run: &Run) -> f64 {
    let card = run.planned.card;
    error(card.high.get() - card.low.get() + wanted(run), wanted(run))
}

/// What is asked for, what the smallest card is at most, and how far bounds lie apart in the middle: those of mixtures
/// of experts are the widest, of which some seeds drew more.
fn check(runs: &[Run], widest: f64) {
    let load = errors(runs, "peak_load", |run| run.planned.needed.asked.load);
    let prefill = errors(runs, "peak_prefill", |run| run.planned.needed.asked.prefill);
    let decode = errors(runs, "peak_decode", |run| run.planned.needed.asked.decode);
    let below = share(runs, |run, needed| needed <= run.planned.card.high.get());
    let inside = share(runs, |run, needed| {
        (run.planned.card.low.get()..=run.planned.card.high.get()).contains(&needed)
    });
    let width = quantile(runs.iter().map(width).collect(), 50);
    #[allow(clippy::print_stdout, reason = "a report")]
    {
        println!("{} runs: load {load:?}, prefill {prefill:?}, decode {decode:?}", runs.len());
        println!("{below} at most the high bound, {inside} inside, bounds {width} wide");
    }
    for [median, most] in [load, prefill, decode] {
        assert!(median <= 0.001 && most <= 0.01, "{median} {most}");
    }
    assert!(below >= 0.97, "{below} of the runs end on the card of the high bound");
    assert!(width <= widest, "the bounds are {width} wide in the middle");
}

#[test]
fn runs_end_on_the_card_of_the_high_bound() {
    check(&runs(false), 0.05);
}

#[test]
fn so_do_runs_that_no_formula_was_read_from() {
    check(&runs(true), 0.065);
}
