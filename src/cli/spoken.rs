//! Words that stand alone, without flags: the model, and in any order the cards, the context, the runtime, users.
//!
//! `qwen3-32b 4090 32k`, `llama 3.3 70b on 2x3090 with 8k`, `will qwen3-8b fit on an L4?`

use std::ffi::{OsStr, OsString};
use std::ops::Range;

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

/// Words for memory beside its size.
const MEMORY: [&str; 4] = ["ram", "vram", "memory", "gpu"];

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
    pub kv: Option<OsString>,
    pub ram: Option<OsString>,
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
            ("--kv", self.kv),
            ("--ram", self.ram),
            ("--scenario", self.manifest),
        ];
        let given = flags.into_iter().filter_map(|(flag, value)| Some((flag, value?)));
        given.flat_map(|(flag, value)| [flag.into(), value]).collect()
    }
}

/// What the words say; nothing where they do not say which of them is what, or say one thing twice.
pub fn told(words: &[OsString]) -> Option<Told> {
    let mut words = one_by_one(words);
    if words.is_empty() || words.len() > MOST {
        return None;
    }
    let is_file = |word: &OsString| word.to_str().is_some_and(is_manifest);
    if let Some(at) = words.iter().position(is_file) {
        let manifest = Some(words.remove(at));
        let told = if words.is_empty() { Told::default() } else { told(&words)? };
        return Some(Told { manifest, ..told });
    }
    without_question(&mut words);
    words.retain(|word| !is_any(word, &BETWEEN));
    let whole = joined(&words);
    // A number is the context where it is no card, so that the cards are found first.
    if is_card(&whole) && !is_model(&whole) {
        return Some(Told { gpu: Some(whole), ..Told::default() });
    }
    let mut told = Told::default();
    let words = told.cards(words)?;
    let mut rest = told.limits(words)?;
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

/// The words of one argument that holds a whole question.
fn one_by_one(words: &[OsString]) -> Vec<OsString> {
    let text = match words {
        [only] if !is_model(only) && !is_card(only) => only.to_str(),
        _ => None,
    };
    let is_path = |text: &str| text.contains(['/', '\\']);
    match text.filter(|text| !is_path(text)) {
        Some(text) => text.split_whitespace().map(OsString::from).collect(),
        None => words.to_vec(),
    }
}

impl Told {
    /// Takes the cards out of the words, and the size of main memory beside one that has a name; nothing where there are
    /// two of these.
    fn cards(&mut self, words: Vec<OsString>) -> Option<Vec<OsString>> {
        let mut rest = words;
        let mut found: Vec<(usize, OsString)> = Vec::new();
        while !is_model(&joined(&without_limits(&rest))) {
            let Some(run) = run_of_cards(&rest) else { break };
            let card = joined(&rest[run.clone()]);
            // Where the words before it stood, for the order in which cards are named.
            let at = found.iter().filter(|(at, _)| *at <= run.start).count() + run.start;
            rest.drain(run.clone());
            if rest.get(run.start).is_some_and(|next| is_any(next, &MEMORY)) {
                rest.remove(run.start);
            }
            match is_size(&card) && !found.is_empty() {
                true if self.ram.is_some() => return None,
                true => self.ram = Some(card),
                false => found.push((at, card)),
            }
        }
        found.sort_by_key(|(at, _)| *at);
        let names: Vec<OsString> = found.into_iter().map(|(_, card)| card).collect();
        self.gpu = (!names.is_empty()).then(|| names.join(OsStr::new(",")));
        Some(rest)
    }

    /// Takes the context, the runtime, the users and the format of the cache out of the words; nothing where one of them is
    /// said twice.
    fn limits(&mut self, words: Vec<OsString>) -> Option<Vec<OsString>> {
        let mut rest: Vec<OsString> = Vec::new();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let next = words.peek();
            let (said, value) = if is_any(&word, &TOKENS) && next.is_some_and(is_number) {
                (&mut self.context, words.next())
            } else if is_any(&word, &["kv"]) && next.is_some() {
                (&mut self.kv, words.next())
            } else if is_number(&word) && next.is_some_and(|next| is_any(next, &USERS)) {
                words.next();
                (&mut self.users, Some(word))
            } else if is_context(&word) && !rest.is_empty() {
                words.next_if(|next| is_any(next, &TOKENS));
                (&mut self.context, Some(word))
            } else if is_runtime(&word) && !rest.is_empty() {
                (&mut self.runtime, Some(word))
            } else if is_any(&word, &["lm"]) && next.is_some_and(|next| is_any(next, &["studio"])) {
                words.next();
                (&mut self.runtime, Some("lmstudio".into()))
            } else {
                rest.push(word);
                continue;
            };
            if said.is_some() {
                return None;
            }
            *said = value;
        }
        Some(rest)
    }
}

