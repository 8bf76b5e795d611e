//! `fleet merge`.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use crate::cli::args::CatalogArgs;
use crate::cli::problem::Problem;
use crate::cli::{Outcome, files};
use crate::evidence::{Store, gather};
use vramplan_planner::fleet::{Merged, merged_text};
use vramplan_planner::text::printable_path;

/// Put together what jobs brought.
#[derive(Clone, Debug, Args)]
pub struct MergeArgs {
    /// Directories, or files: records, reports of `observe`, `calibrate` and `rehearse` in JSON, marks of jobs
    /// [default: those of `--evidence`].
    #[arg(value_name = "DIR")]
    paths: Vec<PathBuf>,

    /// Write all records into one file, a line each: what `--evidence` reads, too, in a directory.
    #[arg(long, value_name = "FILE.jsonl")]
    out: Option<PathBuf>,

    /// Print what was merged as JSON, schema `vramplan/fleet/v1`.
    #[arg(long)]
    json: bool,
}

/// `fleet merge`.
pub fn run(args: &MergeArgs, catalog: &CatalogArgs) -> anyhow::Result<Outcome> {
    let mut merged = Merged::default();
    let named = if args.paths.is_empty() {
        Store::new(&catalog.evidence).folders().to_vec()
    } else {
        args.paths.clone()
    };
    for path in &named {
        let found = gather(path).map_err(|error| {
            let message = format!("`{}` cannot be read: {error}", printable_path(path));
            Problem::new(message).hint("name directories that jobs wrote into")
        })?;
        merged = merged.and(found);
    }
    if let Some(path) = &args.out {
        if path.extension().is_none_or(|ending| ending != "jsonl") {
            return Err(Problem::usage("`--out`: expected a name that ends in `.jsonl`").into());
        }
        files::write(path, &merged.to_lines())?;
    }
    let document = merged.document();
    let text = if args.json {
        serde_json::to_string_pretty(&document)? + "\n"
    } else {
        merged_text(&document)
    };
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(Outcome::Done)
}
