//! Words that stand alone, without flags: the model, and in any order the cards, the context, the runtime, users.
//!
//! `qwen3-32b 4090 32k`, `llama 3.3 70b on 2x3090 with 8k`, `will qwen3-8b fit on an L4?`

use std::ffi::{OsStr, OsString};

use super::manifest::is_manifest;
use vramplan_planner::deployment::are_cards;
use vramplan_planner::dtype::WeightFormat;
use vramplan_planner::read::Catalog;
use vramplan_planner::spec::Runtime;
use vramplan_planner::units::Bytes;

/// More words than a question has.
const MOST: usize = 24;

/// Words that say nothing where the model and the card stand.
const BETWEEN: [&str; 7] = ["on", "for", "with", "in", "at", "using", "via"];

/// Words that begin a question, and those that are then no model.
const ASKS: [&str; 9] = ["will", "can", "could", "does", "do", "how", "which", "what", "is"];
const ASKED: [&str; 34] = [
    "will", "can", "could", "does", "do", "how", "which", "what", "is", "much", "many", "i", "we",
    "you", "it", "run", "runs", "fit", "fits", "load", "serve", "host", "use", "get", "have",
    "need", "needs", "take", "vram", "memory", "context", "tokens", "users", "there",
];

/// Articles, which are none where a model's name has them.
const ARTICLES: [&str; 4] = ["a", "an", "the", "my"];

/// Words for the context beside its number.
const TOKENS: [&str; 4] = ["context", "ctx", "tokens", "token"];

/// Words for users beside their number.
const USERS: [&str; 4] = ["users", "user", "people", "requests"];

/// What words say that stand alone.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub model: Option<OsString>,
    pub gpu: Option<OsString>,
    pub context: Option<OsString>,
    pub runtime: Option<OsString>,
    pub users: Option<OsString>,
    pub weights: Option<OsString>,
    /// A file whose engine is planned, which the other words say more of.
    pub manifest: Option<OsString>,
}

impl Told {
    /// As flags of `budget`.
    pub fn into_flags(self) -> Vec<OsString> {
        let context = if self.users.is_some() { "--context-per-user" } else { "--context" };
        let flags = [
            ("--model", self.model),
            ("--gpu", self.gpu),
            (context, self.context),
            ("--runtime", self.runtime),
            ("--users", self.users),
            ("--weights", self.weights),
            ("--scenario", self.manifest),
        ];
        let given = flags.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
        given.flat_map(|(flag, value)| [flag.into(), value]).collect()
    }
}

/// What the words say; nothing where they do not say which of them is what.
pub fn told(words: &[OsString]) -> Option<Told> {
    if words.is_empty() || words.len() > MOST {
        return None;
    }
    let is_file = |word: &OsString| word.to_str().is_some_and(is_manifest);
    if let Some(at) = words.iter().position(is_file) {
        let others = [&words[..at], &words[at + 1..]].concat();
        let told = if others.is_empty() { Told::default() } else { told(&others)? };
        return Some(Told { manifest: Some(words[at].clone()), ..told });
    }
    let mut words: Vec<OsString> = words.to_vec();
    without_question(&mut words);
    words.retain(|word| !is_any(word, &BETWEEN));
    let mut told = Told::default();
    // A number is the context where it is no card, so that the cards are found first.
    let whole = joined(&words);
    if is_card(&whole) {
        return Some(Told { gpu: Some(whole), ..told });
    }
    let (rest, gpu) = split(&words);
    told.gpu = gpu;
    let mut rest = told.limits(rest);
    told.weights = format(&mut rest);
    match (rest.as_slice(), &told.gpu) {
        ([], _) => Some(told),
        ([one], _) => Some(Told { model: Some(one.clone()), ..told }),
        (rest, gpu) if gpu.is_some() || is_model(&joined(rest)) => {
            Some(Told { model: Some(joined(rest)), ..told })
        }
        // Two words of which neither is known: the errors of both say more than one that cannot tell them apart.
        ([model, gpu], None) => {
            Some(Told { model: Some(model.clone()), gpu: Some(gpu.clone()), ..told })
        }
        _ => None,
    }
}

