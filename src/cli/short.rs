//! llama.cpp's own short flags, which have more than one letter: `-ngl 20` is `--ngl 20`.

use std::ffi::OsString;

/// Its flags, and what they are called here.
const FLAGS: [(&str, &str); 12] = [
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
];

/// The arguments with those flags as they are called here; what comes after `--` is another program's.
pub fn rewritten(arguments: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut is_ours = true;
    arguments.map(move |argument| {
        is_ours &= argument != "--";
        let known = FLAGS.iter().find(|(short, _)| is_ours && argument == *short);
        known.map_or(argument, |(_, long)| OsString::from(long))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_before_the_program_are_rewritten() {
        let given = ["budget", "-ngl", "20", "-ot", "exps=CPU", "--", "-ngl", "-b"];
        let found: Vec<_> = rewritten(given.into_iter().map(OsString::from)).collect();
        let expected =
            ["budget", "--ngl", "20", "--override-tensor", "exps=CPU", "--", "-ngl", "-b"];
        assert_eq!(found, expected);
    }
}
