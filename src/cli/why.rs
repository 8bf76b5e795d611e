//! `vramplan why`.

use std::io::{IsTerminal as _, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Outcome;
use super::args::CatalogArgs;
use super::format;
use super::known::Known;
use super::learn::{keep_read, nothing, ready};
use super::manifest::{is_manifest, text_of};
use super::problem::Problem;
use super::scenario;
use vramplan_planner::deployment::{self, Deployment, Question, manifest};
use vramplan_planner::read::MemoryFiles;
use vramplan_planner::render::{Format, WHY, WhyDoc};
use vramplan_planner::text::{printable, printable_message, printable_path};
use vramplan_planner::why::{Evidence, Finding, Log, MOST_BYTES, explain, learn};

/// Say why a run ran out of memory, by its log.
#[derive(Clone, Debug, Args)]
pub struct WhyArgs {
    /// Where profiles are looked for.
    #[command(flatten)]
    pub catalog: CatalogArgs,

    /// The log of an engine: a file, its message in quotes, or `-` for standard input, which is read where nothing is given.
    #[arg(value_name = "LOG")]
    pub log: Option<PathBuf>,

    /// What the log does not say: these win over what it does.
    #[command(flatten)]
    pub plan: Question,

    /// Read plan flags from a TOML file; flags on the command line win.
    #[arg(long, value_name = "FILE")]
    pub scenario: Option<PathBuf>,

    /// Keep the sizes that the log states as evidence, in the first directory of `--evidence` [default: the user's data
    /// directory]: later plans of such cards take them.
    #[arg(long, help_heading = "Evidence")]
    pub learn: bool,

    /// Output format.
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        value_parser = format::one_of(&WHY),
        help_heading = "Output"
    )]
    pub format: Format,

    /// Short for `--format json`, schema `vramplan/why/v1`.
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    pub json: bool,
}

/// Bytes that are read at once.
const CHUNK: usize = 64 << 10;

/// Reads, explains and prints.
pub fn run(args: &WhyArgs) -> anyhow::Result<Outcome> {
    ready(&args.catalog, args.learn)?;
    let known = args.catalog.known();
    let user = scenario::merged(&args.plan, args.scenario.as_deref())?;
    let (evidence, name) = read_given(args.log.as_deref())?;
    let finding = explained(evidence, &name, &user, &known)?;
    let text = format::print(&WHY, &WhyDoc::new(&finding), format::chosen(args.format, args.json))?;
    anstream::stdout().write_all(text.as_bytes())?;
    if args.learn {
        let record = learn(&finding, &user).map_err(|error| nothing(&error.to_string()))?;
        keep_read(record, &known)?;
    }
    Ok(Outcome::Done)
}

/// Explains what was read of a log that goes by this name.
pub(super) fn document(
    evidence: Evidence,
    name: &str,
    user: &Question,
    known: &Known,
) -> anyhow::Result<WhyDoc> {
    Ok(WhyDoc::new(&explained(evidence, name, user, known)?))
}

fn explained(
    evidence: Evidence,
    name: &str,
    user: &Question,
    known: &Known,
) -> anyhow::Result<Finding> {
    if evidence.lines == 0 {
        return Err(Problem::new(format!("`{}` is empty: expected a log", printable(name)))
            .hint("give the output of the engine, standard error included: `… 2>&1 | tee log`")
            .into());
    }
    Ok(explain(evidence, user, &|question| resolve(question, user, known)))
}

/// Reads the log that is given, and says what to call it.
fn read_given(log: Option<&Path>) -> anyhow::Result<(Evidence, String)> {
    let Some(log) = log else {
        if std::io::stdin().is_terminal() {
            return Err(Problem::usage("no log is given")
                .hint(
                    "name its file, paste the message in quotes, or pipe it: `docker logs vllm 2>&1 | vramplan why`",
                )
                .into());
        }
        return Ok((read_from(std::io::stdin().lock())?, "standard input".to_owned()));
    };
    // What is no file and has spaces is the message itself.
    match log.to_str().filter(|text| text.contains(char::is_whitespace) && !log.exists()) {
        Some(message) => Ok((read_from(message.as_bytes())?, "the message".to_owned())),
        None if is_word(log) => Err(no_such_log(log)),
        None if is_manifest_file(log) => Err(no_log(log)),
        None => Ok((read(log)?, printable_path(log))),
    }
}

