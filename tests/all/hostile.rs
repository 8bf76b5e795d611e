//! Whatever a file, a path or a program says, what vramplan prints of it is text: nothing that commands a
//! terminal, hides or reorders what is read, or passes for a command of the CI that shows it.
//!
//! Colours are forced: without a terminal, escapes would be stripped on their way out, and seem absent.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A name that a terminal would obey: a colour, a title (OSC), C1, a reversal, a command of GitHub's.
const HOSTILE: &str = "a\u{1b}[31mred\u{1b}]0;pwned\u{7}\u{9b}31m\u{202e}\n::error file=a::pwned";

fn fixture(name: &str) -> String {
    format!("tests/fixtures/hostile/{name}")
}

fn vramplan(arguments: &[&str]) -> Output {
    command().args(arguments).output().unwrap()
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vramplan"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CLICOLOR_FORCE", "1")
        .env("XDG_CONFIG_HOME", "/nonexistent");
    command
}

/// What was printed on both streams, which holds nothing but text.
fn text_of(output: &Output) -> String {
    let text =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat();
    let commands = |c: &char| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}')
    };
    assert_eq!(text.chars().find(commands), None, "{text:?}");
    assert!(!text.lines().any(|line| line.starts_with("::")), "{text}");
    text
}

/// The text of a run that failed, one that says a part of what was wrong.
fn refused(arguments: &[&str], part: &str) -> String {
    let output = vramplan(arguments);
    let text = text_of(&output);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
    assert!(text.contains(part), "{arguments:?}: {text}");
    text
}

/// A file of this text in a directory of its own.
fn file(name: &str, text: impl AsRef<[u8]>) -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    fs_err::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

#[test]
fn scenarios_are_quoted_as_text() {
    let scenario = |path: &str, part| refused(&["budget", "--scenario", path], part);
    scenario(&fixture("scenario-escape.toml"), "is not a KV cache format");
    for (text, part) in [
        ("kv = \"%\"", "is not a KV cache format"),
        ("weights = \"%\"", "is not a weight format"),
        ("runtime = \"%\"", "is not a runtime"),
        ("headroom = \"%\"", "is not a size"),
        ("\"%\" = 1", "unknown field"),
        ("runtime = \"vllm\"\nruntime_version = \"%\"", "is not a version of vLLM"),
        (
            "runtime = \"transformers\"\nruntime_version = \"%\"",
            "is not a library whose version can be chosen",
        ),
        ("runtime = \"llama.cpp\"\nruntime_version = \"%\"", "is not a version of llama.cpp"),
    ] {
        let text = text.replace('%', &toml_escaped(HOSTILE));
        let (_folder, path) =
            file("s.toml", format!("gpu = \"L4\"\nmodel = \"qwen2.5-0.5b\"\n{text}\n"));
        let told = scenario(&path, part);
        assert!(told.contains("\\u{"), "{told}");
    }
    let (_folder, path) = file("s.toml", "gpu = \"L4,\\u001b[31m,\"\nmodel = \"qwen2.5-0.5b\"\n");
    scenario(&path, "has an empty name");
    let (_folder, path) = file("s.toml", "gpu = \"L4\"\n\u{1b}]0;pwned\u{7} = \n");
    scenario(&path, "TOML parse error at line 2");
}

/// As a basic string of TOML writes it.
fn toml_escaped(text: &str) -> String {
    let escaped = |c: char| format!("\\U{:08x}", u32::from(c));
    text.chars()
        .map(|c| if c.is_ascii_graphic() && c != '"' { c.to_string() } else { escaped(c) })
        .collect()
}

#[test]
fn an_error_does_not_quote_a_long_line_whole() {
    let list = "1, ".repeat(70_000);
    let (_folder, path) = file("s.toml", format!("gpu = [{list}]\n"));
    let told = refused(&["budget", "--scenario", &path], "line 1, column 7");
    assert!(told.len() < 2_000, "{} B", told.len());
    let (_folder, path) = file("t.toml", format!("schema = 1\n[[scenario]]\ngpu = [{list}]\n"));
    let told = refused(&["check", &path], "line 2: ");
    assert!(told.len() < 2_000, "{} B", told.len());
}

