//! Runs `vramplan` as a user would, with a fake driver where one is needed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// A folder with everything that a run needs; nothing outside of it is touched.
pub struct Place {
    folder: tempfile::TempDir,
    library: Option<PathBuf>,
}

/// A file of the tests.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/all/observe").join(name)
}

/// The fake driver, compiled once for each set of flags.
fn library(flags: &[&str]) -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    let path = folder.path().join(format!("libfake{}.so", flags.concat()));
    let _guard = LOCK.lock().unwrap();
    if !path.exists() {
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]).args(flags);
        let status = cc.arg("-o").arg(&path).arg(file("fake_nvml.c")).status();
        assert!(status.expect("the tests need a C compiler").success());
    }
    path
}

impl Place {
    /// Without a driver.
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), library: None }
    }

    /// With a fake driver that says this.
    pub fn with_driver(state: &str) -> Self {
        Self::with_library(&[], state)
    }

    /// With a fake driver that was compiled with these flags.
    pub fn with_library(flags: &[&str], state: &str) -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), library: Some(library(flags)) };
        fs_err::write(place.path("nvml"), state).unwrap();
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `vramplan` with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vramplan"));
        command.args(arguments).current_dir(self.folder.path());
        command.env("XDG_RUNTIME_DIR", self.folder.path());
        command.env("XDG_CONFIG_HOME", "/nonexistent").env("COLUMNS", "100");
        command.env("XDG_DATA_HOME", self.path("nowhere")).env_remove("VRAMPLAN_EVIDENCE");
        command.env("FAKE_NVML", self.path("nvml"));
        let absent = Path::new("/nonexistent/libnvidia-ml.so.1");
        command.env("VRAMPLAN_NVML_LIB", self.library.as_deref().unwrap_or(absent));
        command.env("TESTS", file(""));
        command.stdin(Stdio::null());
        command
    }

    /// Runs to the end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The JSON report of `observe` with these arguments, and how it ended.
    pub fn report(&self, arguments: &[&str]) -> (Value, Output) {
        let report = self.path("report.json");
        let given = ["observe", "--format", "json", "--report", report.to_str().unwrap()];
        let output = self.run(&[&given[..], arguments].concat());
        let text = fs_err::read_to_string(&report)
            .unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)));
        (serde_json::from_str(&text).unwrap(), output)
    }

    /// The report of a shell script on the fake GPU.
    pub fn report_of(&self, flags: &[&str], script: &str) -> (Value, Output) {
        let script = format!(". \"$TESTS/gpu.sh\"\n{script}");
        self.report(&[flags, &["--", "sh", "-c", &script]].concat())
    }
}

/// Whatever a test did to a run: no temporary file stays, and what is there is whole.
impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            for entry in fs_err::read_dir(self.folder.path()).unwrap().flatten() {
                assert_whole(&entry.path());
            }
        }
    }
}

fn assert_whole(path: &Path) {
    let name = path.file_name().unwrap().to_string_lossy();
    assert!(
        !name.starts_with(".tmp") && !name.starts_with(".vramplan-"),
        "`{name}` was left behind"
    );
    let whole = |text: &[u8]| serde_json::from_slice::<Value>(text).is_ok();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => assert!(whole(&fs_err::read(path).unwrap()), "`{name}` is half-written"),
        Some("jsonl") => {
            let text = fs_err::read_to_string(path).unwrap();
            // Nothing can finish the last line of a program that was killed.
            let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            lines.for_each(|line| assert!(whole(line.as_bytes()), "`{name}` holds `{line}`"));
        }
        _ => {}
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The codes of a report's diagnoses.
pub fn codes(report: &Value) -> Vec<&str> {
    let diagnoses = report["diagnoses"].as_array().unwrap();
    diagnoses.iter().map(|diagnosis| diagnosis["code"].as_str().unwrap()).collect()
}

pub fn mib(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is not a size")) >> 20
}

/// The peak of a phase, in MiB.
pub fn peak_of(report: &Value, phase: &str) -> u64 {
    let phases = report["phases"].as_array().unwrap();
    let found = phases.iter().find(|row| row["name"] == phase);
    mib(&found.unwrap_or_else(|| panic!("no phase `{phase}` in {report}"))["peak"])
}

/// Whether any process has this word in its command line: a marker that a test chose.
pub fn runs(marker: &str) -> bool {
    let processes = fs_err::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| fs_err::read(entry.path().join("cmdline")).ok());
    let marker = marker.as_bytes();
    lines.any(|line| line.windows(marker.len()).any(|part| part == marker))
}
