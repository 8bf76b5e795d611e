//! `vramplan explore` in a real terminal: tmux presses the keys and reads the screen.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::skip::skipped;

/// A tmux server of its own, which ends with the test.
struct Tmux {
    folder: tempfile::TempDir,
}

/// The longest that a screen may take here, by far.
const PATIENCE: Duration = Duration::from_secs(60);

impl Tmux {
    /// A shell in a terminal of this size; nothing where there is no tmux.
    fn start(columns: u16, rows: u16) -> Option<Self> {
        if Command::new("tmux").arg("-V").output().is_err() {
            skipped("tmux is not there");
            return None;
        }
        let tmux = Self { folder: tempfile::tempdir().unwrap() };
        let size = [columns.to_string(), rows.to_string()];
        let started = tmux.run(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            &size[0],
            "-y",
            &size[1],
            "env PS1='$ ' HOME=/nonexistent sh",
        ]);
        if !started.status.success() {
            skipped(format!(
                "tmux does not start: {}",
                String::from_utf8_lossy(&started.stderr).trim()
            ));
            return None;
        }
        tmux.run(&["set", "-g", "set-clipboard", "on"]);
        Some(tmux)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("tmux");
        command.arg("-S").arg(self.folder.path().join("socket")).args(arguments);
        command.env_remove("TMUX").env("TERM", "xterm-256color").output().unwrap()
    }

    fn keys(&self, keys: &[&str]) {
        let mut arguments = vec!["send-keys"];
        arguments.extend(keys);
        assert!(self.run(&arguments).status.success());
    }

    fn type_in(&self, text: &str) {
        assert!(self.run(&["send-keys", "-l", text]).status.success());
    }

    fn screen(&self) -> String {
        String::from_utf8(self.run(&["capture-pane", "-p"]).stdout).unwrap()
    }

    /// The screen once it has this.
    fn wait(&self, for_what: impl Fn(&str) -> bool, what: &str) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.screen();
            if for_what(&screen) {
                return screen;
            }
            assert!(begun.elapsed() < PATIENCE, "no {what} on:\n{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn wait_for(&self, text: &str) -> String {
        self.wait(|screen| screen.contains(text), text)
    }

    /// Once nothing is being planned any more.
    fn settled(&self) -> String {
        self.wait(|screen| screen.contains("? help") && !screen.contains("planning…"), "plan")
    }

    /// Opens the page; its process says which it is.
    fn explore(&self, arguments: &str) {
        let program = env!("CARGO_BIN_EXE_vramplan");
        let pid = self.pid_file();
        let script =
            format!("echo $$ > \"{}\"; exec \"$0\" explore --offline {arguments}", pid.display());
        self.type_in(&format!("clear; sh -c '{script}' '{program}'; echo \"ended with $?\""));
        self.keys(&["Enter"]);
        self.wait_for("┃model");
        self.settled();
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("pid")
    }

    fn signal(&self, signal: &str) {
        let pid = fs_err::read_to_string(self.pid_file()).unwrap();
        let sent = Command::new("kill").args([&format!("-{signal}"), pid.trim()]).status().unwrap();
        assert!(sent.success());
    }

    /// Whether the pane shows its other screen, is raw, or hides its cursor.
    fn is_taken(&self) -> bool {
        let format = "#{alternate_on} #{cursor_flag}";
        let shown = self.run(&["display-message", "-p", format]).stdout;
        String::from_utf8(shown).unwrap().trim() != "0 1"
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}

#[test]
fn a_whole_task() {
    let Some(tmux) = Tmux::start(80, 24) else { return };
    tmux.explore("");
    assert!(tmux.is_taken());
    assert!(tmux.screen().starts_with("fits: "), "{}", tmux.screen());

    // A model, a runtime, a card.
    tmux.keys(&["/"]);
    tmux.type_in("llama-3.1-8b");
    tmux.wait_for("> llama-3.1-8b");
    tmux.keys(&["Enter"]);
    tmux.wait(|screen| screen.contains("llama-3.1-8b · "), "model in the answer");
    tmux.keys(&["Down", "Enter"]);
    tmux.type_in("rtx 4090");
    tmux.wait_for("> rtx 4090");
    tmux.keys(&["Enter"]);
    tmux.wait(
        |screen| screen.contains("· RTX 4090") || screen.contains("\nRTX 4090\n"),
        "card in the answer",
    );
    tmux.keys(&["Down", "Down", "Enter"]);
    tmux.type_in("transformers");
    tmux.wait_for("> transformers");
    tmux.keys(&["Enter"]);
    tmux.wait(|screen| screen.contains("transformers runtime"), "runtime in the answer");

    // The context grows until it no longer fits.
    let at_context = |screen: &str| screen.contains("context a user");
    assert!(at_context(&tmux.settled()));
    tmux.keys(&["Down", "Down", "Down", "Down", "Down"]);
    tmux.type_in("8k");
    tmux.wait_for("> 8k");
    tmux.keys(&["Enter", "Down", "Right", "Up"]);
    tmux.wait(|screen| screen.contains("1 user × 8192 tokens"), "one user");
    let mut screen = tmux.settled();
    for _ in 0..16 {
        if screen.starts_with("does not fit") {
            break;
        }
        tmux.keys(&["Right"]);
        std::thread::sleep(Duration::from_millis(100));
        screen = tmux.settled();
    }
    assert!(screen.starts_with("does not fit"), "{screen}");

    // Advice is taken, and the command copied.
    tmux.keys(&["Tab"]);
    let advice = tmux.wait_for("take it");
    assert!(advice.contains('⏎'), "{advice}");
    for _ in 0..8 {
        tmux.keys(&["Enter"]);
        std::thread::sleep(Duration::from_millis(100));
        if !tmux.settled().starts_with("does not fit") {
            break;
        }
        tmux.keys(&["Down"]);
    }
    assert!(!tmux.settled().starts_with("does not fit"), "{}", tmux.screen());
    tmux.keys(&["y"]);
    tmux.wait_for("vramplan budget --gpu 'RTX 4090' --model llama-3.1-8b");
    let copied = String::from_utf8(tmux.run(&["show-buffer"]).stdout).unwrap();
    assert!(copied.starts_with("vramplan budget --gpu 'RTX 4090'"), "{copied}");
    tmux.keys(&["Escape"]);
    tmux.wait(|screen| !screen.contains("OSC 52"), "page without the command");
    tmux.keys(&["q"]);
    let end = tmux.wait_for("ended with 0");
    assert!(end.contains("vramplan budget --gpu 'RTX 4090'"), "{end}");
    assert!(!tmux.is_taken());

    // What was copied says the same.
    let words = shlex_of(&copied);
    let planned = Command::new(env!("CARGO_BIN_EXE_vramplan")).args(&words[1..]).output().unwrap();
    assert_eq!(planned.status.code(), Some(0), "{copied}");
}