#[test]
fn tables_are_quoted_as_text() {
    let table = fixture("table-escape-and-command.toml");
    let output = vramplan(&["check", &table]);
    let report = text_of(&output);
    assert_eq!(output.status.code(), Some(4), "{report}");
    assert!(
        report.contains("verdict: x\\u{a}::error file=a::pwned\\u{a}\\u{1b}]0;pwned"),
        "{report}"
    );
    let output = vramplan(&["check", "--format", "github", &table]);
    let annotations = String::from_utf8(output.stdout).unwrap();
    assert_eq!(annotations.lines().count(), 1, "{annotations}");
    assert!(annotations.starts_with("::error file=tests/fixtures/hostile/"), "{annotations}");
    assert!(!annotations.trim_end().chars().any(char::is_control), "{annotations}");
    let hostile = toml_escaped(HOSTILE);
    let scenario = "schema = 1\n[[scenario]]\ngpu = \"L4\"\nmodel = \"qwen2.5-0.5b\"\n";
    for (text, code, part) in [
        (format!("{scenario}limits = {{ \"{hostile}\" = 1 }}\n"), 4, "→ nothing"),
        (format!("{scenario}kv = \"{hostile}\"\n"), 1, "is not a KV cache format"),
        (format!("schema = \"{hostile}\"\n"), 1, "expected `schema = 1`"),
        (format!("\"{hostile}\" = 1\n{scenario}"), 1, "unknown key"),
        (format!("{scenario}\u{1b}]0;pwned\u{7}"), 1, "line 5"),
    ] {
        let (_folder, path) = file("t.toml", &text);
        let output = vramplan(&["check", &path]);
        let told = text_of(&output);
        assert_eq!(output.status.code(), Some(code), "{text:?}: {told}");
        assert!(told.contains(part), "{text:?}: {told}");
    }
}

#[test]
fn a_profile_that_cannot_be_named_is_refused() {
    let profile = fixture("model-name.toml");
    for command in [&["budget", "--gpu", "L4"][..], &["sweep", "--gpu", "L4"]] {
        refused(&[command, &["--model", &profile]].concat(), "`name` = \"a\\u{1b}[31mred");
    }
}

#[test]
fn what_a_profile_says_is_shown_as_text() {
    let built_in =
        fs_err::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/gpus/l4.toml"));
    let text = built_in.unwrap().replacen("source = \"", "source = \"\u{9b}31m\u{202e}", 1);
    let text = text.replacen("schema = 1", "# \u{9b}31m\u{202e}\nschema = 1", 1);
    let text =
        text.replace("name = \"L4\"", "name = \"L4X\"").replace("aliases = [", "aliases = [] # [");
    let (folder, _) = file("l4x.toml", text);
    let profiles = folder.path().to_str().unwrap();
    let show = vramplan(&["profiles", "--profiles", profiles, "show", "L4X"]);
    assert!(text_of(&show).contains("\\u{9b}31m\\u{202e}"), "{}", text_of(&show));
    let explain = ["budget", "--profiles", profiles, "--gpu", "L4X", "--model", "qwen2.5-0.5b"];
    for more in [&["--explain", "all"][..], &["--format", "html"], &["--format", "json"]] {
        let output = vramplan(&[&explain[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
    }
}

#[test]
fn plans_to_compare_with_are_quoted_as_text() {
    let recording = "tests/fixtures/hostile/long-phase.jsonl";
    let escaped = serde_json::to_string(HOSTILE).unwrap();
    let plan = vramplan(&["budget", "--gpu", "L4", "--model", "qwen2.5-0.5b", "--format", "json"]);
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    let with = |at: &str| {
        let mut plan = plan.clone();
        *plan.pointer_mut(at).unwrap() = HOSTILE.into();
        plan.to_string()
    };
    for text in [
        format!(r#"{{"schema":{escaped}}}"#),
        with("/peak"),
        with("/peak/phase"),
        with("/components/0/id"),
        with("/verdict"),
        format!(
            r#"{{"schema":"vramplan/observe/v1","comparison":{{"plan":{{"deployment":{{}},"peak_phase":{escaped}}}}}}}"#
        ),
    ] {
        let (_folder, path) = file("plan.json", &text);
        refused(&["calibrate", "--replay", recording, "--against", &path], "is not a plan");
    }
}

#[test]
fn paths_are_quoted_as_text() {
    let folder = tempfile::tempdir().unwrap();
    let hostile = "a\u{1b}]0;pwned\u{7}\u{9b}31m\n::error::b";
    let inside = folder.path().join(hostile);
    fs_err::create_dir(&inside).unwrap();
    let missing = inside.join("no/x");
    let (inside, missing) = (inside.to_str().unwrap(), missing.to_str().unwrap());
    for arguments in [
        &["check", inside][..],
        &["check", missing],
        &["budget", "--scenario", missing],
        &["budget", "--gpu", "L4", "--model", missing],
        &["budget", "--profiles", missing, "--gpu", "L4", "--model", "qwen2.5-0.5b"],
        &["compare", missing],
        &["observe", "--replay", missing],
        &["observe", "--device", "cpu", "--record", missing, "--", "true"],
        &["calibrate", "--replay", "tests/fixtures/hostile/long-phase.jsonl", "--against", missing],
        &["synth", "--model", "qwen2.5-0.5b", "-o", inside],
        &["man", missing],
    ] {
        let output = vramplan(arguments);
        let known_flag = output.status.code() != Some(2);
        let told = text_of(&output);
        assert!(
            !known_flag || told.contains("\\u{1b}") || arguments[0] == "man",
            "{arguments:?}: {told}"
        );
    }
}

#[test]
fn a_file_name_is_no_setting_of_another_program() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a\nFROM evil\n.gguf", "a\u{1b}]0;pwned\u{7}.gguf"] {
        let path = folder.path().join(name);
        let made = vramplan(&[
            "synth",
            "--model",
            "qwen2.5-0.5b",
            "--weights",
            "q4_k_m",
            "--sparse",
            "-o",
            path.to_str().unwrap(),
        ]);
        assert_eq!(made.status.code(), Some(0), "{}", text_of(&made));
        for target in ["ollama", "llama.cpp"] {
            refused(
                &[
                    "budget",
                    "--gpu",
                    "L4",
                    "--runtime",
                    "llama.cpp",
                    "--model",
                    path.to_str().unwrap(),
                    "--emit",
                    target,
                ],
                "cannot be written into settings",
            );
        }
    }
}

#[test]
fn a_long_name_of_a_phase_fits_no_picture_and_ends_no_run() {
    let recording = fixture("long-phase.jsonl");
    for format in ["svg", "table", "markdown", "json"] {
        let output = vramplan(&["observe", "--replay", &recording, "--format", format]);
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 4)), "{format}: {code:?} {}", text_of(&output));
    }
}

