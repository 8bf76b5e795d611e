//! `vramplan sparse`: a model of holes, to rehearse a program with.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;

use super::Outcome;
use super::args::CatalogArgs;
use super::new_file::NewFile;
use super::problem::Problem;
use vramplan_disk::Disk;
use vramplan_planner::dtype::{FileType, WeightFormat};
use vramplan_planner::read;
use vramplan_planner::spec::ModelSpec;
use vramplan_planner::synth::SynthModel;
use vramplan_planner::synth::checkpoint::{Checkpoint, config, tokenizer};
use vramplan_planner::text::printable_path;
use vramplan_planner::units::Bytes;

/// Write a model of holes to rehearse with: right headers, no weights, kilobytes.
#[derive(Clone, Debug, Args)]
pub struct SparseArgs {
    #[command(flatten)]
    catalog: CatalogArgs,

    /// Model by name, or a file or directory whose shape is taken.
    #[arg(value_name = "MODEL")]
    model: String,

    /// A GGUF file, where it ends in `.gguf`; else a directory for a checkpoint of safetensors files.
    #[arg(value_name = "FILE|DIR")]
    output: PathBuf,

    /// Format of the weights: of a checkpoint `bf16`, `f16` or `f32` [default: `bf16`], of a GGUF file
    /// also a file type such as `q8_0` [default: `q4_k_m`].
    #[arg(long, value_name = "FORMAT")]
    weights: Option<WeightFormat>,

    /// Overwrite files that exist.
    #[arg(long)]
    force: bool,
}

/// What belongs to a tokenizer, and is taken from the model's own directory where it is there.
const TOKENIZER: [&str; 8] = [
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];

/// A `config.json` or the like is no larger; a tokenizer can be.
const MAX_COPY: u64 = 256 << 20;

/// Runs the command.
pub fn run(args: &SparseArgs) -> anyhow::Result<Outcome> {
    let catalog = args.catalog.known();
    let spec = read::model(&Disk, &args.model, &catalog)?;
    let is_gguf = args.output.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"));
    let text = if is_gguf { gguf(args, &spec)? } else { checkpoint(args, &spec)? };
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(Outcome::Done)
}

fn gguf(args: &SparseArgs, spec: &ModelSpec) -> anyhow::Result<String> {
    let format = args.weights.unwrap_or(WeightFormat::Gguf(FileType::Q4KM));
    let model = SynthModel::new(spec, format, 0)?;
    let size = hole(&args.output, args.force, &model.header(), model.data_size())?;
    let (path, tensors) = (printable_path(&args.output), model.tensors.len());
    Ok(format!("{path}: {} as {format}, {tensors} tensors, {size}, a hole\n", spec.name))
}

fn checkpoint(args: &SparseArgs, spec: &ModelSpec) -> anyhow::Result<String> {
    let format = args.weights.unwrap_or(WeightFormat::Bf16);
    let own = own_folder(&args.model);
    refuse_quantized(args, spec)?;
    let weights = Checkpoint::new(spec, format)?;
    let mut small = vec![("model.safetensors.index.json".to_owned(), weights.index.into_bytes())];
    match own.as_deref().map(|own| own.join("config.json")).filter(|path| path.is_file()) {
        Some(path) => {
            small.push(("config.json".to_owned(), read::read_bounded(&Disk, &path, MAX_COPY)?));
        }
        None => small.push(("config.json".to_owned(), config(spec, format)?.into_bytes())),
    }
    small.extend(tokenizer_files(own.as_deref())?);
    fs_err::create_dir_all(&args.output).with_context(|| "the directory cannot be made")?;
    let mut size = Bytes::ZERO;
    for shard in &weights.shards {
        let path = args.output.join(&shard.name);
        size = size.plus(hole(&path, args.force, &shard.header, shard.data)?)?;
    }
    for (name, bytes) in small {
        let file = args.output.join(name);
        let needed = Bytes::new(bytes.len() as u64);
        NewFile::at(&file, args.force)?.write(needed, |file, _| file.write_all(&bytes))?;
    }
    let path = printable_path(&args.output);
    let files = match weights.shards.len() {
        1 => "1 file of weights, a hole".to_owned(),
        n => format!("{n} files of weights, holes"),
    };
    Ok(format!("{path}: {} as {format}, {size} in {files}\n", spec.name))
}

/// The directory of a model that is one on the disk.
fn own_folder(model: &str) -> Option<PathBuf> {
    let path = Path::new(model);
    if path.is_dir() {
        return Some(path.to_owned());
    }
    let is_config = path.file_name().is_some_and(|name| name == "config.json");
    path.parent().filter(|_| is_config && path.is_file()).map(Path::to_owned)
}

/// The tensors of a quantized checkpoint have other names, which its `config.json` announces.
fn refuse_quantized(args: &SparseArgs, spec: &ModelSpec) -> anyhow::Result<()> {
    let Some(folder) = own_folder(&args.model) else { return Ok(()) };
    let config = read::hf_config::read(&Disk, &folder.join("config.json"));
    let Some(method) = config.ok().and_then(|config| config.quantization) else { return Ok(()) };
    let message =
        format!("`{}` is quantized ({method}): its tensors are not known here", spec.name);
    Err(Problem::new(message)
        .hint("take the `config.json` of the model before quantization")
        .into())
}

fn tokenizer_files(own: Option<&Path>) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for name in TOKENIZER {
        let path = own.map(|own| own.join(name)).filter(|path| path.is_file());
        if let Some(path) = path {
            files.push((name.to_owned(), read::read_bounded(&Disk, &path, MAX_COPY)?));
        }
    }
    if files.is_empty() {
        let stub = tokenizer().map(|(name, text)| (name.to_owned(), text.into_bytes()));
        files.extend(stub);
    }
    Ok(files)
}

/// Writes a header and leaves a hole behind it; gives the size of the whole.
fn hole(path: &Path, force: bool, header: &[u8], data: Bytes) -> anyhow::Result<Bytes> {
    let needed = Bytes::new(header.len() as u64);
    let whole = needed.plus(data)?;
    let write = |file: &mut fs_err::File, _: &dyn Fn() -> io::Result<()>| {
        file.write_all(header)?;
        file.set_len(whole.get())
    };
    NewFile::at(path, force)?.write(needed, write)?;
    Ok(whole)
}
