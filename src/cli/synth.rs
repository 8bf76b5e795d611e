//! `vramplan synth`: a GGUF file of random weights in the shape of a model.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use fs_err::File;
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use super::args::CatalogArgs;
use super::new_file::NewFile;
use crate::dtype::{FileType, WeightFormat};
use crate::source::{self, Catalog};
use crate::synth::SynthModel;
use crate::text::printable;
use crate::units::Bytes;

/// Write a GGUF file with random weights in the shape of a model.
#[derive(Clone, Debug, Args)]
pub struct SynthArgs {
    #[command(flatten)]
    catalog: CatalogArgs,

    /// Model by name, or a file or directory whose shape is taken.
    #[arg(long, value_name = "MODEL")]
    model: String,

    /// Format of the weights: a GGUF file type such as `q4_k_m`, `q8_0` or `iq4_xs`, or `bf16`, `f16`,
    /// `f32` [default: `q4_k_m`].
    #[arg(long, value_name = "FORMAT")]
    weights: Option<WeightFormat>,

    /// The file.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// What fixes the weights: the same seed gives the same file.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Write the header alone and leave a hole for the weights, which read as zeros: for tools that read
    /// only headers.
    #[arg(long)]
    sparse: bool,

    /// Overwrite a file that exists.
    #[arg(long)]
    force: bool,
}

/// Runs the command.
pub fn run(args: &SynthArgs) -> anyhow::Result<Outcome> {
    let catalog = Catalog::new(&args.catalog.profiles);
    let spec = source::model(&args.model, &catalog)?;
    let format = args.weights.unwrap_or(WeightFormat::Gguf(FileType::Q4KM));
    let file = NewFile::at(&args.output, args.force)?;
    let model = SynthModel::new(&spec, format, args.seed)?;
    let header = Bytes::new(model.header().len() as u64);
    let whole = header.plus(model.data_size())?;
    if args.sparse {
        file.write(header, |file, _| sparse(&model, whole, file))?;
    } else {
        file.write(whole, |file, go_on| filled(&model, file, go_on))?;
    }
    let tensors = model.tensors.len();
    let path = printable(&args.output.to_string_lossy());
    let what = if args.sparse { "no weights, a hole" } else { "random weights" };
    let seed = args.seed;
    let text = format!(
        "{path}: {} as {format}, {tensors} tensors, {whole:#} = {whole}, {what}, seed {seed}\n",
        spec.name
    );
    anstream::stdout().write_all(text.as_bytes())?;
    Ok(Outcome::Done)
}

fn sparse(model: &SynthModel, whole: Bytes, file: &mut File) -> io::Result<()> {
    file.write_all(&model.header())?;
    file.set_len(whole.get())
}

fn filled(
    model: &SynthModel,
    file: &mut File,
    go_on: &dyn Fn() -> io::Result<()>,
) -> io::Result<()> {
    let bar = progress(model.data_size());
    let mut out = BufWriter::new(file);
    let written = model.write_to(&mut out, |bytes| {
        bar.inc(bytes);
        go_on()
    });
    bar.finish_and_clear();
    written?;
    out.flush()
}

/// A bar on stderr, where that is a terminal.
fn progress(size: Bytes) -> ProgressBar {
    const LINE: &str = "{bar:40} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}";
    let bar = ProgressBar::new(size.get());
    bar.set_style(
        ProgressStyle::with_template(LINE).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