/// Whether it is a single word, that is no file here and looks like none.
fn is_word(log: &Path) -> bool {
    let is_bare = log.components().count() == 1 && log.extension().is_none();
    is_bare && log.as_os_str() != "-" && !log.exists()
}

/// Whether it is a manifest, of which a log was taken for another file.
fn is_manifest_file(log: &Path) -> bool {
    let is_named = log.as_os_str() != "-" && log.to_str().is_some_and(is_manifest);
    let text = log.to_str().filter(|_| is_named).and_then(|name| text_of(name).ok());
    text.is_some_and(|text| manifest(&text).is_ok())
}

fn no_log(log: &Path) -> anyhow::Error {
    let file = printable_path(log);
    Problem::usage(format!("`{file}` is a manifest, and no log"))
        .hint(format!("what it runs is planned: `vramplan budget --model {file} --gpu NAME`"))
        .into()
}

fn no_such_log(log: &Path) -> anyhow::Error {
    let word = printable_path(log);
    Problem::usage(format!("no file `{word}` is here: expected a log"))
        .hint(format!(
            "where `{word}` is the message itself, pipe it: `echo {word} | vramplan why -`"
        ))
        .into()
}

/// Reads a log as far as logs are read.
fn read(path: &Path) -> anyhow::Result<Evidence> {
    if path.as_os_str() == "-" {
        return Ok(read_from(std::io::stdin().lock())?);
    }
    read_file(path)
}

/// Reads a log that is a file.
pub(super) fn read_file(path: &Path) -> anyhow::Result<Evidence> {
    let mut file = fs_err::File::open(path)?;
    let length = file.metadata()?.len();
    if length <= MOST_BYTES {
        return Ok(read_from(file)?);
    }
    // How a run began and how it ended are worth the most.
    let mut log = Log::default();
    feed(&mut log, (&mut file).take(MOST_BYTES / 4))?;
    log.skip();
    file.seek(SeekFrom::Start(length - MOST_BYTES / 4 * 3 + 1))?;
    feed(&mut log, file)?;
    Ok(log.finish())
}

/// Reads a log that is handed over.
pub(super) fn read_from(from: impl Read) -> std::io::Result<Evidence> {
    let mut log = Log::default();
    feed(&mut log, from)?;
    Ok(log.finish())
}

/// Hands on all of what is read, as far as the log takes it.
fn feed(log: &mut Log, mut from: impl Read) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                if !log.feed(chunk.get(..count).unwrap_or_default()) {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// What is found in a log from which a plan can be made, for tests of its schema.
#[cfg(test)]
pub fn example() -> WhyDoc {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/why-planned.log");
    let (user, known) = (Question::default(), Known::built_in());
    let finding =
        explain(read(&path).unwrap(), &user, &|question| resolve(question, &user, &known));
    assert!(finding.plan.is_some() && !finding.remedies.is_empty());
    WhyDoc::new(&finding)
}

/// Resolves a question of a log. What the user names is looked for wherever it may be; what the log names among
/// profiles alone: its text opens no file and asks no server.
fn resolve(question: &Question, user: &Question, known: &Known) -> Result<Deployment, String> {
    let named = user.model.is_some() && question.model == user.model;
    let found = if named {
        scenario::resolve(question, known)
    } else {
        let local = scenario::local_card_for(question, known).map_err(|error| said(&error))?;
        let nothing = MemoryFiles::default();
        let found = deployment::resolve(question, known, &nothing, local.as_ref());
        found.map_err(Into::into).and_then(|found| known.measured(found))
    };
    found.map_err(|error| said(&error))
}

fn said(error: &anyhow::Error) -> String {
    let causes: Vec<_> = error.chain().map(ToString::to_string).collect();
    printable_message(&causes.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_file_its_beginning_and_its_end_are_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut handle = file.as_file();
        handle.write_all(b"  Device 0: NVIDIA L4, compute capability 8.9, VMM: yes\n").unwrap();
        handle.set_len(3 * MOST_BYTES).unwrap();
        handle.seek(SeekFrom::End(0)).unwrap();
        handle.write_all(b"\nCUDA error: out of memory\n").unwrap();
        let evidence = read(file.path()).unwrap();
        assert!(evidence.cut);
        assert_eq!(evidence.cards.len(), 1);
        assert_eq!(evidence.run.failures.len(), 1);
    }
}
