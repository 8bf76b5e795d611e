//! Engines' own flags that clap has no word for: llama.cpp's short ones, which have more than one letter (`-ngl 20` is
//! `--ngl 20`), types of keys and values apart, and `auto` where it means what is done anyway.

use std::ffi::{OsStr, OsString};

/// llama.cpp's and vLLM's flags, and what they are called here.
const FLAGS: [(&str, &str); 14] = [
    ("-ngl", "--ngl"),
    ("-ncmoe", "--n-cpu-moe"),
    ("-cmoe", "--cpu-moe"),
    ("-ot", "--override-tensor"),
    ("-ts", "--tensor-split"),
    ("-sm", "--split-mode"),
    ("-mg", "--main-gpu"),
    ("-nkvo", "--no-kv-offload"),
    ("-ub", "--prefill-chunk"),
    ("-np", "--parallel"),
    ("-kvu", "--kv-unified"),
    ("-b", "--batch-size"),
    ("-md", "--draft"),
    ("-tp", "--tensor-parallel-size"),
];

/// Flags whose `auto` is the default.
const AUTO: [&str; 4] = ["--kv", "--kv-cache-dtype", "--attention", "--runtime-version"];

/// The arguments with those flags as they are called here; what comes after `--` is another program's.
pub fn rewritten(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.peekable();
    let mut written = Vec::new();
    let mut types = Types::default();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            written.extend(types.take());
            written.push(argument);
            break;
        }
        if types.reads(&argument, || arguments.next()) {
            continue;
        }
        let is_auto = |value: &OsString| value.eq_ignore_ascii_case("auto");
        if AUTO.iter().any(|flag| argument == *flag) && arguments.peek().is_some_and(is_auto) {
            arguments.next();
            continue;
        }
        if argument == "-fa" || argument == "--flash-attn" {
            let value = arguments.next_if(|value| Flash::of(value).is_some());
            let flash = value.as_deref().and_then(Flash::of).unwrap_or(Flash::Kind("flash"));
            let attention = match flash {
                Flash::Kind(kind) => Some(kind),
                Flash::Auto => None,
            };
            written
                .extend(attention.into_iter().flat_map(|kind| ["--attention".into(), kind.into()]));
            continue;
        }
        let known = FLAGS.iter().find(|(short, _)| argument == *short);
        written.push(known.map_or(argument, |(_, long)| OsString::from(long)));
    }
    written.extend(types.take());
    written.extend(arguments);
    written
}

/// A value of `-fa`.
enum Flash {
    /// The attention that it is.
    Kind(&'static str),
    /// llama.cpp decides, as it does without the flag.
    Auto,
}

impl Flash {
    /// Reads one; nothing for what is no such value.
    fn of(value: &OsStr) -> Option<Self> {
        match value.to_str()? {
            "on" | "1" | "true" | "enabled" => Some(Self::Kind("flash")),
            "off" | "0" | "false" | "disabled" => Some(Self::Kind("eager")),
            "auto" | "-1" => Some(Self::Auto),
            _ => None,
        }
    }
}

/// `-ctk` and `-ctv`, which are one flag here; the one that is not given is `f16`, as in llama.cpp.
#[derive(Default)]
struct Types {
    keys: Option<OsString>,
    values: Option<OsString>,
}

impl Types {
    /// Whether it was one of them, and was read.
    fn reads(&mut self, argument: &OsStr, value: impl FnOnce() -> Option<OsString>) -> bool {
        let side = match argument.to_str() {
            Some("-ctk" | "--cache-type-k") => &mut self.keys,
            Some("-ctv" | "--cache-type-v") => &mut self.values,
            _ => return false,
        };
        *side = Some(value().unwrap_or_default());
        true
    }

    fn take(&mut self) -> Vec<OsString> {
        let (keys, values) = (self.keys.take(), self.values.take());
        if keys.is_none() && values.is_none() {
            return Vec::new();
        }
        let mut pair = keys.unwrap_or_else(|| "f16".into());
        pair.push("/");
        pair.push(values.unwrap_or_else(|| "f16".into()));
        vec!["--kv".into(), pair]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str) -> String {
        let words = line.split(' ').map(OsString::from);
        rewritten(words).join(OsStr::new(" ")).into_string().unwrap()
    }

    #[test]
    fn flags_before_the_program_are_rewritten() {
        assert_eq!(
            written("budget -ngl 20 -ot exps=CPU -- -ngl -b"),
            "budget --ngl 20 --override-tensor exps=CPU -- -ngl -b"
        );
        assert_eq!(
            written("budget -md small -- -ctk q8_0 -fa"),
            "budget --draft small -- -ctk q8_0 -fa"
        );
    }

    #[test]
    fn types_of_keys_and_values_are_one_flag() {
        assert_eq!(written("b -ctk q8_0 -ctv q4_0 -c 1"), "b -c 1 --kv q8_0/q4_0");
        assert_eq!(written("b --cache-type-k q8_0 -- x"), "b --kv q8_0/f16 -- x");
    }

    #[test]
    fn attention_and_what_is_done_anyway() {
        assert_eq!(written("b -fa on -c 1"), "b --attention flash -c 1");
        assert_eq!(written("b -fa -c 1"), "b --attention flash -c 1");
        assert_eq!(written("b -fa off"), "b --attention eager");
        assert_eq!(written("b -fa auto --kv auto --kv q8_0"), "b --kv q8_0");
    }
}
