//! Beginnings of flags, which parsers of Python's take for the one flag that begins so: `--gpu-mem 0.8`.
//!
//! vLLM's `FlexibleArgumentParser` and `SGLang`'s `ArgumentParser` leave `allow_abbrev` of `argparse` on.

use std::borrow::Cow;

use super::super::command_line::{Flag, VLLM};
use super::super::seen::SGLANG;
use super::speculation::{of_sglang, of_vllm};
use super::tables::{
    AS_PLANNED, NOT_PLANNED_SGLANG, NOT_PLANNED_VLLM, SGLANG_HERE, VLLM_HERE, WRITTEN_OUT,
};
use super::{Unread, dashed};
use crate::text::printable;

/// vLLM's words with its flags written out.
///
/// # Errors
/// Where several flags begin so.
pub(super) fn vllm<'a>(words: &[&'a str]) -> Result<Vec<Cow<'a, str>>, Unread> {
    let tables = [VLLM_HERE, VLLM];
    written_out(words, &known(&tables, NOT_PLANNED_VLLM, of_vllm()))
}

/// The same of `SGLang`'s.
///
/// # Errors
/// As [`vllm`].
pub(super) fn sglang<'a>(words: &[&'a str]) -> Result<Vec<Cow<'a, str>>, Unread> {
    let tables = [SGLANG_HERE, SGLANG];
    written_out(words, &known(&tables, NOT_PLANNED_SGLANG, of_sglang()))
}

/// Every long flag of an engine that is known here.
fn known(
    tables: &[&[Flag]],
    not_planned: &[(&'static str, bool)],
    predictions: impl Iterator<Item = &'static str>,
) -> Vec<&'static str> {
    let read = tables.iter().flat_map(|table| table.iter().map(|(flag, _)| *flag));
    let others = not_planned.iter().map(|(flag, _)| *flag);
    let all = read.chain(others).chain(predictions);
    let mut flags: Vec<_> = all.filter(|flag| flag.starts_with("--")).collect();
    flags.sort_unstable();
    flags.dedup();
    flags
}

fn written_out<'a>(words: &[&'a str], flags: &[&'static str]) -> Result<Vec<Cow<'a, str>>, Unread> {
    words.iter().map(|word| written(word, flags)).collect()
}

fn written<'a>(word: &'a str, flags: &[&'static str]) -> Result<Cow<'a, str>, Unread> {
    let (name, value) =
        word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    let name = dashed(name);
    let is_whole = |flag: &str| flag == name;
    let is_known = flags.iter().any(|flag| is_whole(flag))
        || WRITTEN_OUT.iter().any(|flag| is_whole(flag))
        || AS_PLANNED.iter().any(|(flag, _)| is_whole(flag));
    if !name.starts_with("--") || name.len() <= 2 || is_known {
        return Ok(word.into());
    }
    let mut begin = flags.iter().filter(|flag| flag.starts_with(&*name));
    match (begin.next(), begin.next()) {
        (Some(flag), None) => {
            Ok(value.map_or(Cow::Borrowed(*flag), |value| format!("{flag}={value}").into()))
        }
        (Some(first), Some(second)) => {
            let all = [*first, *second].into_iter().chain(begin.copied());
            let all: Vec<_> = all.map(|flag| format!("`{flag}`")).collect();
            let name = printable(&name);
            Err(Unread::Value(format!("`{name}` may be any of {}: write it out", all.join(", "))))
        }
        (None, _) => Ok(word.into()),
    }
}
