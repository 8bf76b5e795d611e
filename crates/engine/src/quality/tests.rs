use super::*;
use crate::{Cpu, SyntheticSource};
use vramplan_planner::dtype::WeightFormat;
use vramplan_planner::spec::{ModelShape, ModelSpec, samples};

fn source() -> SyntheticSource {
    let shape = ModelShape {
        n_layers: 2,
        hidden_size: 64,
        n_heads: 4,
        kv_heads: 2,
        head_dim: 16,
        ffn_size: 96,
        vocab_size: 101,
        context_len: 256,
        ..samples::llama_8b().shape
    };
    let spec = ModelSpec::new("tiny", shape, "test").unwrap();
    SyntheticSource::new(&spec, WeightFormat::F32, 5).unwrap()
}

fn text(tokens: u32) -> Vec<u32> {
    (0..tokens).map(|n| n * n % 97).collect()
}

fn measurement() -> Measurement {
    Measurement { step: 4, floor: 4, resamples: 50, ..Measurement::new(text(9), text(120), 48) }
}

#[test]
fn a_small_cache_loses_something_and_says_how_much() {
    let report = measurement().run(Cpu, &mut source()).unwrap();
    // 48 tokens fit; the step of tokens 48 to 51 is the first that evicts, and token 119 has none behind.
    assert_eq!((report.scored_tokens, report.text_tokens), (120 - 48 - 1, 120));
    let windows: Vec<_> = report.windows.iter().map(|window| window.recent_window).collect();
    assert_eq!(windows, [6, 7, 12, 16, 24, 36]);
    for window in &report.windows {
        assert!(window.mean_kl > 0.0 && window.p99_kl >= window.mean_kl, "{window:?}");
        assert!(window.same_top_percent <= 100.0 && window.same_top_percent > 20.0);
        let (low, high) = window.mean_kl_interval;
        assert!(low <= window.mean_kl && window.mean_kl <= high, "{window:?}");
        assert_eq!(window.retained_mass.len(), 2);
        for mass in &window.retained_mass {
            assert!(mass.min <= mass.mean && mass.mean < 1.0 && mass.min > 0.0, "{mass:?}");
        }
    }
    assert!(report.chosen_window().is_some());
    let text = report.markdown();
    assert!(text.contains("On this text, over 71 positions, keeping 48 of 120 tokens"), "{text}");
    assert!(text.contains(" * ") && report.table().contains("mass kept"), "{text}");
}

#[test]
fn a_cache_of_everything_loses_nothing() {
    // All but the last step fits: it evicts four tokens of little weight.
    let all = Measurement { max_cache_tokens: 112, text: text(117), ..measurement() };
    let report = all.run(Cpu, &mut source()).unwrap();
    let half = Measurement { max_cache_tokens: 56, text: text(117), ..measurement() };
    let smaller = half.run(Cpu, &mut source()).unwrap();
    let kl = |report: &Report| report.chosen_window().unwrap().mean_kl;
    assert!(kl(&report) < kl(&smaller), "{} {}", kl(&report), kl(&smaller));
}

#[test]
fn texts_and_windows_that_cannot_be_measured_are_refused() {
    let refused =
        |measurement: Measurement| measurement.run(Cpu, &mut source()).unwrap_err().to_string();
    let short = Measurement { text: text(50), ..measurement() };
    assert!(
        refused(short).contains("a text of 50 tokens: expected more than the cache and a step")
    );
    let long = Measurement { text: text(300), ..measurement() };
    assert_eq!(refused(long), "a text of 300 tokens is too long: expected at most 247");
    let high = Measurement { floor: 47, ..measurement() };
    assert!(refused(high).contains("expected one of 47 to 48 tokens"));
}
