//! The command line, read; a mistake in it says what was expected.

use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::num::{IntErrorKind, ParseIntError};

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use vramplan_planner::deployment::are_cards;
use vramplan_planner::read::Catalog;
use vramplan_planner::text::printable;

/// Reads the command line, or ends the process as [`clap::Error::exit`] does.
pub fn parse<T: Parser>() -> T {
    let words = super::short::rewritten(std::env::args_os());
    read(&words).unwrap_or_else(|error| explained(error, &words).exit())
}

/// `vramplan MODEL [GPU]` is short for `vramplan budget`: what is no command, nor nearly one, is a model.
fn read<T: Parser>(words: &[OsString]) -> Result<T, clap::Error> {
    let error = match T::try_parse_from(words) {
        Ok(parsed) => return Ok(parsed),
        Err(error) => error,
    };
    let is_near = matches!(
        error.get(ContextKind::SuggestedSubcommand),
        Some(ContextValue::Strings(near)) if !near.is_empty()
    );
    match error.kind() {
        ErrorKind::InvalidSubcommand if !is_near => {
            budget(words).map_or(Err(error), T::try_parse_from)
        }
        ErrorKind::UnknownArgument => named(words).map_or(Err(error), T::try_parse_from),
        _ => Err(error),
    }
}

/// Commands that take a model and a GPU.
const PLANS: [&str; 4] = ["budget", "sweep", "quants", "explore"];

/// `budget --model MODEL --gpu GPU` for `budget MODEL GPU`, in either order: a word that names a card is the GPU.
fn named(words: &[OsString]) -> Option<Vec<OsString>> {
    let [program, command, rest @ ..] = words else { return None };
    let is_plan = PLANS.iter().any(|plan| command == *plan);
    let count = rest.iter().take_while(|word| !is_flag(word)).count();
    if !is_plan || !(1..=2).contains(&count) {
        return None;
    }
    let mut written = vec![program.clone(), command.clone()];
    let (mut given, flags) = (rest[..count].to_vec(), &rest[count..]);
    if given.first().is_some_and(|name| is_card(name)) {
        given.reverse();
    }
    let is_gpu_alone = count == 1 && given.iter().all(|name| is_card(name));
    let flags_of: &[&str] = if is_gpu_alone { &["--gpu"] } else { &["--model", "--gpu"] };
    for (flag, name) in flags_of.iter().zip(given) {
        written.extend([flag.into(), name]);
    }
    written.extend_from_slice(flags);
    Some(written)
}

fn is_card(word: &OsStr) -> bool {
    word.to_str().is_some_and(|word| are_cards(word, &Catalog::built_in()))
}

/// `budget --model MODEL --gpu GPU` for `MODEL [GPU]`; without a GPU the local one.
fn budget(words: &[OsString]) -> Option<Vec<OsString>> {
    let [program, rest @ ..] = words else { return None };
    let mut words = vec![program.clone(), "budget".into()];
    words.extend_from_slice(rest);
    let mut budget = named(&words)?;
    let names_gpu = |word: &OsString| {
        word == "-g" || word == "--gpu" || word.to_string_lossy().starts_with("--gpu=")
    };
    if !budget.iter().any(names_gpu) {
        budget.extend(["--gpu".into(), "auto".into()]);
    }
    Some(budget)
}

