//! `vramplan profiles`: what is known, where it comes from, and how to add to it.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{Table, presets};

use super::Outcome;
use super::args::CatalogArgs;
use super::known::Known;
use super::problem::Problem;
use super::screen::{fitted, width};
use vramplan_planner::read::{Catalog, Kind, Listing, SourceError, profile};
use vramplan_planner::render::terminal::Rows;
use vramplan_planner::spec::{GpuSpec, ModelSpec, Runtime};
use vramplan_planner::text::{printable, printable_lines, printable_path};

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
        /// Only these, whose names have every one of the words: `models qwen`, `gpus rtx 40`, `llama`.
        #[arg(value_name = "KIND|WORD")]
        only: Vec<String>,
        /// Print the names and figures as JSON.
        #[arg(long)]
        json: bool,
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
        ProfilesCommand::List { only, json: false } => fitted(&list(&catalog, &Only::new(only))?),
        ProfilesCommand::List { only, json: true } => listed_json(&catalog, &Only::new(only))?,
        ProfilesCommand::Show { name } => show(&catalog, name)?,
        ProfilesCommand::Import { file, name } => import(&catalog, file, name.as_deref())?,
    };
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(Outcome::Done)
}

/// What of a list is wanted.
struct Only {
    kind: Option<ListKind>,
    words: Vec<String>,
}

impl Only {
    /// The first word may be a kind.
    fn new(words: &[String]) -> Self {
        let kind = words.first().and_then(|word| ListKind::from_str(word, true).ok());
        let words = words.iter().skip(usize::from(kind.is_some()));
        Self { kind, words: words.map(|word| word.to_lowercase()).collect() }
    }

    fn wants(&self, kind: ListKind) -> bool {
        self.kind.is_none_or(|only| only == kind)
    }

    fn has(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.words.iter().all(|word| name.contains(word))
    }
}

fn list(catalog: &Catalog, only: &Only) -> anyhow::Result<String> {
    let mut sections = Vec::new();
    for kind in [ListKind::Gpus, ListKind::Models, ListKind::Runtimes] {
        let rows = match kind {
            kind if !only.wants(kind) => continue,
            ListKind::Gpus => gpus(catalog, only)?,
            ListKind::Models => models(catalog, only)?,
            ListKind::Runtimes => runtimes(catalog, only)?,
        };
        sections.extend(rows);
    }
    if sections.is_empty() {
        let words = printable(&only.words.join(" "));
        return Err(Problem::usage(format!("no profile has `{words}` in its name"))
            .hint("`vramplan profiles list` shows all of them")
            .into());
    }
    Ok(sections.join("\n"))
}

/// The same for programs.
fn listed_json(catalog: &Catalog, only: &Only) -> anyhow::Result<String> {
    let mut kinds = serde_json::Map::new();
    if only.wants(ListKind::Gpus) {
        let mut rows = Vec::new();
        for listing in catalog.list(Kind::Gpu)?.iter().filter(|listing| only.has(&listing.name)) {
            let gpu: GpuSpec = catalog.gpu(&listing.name)?;
            rows.push(serde_json::json!({
                "name": listing.name,
                "own": !listing.built_in,
                "maker": gpu.maker.name(),
                "total": gpu.total.value.get(),
                "usable": gpu.visible().get(),
                "bandwidth": gpu.bandwidth.value.get(),
            }));
        }
        kinds.insert("gpus".to_owned(), rows.into());
    }
    if only.wants(ListKind::Models) {
        let mut rows = Vec::new();
        for listing in catalog.list(Kind::Model)?.iter().filter(|listing| only.has(&listing.name)) {
            let model: ModelSpec = catalog.model(&listing.name)?;
            rows.push(serde_json::json!({
                "name": listing.name,
                "own": !listing.built_in,
                "parameters": model.parameters(),
                "family": model.shape.architecture.to_string(),
                "layers": model.shape.n_layers,
                "kv_heads": model.shape.kv_heads,
                "head_dim": model.shape.head_dim,
                "context": model.shape.context_len,
            }));
        }
        kinds.insert("models".to_owned(), rows.into());
    }
    if only.wants(ListKind::Runtimes) {
        let mut rows = Vec::new();
        for runtime in Runtime::ALL.into_iter().filter(|runtime| only.has(runtime.name())) {
            let version = catalog.runtime(runtime)?.version;
            rows.push(serde_json::json!({ "name": runtime.name(), "versions": version }));
        }
        kinds.insert("runtimes".to_owned(), rows.into());
    }
    Ok(serde_json::to_string_pretty(&kinds)? + "\n")
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

fn gpus(catalog: &Catalog, only: &Only) -> Result<Option<String>, SourceError> {
    let mut rows = table(&["GPU", "total", "usable", "bandwidth", "compute", "ECC"]);
    for listing in catalog.list(Kind::Gpu)?.into_iter().filter(|listing| only.has(&listing.name)) {
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
    Ok((rows.row_count() > 0).then(|| finish(&rows)))
}

fn models(catalog: &Catalog, only: &Only) -> Result<Option<String>, SourceError> {
    let header = ["model", "params", "family", "layers", "KV", "context"];
    let mut rows = Rows::new(&header, &[]).dropping(&[&[3], &[4], &[2]]);
    for listing in catalog.list(Kind::Model)?.into_iter().filter(|listing| only.has(&listing.name))
    {
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
    Ok((!rows.is_empty()).then(|| rows.finish(width())))
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

fn runtimes(catalog: &Catalog, only: &Only) -> Result<Option<String>, SourceError> {
    let mut rows = table(&["runtime", "versions"]);
    for runtime in Runtime::ALL.into_iter().filter(|runtime| only.has(runtime.name())) {
        rows.add_row([runtime.to_string(), catalog.runtime(runtime)?.version]);
    }
    Ok((rows.row_count() > 0).then(|| finish(&rows)))
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
