//! Prints how far predictions are from what real runs printed.
//!
//!     cargo run --example scoreboard

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

mod score;

use comfy_table::{CellAlignment, Table, presets};
use score::{Board, Hit, covered, errors, quantile};

fn main() -> anyhow::Result<()> {
    let board = Board::new()?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "runtime",
        "quantity",
        "runs",
        "median",
        "p90",
        "worst",
        "bias",
        "covered",
        "high over",
    ]);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for ((runtime, quantity), hits) in &board.hits {
        table.add_row(row(runtime, quantity, hits));
    }
    println!("{table}\n");
    println!("left out:");
    for (reason, rows) in &board.left_out {
        println!("  {rows:3}  {reason}");
    }
    Ok(())
}

fn row(runtime: &str, quantity: &str, hits: &[Hit]) -> [String; 9] {
    let errors = errors(hits);
    let count = f64::from(u32::try_from(hits.len()).unwrap_or(u32::MAX));
    let bias = hits.iter().map(|hit| hit.error).sum::<f64>() / count;
    let mut margins: Vec<f64> = hits.iter().map(|hit| hit.margin).collect();
    margins.sort_by(f64::total_cmp);
    let percent = |share: f64| format!("{:.2}%", 100.0 * share);
    [
        runtime.to_owned(),
        quantity.to_owned(),
        hits.len().to_string(),
        percent(quantile(&errors, 50)),
        percent(quantile(&errors, 90)),
        percent(quantile(&errors, 100)),
        percent(bias),
        format!("{}/{}", covered(hits), hits.len()),
        percent(quantile(&margins, 50)),
    ]
}
