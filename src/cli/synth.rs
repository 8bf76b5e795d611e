//! `vramplan synth`: a GGUF file of random weights in the shape of a model.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use clap::Args;
use fs_err::File;
use indicatif::{ProgressBar, ProgressStyle};

use super::Outcome;
use super::args::CatalogArgs;
use super::new_file::NewFile;
use vramplan_planner::dtype::{FileType, WeightFormat};
use vramplan_planner::synth::SynthModel;
use vramplan_planner::text::printable;
use vramplan_planner::units::Bytes;

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
    let catalog = args.catalog.known();
    let spec = catalog.read(&args.model)?;
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
    let written = write_on_threads(model, &mut out, |bytes| {
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

/// Threads that make pieces. One makes 3 to 5 GB a second; the fastest disks take more.
const MAX_THREADS: usize = 2;

/// Pieces that each thread may be ahead.
const AHEAD: usize = 4;

/// What [`SynthModel::write_to`] writes, with pieces made on threads beside the writing.
fn write_on_threads(
    model: &SynthModel,
    out: &mut impl Write,
    mut progress: impl FnMut(u64) -> io::Result<()>,
) -> io::Result<()> {
    out.write_all(&model.header())?;
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    thread::scope(|scope| {
        let makers: Vec<_> = (0..threads)
            .map(|index| {
                let (filled, pieces) = sync_channel(AHEAD);
                let (used, empty) = sync_channel(AHEAD + 2);
                scope.spawn(move || make(model, Turn { index, threads }, &filled, &empty));
                (pieces, used)
            })
            .collect();
        let mut next = makers.iter().cycle();
        for tensor in &model.tensors {
            for _ in 0..tensor.pieces() {
                // Pieces come in turn, so that their order is that of the file.
                let Some((pieces, used)) = next.next() else { return Ok(()) };
                let piece = pieces.recv().map_err(io::Error::other)?;
                out.write_all(&piece)?;
                progress(piece.len() as u64)?;
                let _ = used.try_send(piece);
            }
            out.write_all(tensor.zeros_behind())?;
        }
        Ok(())
    })
}

/// Which pieces a thread makes: those whose number is `index` modulo `threads`.
#[derive(Clone, Copy, Debug)]
struct Turn {
    index: usize,
    threads: usize,
}

/// Makes the pieces of a thread, in buffers that come back.
fn make(model: &SynthModel, turn: Turn, filled: &SyncSender<Vec<u8>>, empty: &Receiver<Vec<u8>>) {
    let pieces =
        model.tensors.iter().flat_map(|tensor| (0..tensor.pieces()).map(move |n| (tensor, n)));
    for (tensor, number) in pieces.skip(turn.index).step_by(turn.threads) {
        let mut piece = empty.try_recv().unwrap_or_default();
        piece.resize(tensor.piece_len(number), 0);
        tensor.fill_piece(model.seed, number, &mut piece);
        // The writer has given up: so does this.
        if filled.send(piece).is_err() {
            return;
        }
    }
}
