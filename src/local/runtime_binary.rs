//! The version of the user's own build of llama.cpp, as the program tells it.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vramplan_planner::spec::LlamaCppVersion;
use vramplan_planner::text::{printable, printable_path};

/// How long a program may take to say its version: it may look for GPUs first.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much it may say.
const MOST: u64 = 64 << 10;

/// What a program says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The version, as `--runtime-version` takes it.
    pub version: LlamaCppVersion,
    /// The line that says so.
    pub line: String,
}

/// Runs `PATH --version` and reads what it says.
///
/// # Errors
/// With a message where it cannot be started, does not end in time, or names no version.
pub fn version_of(program: &Path) -> Result<Told, String> {
    let name = printable_path(program);
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("`{name}` cannot be started: {error}"))?;
    let streams = [
        child.stdout.take().map(|stream| read_aside(Box::new(stream))),
        child.stderr.take().map(|stream| read_aside(Box::new(stream))),
    ];
    let ended = wait(&mut child);
    if !ended {
        // What it is asked for takes it a moment; a program that hangs is ended.
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("`{name} --version` did not end within {} s", PATIENCE.as_secs()));
    }
    let said: Vec<String> =
        streams.into_iter().flatten().filter_map(|reader| reader.join().ok()).collect();
    told(&said.join("\n")).ok_or_else(|| {
        format!(
            "`{name} --version` names no version: expected a line such as `version: 9918 (0c1e570)`"
        )
    })
}

fn read_aside(stream: Box<dyn std::io::Read + Send>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let mut stream = stream.take(MOST);
        let _ = stream.read_to_end(&mut said);
        // What is beyond is thrown away, so that the program can end.
        let _ = std::io::copy(stream.get_mut(), &mut std::io::sink());
        String::from_utf8_lossy(&said).into_owned()
    })
}

/// Whether a program ended in time.
fn wait(child: &mut Child) -> bool {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        match child.try_wait() {
            Ok(None) => std::thread::sleep(Duration::from_millis(20)),
            Ok(Some(_)) | Err(_) => return true,
        }
    }
    false
}

/// The version that a text names: `version: 9918 (0c1e570)` of a build, `version: 0.8.0-dev (b12033-785322d)` of a
/// release, where the number of the build wins.
fn told(text: &str) -> Option<Told> {
    let line = text.lines().find(|line| line.trim_start().starts_with("version:"))?;
    let cut = |c: char| c.is_whitespace() || "(),:-".contains(c);
    let words: Vec<&str> = line.split(cut).filter(|word| !word.is_empty()).collect();
    // Builds from sources without a history call themselves 0 or 1.
    let real = |number: &&&str| number.parse::<u32>().is_ok_and(|number| number > 1);
    let build = words.iter().find(|word| {
        word.strip_prefix('b').is_some_and(|number| {
            (4..=5).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    });
    let number = words
        .iter()
        .find(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()));
    let release = words.iter().find(|word| word.contains('.'));
    let numbered = words.iter().position(|word| *word == "build").and_then(|at| words.get(at + 1));
    let named = numbered
        .filter(real)
        .map(|number| format!("b{number}"))
        .or_else(|| build.map(|word| (*word).to_owned()))
        .or_else(|| release.map(|word| (*word).to_owned()))
        .or_else(|| number.filter(real).map(|number| format!("b{number}")))?;
    let version = named.parse().ok()?;
    Some(Told { version, line: printable(line.trim()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_say_their_version_in_several_ways() {
        for (text, version) in [
            ("version: 9918 (0c1e570)\nbuilt with cc 12.2 for x86_64", "b9918"),
            ("ggml_cuda_init: found 1 CUDA devices:\nversion: 6900 (abc1234)", "b6900"),
            ("version: 0.8.0-dev (785322d)", "0.8.0"),
            ("version: 0.6.0", "0.6.0"),
            ("version: 0.8.0-dev (b12033-785322d)", "b12033"),
            ("version: 0.8.0-dev (build 12033, commit b1234567)", "b12033"),
            ("version: 0.8.0 (build 0, commit unknown)", "0.8.0"),
        ] {
            assert_eq!(told(text).unwrap().version.to_string(), version, "{text}");
        }
        for text in ["", "usage: x", "version:", "version: 0 (unknown)", "version: 1 (unknown)"] {
            assert_eq!(told(text), None, "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_is_none_is_refused() {
        let refused = version_of(Path::new("/nonexistent/llama-server")).unwrap_err();
        assert!(refused.contains("cannot be started"), "{refused}");
        let refused = version_of(Path::new("/bin/true")).unwrap_err();
        assert!(refused.contains("names no version"), "{refused}");
    }
}
