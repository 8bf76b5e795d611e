//! Prints how far predictions are from what real runs printed and engines answered.
//!
//!     cargo run -p vramplan-scoreboard
//!     cargo run -p vramplan-scoreboard -- --format markdown --plots docs/accuracy > docs/accuracy.md

#![allow(clippy::print_stdout, reason = "printing is what it is for")]

mod out;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use out::{json, markdown, plot, table};
use vramplan_scoreboard::Board;

/// Prints how far predictions are from what real runs printed and engines answered.
#[derive(Debug, Parser)]
struct Args {
    /// Output format.
    #[arg(long, default_value = "table")]
    format: Format,
    /// Write a picture of every runtime's errors into this directory.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Print the rows of groups whose name starts so, such as `vllm logs compute`, worst first.
    #[arg(long, value_name = "GROUP")]
    rows: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For a terminal.
    Table,
    /// `docs/accuracy.md`.
    Markdown,
    /// Every figure and every group.
    Json,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let board = Board::new()?;
    if let Some(wanted) = &args.rows {
        print!("{}", table::rows(&board, wanted));
        return Ok(());
    }
    if let Some(folder) = &args.plots {
        fs_err::create_dir_all(folder)?;
        for (name, picture) in plot::pictures(&board) {
            fs_err::write(folder.join(name), picture)?;
        }
    }
    match args.format {
        Format::Table => print!("{}", table::to_table(&board)),
        Format::Markdown => print!("{}", markdown::to_markdown(&board)?),
        Format::Json => println!("{}", json::to_json(&board)?),
    }
    Ok(())
}
