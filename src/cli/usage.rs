//! The command line, read; a mistake in it says what was expected.

use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::num::{IntErrorKind, ParseIntError};

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use vramplan_planner::deployment::changes_no_memory;
use vramplan_planner::text::printable;

use super::spoken::{is_model, told};
use super::{short, synonyms};

/// Reads the command line, or ends the process as [`clap::Error::exit`] does.
pub fn parse<T: Parser>() -> T {
    let words = synonyms::rewritten(std::env::args_os());
    let mut words = short::rewritten(words.into_iter());
    loop {
        match read(&words) {
            Ok(parsed) => return parsed,
            Err(error) => match without_effect(&error, &words) {
                Some((flag, rest)) => {
                    let note = format!("note: `{flag}` changes nothing that is planned\n");
                    let _ = anstream::stderr().write_all(note.as_bytes());
                    words = rest;
                }
                None => explained(error, &words).exit(),
            },
        }
    }
}

/// The words without a flag of an engine's that is not known here because it changes no memory.
fn without_effect(error: &clap::Error, words: &[OsString]) -> Option<(String, Vec<OsString>)> {
    if error.kind() != ErrorKind::UnknownArgument || runs_programs(words) {
        return None;
    }
    let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg) else { return None };
    let flag = named.split('=').next().unwrap_or(named);
    let takes_value = changes_no_memory(flag)?;
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    let is_it =
        |word: &OsString| word.to_str().is_some_and(|word| word.split('=').next() == Some(flag));
    let at = words.iter().take(end).position(is_it)?;
    let has_value = takes_value && words[at] == *flag && at + 1 < end;
    let mut rest = words.to_vec();
    rest.drain(at..=at + usize::from(has_value));
    Some((flag.to_owned(), rest))
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
    let is_help = words.get(1).is_some_and(|word| word == "help");
    match error.kind() {
        // What is nearly a command may be a model that is known: `codestral` is no `doctor`.
        ErrorKind::InvalidSubcommand if !is_help && (!is_near || begins_with_a_model(words)) => {
            budget(words).map_or_else(|| Err(untold(error, words)), T::try_parse_from)
        }
        ErrorKind::UnknownArgument if command_at::<T>(words).is_some_and(|at| at > 1) => {
            let mut turned = words.to_vec();
            let at = command_at::<T>(words).unwrap_or(1);
            turned[1..=at].rotate_right(1);
            read(&turned)
        }
        ErrorKind::UnknownArgument if is_flagged_plan::<T>(words) => {
            let mut plan = words.to_vec();
            plan.insert(1, "budget".into());
            read(&plan)
        }
        ErrorKind::UnknownArgument => {
            let moved = behind_the_flags(&error, words);
            let words = moved.as_deref().unwrap_or(words);
            named(words).map_or_else(|| Err(untold(error, words)), T::try_parse_from)
        }
        _ => Err(error),
    }
}

/// Where the command stands, behind flags that are its own: `--offline budget -m M`.
fn command_at<T: Parser>(words: &[OsString]) -> Option<usize> {
    let commands = T::command();
    let is_command = |word: &OsString| {
        word.to_str().is_some_and(|word| commands.find_subcommand(word).is_some())
    };
    let at = words.iter().skip(1).take_while(|word| *word != "--").position(is_command)? + 1;
    words.get(1).is_some_and(|word| is_flag(word)).then_some(at)
}

/// Whether flags of a plan stand before its model, and no command anywhere: `--json qwen3:8b 3060`.
fn is_flagged_plan<T: Parser>(words: &[OsString]) -> bool {
    let Some((first, rest)) = words.get(1..).and_then(<[OsString]>::split_first) else {
        return false;
    };
    let commands = T::command();
    let is_command = |word: &OsString| {
        word.to_str().is_some_and(|word| commands.find_subcommand(word).is_some())
    };
    let ours = rest.iter().take_while(|word| *word != "--");
    let mut ours = ours.filter(|word| !is_flag(word)).peekable();
    is_flag(first) && ours.peek().is_some() && !ours.any(|word| is_command(word) || word == "help")
}

