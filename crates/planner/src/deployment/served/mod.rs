//! A server's command, as somebody would run it, as a question: what `budget -- COMMAND` plans.
//!
//! Where [`recognise`](super::recognise) answers only what is certain, here a flag that is not known is left out, and
//! named: whoever asks has typed the command and can judge that.

mod abbreviations;
mod contained;
mod peel;
mod speculation;
mod tables;

pub(super) use self::contained::served_by;
use self::peel::{CONTAINERS, Peeled, peel, split};
use self::speculation::{Failed, Told};
use self::tables::{
    AS_PLANNED, KOBOLD, LLAMA_HERE, LLAMA_PYTHON, LLAMA_VARIABLES, LM_STUDIO, OLLAMA,
    OLLAMA_VARIABLES, OTHER_PROGRAMS, OTHER_VARIABLES, SEVERAL, SGLANG_HERE, VLLM_HERE,
    format_of_method, not_planned, says_pixels,
};
use super::Question;
use super::command_line::{Effect, Flag, LLAMA, VLLM, is_switch, settle_ranks};
use super::llama_flags::{PLACED, settle_slots};
use super::seen::SGLANG;
use super::speculation::unknown;
use crate::spec::{LlamaCppVersion, OllamaVersion, Runtime, SglangVersion, VllmVersion};
use crate::text::printable;

/// A command that was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Served {
    /// What it asks for.
    pub question: Question,
    /// Flags and variables that are not known here, as they are written.
    pub left_out: Vec<String>,
    /// Flags that are known to change memory, and are not planned.
    pub not_planned: Vec<String>,
    /// What the plan takes for granted where the command is silent.
    pub note: Option<&'static str>,
    /// Whether it is a server that chooses how many slots it has.
    pub chooses_slots: bool,
    /// What else has to be said of how it is planned.
    pub remarks: Vec<String>,
}

impl Served {
    /// What it asks for beside what is asked otherwise: the slots that a llama.cpp server takes of itself give way to users or
    /// sequences that are asked for, and to a release that takes one.
    pub fn question_beside(&self, other: &Question) -> Question {
        let mut question = self.question.clone();
        let version = other.runtime_version.as_deref().or(question.runtime_version.as_deref());
        let version =
            version.map_or_else(LlamaCppVersion::default, |text| text.parse().unwrap_or_default());
        let is_told = other.users.is_some() || other.batch.is_some() || other.parallel.is_some();
        if self.chooses_slots && (is_told || !version.has_four_slots()) {
            (question.parallel, question.kv_unified) = (None, false);
        }
        question
    }
}

/// Why a command says nothing that can be planned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// A program that is not known: its name.
    Program(String),
    /// A program of an engine that is known, and not modelled: the engine.
    NotModelled(&'static str),
    /// A value that cannot be read.
    Value(String),
}

/// Reads a command: variables before it, `docker run`, `python -m`, and the flags of llama.cpp, Ollama, LM Studio,
/// `KoboldCpp`, vLLM and `SGLang`.
///
/// ```
/// use vramplan_planner::deployment::served;
///
/// let command = ["env", "OLLAMA_CONTEXT_LENGTH=8192", "ollama", "run", "qwen3:8b"];
/// let question = served(&command).unwrap().question;
/// assert_eq!((question.model.as_deref(), question.context), (Some("qwen3:8b"), Some(8192)));
/// ```
///
/// # Errors
/// Where the program is not known, or a value of a flag that is known cannot be read.
pub fn served(command: &[&str]) -> Result<Served, Unread> {
    served_of(command, None)
}

