//! Rehearsed runs of transformers beside their plans, a line each.
//!
//!     cargo run -p vramplan-scoreboard --example cards [-- ROWS.csv]

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it is what this program is for")]

use vramplan_planner::read::Catalog;
use vramplan_scoreboard::csv::rows;
use vramplan_scoreboard::rehearsed::{RUNS, plan};

fn main() -> anyhow::Result<()> {
    let text = std::env::args().nth(1).map(fs_err::read_to_string).transpose()?;
    let catalog = Catalog::built_in();
    println!(
        "card,torch,transformers,bitsandbytes,seed,at,model,layers,weights,attention,cache,kv,batch,prompt,chunk,generated,\
         requested_load,peak_load,peak_prefill,peak_decode,allocated,reserved,needed,surely,\
         p_loaded,p_load,p_prefill,p_decode,p_allocated,p_loading,p_card,p_kept,low,expected,high"
    );
    for row in rows(text.as_deref().unwrap_or(RUNS)) {
        match plan(&catalog, &row) {
            Ok(planned) => {
                let needed = planned.needed;
                let asked = needed.asked;
                println!(
                    "{},{},{},{},{},{},{},{},{},{},{},{}",
                    row.line(),
                    asked.loaded,
                    asked.load,
                    asked.prefill,
                    asked.decode,
                    needed.allocated,
                    needed.loading,
                    needed.card,
                    needed.kept,
                    planned.card.low.get(),
                    planned.card.expected.get(),
                    planned.card.high.get()
                );
            }
            Err(error) => eprintln!("not planned: {error}: {}", row.line()),
        }
    }
    Ok(())
}
