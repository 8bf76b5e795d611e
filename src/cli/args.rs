//! The flags of `budget`. Every flag can also stand in a scenario file, under its name with `_` for
//! `-`; a flag wins.

use std::path::PathBuf;

use clap::Args;

use super::format;
use vramplan_planner::deployment::Question;
use vramplan_planner::render::{Format, PLAN};

/// Where profiles are looked for.
#[derive(Clone, Debug, Default, Args)]
pub struct CatalogArgs {
    /// Directory with profiles of your own; may be given more than once.
    #[arg(long = "profiles", value_name = "DIR", global = true)]
    pub profiles: Vec<PathBuf>,

    /// Directory with records of runs, whose figures stand for what is otherwise assumed; may be given more than once
    /// [default: `VRAMPLAN_EVIDENCE`, else the user's data directory].
    #[arg(long, value_name = "DIR", global = true)]
    pub evidence: Vec<PathBuf>,

    /// Do not use the network: plan from files, profiles, other programs' caches and headers that were read before
    /// (as `HF_HUB_OFFLINE=1`).
    #[arg(long, global = true)]
    pub offline: bool,

    /// Ignore `config.toml`, which has defaults of yours (`gpu`, `runtime`, `ram`, `other_use`, `color`).
    #[arg(long, global = true)]
    pub no_config: bool,
}

/// Plan what a model takes on a GPU, and how much context fits.
#[derive(Clone, Debug, Args)]
pub struct BudgetArgs {
    /// Where profiles are looked for.
    #[command(flatten)]
    pub catalog: CatalogArgs,

    /// The plan.
    #[command(flatten)]
    pub plan: Question,

    /// Read flags from a TOML file; flags on the command line win.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,

    /// Path of your own `llama-server` or another program of llama.cpp: it is run with `--version`, and that version is
    /// planned.
    #[arg(long, value_name = "PATH", conflicts_with = "runtime_version")]
    pub runtime_binary: Option<PathBuf>,

    /// Output format.
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        aliases = ["output", "output-format"],
        value_parser = format::one_of(&PLAN),
        help_heading = "Output"
    )]
    pub format: Format,

    /// Short for `--format json`.
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    pub json: bool,

    /// Print the answer alone: the first line, and the placement where one was solved.
    #[arg(
        short,
        long,
        conflicts_with_all = ["format", "json", "explain", "emit"],
        help_heading = "Output"
    )]
    pub quiet: bool,

    /// Print the plan, and behind it the formula, the factors and the source of every figure.
    #[arg(
        short,
        long,
        conflicts_with_all = ["format", "json", "explain", "emit", "quiet"],
        help_heading = "Output"
    )]
    pub verbose: bool,

    /// Print the formula, the factors and the source behind every figure, or those of one component.
    #[arg(
        long,
        value_name = "COMPONENT",
        num_args = 0..=1,
        default_missing_value = "all",
        help_heading = "Output"
    )]
    pub explain: Option<String>,

    /// Print the settings that make a program run this plan: `llama.cpp`, `vllm`, `sglang`, `transformers`,
    /// `ollama` or `env`.
    #[arg(
        long,
        value_name = "TARGET",
        conflicts_with_all = ["format", "json", "explain"],
        help_heading = "Output"
    )]
    pub emit: Option<vramplan_planner::render::Target>,

    /// A server's command to plan, behind `--`, as you would run it: `-- vllm serve MODEL …`. It is read, not run; flags
    /// before it win.
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "scenario")]
    pub command: Vec<std::ffi::OsString>,
}
