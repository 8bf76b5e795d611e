//! Quality on a real text: the contributors' guide of this repository.

use vramplan_engine::quality::{Measurement, Probe};
use vramplan_engine::{Cpu, GgufSource, Tokenizer};

use crate::smollm2;

#[test]
fn a_real_model_loses_little_on_a_real_text() {
    let Some(path) = smollm2::gguf() else { return };
    let mut source = GgufSource::open(&path).unwrap();
    let tokenizer = Tokenizer::of_gguf(&source).unwrap();
    let mut text = tokenizer.encode(include_str!("../../../../../CONTRIBUTING.md")).unwrap();
    text.truncate(96);
    let system = tokenizer.encode("You read a guide for contributors.").unwrap();
    let measurement = Measurement {
        fractions: vec![(1, 4), (1, 2)],
        step: 8,
        floor: 8,
        resamples: 200,
        probes: Probe::at_depths(&tokenizer, &[50], 0).unwrap(),
        ..Measurement::new(system, text, 40)
    };
    let report = measurement.run(Cpu, &mut source).unwrap();
    eprintln!("{}", report.table());
    assert_eq!((report.windows.len(), report.scored_tokens), (2, 96 - 40 - 1));
    assert_eq!(report.windows[0].retained_mass.len(), 30);
    for window in &report.windows {
        assert!(window.mean_kl > 1e-4 && window.mean_kl < 3.0, "{window:?}");
        assert!(window.same_top_percent > 30.0, "{window:?}");
        // The cache keeps about half of the tokens, and what draws attention among them.
        assert!(window.retained_mass.iter().all(|mass| mass.mean > 0.3), "{window:?}");
    }
    assert_eq!(report.passkeys.len(), 1);
    assert!(report.passkeys[0].full_log_probability <= 0.0);
}
