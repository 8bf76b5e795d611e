//! `vramplan profiles`: what is known, where it comes from, and how to add to it.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{Table, presets};

use super::Outcome;
use super::args::CatalogArgs;
use super::known::Known;
use vramplan_planner::read::{Catalog, Kind, Listing, SourceError, profile};
use vramplan_planner::spec::{GpuSpec, ModelSpec};
use vramplan_planner::text::{printable_lines, printable_path};

/// What a list is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListKind {
    /// GPUs with their capacity.
    Gpus,
    /// Models with their size.
    Models,
    /// Runtimes with their versions.
    Runtimes,
}

/// List, show and import profiles of GPUs, models and runtimes.
#[derive(Clone, Debug, Args)]
pub struct ProfilesArgs {
    #[command(subcommand)]
    command: ProfilesCommand,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Subcommands of `vramplan profiles`.
#[derive(Clone, Debug, Subcommand)]
pub enum ProfilesCommand {
    /// List the profiles of GPUs, models and runtimes.
    List {
        /// Only these.
        kind: Option<ListKind>,
    },
    /// Print a profile as it is written, with the source of each fact.
    Show {
        /// A GPU, a model or a runtime by name.
        name: String,
    },
    /// Turn a repository, a GGUF file, a checkpoint or a `config.json` into a model profile.
    Import {
        /// What `--model` takes: a file or directory, or a repository such as `org/name`.
        file: String,
        /// The name of the profile, instead of the file's.
        #[arg(long)]
        name: Option<String>,
    },
}

/// Runs a subcommand.
pub fn run(args: &ProfilesArgs) -> anyhow::Result<Outcome> {
    let catalog = args.catalog.known();
    let text = match &args.command {
        ProfilesCommand::List { kind } => list(&catalog, *kind)?,
        ProfilesCommand::Show { name } => show(&catalog, name)?,
        ProfilesCommand::Import { file, name } => import(&catalog, file, name.as_deref())?,
    };
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(Outcome::Done)
}

fn list(catalog: &Catalog, only: Option<ListKind>) -> anyhow::Result<String> {
    let kinds = [ListKind::Gpus, ListKind::Models, ListKind::Runtimes];
    let wanted = kinds.into_iter().filter(|kind| only.is_none_or(|only| only == *kind));
    let mut sections = Vec::new();
    for kind in wanted {
        sections.push(match kind {
            ListKind::Gpus => gpus(catalog)?,
            ListKind::Models => models(catalog)?,
            ListKind::Runtimes => runtimes(catalog)?,
        });
    }
    Ok(sections.join("\n"))
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.iter().copied());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

fn finish(table: &Table) -> String {
    table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// The profile's name, with a mark where it is the user's own.
fn label(listing: &Listing) -> String {
    if listing.built_in { listing.name.clone() } else { format!("{} (own)", listing.name) }
}

fn gpus(catalog: &Catalog) -> Result<String, SourceError> {
    let mut rows = table(&["GPU", "total", "usable", "bandwidth", "compute", "ECC"]);
    for listing in catalog.list(Kind::Gpu)? {
        let gpu: GpuSpec = catalog.gpu(&listing.name)?;
        rows.add_row([
            label(&listing),
            gpu.total.value.to_string(),
            gpu.visible().to_string(),
            format!("{:.0} GB/s", gpu.bandwidth.value.as_f64() / 1e9),
            if gpu.maker.is_nvidia() {
                gpu.compute_capability.to_string()
            } else {
                gpu.maker.name().to_owned()
            },
            gpu.ecc.name().to_owned(),
        ]);
    }
    Ok(finish(&rows))
}

fn models(catalog: &Catalog) -> Result<String, SourceError> {
    let mut rows = table(&["model", "params", "family", "layers", "KV", "context"]);
    for listing in catalog.list(Kind::Model)? {
        let model: ModelSpec = catalog.model(&listing.name)?;
        rows.add_row([
            label(&listing),
            parameters(model.parameters()),
            model.shape.architecture.to_string(),
            model.shape.n_layers.to_string(),
            format!("{}×{}", model.shape.kv_heads, model.shape.head_dim),
            context(model.shape.context_len),
        ]);
    }
    Ok(finish(&rows))
}

/// `128k`, `4000`.
fn context(tokens: u64) -> String {
    match tokens {
        tokens if tokens > 0 && tokens.is_multiple_of(1024) => format!("{}k", tokens / 1024),
        tokens => tokens.to_string(),
    }
}

/// `14.8B`, `494M`.
fn parameters(count: u64) -> String {
    let millions = count / 1_000_000;
    if millions < 1000 {
        return format!("{millions}M");
    }
    let tenths = millions.saturating_add(50) / 100;
    format!("{}.{}B", tenths / 10, tenths % 10)
}

fn runtimes(catalog: &Catalog) -> Result<String, SourceError> {
    let mut rows = table(&["runtime", "versions"]);
    for runtime in vramplan_planner::spec::Runtime::ALL {
        rows.add_row([runtime.to_string(), catalog.runtime(runtime)?.version]);
    }
    Ok(finish(&rows))
}

fn show(catalog: &Catalog, name: &str) -> anyhow::Result<String> {
    let kind = kind_of(catalog, name)?;
    let document = catalog.document(kind, name)?;
    let path = printable_path(&document.listing.path);
    let mut text = format!("# {path}\n{}", printable_lines(&document.text));
    match kind {
        Kind::Model => show_model(&mut text, &catalog.model(name)?),
        Kind::Gpu => show_gpu(&mut text, &catalog.gpu(name)?),
        Kind::Runtime => {}
    }
    Ok(text)
}

/// What a name is of; the near names of models are the most useful where it is of nothing.
fn kind_of(catalog: &Catalog, name: &str) -> Result<Kind, SourceError> {
    let found = Kind::ALL.into_iter().find(|&kind| catalog.document(kind, name).is_ok());
    found.map_or_else(|| catalog.document(Kind::Model, name).map(|_| Kind::Model), Ok)
}

fn show_model(text: &mut String, model: &ModelSpec) {
    let _ = writeln!(text, "\n# computed from the shape: {} parameters", model.parameters());
    if model.vision_parameters() > 0 {
        let vision = model.vision_parameters();
        let _ = writeln!(text, "# and {vision} of the vision tower and its projector");
    }
}

fn show_gpu(text: &mut String, gpu: &GpuSpec) {
    let context = gpu.context();
    let _ = writeln!(text, "\n# usable by one process: {}", gpu.visible());
    let _ = writeln!(text, "# {}", gpu.ecc.note());
    let _ = writeln!(
        text,
        "# context {} ({} – {}), {}: {}",
        context.value.expected,
        context.value.low,
        context.value.high,
        context.basis,
        context.source
    );
}

fn import(catalog: &Known, file: &str, name: Option<&str>) -> anyhow::Result<String> {
    let mut model = catalog.read(file)?;
    if let Some(name) = name {
        profile::check_name(name)?;
        name.clone_into(&mut model.name);
    }
    Ok(profile::model_to_toml(&model)?)
}