/// Reads a command, of an image with this tag where it names none itself.
fn served_of(command: &[&str], image_tag: Option<&str>) -> Result<Served, Unread> {
    let command = split(command);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let Peeled { variables, words, tag, .. } = peel(&command);
    let tag = tag.or(image_tag);
    let unknown = || {
        let program = words.first().copied().unwrap_or_default();
        let other = OTHER_PROGRAMS.iter().find(|(known, _)| program.ends_with(known));
        let name = || Unread::Program(printable(program));
        other.map_or_else(name, |(_, engine)| Unread::NotModelled(engine))
    };
    let (engine, rest) = engine(&words).ok_or_else(unknown)?;
    let mut served = Served::default();
    served.question.runtime = Some(engine.runtime());
    served.question.runtime_version = tag.and_then(|tag| version_of_tag(engine, tag));
    match engine {
        Engine::LlamaCpp => {
            served.llama_cpp(rest, &variables)?;
            let is_told = variables.iter().any(|(name, _)| *name == "LLAMA_ARG_N_PARALLEL");
            let program = words.first().filter(|_| !is_told);
            let before = served.question.parallel;
            settle_slots(program.copied().unwrap_or_default(), rest, &mut served.question);
            served.chooses_slots = served.question.parallel != before;
        }
        Engine::LlamaPython => served.llama_python(rest)?,
        Engine::Kobold => served.read(rest, &[KOBOLD], false)?,
        Engine::Ollama => served.ollama(rest, &variables)?,
        Engine::LmStudio => served.read(rest, &[LM_STUDIO], true)?,
        Engine::Vllm => served.vllm(rest, &variables)?,
        Engine::Sglang => served.sglang(rest)?,
    }
    let of_server = |name: &&str| {
        let is_own = ["VLLM_", "SGLANG_", "SGL_"].iter().any(|own| name.starts_with(own));
        is_own && !OTHER_VARIABLES.contains(name)
    };
    if let Some(method) = unknown_method(rest) {
        served.remarks.push(format!(
            "which format `--quantization {}` is of the checkpoint's files say: planned is what its name tells",
            printable(method)
        ));
    }
    let visible = variables.iter().find(|(name, _)| VISIBLE.contains(name));
    let cards_of = |list: &str| list.split(',').filter(|card| !card.is_empty()).count();
    // One is what is planned where nobody says how many there are.
    if let Some((name, value)) = visible.filter(|(_, list)| cards_of(list) > 1) {
        served.remarks.push(format!(
            "`{name}={}` lets it see {} cards: `--gpu` and `--gpus` say which are planned",
            printable(value),
            cards_of(value)
        ));
    }
    let named = variables.iter().map(|(name, _)| *name).filter(of_server);
    served.left_out.extend(named.map(printable));
    Ok(served)
}

/// The value of `--quantization` where that tells no format.
fn unknown_method<'a>(words: &[&'a str]) -> Option<&'a str> {
    let at = words.iter().position(|word| word.starts_with("--quantization"))?;
    let method = match words[at].split_once('=') {
        Some((_, method)) => method,
        None => words.get(at + 1)?,
    };
    format_of_method(method).is_none().then_some(method)
}

/// Variables that say which cards a program sees.
const VISIBLE: [&str; 3] = ["CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"];

/// The release that an image's tag names, such as `v0.14.1`, `v0.5.5.post3-cu129` or `server-cuda-b6123`; nothing for `latest` and
/// the like, and for programs whose releases are not the engine's.
fn version_of_tag(engine: Engine, tag: &str) -> Option<String> {
    let release = tag.strip_prefix('v').unwrap_or(tag).split(['-', '+']).next()?;
    let is_known = match engine {
        Engine::Vllm => release.parse::<VllmVersion>().is_ok(),
        Engine::Sglang => release.parse::<SglangVersion>().is_ok(),
        Engine::LlamaCpp => {
            return tag.rsplit('-').next().filter(|build| is_build(build)).map(str::to_owned);
        }
        Engine::Ollama => release.parse::<OllamaVersion>().is_ok(),
        Engine::LlamaPython | Engine::Kobold | Engine::LmStudio => false,
    };
    let is_number = release.starts_with(|c: char| c.is_ascii_digit());
    (is_known && is_number).then(|| release.to_owned())
}