impl Told {
    /// Takes the context, the runtime and the users out of the words.
    fn limits(&mut self, words: Vec<OsString>) -> Vec<OsString> {
        let mut rest: Vec<OsString> = Vec::new();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            if is_any(&word, &TOKENS) && words.peek().is_some_and(is_number) {
                self.context = words.next();
            } else if is_number(&word) && words.peek().is_some_and(|next| is_any(next, &USERS)) {
                self.users = Some(word);
                words.next();
            } else if is_context(&word) && !rest.is_empty() {
                self.context = Some(word);
                words.next_if(|next| is_any(next, &TOKENS));
            } else if is_runtime(&word) && !rest.is_empty() {
                self.runtime = Some(word);
            } else {
                rest.push(word);
            }
        }
        rest
    }
}

/// Takes the format of the weights out of the words, where it stands last and the name is not known with it.
fn format(words: &mut Vec<OsString>) -> Option<OsString> {
    let (last, model) = words.split_last()?;
    let is_one = !model.is_empty()
        && is_format(last)
        && !is_model(&joined(words))
        && is_model(&joined(model));
    if is_one { words.pop() } else { None }
}

/// Takes the words of a question away, where it is one.
fn without_question(words: &mut Vec<OsString>) {
    if let Some(last) = words.last_mut()
        && let Some(text) = last.to_str()
    {
        *last = text.trim_end_matches('?').into();
    }
    if words.first().is_some_and(|word| is_any(word, &ASKS)) {
        words.retain(|word| !is_any(word, &ASKED) && !is_any(word, &ARTICLES));
    }
    // `on a 4090`; elsewhere it may be of a name: `command a`.
    let mut after = false;
    words.retain(|word| {
        let is_dropped = after && is_any(word, &ARTICLES);
        after = is_any(word, &BETWEEN);
        !is_dropped
    });
    words.retain(|word| !word.is_empty());
}

/// The words without the run of them that names cards, and that run: of several the one beside which a known model stands,
/// then the longest, so that it is `RTX 4090` and not `4090`, then the last.
fn split(words: &[OsString]) -> (Vec<OsString>, Option<OsString>) {
    let runs =
        (0..words.len()).flat_map(|start| (start + 1..=words.len()).map(move |end| start..end));
    let cards = runs.filter(|run| is_card(&joined(&words[run.clone()])));
    let others = |run: &std::ops::Range<usize>| [&words[..run.start], &words[run.end..]].concat();
    let best = cards.max_by_key(|run| {
        let rest = Told::default().limits(others(run));
        (!rest.is_empty() && is_model(&joined(&rest)), !rest.is_empty(), run.len(), run.start)
    });
    match best {
        Some(run) => (others(&run), Some(joined(&words[run]))),
        None => (words.to_vec(), None),
    }
}

fn joined(words: &[OsString]) -> OsString {
    words.join(OsStr::new(" "))
}

fn is_any(word: &OsString, known: &[&str]) -> bool {
    known.iter().any(|known| word.eq_ignore_ascii_case(known))
}

/// `32k`, or a number of tokens; the numbers in names, such as that of `qwen 3`, are smaller.
fn is_context(word: &OsString) -> bool {
    const SMALLEST: u64 = 512;
    let Some(text) = word.to_str() else { return false };
    let thousands = text.strip_suffix(['k', 'K']);
    let is_thousands = thousands.is_some_and(|number| number.parse::<u64>().is_ok());
    is_thousands || text.parse::<u64>().is_ok_and(|tokens| tokens >= SMALLEST)
}

fn is_number(word: &OsString) -> bool {
    let text = word.to_str().unwrap_or_default();
    let digits = text.strip_suffix(['k', 'K']).unwrap_or(text);
    digits.parse::<u64>().is_ok()
}

fn is_runtime(word: &OsString) -> bool {
    word.to_str().is_some_and(|word| word.parse::<Runtime>().is_ok())
}

/// Whether a word is a format of weights, or one that people say for several, of which the error tells them.
fn is_format(word: &OsString) -> bool {
    const SEVERAL: [&str; 7] = ["int4", "int8", "4bit", "8bit", "4-bit", "8-bit", "q4"];
    let format = word.to_str().is_some_and(|word| word.parse::<WeightFormat>().is_ok());
    format || is_any(word, &SEVERAL)
}

