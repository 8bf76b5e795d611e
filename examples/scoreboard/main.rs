//! Prints how far predictions are from what real runs printed and engines answered.
#![allow(clippy::print_stdout, reason = "printing is what it is for")]
mod score;
use score::{Board, statistics::Statistics};
fn main() -> anyhow::Result<()> {
    let board = Board::new()?;
    for (r,o,p,hits) in board.groups() {
        let s = Statistics::of(hits.iter().copied()).unwrap();
        println!("{r} {o} {p}: {} med {:.2}% p90 {:.2}% worst {:+.2}% bias {:+.2}% within {:.1}% high {:.1}% slack {:.1}%", s.rows, s.median*100., s.p90*100., s.worst*100., s.bias*100., s.within*100., s.below_high*100., s.slack*100.);
        for half in [true,false] { if let Some(s)=Statistics::of(hits.iter().copied().filter(|h| h.is_set_from()==half)) { println!("      {half}: {} high {:.1}% slack {:.2}%", s.rows, s.below_high*100., s.slack*100.);} }
        if std::env::var("V").is_ok_and(|v| format!("{r} {o} {p}").starts_with(&v)) {
            let mut hits = hits; hits.sort_by(|a,b| a.error().abs().total_cmp(&b.error().abs()));
            for h in hits.iter().rev().take(40) { println!("   {:+.2}% {:.1?} for {:.1} {}", h.error()*100., h.predicted, h.measured, h.row); }
        }
    }
    for ((r, why), n) in &board.left_out { println!("{n:4} {r}: {why}"); }
    Ok(())
}
