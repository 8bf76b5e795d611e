//! `vramplan quants`: every format of a repository, a folder or a model, beside each other.

use std::io::Write as _;
use std::sync::Arc;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::Outcome;
use super::args::CatalogArgs;
use super::format;
use super::known::{Known, runtime_of_one};
use super::problem::Problem;
use super::scenario;
use vramplan_planner::deployment::{self, Cards, Deployment, Origin, Question};
#[cfg(feature = "hub")]
use vramplan_planner::deployment::{Form, Found};
use vramplan_planner::dtype::{FileType, WeightFormat};
use vramplan_planner::estimate::rules;
use vramplan_planner::render::{Candidate, Format, Printers, QuantsDoc};
#[cfg(feature = "hub")]
use vramplan_planner::spec::ModelSpec;
use vramplan_planner::spec::Runtime;
use vramplan_planner::text::printable;
use vramplan_planner::units::Bytes;
#[cfg(feature = "hub")]
use vramplan_sources::Asked;
use vramplan_sources::{Group, Located, groups};

/// The formats of a comparison of formats; the JSON's schema is `vramplan/quants/v1`.
pub(super) const QUANTS: Printers<QuantsDoc, serde_json::Error> = Printers(&[
    (Format::Table, |quants| Ok(quants.to_table())),
    (Format::Json, QuantsDoc::to_json),
]);

/// Compare the formats of a repository, a folder or a model: what fits, with how much context.
#[derive(Clone, Debug, Args)]
pub struct QuantsArgs {
    /// Where profiles are looked for.
    #[command(flatten)]
    catalog: CatalogArgs,

    /// A repository (`unsloth/Qwen3-30B-A3B-GGUF`), a folder with GGUF files or safetensors, or a model by
    /// name, whose formats follow from their rules.
    #[arg(value_name = "REPO|DIR|NAME")]
    repository: Option<String>,

    /// What is to be planned with each.
    #[command(flatten)]
    plan: PlanArgs,

    /// Output format.
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        value_parser = format::one_of(&QUANTS),
        help_heading = "Output"
    )]
    format: Format,

    /// Short for `--format json`.
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    json: bool,

    /// Print the answer alone: the best format that fits.
    #[arg(short, long, conflicts_with_all = ["format", "json"], help_heading = "Output")]
    quiet: bool,
}

/// The flags of a plan, without those of the weights: they are what is compared.
#[derive(Clone, Debug, Default)]
struct PlanArgs(Question);

