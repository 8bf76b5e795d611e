//! A report for reading.

use std::fmt::Write as _;

use comfy_table::{Table, TableStyle, presets};

use super::report::{RetainedMass, WindowReport};
use super::{Report, statistics::mean};

impl Report {
    /// The report as a table for a terminal.
    pub fn table(&self) -> String {
        self.text(presets::NOTHING)
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        self.text(presets::ASCII_MARKDOWN)
    }

    fn text(&self, preset: TableStyle) -> String {
        let Self { model, weights, cache, max_cache_tokens, step, .. } = self;
        let mut text = format!(
            "{model} · {weights} weights · {cache} cache of {max_cache_tokens} tokens behind {} pinned ones · \
             steps of {step}\n\n",
            self.system_tokens
        );
        text += &self.windows_table(preset);
        let _ = writeln!(
            text,
            "\nfull cache: perplexity {:.3}; recent window: {} ({})",
            self.full_perplexity, self.chosen.recent_window, self.chosen.reason
        );
        if !self.passkeys.is_empty() {
            text += "\n";
            text += &self.passkeys_table(preset);
        }
        text += "\n";
        text += &self.conclusion();
        text
    }

    fn windows_table(&self, preset: TableStyle) -> String {
        let header = [
            "window",
            "of cache",
            "mean KL",
            "95% interval",
            "99% KL",
            "same top",
            "ΔPPL",
            "mass kept: mean",
            "least layer",
            "least head",
        ];
        let rows = self.windows.iter().map(|window| {
            let (low, high) = window.mean_kl_interval;
            let layers: Vec<f64> = window.retained_mass.iter().map(|mass| mass.mean).collect();
            vec![
                format!(
                    "{}{}",
                    window.recent_window,
                    if self.is_chosen(window) { " *" } else { "" }
                ),
                window.fraction.clone(),
                format!("{:.4}", window.mean_kl),
                format!("{low:.4} – {high:.4}"),
                format!("{:.3}", window.p99_kl),
                format!("{:.1}%", window.same_top_percent),
                format!("{:+.3}", window.perplexity_delta),
                percent(mean(&layers)),
                least(&window.retained_mass, |mass| mass.mean),
                least(&window.retained_mass, |mass| mass.min),
            ]
        });
        lines(preset, &header, rows)
    }

    fn is_chosen(&self, window: &WindowReport) -> bool {
        window.recent_window == self.chosen.recent_window
    }

    fn passkeys_table(&self, preset: TableStyle) -> String {
        let recalls = |yes: bool, log: f64| {
            format!("{} (ln p {log:.1})", if yes { "recalled" } else { "lost" })
        };
        let rows = self.passkeys.iter().map(|probe| {
            vec![
                format!("{}%", probe.depth_percent),
                probe.code.clone(),
                recalls(probe.full_recalls, probe.full_log_probability),
                recalls(probe.evicted_recalls, probe.evicted_log_probability),
            ]
        });
        lines(preset, &["depth", "code", "full cache", "evicting cache"], rows)
    }

    /// What was measured, and what was not.
    fn conclusion(&self) -> String {
        let mut text = match self.chosen_window() {
            Some(window) => format!(
                "On this text, over {} positions, keeping {} of {} tokens costs {:.4} nats a token and changes \
                 the most likely token at {:.1}% of them.",
                self.scored_tokens,
                self.max_cache_tokens,
                self.text_tokens,
                window.mean_kl,
                100.0 - window.same_top_percent
            ),
            None => "Nothing was measured.".to_owned(),
        };
        if !self.passkeys.is_empty() {
            let count = |recalls: fn(&super::PasskeyReport) -> bool| {
                self.passkeys.iter().filter(|probe| recalls(probe)).count()
            };
            let _ = write!(
                text,
                " Of {} codes hidden in it the full cache recalls {}, the evicting one {}.",
                self.passkeys.len(),
                count(|probe| probe.full_recalls),
                count(|probe| probe.evicted_recalls)
            );
        }
        text + " Other texts, longer ones, and questions about evicted facts may lose more.\n"
    }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

fn least(masses: &[RetainedMass], of: impl Fn(&RetainedMass) -> f64) -> String {
    let least = masses.iter().min_by(|a, b| of(a).total_cmp(&of(b)));
    least.map_or_else(
        || "–".to_owned(),
        |mass| format!("{} (layer {})", percent(of(mass)), mass.layer),
    )
}

fn lines(preset: TableStyle, header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(preset);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}