/// The words of a command that quotes with apostrophes at most.
fn shlex_of(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for character in line.trim().chars() {
        match character {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    words
}

#[test]
fn the_terminal_is_given_back_whatever_ends_it() {
    let Some(tmux) = Tmux::start(80, 24) else { return };
    // A shell whose program ended by SIGINT leaves off the rest of its line.
    for (signal, code) in [("TERM", 143), ("HUP", 129)] {
        tmux.explore("qwen2.5-14b L4");
        assert!(tmux.is_taken());
        tmux.signal(signal);
        tmux.wait_for(&format!("ended with {code}"));
        assert!(!tmux.is_taken(), "after {signal}");
        // It is no longer raw: the shell's line is shown as it is typed, and runs.
        tmux.type_in("clear; echo st''ill here");
        tmux.keys(&["Enter"]);
        tmux.wait_for("still here");
    }
    tmux.explore("qwen2.5-14b L4");
    tmux.keys(&["C-c"]);
    tmux.wait_for("ended with 0");
    assert!(!tmux.is_taken());
}

#[test]
fn it_follows_the_size_of_its_terminal() {
    let Some(tmux) = Tmux::start(120, 40) else { return };
    tmux.explore("qwen2.5-14b L4");
    tmux.wait_for("conservative");
    tmux.run(&["resize-window", "-x", "50", "-y", "20"]);
    tmux.wait(|screen| screen.contains("inputs") && !screen.contains("conservative"), "one pane");
    tmux.run(&["resize-window", "-x", "30", "-y", "10"]);
    tmux.wait_for("too small");
    tmux.run(&["resize-window", "-x", "80", "-y", "24"]);
    tmux.wait_for("conservative");
    tmux.keys(&["q"]);
    tmux.wait_for("ended with 0");
}

#[test]
fn a_program_is_watched_beside_its_plan_and_its_output_scrolls_above() {
    let Some(tmux) = Tmux::start(90, 24) else { return };
    let program = Path::new(env!("CARGO_BIN_EXE_vramplan")).display().to_string();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/observe/watched.py");
    let plan = "--gpu L4 --model qwen2.5-0.5b --runtime llama.cpp";
    tmux.type_in(&format!("clear; '{program}' observe --watch --device cpu {plan} -- python3 '{}'; echo \"ended with $?\"", script.display()));
    tmux.keys(&["Enter"]);
    let watched = tmux
        .wait(|screen| screen.contains("line 60") && screen.contains("load  "), "lines of both");
    let lines: Vec<_> = watched.lines().collect();
    assert!(
        lines[22].starts_with("load  ")
            && lines[22].contains(" now · ")
            && lines[22].contains("planned"),
        "{watched}"
    );
    assert!(lines[23].starts_with('█') && lines[23].contains('['), "{watched}");
    assert!(lines[21].is_empty() || lines[21].starts_with("line "), "{watched}");
    tmux.type_in("x");
    tmux.keys(&["Enter"]);
    let ended = tmux.wait_for("ended with ");
    assert!(ended.contains("runtime overhead"), "{ended}");
    // The whole screen scrolls again, to its last line.
    tmux.type_in("seq 100 160");
    tmux.keys(&["Enter"]);
    let scrolled = tmux.wait_for("160");
    assert!(scrolled.lines().nth(22).is_some_and(|line| line == "160"), "{scrolled}");
}

#[test]
fn without_a_terminal_nothing_is_watched() {
    let arguments = ["observe", "--watch", "--device", "cpu", "--", "true"];
    let output = Command::new(env!("CARGO_BIN_EXE_vramplan")).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("draws on a terminal"));
}

#[test]
fn without_a_terminal_it_says_so() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_vramplan")).args(["explore", "L4"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("needs a terminal") && said.contains("hint: "), "{said}");
}