/// The words without limits, for whether they name a model.
fn without_limits(words: &[OsString]) -> Vec<OsString> {
    let mut rest = Told::default().limits(words.to_vec()).unwrap_or_else(|| words.to_vec());
    format(&mut rest);
    rest
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

/// The run of words that names cards: of several the one beside which a known model stands, then one with a name rather than
/// a size, then the longest, so that it is `RTX 4090` and not `4090`, then the last.
fn run_of_cards(words: &[OsString]) -> Option<Range<usize>> {
    let runs =
        (0..words.len()).flat_map(|start| (start + 1..=words.len()).map(move |end| start..end));
    let cards = runs.filter(|run| is_card(&joined(&words[run.clone()])));
    cards.max_by_key(|run| {
        let others = [&words[..run.start], &words[run.end..]].concat();
        let rest = without_limits(&others);
        let is_named = !is_size(&joined(&words[run.clone()]));
        (
            is_named,
            !rest.is_empty() && is_model(&joined(&rest)),
            !rest.is_empty(),
            run.len(),
            run.start,
        )
    })
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
    let is_card = is_card(word);
    is_thousands || !is_card && text.parse::<u64>().is_ok_and(|tokens| tokens >= SMALLEST)
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

/// Whether a word is a size, which is a card of that size, or main memory.
fn is_size(word: &OsStr) -> bool {
    let Some(word) = word.to_str() else { return false };
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == ' ');
    unit.len() < word.len()
        && ["g", "gb", "gib"].iter().any(|known| unit.eq_ignore_ascii_case(known))
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
        assert_eq!(
            flags("rtx 4090 compose.yml#chat"),
            "--gpu rtx 4090 --scenario compose.yml#chat"
        );
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
    fn every_card_is_one() {
        assert_eq!(flags("qwen3-32b 4090 5090"), "--model qwen3-32b --gpu 4090,5090");
        assert_eq!(flags("5090 qwen3-32b 4090"), "--model qwen3-32b --gpu 5090,4090");
        assert_eq!(
            flags("qwen3-32b 3090 3090 8k"),
            "--model qwen3-32b --gpu 3090,3090 --context 8k"
        );
        assert_eq!(
            flags("gpt-oss-120b 4090 64gb 32k"),
            "--model gpt-oss-120b --gpu 4090 --context 32k --ram 64gb"
        );
        assert_eq!(flags("qwen3-32b 4090 64gb ram"), "--model qwen3-32b --gpu 4090 --ram 64gb");
        assert_eq!(flags("qwen3-32b 24gb vram"), "--model qwen3-32b --gpu 24gb vram");
        assert_eq!(flags("qwen3-8b 9060 xt"), "--model qwen3-8b --gpu 9060 xt");
        assert_eq!(flags("minimax m2"), "--model minimax m2");
    }

    #[test]
    fn caches_have_formats_and_a_question_may_be_one_word() {
        assert_eq!(flags("qwen3-8b L4 kv q8_0"), "--model qwen3-8b --gpu L4 --kv q8_0");
        assert_eq!(
            flags("qwen3-8b 3060 lm studio"),
            "--model qwen3-8b --gpu 3060 --runtime lmstudio"
        );
        let question = OsString::from("will qwen3-8b fit on an L4?");
        let flags = told(&[question]).unwrap().into_flags();
        assert_eq!(joined(&flags), "--model qwen3-8b --gpu L4");
    }

    #[test]
    fn what_cannot_be_told_apart_is_not() {
        assert_eq!(flags("qwen3-8b L4 8k 16k"), "");
        assert_eq!(flags("a b c"), "");
        assert_eq!(flags("a b"), "--model a --gpu b");
        assert_eq!(flags(&"a ".repeat(40)), "");
    }
}