impl Args for PlanArgs {
    fn augment_args(command: Command) -> Command {
        Question::augment_args(command)
            .mut_arg("model", |arg| arg.hide(true))
            .mut_arg("weights", |arg| arg.hide(true))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for PlanArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Question::from_arg_matches(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Plans every format and prints.
pub fn run(args: &QuantsArgs) -> anyhow::Result<Outcome> {
    let known = args.catalog.known();
    let places = |question: &Question| {
        let model = args.repository.clone().or_else(|| question.model.clone());
        scenario::places_tensors(&Question { model, ..question.clone() }, &known)
    };
    let configured = args.catalog.config()?.fill(args.plan.0.clone(), places);
    configured.note()?;
    let question = &configured.question;
    let Some(model) = args.repository.as_deref().or(question.model.as_deref()) else {
        let missing = Problem::new("nothing is named: expected a repository, a folder or a model");
        return Err(missing.hint("try `vramplan quants qwen2.5-14b --gpu L4`").into());
    };
    if let Some(weights) = question.weights {
        let message =
            format!("`--weights {weights}`: `quants` compares the formats of the weights");
        return Err(Problem::usage(message)
            .hint("drop it; `vramplan budget` plans one format")
            .into());
    }
    let document = document(&known, question, model)?;
    let text = if args.quiet {
        document.answer_alone()
    } else {
        format::print(&QUANTS, &document, format::chosen(args.format, args.json))?
    };
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(if document.any_fits() { Outcome::Done } else { Outcome::DoesNotFit })
}

/// Plans every format.
pub(super) fn document(
    known: &Known,
    question: &Question,
    model: &str,
) -> anyhow::Result<QuantsDoc> {
    let listed = Listed::new(known, model)?;
    let compared = Compared { known, question, cards: None };
    let (candidates, origin) = match listed {
        Listed::Files { files, origin } => (compared.files(&files)?, origin),
        Listed::Model(located) => {
            let candidates = compared.model(model, &located)?;
            (candidates, located.origin)
        }
    };
    let document = QuantsDoc::new(model, origin, &candidates);
    let nothing = || {
        let message = format!("`{}` has no format that the runtime loads", printable(model));
        Problem::new(message).hint("name another with `--runtime`")
    };
    Ok(document.ok_or_else(nothing)?)
}

/// What a name stands for.
enum Listed {
    /// GGUF models in several formats.
    Files { files: Vec<FormatFile>, origin: Option<Origin> },
    /// One model: a checkpoint, a file, a profile.
    Model(Located),
}

/// A GGUF model in one format.
struct FormatFile {
    format: String,
    /// Its first file, as it is shown.
    file: String,
    found: FoundModel,
    size: Option<u64>,
}

/// Where a model in a format is.
enum FoundModel {
    /// On this disk.
    Path(String),
    /// Read already.
    #[cfg(feature = "hub")]
    Read(Arc<ModelSpec>),
}

impl Listed {
    fn new(known: &Known, model: &str) -> anyhow::Result<Self> {
        let folder = std::path::Path::new(model);
        if folder.is_dir() {
            let files = in_folder(folder);
            // A checkpoint that lies beside its GGUF files is one of several: the files are what is compared.
            if !files.is_empty() {
                return Ok(Self::Files { files, origin: None });
            }
        }
        #[cfg(feature = "hub")]
        if !folder.is_dir()
            && let Some(listed) = of_repository(known, model)?
        {
            return Ok(listed);
        }
        Ok(Self::Model(known.locate(model)?))
    }
}

/// The GGUF models in a folder and in those below it.
fn in_folder(folder: &std::path::Path) -> Vec<FormatFile> {
    let names = vramplan_sources::files_below(folder);
    let of = |group: Group| {
        let first = group.files.first()?;
        let path = folder.join(first);
        let size = |file: &String| fs_err::metadata(folder.join(file)).map(|found| found.len());
        Some(FormatFile {
            found: FoundModel::Path(path.to_str()?.to_owned()),
            size: group.files.iter().map(size).sum::<Result<u64, _>>().ok(),
            file: first.clone(),
            format: group.format,
        })
    };
    groups(names.iter().map(String::as_str)).into_iter().filter_map(of).collect()
}

/// The GGUF models of a repository, which the hub lists; nothing where it is no repository of such, or a profile
/// answers for it.
#[cfg(feature = "hub")]
fn of_repository(known: &Known, model: &str) -> anyhow::Result<Option<Listed>> {
    use vramplan_planner::deployment::OriginKind;
    use vramplan_sources::Part;
    let Some(Asked::Repository { wanted, explicit }) = known.sources().asked(model) else {
        return Ok(None);
    };
    if wanted.part != Part::Whole || (!explicit && known.model(model).is_ok()) {
        return Ok(None);
    }
    let formats = match known.formats(&wanted) {
        Ok(formats) => formats,
        // A cache may have what no server is asked for.
        Err(error) => {
            return known
                .locate(model)
                .map(|found| Some(Listed::Model(found)))
                .map_err(|_| error.into());
        }
    };
    if formats.is_checkpoint || formats.formats.is_empty() {
        return Ok(None);
    }
    let count = formats.formats.len();
    let of = |format: vramplan_sources::FormatModel| {
        let file = format.group.files.first()?.clone();
        let found = FoundModel::Read(Arc::new(format.model));
        Some(FormatFile { format: format.group.format, file, found, size: format.size })
    };
    let origin = Origin {
        kind: if formats.traffic.requests == 0 { OriginKind::Kept } else { OriginKind::Hub },
        place: printable(&formats.host),
        revision: Some(formats.revision),
        note: Some(format!(
            "headers of {count} models, {} requests, {}",
            formats.traffic.requests,
            Bytes::new(formats.traffic.bytes)
        )),
    };
    let files = formats.formats.into_iter().filter_map(of).collect();
    Ok(Some(Listed::Files { files, origin: Some(origin) }))
}

/// What is compared on: the same cards for every format.
struct Compared<'a> {
    known: &'a Known,
    question: &'a Question,
    cards: Option<Cards>,
}

impl Compared<'_> {
    fn files(mut self, files: &[FormatFile]) -> anyhow::Result<Vec<Candidate>> {
        let mut candidates = Vec::new();
        for file in files {
            candidates.push(Candidate {
                name: Some(file.format.clone()),
                file: Some(file.file.clone()),
                size: file.size.map(Bytes::new),
                deployment: self.of_file(&file.found)?,
            });
        }
        Ok(candidates)
    }

    fn of_file(&mut self, found: &FoundModel) -> anyhow::Result<Deployment> {
        match found {
            FoundModel::Path(path) => {
                let located = self.known.locate(path)?;
                let question = Question { model: Some(path.clone()), ..self.question.clone() };
                self.deployment(&question, &located)
            }
            #[cfg(feature = "hub")]
            FoundModel::Read(model) => {
                let runtime = self.question.runtime.unwrap_or(Form::Gguf.runtime());
                let cards = self.cards(self.question, runtime)?;
                let question =
                    Question { model: Some(model.name.clone()), ..self.question.clone() };
                let found = Found {
                    model: Arc::clone(model),
                    file: None,
                    runtime: Arc::new(self.known.runtime(runtime)?),
                    cards,
                    siblings: Arc::new([]),
                };
                Ok(Deployment::new(question, found)?)
            }
        }
    }

    /// A model as it is stored, and in the formats that the runtime could hold it in.
    fn model(mut self, model: &str, located: &Located) -> anyhow::Result<Vec<Candidate>> {
        let question = Question { model: Some(model.to_owned()), ..self.question.clone() };
        let first = self.deployment(&question, located)?;
        let stored = first.model.stored.as_ref();
        let fixed = stored.is_some_and(|stored| stored.is_gguf() || stored.prequantized);
        let mut formats = if fixed { Vec::new() } else { formats_of(&first) };
        if stored.is_some() {
            let dense = stored.map(|stored| stored.label.clone());
            formats.retain(|format| Some(format.to_string()) != dense);
            formats.push(WeightFormat::AsStored);
        } else if first.weights == WeightFormat::AsStored {
            formats.push(first.weights);
        }
        let candidate = |weights| Candidate {
            name: None,
            file: None,
            size: None,
            deployment: Deployment { weights, ..first.clone() },
        };
        // What a runtime cannot hold is no format of it.
        let sized = |candidate: &Candidate| {
            let Deployment { model, weights, runtime, .. } = &candidate.deployment;
            *weights == WeightFormat::AsStored
                || vramplan_planner::estimate::weights_of(model, *weights, runtime).is_ok()
        };
        Ok(formats.into_iter().map(candidate).filter(sized).collect())
    }

    fn deployment(&mut self, question: &Question, located: &Located) -> anyhow::Result<Deployment> {
        let runtime =
            question.runtime.unwrap_or_else(|| runtime_of_one(question, located, self.known));
        let cards = self.cards(question, runtime)?;
        let mut deployment = self.known.resolve_on(question, located, cards)?;
        deployment.siblings = Arc::new([]);
        Ok(deployment)
    }

    /// The cards, which are looked for once.
    fn cards(&mut self, question: &Question, runtime: Runtime) -> anyhow::Result<Cards> {
        if let Some(cards) = &self.cards {
            return Ok(cards.clone());
        }
        let local = scenario::local_card_for(question, self.known)?;
        let cards = deployment::cards(question, runtime, self.known, local.as_ref())?;
        self.cards = Some(cards.clone());
        Ok(cards)
    }
}

/// The formats that a runtime could hold a model in: all of llama.cpp's where it loads such.
fn formats_of(deployment: &Deployment) -> Vec<WeightFormat> {
    let ladder = rules(deployment.kind()).ladders().weights;
    let is_gguf = ladder.iter().any(|format| matches!(format, WeightFormat::Gguf(_)));
    if !is_gguf {
        return ladder;
    }
    // What is a format of experts alone says nothing of a model that has none.
    let has_experts = deployment.model.shape.moe.is_some();
    let fits = |file_type: &&FileType| has_experts || **file_type != FileType::Mxfp4Moe;
    let all = FileType::ALL.iter().filter(fits).map(|&file_type| WeightFormat::Gguf(file_type));
    all.chain([WeightFormat::Bf16]).collect()
}

/// Formats of a model by their rules, for tests.
#[cfg(test)]
pub(super) fn example() -> QuantsDoc {
    let question = Question { gpu: Some("L4".to_owned()), ..Question::default() };
    document(&Known::built_in(), &question, "qwen2.5-14b").unwrap()
}