/// Whether the first words name a model that is known.
fn begins_with_a_model(words: &[OsString]) -> bool {
    let alone: Vec<OsString> =
        words.iter().skip(1).take_while(|word| !is_flag(word)).cloned().collect();
    let Some(told) = told(&alone) else { return false };
    told.manifest.is_some() || told.model.is_some_and(|model| is_model(&model))
}

/// The words with those that stand alone behind flags in front of them.
fn behind_the_flags(error: &clap::Error, words: &[OsString]) -> Option<Vec<OsString>> {
    let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg) else { return None };
    let at = words.iter().position(|word| word == named.as_str()).filter(|at| *at > 2)?;
    if is_flag(&words[at]) {
        return None;
    }
    let count = words[at..].iter().take_while(|word| !is_flag(word)).count();
    let mut moved = words.to_vec();
    let alone: Vec<OsString> = moved.drain(at..at + count).collect();
    moved.splice(2..2, alone);
    Some(moved)
}

/// Commands that take a model and a GPU.
const PLANS: [&str; 4] = ["budget", "sweep", "quants", "explore"];

/// `budget --model MODEL --gpu GPU` for `budget MODEL GPU`, and what else words say that stand alone.
fn named(words: &[OsString]) -> Option<Vec<OsString>> {
    let [program, command, rest @ ..] = words else { return None };
    let count = rest.iter().take_while(|word| !is_flag(word)).count();
    let is_plan = PLANS.iter().any(|plan| command == *plan);
    if !is_plan {
        return None;
    }
    let (alone, flags) = rest.split_at(count);
    let mut written = vec![program.clone(), command.clone()];
    written.extend(told(alone)?.into_flags());
    written.extend_from_slice(flags);
    Some(written)
}

/// `budget --model MODEL --gpu GPU` for `MODEL [GPU]`.
fn budget(words: &[OsString]) -> Option<Vec<OsString>> {
    let [program, rest @ ..] = words else { return None };
    let mut words = vec![program.clone(), "budget".into()];
    words.extend_from_slice(rest);
    named(&words)
}

/// The error of a plan whose words nobody can tell apart; another error as it is.
fn untold(error: clap::Error, words: &[OsString]) -> clap::Error {
    let words = words.get(1..).unwrap_or_default();
    let plan = words.strip_prefix(&[OsString::from("budget")]);
    let is_plan = plan.is_some() || error.kind() == ErrorKind::InvalidSubcommand;
    let words = plan.unwrap_or(words);
    let alone: Vec<_> = words.iter().take_while(|word| !is_flag(word)).cloned().collect();
    if !is_plan || alone.len() < 3 {
        return error;
    }
    let message = format!(
        "cannot tell which of the words `{}` are the model, and which the GPU\n\n  \
         tip: `vramplan MODEL GPU CONTEXT`, such as `vramplan qwen3-32b 4090 32k`; or with flags:\n  \
         `vramplan budget --model MODEL --gpu GPU --context TOKENS`\n\n\
         For more information, try '--help'.\n",
        printable(&alone.join(OsStr::new(" ")).to_string_lossy())
    );
    clap::Error::raw(error.kind(), message)
}

/// Whether a word is a flag; `-` alone is standard input.
fn is_flag(word: &OsStr) -> bool {
    word.len() > 1 && word.as_encoded_bytes().starts_with(b"-")
}

/// An error in words that say what was expected.
fn explained(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    // What stands behind `--` is a program here, and no value.
    if let Some(ContextValue::StyledStrs(mut tips)) = error.remove(ContextKind::Suggested) {
        tips.retain(|tip| !tip.to_string().contains("as a value"));
        if !tips.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
        }
    }
    match error.kind() {
        ErrorKind::ValueValidation => number(error),
        ErrorKind::UnknownArgument => otherwise(trailing(error, words)),
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
    let tip = if argument.to_string().starts_with("--gpus") {
        "  tip: `--gpu` names cards; `--gpus` is how many of one there are\n\n"
    } else {
        ""
    };
    let message = format!(
        "invalid value '{value}' for '{argument}': expected {expected}\n\n{tip}\
         For more information, try '--help'.\n"
    );
    clap::Error::raw(ErrorKind::ValueValidation, message)
}

