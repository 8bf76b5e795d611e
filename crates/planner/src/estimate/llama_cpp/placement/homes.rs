//! Where layers and tensors go, as llama.cpp decides it (`llama_model_base::load_tensors` in `llama-model.cpp`,
//! `llama_model_loader::create_tensor` in `llama-model-loader.cpp`).

use std::sync::Arc;

use regex::bytes::{Regex, RegexBuilder};

use super::split_points;
use super::table::{TensorRow, TensorTable};
use crate::spec::{
    Count, Home, Launch, LlamaCppGeneration, Memo, Placed, PlacedWeight, Role, TensorOverride,
};
use crate::text::printable;
use crate::units::{Bytes, at_most};

/// Why a placement is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct LaunchError {
    message: String,
    hint: String,
}

impl LaunchError {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        (!self.hint.is_empty()).then(|| self.hint.clone())
    }
}

/// Larger patterns than anybody writes.
const MOST_PATTERN: usize = 1 << 20;

/// What is to be placed on which GPUs.
#[derive(Clone, Copy, Debug)]
pub struct Placing<'a> {
    /// The model's tensors.
    pub table: &'a TensorTable,
    /// Decoder layers that its file counts.
    pub file_layers: u64,
    /// What each GPU has free.
    pub free: &'a [Bytes],
    /// What llama.cpp is told.
    pub launch: &'a Launch,
    /// Which build.
    pub version: LlamaCppGeneration,
    /// Whether the output layer is the first that goes to a GPU, and not the last.
    pub output_first: bool,
    /// Whether matrices are cut by rows.
    pub by_rows: bool,
    /// Whether the first GPU's vector kernel reads two rows.
    pub ada: bool,
    /// Whether the first GPU applies gates with products.
    pub turing: bool,
}

/// Layers on GPUs and layers whose experts are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Layers on GPUs, the output head being one more.
    pub gpu_layers: u64,
    /// Layers whose experts are in main memory.
    pub cpu_moe: u64,
}

/// What is tried on a tensor's name.
struct Rule {
    pattern: Pattern,
    home: Home,
}

enum Pattern {
    /// `--override-tensor`.
    Given(Regex),
    /// `--n-cpu-moe`: the experts of the first layers, or of any layer.
    ExpertsOf { layers: u64, is_all: bool },
}

impl Rule {
    fn is_met(&self, row: &TensorRow) -> bool {
        match &self.pattern {
            Pattern::Given(pattern) => pattern.is_match(row.name.as_bytes()),
            Pattern::ExpertsOf { layers, is_all } => {
                row.is_expert && (*is_all || row.layer.is_some_and(|layer| layer < *layers))
            }
        }
    }

    /// The same for the token embedding under its own name.
    fn is_met_by_embedding(&self) -> bool {
        match &self.pattern {
            Pattern::Given(pattern) => pattern.is_match(b"token_embd.weight"),
            Pattern::ExpertsOf { .. } => false,
        }
    }
}