/// Whether a word names cards; `8b` is the size of a model, not that of a card.
pub fn is_card(word: &OsStr) -> bool {
    const SMALLEST: Bytes = Bytes::new(1 << 30);
    let Some(word) = word.to_str() else { return false };
    word.parse().map_or(true, |size: Bytes| size >= SMALLEST)
        && are_cards(word, &Catalog::built_in())
}

/// Whether a word names a model that is known.
pub fn is_model(word: &OsStr) -> bool {
    word.to_str().is_some_and(|word| Catalog::built_in().model(word).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flags that a line stands for, or an empty line.
    fn flags(line: &str) -> String {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let flags = told(&words).map(Told::into_flags).unwrap_or_default();
        joined(&flags).into_string().unwrap()
    }

    #[test]
    fn a_model_a_card_and_a_context_in_any_order() {
        let meant = "--model qwen3-32b --gpu 4090 --context 32k";
        for line in [
            "qwen3-32b 4090 32k",
            "qwen3-32b 32k 4090",
            "4090 qwen3-32b 32k",
            "qwen3-32b on a 4090 with 32k context",
            "qwen3-32b on 4090 at ctx 32k",
            "will qwen3-32b fit on a 4090 with 32k?",
        ] {
            assert_eq!(flags(line), meant, "{line}");
        }
    }

    #[test]
    fn numbers_of_cards_and_of_names_are_no_context() {
        assert_eq!(flags("qwen3-8b 3090 4096"), "--model qwen3-8b --gpu 3090 --context 4096");
        assert_eq!(flags("qwen3-8b RTX 4090"), "--model qwen3-8b --gpu RTX 4090");
        assert_eq!(flags("qwen3 8b RTX 4090"), "--model qwen3 8b --gpu RTX 4090");
        assert_eq!(flags("llama 3.3 70b 2x3090"), "--model llama 3.3 70b --gpu 2x3090");
        assert_eq!(flags("minimax m2 8xH100"), "--model minimax m2 --gpu 8xH100");
        assert_eq!(flags("command a a100-80gb"), "--model command a --gpu a100-80gb");
        assert_eq!(flags("8192"), "--model 8192");
    }

    #[test]
    fn a_manifest_says_what_other_words_do_not() {
        assert_eq!(flags("chat.yaml L4"), "--gpu L4 --scenario chat.yaml");
        assert_eq!(flags("rtx 4090 compose.yml#chat"), "--gpu rtx 4090 --scenario compose.yml#chat");
        assert_eq!(flags("- L4 8k"), "--model 8k --gpu L4 --scenario -");
        let meant = "--model qwen3-8b --gpu L4 --scenario compose.yml";
        assert_eq!(flags("compose.yml qwen3-8b L4"), meant);
        assert_eq!(flags("values.yaml"), "--scenario values.yaml");
    }

    #[test]
    fn runtimes_users_and_formats() {
        assert_eq!(flags("qwen3-8b 3060 ollama"), "--model qwen3-8b --gpu 3060 --runtime ollama");
        assert_eq!(
            flags("qwen3-8b L4 vllm 8k 16 users"),
            "--model qwen3-8b --gpu L4 --context-per-user 8k --runtime vllm --users 16"
        );
        assert_eq!(flags("qwen3-8b 3060 fp16"), "--model qwen3-8b fp16 --gpu 3060");
        assert_eq!(flags("qwen3-8b fp8 L4"), "--model qwen3-8b --gpu L4 --weights fp8");
        assert_eq!(flags("qwen3-8b L4 int4"), "--model qwen3-8b --gpu L4 --weights int4");
        assert_eq!(flags("ollama"), "--model ollama");
    }

    #[test]
    fn questions_have_words_that_are_none_of_these() {
        for line in [
            "how much context does qwen3-8b get on a 3060",
            "can i run qwen3-8b on my 3060?",
            "does qwen3-8b fit in 3060",
        ] {
            assert_eq!(flags(line), "--model qwen3-8b --gpu 3060", "{line}");
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_not() {
        assert_eq!(flags("a b c"), "");
        assert_eq!(flags("a b"), "--model a --gpu b");
        assert_eq!(flags(&"a ".repeat(40)), "");
    }
}