/// Whether a word is a build of llama.cpp: `b6123`.
fn is_build(word: &str) -> bool {
    word.strip_prefix('b').is_some_and(|number| number.len() > 2 && number.parse::<u32>().is_ok())
}

/// Whether a word runs a program whose command [`served`] reads.
pub fn is_program(word: &str) -> bool {
    let runs_others = ["python", "python3", "uv", "uvx"].contains(&word);
    engine(&[word, "serve"]).is_some() || CONTAINERS.contains(&word) || runs_others
}

/// Whether an engine's flag is known to change nothing that is planned; then whether it takes a value.
pub fn changes_no_memory(flag: &str) -> Option<bool> {
    let tables = [LLAMA_HERE, LLAMA, VLLM_HERE, VLLM, SGLANG_HERE, SGLANG];
    let found = tables.into_iter().flatten().find(|(known, _)| *known == flag)?;
    match found.1 {
        Effect::Bare => Some(false),
        Effect::Value => Some(true),
        Effect::Model | Effect::Turns(_) | Effect::Switches(_) | Effect::Sets(_) => None,
    }
}

/// Programs whose flags are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    LlamaCpp,
    LlamaPython,
    Kobold,
    Ollama,
    LmStudio,
    Vllm,
    Sglang,
}

impl Engine {
    const fn runtime(self) -> Runtime {
        match self {
            Self::Ollama => Runtime::Ollama,
            Self::LlamaCpp | Self::LlamaPython | Self::Kobold | Self::LmStudio => Runtime::LlamaCpp,
            Self::Vllm => Runtime::Vllm,
            Self::Sglang => Runtime::Sglang,
        }
    }
}