impl Placing<'_> {
    /// The counts that were asked for: all layers on GPUs, and their experts, where nothing was said. More layers than
    /// there are mean all of them, as to llama.cpp: it compares a layer's place with `-ngl`, and looks for the experts of
    /// layers below `--n-cpu-moe` by name.
    ///
    /// # Errors
    /// Where there are no experts.
    pub fn counts(&self) -> Result<Counts, LaunchError> {
        let all = self.file_layers + 1;
        let asked = self.launch.gpu_layers.unwrap_or(Count::All).of(all).unwrap_or(all);
        let layers = self.table.n_layers;
        let cpu_moe = self.launch.cpu_moe.unwrap_or(Count::Some(0)).of(layers).unwrap_or(0);
        if cpu_moe > 0 && !self.has_experts() {
            return Err(LaunchError::new(
                "`--n-cpu-moe` and `--cpu-moe`: the model has no experts",
                "leave layers in main memory: `--ngl N`",
            ));
        }
        Ok(Counts { gpu_layers: asked.min(all), cpu_moe: cpu_moe.min(self.file_layers) })
    }

    /// Whether any layer has experts.
    pub fn has_experts(&self) -> bool {
        self.table.rows.iter().any(|row| row.role.is_some_and(Role::is_routed_expert))
    }

    /// The placement with these counts.
    ///
    /// # Errors
    /// Where an override names no device or finds no tensor, or a split has no proportion for every GPU.
    pub fn place(&self, counts: Counts) -> Result<Placed, LaunchError> {
        let points = self.points()?;
        let all = self.file_layers + 1;
        let on_gpus = counts.gpu_layers.min(all);
        let last = if self.output_first { all } else { self.file_layers };
        let first = last.saturating_sub(on_gpus);
        let home = |layer: u64| {
            if layer < first || layer - first >= on_gpus || self.free.is_empty() {
                return Home::Host;
            }
            let at = super::single(layer - first) / super::single(on_gpus);
            let gpu = points.partition_point(|point| *point <= at);
            Home::Gpu(gpu.min(self.free.len() - 1))
        };
        let layers: Arc<[Home]> = (0..self.file_layers).map(home).collect();
        let output = home(self.file_layers);
        let rules = self.rules(counts)?;
        let located = |row: &TensorRow| Self::home_of(row, &layers, output, &rules);
        let tensors: Arc<[Option<Home>]> = self.table.rows.iter().map(located).collect();
        let tied_head = self.tied_head(output, &rules);
        Ok(Placed {
            gpus: self.free.len(),
            is_full: counts.gpu_layers >= all,
            is_overridden: !self.launch.overrides.is_empty() || counts.cpu_moe > 0,
            offloads_cache: self.launch.offloads_cache,
            offloads_operations: self.launch.offloads_operations,
            by_rows: self.by_rows,
            ada: self.ada,
            turing: self.turing,
            weights: self.located_weights(&layers, &tensors, tied_head).into(),
            layers,
            output,
            tensors,
            tied_head,
            doubles_table: self.table.head_first && self.version.makes_heads_first(),
            memo: Memo::default(),
            types: self.table.types.clone(),
        })
    }

    fn points(&self) -> Result<Vec<f32>, LaunchError> {
        let Some(split) = &self.launch.tensor_split else { return Ok(split_points(self.free)) };
        if split.0.len() != self.free.len() {
            return Err(LaunchError::new(
                format!(
                    "`--tensor-split {split}` is {}, for {}",
                    counted(split.0.len(), "proportion"),
                    counted(self.free.len(), "GPU")
                ),
                "give one for each GPU, in their order, such as `3,1`",
            ));
        }
        Ok(super::points_of(split.shares()))
    }

    /// The overrides in the order in which they are tried, experts last.
    fn rules(&self, counts: Counts) -> Result<Vec<Rule>, LaunchError> {
        let mut rules = Vec::new();
        for given in &self.launch.overrides {
            let pattern = Pattern::Given(pattern_of(given)?);
            let rule = Rule { pattern, home: self.device_of(given)? };
            if !self.table.rows.iter().any(|row| rule.is_met(row)) {
                return Err(LaunchError::new(
                    format!(
                        "`--override-tensor {}` matches no tensor of the model",
                        printable(&given.to_string())
                    ),
                    "names are as in the GGUF file, such as `blk.0.ffn_down_exps.weight`",
                ));
            }
            rules.push(rule);
        }
        if counts.cpu_moe > 0 {
            let is_all = counts.cpu_moe >= self.table.n_layers;
            let pattern = Pattern::ExpertsOf { layers: counts.cpu_moe, is_all };
            rules.push(Rule { pattern, home: Home::Host });
        }
        Ok(rules)
    }

    fn device_of(&self, given: &TensorOverride) -> Result<Home, LaunchError> {
        let gpu = |name: &str| name.strip_prefix("CUDA")?.parse::<usize>().ok();
        match (given.device.as_str(), gpu(&given.device)) {
            ("CPU", _) => Ok(Home::Host),
            (_, Some(index)) if index < self.free.len() => Ok(Home::Gpu(index)),
            _ => {
                let gpus = (0..self.free.len()).map(|index| format!("`CUDA{index}`"));
                let known: Vec<_> = std::iter::once("`CPU`".to_owned()).chain(gpus).collect();
                Err(LaunchError::new(
                    format!(
                        "`--override-tensor`: `{}` is not a device here: expected {}",
                        printable(&given.device),
                        known.join(" or ")
                    ),
                    "",
                ))
            }
        }
    }

    fn home_of(row: &TensorRow, layers: &[Home], output: Home, rules: &[Rule]) -> Option<Home> {
        if let Some(rule) = rules.iter().find(|rule| rule.is_met(row)) {
            return Some(rule.home);
        }
        match (row.layer, row.role) {
            (Some(layer), _) => layers.get(at_most(layer, usize::MAX)).copied(),
            (None, Some(Role::TokenEmbedding | Role::LayerEmbedding | Role::RunEmbedding)) => {
                Some(Home::Host)
            }
            (None, Some(Role::RopeFrequencies) | None) => None,
            (None, Some(_)) => Some(output),
        }
    }

    /// Where the token embedding is as the output head: the overrides see its own name.
    fn tied_head(&self, output: Home, rules: &[Rule]) -> Option<Home> {
        if !self.table.tied {
            return None;
        }
        let overridden = rules.iter().find(|rule| rule.is_met_by_embedding());
        Some(overridden.map_or(output, |rule| rule.home))
    }

    /// The weights of each layer, and of none, for what runs where.
    fn located_weights(
        &self,
        layers: &[Home],
        homes: &[Option<Home>],
        tied_head: Option<Home>,
    ) -> Vec<Vec<PlacedWeight>> {
        let mut found = vec![Vec::new(); layers.len() + 1];
        for (row, home) in self.table.rows.iter().zip(homes) {
            let layer = row.layer.map_or(layers.len(), |layer| at_most(layer, layers.len()));
            found[layer].push(PlacedWeight {
                name: Arc::clone(&row.name),
                home: *home,
                copy: row.on_gpu.get(),
            });
            if let (Some(Role::TokenEmbedding), Some(home)) = (row.role, tied_head) {
                let name = "output.weight".into();
                let head = PlacedWeight { name, home: Some(home), copy: row.on_gpu.get() };
                found[layer].push(head);
            }
        }
        found
    }
}

/// So many, in words: `1 GPU`, `2 GPUs`.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn pattern_of(given: &TensorOverride) -> Result<Regex, LaunchError> {
    compiled(&given.pattern).map_err(|error| {
        let message = format!("`--override-tensor {}`: {error}", printable(&given.to_string()));
        LaunchError::new(message, "escape what is meant literally: `blk\\.1\\.`")
    })
}

/// A pattern, in the syntax that C++ and this have in common.
fn compiled(pattern: &str) -> Result<Regex, LaunchError> {
    let built = RegexBuilder::new(pattern).unicode(false).size_limit(MOST_PATTERN).build();
    built.map_err(|error| {
        let text = error.to_string();
        let reason = text.lines().last().unwrap_or_default().trim();
        let reason = reason.strip_prefix("error: ").unwrap_or(reason);
        LaunchError::new(format!("no regular expression: {}", printable(reason)), "")
    })
}