/// Flags that are asked for and are none here, and what says the same.
const OTHERWISE: [(&[&str], &str); 5] = [
    (
        &["--input-len", "--output-len", "--isl", "--osl", "--max-tokens", "--max-new-tokens"],
        "`--context` is the prompt and the answer together",
    ),
    (&["--bits", "--bpw"], "name the format of the weights, such as `--weights q4_k_m`"),
    (&["--offload", "--gpu-offload", "--n-offload"], "`--ngl N` puts so many layers on the GPU"),
    (&["-o", "--out", "--output-file"], "`--json > FILE` writes a plan to a file"),
    (
        &["--speculative-algorithm", "--speculative-algo", "--speculative-config"],
        "`--draft` and `--mtp` say what predicts; a server's own flags are read behind `--`: `-- vllm serve …`",
    ),
];

/// What says the same as a flag that is none here.
fn otherwise(error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(named)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let flag = named.split(['=', ' ']).next().unwrap_or(named);
    let Some((_, tip)) = OTHERWISE.iter().find(|(flags, _)| flags.contains(&flag)) else {
        return error;
    };
    let message = format!(
        "unexpected argument '{}'\n\n  tip: {tip}\n\nFor more information, try '--help'.\n",
        printable(flag)
    );
    clap::Error::raw(ErrorKind::UnknownArgument, message)
}

/// Whether the command runs a program.
fn runs_programs(words: &[OsString]) -> bool {
    words.get(1).is_some_and(|word| word == "observe" || word == "rehearse")
}

/// A program to run that stands where flags do: other tools that run one take it so.
fn trailing(error: clap::Error, words: &[OsString]) -> clap::Error {
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidArg) else { return error };
    if !runs_programs(words) || word.starts_with('-') {
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
        Doctor,
        Man,
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
            other @ (Commands::Doctor | Commands::Man) => panic!("{other:?}"),
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
        assert_eq!(plan("t mistral --batch 2"), ("mistral".into(), String::new(), Some(2)));
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
        for line in ["t qwen3 8b RTX 4090", "t budget RTX 4090 qwen3 8b", "t qwen3 8b on RTX 4090"]
        {
            assert_eq!(plan(line), ("qwen3 8b".into(), "RTX 4090".into(), None), "{line}");
        }
        assert_eq!(
            plan("t budget --gpu L4 mistral --batch 2"),
            ("mistral".into(), "L4".into(), Some(2))
        );
        assert_eq!(plan("t qwen3 8b"), ("qwen3 8b".into(), String::new(), None));
        assert!(said("t budget a b c").contains("cannot tell which of the words `a b c`"));
    }

    #[test]
    fn a_known_model_is_no_misspelt_command() {
        // `codestral` is as near to a command as `budgte` is.
        for model in ["gemma3n:e4b", "codestral", "command-r"] {
            assert_eq!(plan(&format!("t {model} 3090")).0, model);
        }
    }

    #[test]
    fn flags_may_stand_before_the_command() {
        assert_eq!(plan("t --batch 2 budget qwen3:8b 3060").2, Some(2));
    }

    #[test]
    fn flags_may_stand_before_the_model() {
        assert_eq!(plan("t --batch 2 qwen3:8b 3060"), ("qwen3:8b".into(), "3060".into(), Some(2)));
        assert!(said("t --bach 2 observe x").contains("--bach"));
    }

    #[test]
    fn what_is_nearly_a_command_is_a_mistake() {
        let text = said("t budgte L4");
        assert!(text.contains("'budget'"), "{text}");
        assert!(said("t --bach").contains("--bach"));
    }

    #[test]
    fn what_says_the_same_is_named() {
        assert!(said("t budget --input-len 4000").contains("`--context` is the prompt"));
        assert!(said("t budget --speculative-algorithm EAGLE").contains("`--draft` and `--mtp`"));
    }

    #[test]
    fn a_program_without_dashes_before_it_is_told_where_they_go() {
        assert!(said("t observe python3 x.py").contains("`-- python3 …`"));
    }
}