/// Text that comes through a pipe, whose length nothing tells beforehand.
#[cfg(unix)]
mod pipes {
    use std::io::Write as _;

    use super::*;

    /// Runs with `input` on standard input, which is a pipe.
    fn piped(arguments: &[&str], input: &[u8]) -> Output {
        let mut child = command()
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end before it has read all.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    const ENTRY: &str = "[[scenario]]\ngpu = \"L4\"\nmodel = \"qwen2.5-0.5b\"\n";

    /// Padded with a comment to `size` bytes.
    fn padded(text: &str, size: usize) -> String {
        format!("{text}#{}\n", "x".repeat(size - text.len() - 2))
    }

    #[test]
    fn what_is_too_long_is_refused_and_not_cut() {
        const MOST: usize = 1 << 18;
        let good = padded(&format!("schema = 1\n{}", ENTRY.repeat(5)), MOST);
        let output = piped(&["check", "/dev/stdin"], good.as_bytes());
        assert_eq!(output.status.code(), Some(4), "{}", text_of(&output));
        let cut = format!("{good}[[scenario]]\ngpu = \"L4\"\nmodel = \"no-such-model\"\n");
        for arguments in [
            &["check", "/dev/stdin"][..],
            &["budget", "--scenario", "/dev/stdin"],
            &["compare", "/dev/stdin"],
        ] {
            let output = piped(arguments, cut.as_bytes());
            let told = text_of(&output);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
            assert!(told.contains("its size` = more than 262144 B"), "{arguments:?}: {told}");
        }
    }

    #[test]
    fn a_named_pipe_is_read_like_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("fifo");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let at = path.clone();
        let writer = std::thread::spawn(move || fs_err::write(at, format!("schema = 1\n{ENTRY}")));
        let output = vramplan(&["check", path.to_str().unwrap()]);
        assert!(text_of(&output).contains("1 scenario, 1 drifted"), "{}", text_of(&output));
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn a_recording_without_end_is_refused_early() {
        let output = vramplan(&["observe", "--replay", "/dev/zero"]);
        let told = text_of(&output);
        assert!(told.contains("line 1 is longer than 1048576 bytes"), "{told}");
        let header = fs_err::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hostile/long-phase.jsonl"),
        )
        .unwrap();
        let output = piped(&["observe", "--replay", "/dev/stdin"], header.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{}", text_of(&output));
    }
}