fn is_flag(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

/// An error in words that say what was expected.
fn explained(error: clap::Error, words: &[OsString]) -> clap::Error {
    match error.kind() {
        ErrorKind::ValueValidation => number(error),
        ErrorKind::UnknownArgument => trailing(error, words),
        _ => error,
    }
}

/// A number that could not be read, in other words than the standard library's, which name the first character that is
/// no digit and not what was expected.
fn number(error: clap::Error) -> clap::Error {
    let number = error.source().and_then(|cause| cause.downcast_ref::<ParseIntError>());
    let (Some(number), Some(argument), Some(value)) =
        (number, error.get(ContextKind::InvalidArg), error.get(ContextKind::InvalidValue))
    else {
        return error;
    };
    let expected = match number.kind() {
        IntErrorKind::PosOverflow => "a smaller whole number",
        _ => "a whole number",
    };
    let value = printable(&value.to_string());
    let message = format!(
        "invalid value '{value}' for '{argument}': expected {expected}\n\n\
         For more information, try '--help'.\n"
    );
    clap::Error::raw(ErrorKind::ValueValidation, message)
}

/// A program to run that stands where flags do: other tools that run one take it so.
fn trailing(error: clap::Error, words: &[OsString]) -> clap::Error {
    let runs_programs = words.get(1).is_some_and(|word| word == "observe" || word == "rehearse");
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return error };
    if !runs_programs || word.starts_with('-') {
        return error;
    }
    let word = printable(word);
    let message = format!(
        "unexpected argument '{word}'\n\n  \
         tip: the program to run stands behind `--`: `-- {word} …`\n\n\
         For more information, try '--help'.\n"
    );
    clap::Error::raw(ErrorKind::UnknownArgument, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    enum Commands {
        Budget {
            #[arg(long)]
            model: String,
            #[arg(long)]
            gpu: Option<String>,
            #[arg(long)]
            batch: Option<u64>,
        },
        Observe {
            #[arg(last = true)]
            command: Vec<String>,
        },
    }

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    fn said(line: &str) -> String {
        let words = words(line);
        explained(read::<Commands>(&words).unwrap_err(), &words).to_string()
    }

    fn plan(line: &str) -> (String, String, Option<u64>) {
        match read::<Commands>(&words(line)).unwrap() {
            Commands::Budget { model, gpu, batch } => (model, gpu.unwrap_or_default(), batch),
            Commands::Observe { command } => panic!("{command:?}"),
        }
    }

    #[test]
    fn a_number_that_is_none_says_what_was_expected() {
        let text = said("t budget --model m --batch x");
        assert!(text.contains("'x' for '--batch <BATCH>': expected a whole number"), "{text}");
        assert!(said("t budget --model m --batch 1.5").contains("expected a whole number"));
        let text = said("t budget --model m --batch 99999999999999999999");
        assert!(text.contains("expected a smaller whole number"), "{text}");
    }

    #[test]
    fn a_model_alone_is_a_plan() {
        assert_eq!(plan("t qwen3:30b L4"), ("qwen3:30b".into(), "L4".into(), None));
        assert_eq!(plan("t mistral --batch 2"), ("mistral".into(), "auto".into(), Some(2)));
        assert_eq!(plan("t m.gguf --gpu T4"), ("m.gguf".into(), "T4".into(), None));
        assert_eq!(plan("t L4 qwen3:30b"), ("qwen3:30b".into(), "L4".into(), None));
    }

    #[test]
    fn a_plan_takes_its_model_and_card_in_any_order() {
        for line in ["t budget L4 mistral", "t budget mistral L4"] {
            assert_eq!(plan(line), ("mistral".into(), "L4".into(), None));
        }
        let plan_of = |line| plan(line).1;
        assert_eq!(plan_of("t budget 2xL4 mistral --batch 2"), "2xL4");
        assert_eq!(plan_of("t budget T4x2,L4 mistral"), "T4x2,L4");
        assert_eq!(plan_of("t budget 24GiB mistral"), "24GiB");
        assert!(said("t budget a b c").contains("unexpected argument"));
    }

    #[test]
    fn what_is_nearly_a_command_is_a_mistake() {
        let text = said("t budgte L4");
        assert!(text.contains("'budget'"), "{text}");
        assert!(said("t --bach").contains("--bach"));
    }

    #[test]
    fn a_program_without_dashes_before_it_is_told_where_they_go() {
        assert!(said("t observe python3 x.py").contains("`-- python3 …`"));
    }
}