/// The engine that words run, and its arguments.
fn engine<'a>(words: &'a [&'a str]) -> Option<(Engine, &'a [&'a str])> {
    let (first, rest) = words.split_first()?;
    let name = first.rsplit(['/', '\\']).next().unwrap_or(first);
    let name = name.strip_suffix(".exe").or(name.strip_suffix(".py")).unwrap_or(name);
    let engine = match name {
        "llama-server" | "llama-cli" | "llama-completion" | "llama-simple" | "llama-run"
        | "llama-mtmd-cli" | "llama-fit-params" | "llamafile" => Engine::LlamaCpp,
        // What they were called in 2024.
        "server" | "main" if first.contains('/') => Engine::LlamaCpp,
        "llama_cpp.server" => Engine::LlamaPython,
        "koboldcpp" => Engine::Kobold,
        "ollama" => Engine::Ollama,
        "lms" => return Some((Engine::LmStudio, rest.strip_prefix(&["load"]).unwrap_or(rest))),
        "vllm" | "vllm.entrypoints.cli.main" => {
            return Some((Engine::Vllm, rest.strip_prefix(&["serve"])?));
        }
        "vllm.entrypoints.openai.api_server" | "vllm.entrypoints.api_server" => Engine::Vllm,
        "sglang" => return Some((Engine::Sglang, rest.strip_prefix(&["serve"])?)),
        "sglang.launch_server" => Engine::Sglang,
        _ => return None,
    };
    Some((engine, rest))
}

/// What `PyTorch`'s allocator is told by, and how it is told that segments grow.
const ALLOCATOR_VARIABLES: [&str; 2] = ["PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"];
const EXPANDABLE: &str = "expandable_segments:True";

/// The values of a switch that engines of Python's take behind it.
const TRUTHS: [&str; 4] = ["true", "True", "false", "False"];

impl Served {
    /// Reads flags; a word that stands alone may be the model.
    fn read(&mut self, words: &[&str], tables: &[&[Flag]], positional: bool) -> Result<(), Unread> {
        let mut words = words.iter().copied().peekable();
        while let Some(word) = words.next() {
            let (name, given) = match word.split_once('=') {
                Some((name, value)) if name.starts_with('-') => (name, Some(value)),
                _ => (word, None),
            };
            let name = &*dashed(name);
            let known =
                tables.iter().flat_map(|flags| flags.iter()).find(|(flag, _)| *flag == name);
            let Some((_, effect)) = known else {
                let may_take = word.starts_with('-') && given.is_none();
                let value = words.next_if(|next| may_take && takes_value(name) && !is_flag(next));
                let others = others(name, &mut words);
                self.unknown(
                    word,
                    positional,
                    [value.or(given)].into_iter().flatten().chain(others),
                );
                continue;
            };
            match effect {
                Effect::Bare => {
                    words.next_if(|next| TRUTHS.contains(next));
                    continue;
                }
                Effect::Turns(turn) => {
                    words.next_if(|next| TRUTHS.contains(next));
                    turn(&mut self.question);
                    continue;
                }
                Effect::Switches(set) => {
                    let value = given.or_else(|| words.next_if(|word| is_switch(word)));
                    self.set(*set, name, value.unwrap_or("on"))?;
                    continue;
                }
                Effect::Model | Effect::Value | Effect::Sets(_) => {}
            }
            let missing = || Unread::Value(format!("`{name}` has no value"));
            let value = given.or_else(|| words.next()).ok_or_else(missing)?;
            match effect {
                Effect::Model => self.question.model = Some(value.to_owned()),
                Effect::Sets(set) => self.set(*set, name, value)?,
                Effect::Value => drop(others(name, &mut words)),
                Effect::Bare | Effect::Turns(_) | Effect::Switches(_) => {}
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        set: fn(&mut Question, &str) -> Result<(), String>,
        name: &str,
        value: &str,
    ) -> Result<(), Unread> {
        set(&mut self.question, value).map_err(|why| {
            let why =
                if why.is_empty() { "is not a value that is known here".to_owned() } else { why };
            Unread::Value(format!("`{name} {}` {why}", printable(value)))
        })
    }

    /// A word that is in no table: the model, or a flag that is left out.
    fn unknown<'a>(
        &mut self,
        word: &'a str,
        positional: bool,
        values: impl Iterator<Item = &'a str> + Clone,
    ) {
        const MOST: usize = 16;
        let name = &*dashed(word.split('=').next().unwrap_or(word));
        let is_planned = |(flag, as_planned): &(&str, &[&str])| {
            *flag == name && values.clone().next().is_some_and(|value| as_planned.contains(&value))
        };
        if !word.starts_with('-') && positional && self.question.model.is_none() {
            self.question.model = Some(word.to_owned());
            return;
        }
        if AS_PLANNED.iter().any(is_planned) {
            return;
        }
        let is_known = not_planned().any(|(flag, _)| *flag == name)
            || AS_PLANNED.iter().any(|(flag, _)| *flag == name);
        let named = if is_known { &mut self.not_planned } else { &mut self.left_out };
        if named.len() < MOST {
            let values = values.filter(|_| !word.contains('='));
            let words = std::iter::once(word).chain(values).map(printable);
            named.push(words.collect::<Vec<_>>().join(" "));
        }
    }

    /// Takes what was said of predictions, or says that it is not planned.
    fn settle(&mut self, settled: Result<(), Failed>) -> Result<(), Unread> {
        match settled {
            Ok(()) => Ok(()),
            Err(Failed::Refused(why)) => Err(Unread::Value(why)),
            Err(Failed::NotPlanned(words)) => {
                self.not_planned.push(printable(&words));
                Ok(())
            }
            Err(Failed::Unknown(words, ahead)) => {
                self.not_planned.push(printable(&words));
                unknown(&mut self.question, ahead);
                Ok(())
            }
        }
    }

    /// Says what of a processor's settings is not planned: all but the pixels of an image.
    fn processors(&mut self, words: &[&str]) {
        const FLAG: &str = "--mm-processor-kwargs";
        for (at, word) in words.iter().enumerate() {
            let (name, inside) = word.split_once('=').map_or((*word, None), |(n, v)| (n, Some(v)));
            let value = inside.or(words.get(at + 1).copied());
            if let Some(value) = value.filter(|text| dashed(name) == FLAG && !says_pixels(text)) {
                self.not_planned.push(printable(&format!("{FLAG} {value}")));
            }
        }
    }

    fn vllm(&mut self, words: &[&str], variables: &[(&str, &str)]) -> Result<(), Unread> {
        let grows = |(name, value): &(&str, &str)| {
            ALLOCATOR_VARIABLES.contains(name) && value.contains(EXPANDABLE)
        };
        self.question.expandable_segments = variables.iter().any(grows);
        let words = abbreviations::vllm(words)?;
        let words: Vec<&str> = words.iter().map(|word| &**word).collect();
        let (words, told) = Told::of_vllm(&words)?;
        self.processors(&words);
        self.read(&words, &[VLLM_HERE, VLLM], true)?;
        one_gpu(&mut self.question);
        let settled = told.vllm(&mut self.question);
        self.settle(settled)
    }

    fn sglang(&mut self, words: &[&str]) -> Result<(), Unread> {
        let words = abbreviations::sglang(words)?;
        let words: Vec<&str> = words.iter().map(|word| &**word).collect();
        let (words, told) = Told::of_sglang(&words)?;
        self.read(&words, &[SGLANG_HERE, SGLANG], false)?;
        self.one_engine();
        let settled = told.sglang(&mut self.question);
        self.settle(settled)
    }

    /// Without attention of their own `SGLang`'s `--dp` engines share nothing: one of them is planned, on its own cards.
    fn one_engine(&mut self) {
        let question = &mut self.question;
        let engines = question.data_parallel_size.filter(|engines| *engines > 1);
        let Some(engines) = engines.filter(|_| !question.enable_dp_attention) else {
            return one_gpu(question);
        };
        question.data_parallel_size = None;
        settle_ranks(question);
        self.remarks.push(format!(
            "`--dp {engines}` runs {engines} engines that share nothing: one of them is planned, on cards of its own"
        ));
    }

    fn llama_cpp(&mut self, words: &[&str], variables: &[(&str, &str)]) -> Result<(), Unread> {
        self.llama_variables(variables)?;
        let (words, told) = Told::of_llama(words)?;
        self.read(&words, &[LLAMA_HERE, PLACED, LLAMA], false)?;
        let settled = told.llama(&mut self.question);
        self.settle(settled)?;
        if told.is_unused_draft() {
            self.note = Some(
                "llama.cpp from 0.5.0 on loads a draft and gives it back where no `--spec-type draft-simple` uses it: planned is a \
                 draft that is used",
            );
        }
        let question = &mut self.question;
        match (question.cache_tokens, question.parallel) {
            (None, _) => {
                self.note = Some(
                    "without `-c` llama.cpp takes the model's context, or less where that does not fit: planned is what fits",
                );
            }
            (Some(cells), Some(slots)) if !question.kv_unified => {
                // A server that is told how many slots it has gives each its part (`common/arg.cpp`, `-kvu`).
                question.no_kv_unified = true;
                let each = (cells / slots).max(1);
                (question.cache_tokens, question.context) = (Some(each), Some(each));
            }
            (Some(_), _) => {}
        }
        Ok(())
    }

    /// llama.cpp takes every flag as a variable, too, and flags before variables.
    fn llama_variables(&mut self, variables: &[(&str, &str)]) -> Result<(), Unread> {
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix("LLAMA_ARG_") else { continue };
            let other = LLAMA_VARIABLES.iter().find(|(known, _)| *known == name);
            let long = || format!("--{}", name.to_ascii_lowercase().replace('_', "-"));
            let flag = other.map_or_else(long, |(_, flag)| (*flag).to_owned());
            let tables = [LLAMA_HERE, PLACED, LLAMA];
            let known = tables.into_iter().flatten().find(|(known, _)| *known == flag);
            match known {
                Some((_, Effect::Sets(set))) => self.set(*set, variable, value)?,
                Some((_, Effect::Switches(set))) => {
                    let is_off = ["0", "off", "false", "disabled"].contains(value);
                    self.set(*set, variable, if is_off { "off" } else { "on" })?;
                }
                Some((_, Effect::Model)) => self.question.model = Some((*value).to_owned()),
                Some((_, Effect::Turns(turn))) => turn(&mut self.question),
                Some((_, Effect::Bare | Effect::Value)) => {}
                None => self.left_out.push(printable(variable)),
            }
        }
        Ok(())
    }

    /// llama-cpp-python's server, whose context is 2048 tokens where nothing is said.
    fn llama_python(&mut self, words: &[&str]) -> Result<(), Unread> {
        const CONTEXT: u64 = 2048;
        self.read(words, &[LLAMA_PYTHON], false)?;
        if self.question.cache_tokens.is_none() {
            (self.question.cache_tokens, self.question.context) = (Some(CONTEXT), Some(CONTEXT));
            self.note = Some("without `--n_ctx` llama-cpp-python takes a context of 2048 tokens");
        }
        Ok(())
    }

    /// Ollama takes its settings from variables (`envconfig/config.go`), and each of its users has the whole context.
    fn ollama(&mut self, words: &[&str], variables: &[(&str, &str)]) -> Result<(), Unread> {
        let is_created = words.first() == Some(&"create");
        if let ["create", rest @ ..] = words {
            let file = rest.iter().position(|word| matches!(*word, "-f" | "--file"));
            let file = file.and_then(|at| rest.get(at + 1)).copied().unwrap_or("Modelfile");
            self.question.model = Some(file.to_owned());
        }
        let none: &[&str] = &[];
        let words = match words {
            ["create", ..] => none,
            ["run" | "serve" | "start" | "pull" | "show", rest @ ..] => rest,
            all => all,
        };
        self.read(words, &[OLLAMA], true)?;
        for (name, value) in variables {
            match OLLAMA_VARIABLES.iter().find(|(known, _)| known == name) {
                Some((_, Effect::Sets(set))) => self.set(*set, name, value)?,
                None if name.starts_with("OLLAMA_") => self.left_out.push(printable(name)),
                Some(_) | None => {}
            }
        }
        // A name without a tag is that of the newest.
        let is_bare = |model: &&mut String| !model.contains([':', '/', '\\']) && !is_created;
        if let Some(model) = self.question.model.as_mut().filter(is_bare) {
            model.push_str(":latest");
        }
        // What a model is created from says its context itself.
        self.question.own_context = self.question.context.is_none() && !is_created;
        Ok(())
    }
}

/// Whether a flag that is in no table takes the word behind it, as far as that is known.
fn takes_value(name: &str) -> bool {
    not_planned().find(|(flag, _)| *flag == name).is_none_or(|(_, takes)| *takes)
}

/// The further values of a flag that takes several.
fn others<'a>(
    name: &str,
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
) -> Vec<&'a str> {
    let more = |words: &mut std::iter::Peekable<_>| words.next_if(|word: &&str| !is_flag(word));
    if !SEVERAL.contains(&name) {
        return Vec::new();
    }
    std::iter::from_fn(|| more(words)).collect()
}

/// Long flags of Python's programs may be written with `_` for `-`.
fn dashed(name: &str) -> std::borrow::Cow<'_, str> {
    match name.strip_prefix("--") {
        Some(long) if long.contains('_') => format!("--{}", long.replace('_', "-")).into(),
        _ => name.into(),
    }
}

/// Whether a word is a flag, and no negative number.
fn is_flag(word: &str) -> bool {
    word.starts_with('-') && word.parse::<f64>().is_err()
}

/// A server of one GPU says nothing of how many there are.
fn one_gpu(question: &mut Question) {
    settle_ranks(question);
    question.gpus = question.gpus.filter(|gpus| *gpus > 1);
}

#[cfg(test)]
mod tests;
