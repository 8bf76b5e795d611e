//! Bytes as the log of an engine, explained and printed: safe text, whatever it holds.
#![no_main]

use vramplan_planner::deployment::{Question, resolve};
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::render::{Format, WHY, WhyDoc};
use vramplan_planner::why::{Log, explain};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut log = Log::default();
    for part in bytes.chunks(977) {
        log.feed(part);
    }
    let (catalog, files) = (Catalog::built_in(), MemoryFiles::default());
    let finding = explain(log.finish(), &Question::default(), &|question| {
        resolve(question, &catalog, &files, None).map_err(|error| error.to_string())
    });
    let document = WhyDoc::new(&finding);
    for format in [Format::Table, Format::Json] {
        let text = WHY.print(&document, format).expect("a format of it").expect("printed");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }
});
