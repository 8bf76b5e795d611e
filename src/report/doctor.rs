//! What a machine and a build can do, schema `vramplan/doctor/v1`.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::calibrate::devices::{DeviceFacts, Inventory};
use crate::calibrate::host::Host;
use vramplan_planner::render::terminal::{WIDTH, finish, table};
use vramplan_planner::text::{printable_path, wrap};
use vramplan_planner::units::Bytes;

/// The name and version of the schema.
pub const SCHEMA: &str = "vramplan/doctor/v1";

/// What a machine and a build can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct DoctorDoc {
    /// `vramplan/doctor/v1`.
    pub schema: String,
    /// Name and version.
    pub tool: String,
    /// What it was built with.
    pub features: Vec<String>,
    /// Profiles that can be read.
    pub profiles: Option<ProfileCounts>,
    /// The driver and the cards; nothing where there is no driver.
    pub driver: Option<Inventory>,
    /// The profile of each card, in their order.
    pub matches: Vec<ProfileMatch>,
    /// What surrounds the program.
    pub host: Host,
    /// The worker that `calibrate` starts; nothing where there is none.
    #[serde(default)]
    pub worker: Option<WorkerDoc>,
    /// Where other programs keep models, and what is read of servers.
    #[serde(default)]
    pub stores: Vec<StoreDoc>,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
}

/// The program that runs the engine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkerDoc {
    /// Where it is.
    pub path: String,
    /// Its version.
    pub version: String,
    /// The devices that it can run on: `cpu`, `cuda`.
    pub devices: Vec<String>,
}

/// A place where a program keeps models.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StoreDoc {
    /// The program's.
    pub of: String,
    /// The folder.
    pub path: String,
    /// Models in it; nothing where there is no such folder.
    pub models: Option<usize>,
}

/// How many profiles there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProfileCounts {
    /// Of GPUs.
    pub gpus: usize,
    /// Of models.
    pub models: usize,
    /// Of runtimes.
    pub runtimes: usize,
}

/// The profile of a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ProfileMatch {
    /// Its short name.
    pub profile: Option<String>,
    /// Why there is none.
    pub problem: Option<String>,
}

/// How grave something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Planning is not possible.
    Error,
    /// Something else is not possible, or figures are worse than they could be.
    Warning,
    /// Good to know.
    Info,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// A stable name.
    pub code: String,
    /// What it is.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

/// The document as text.
pub fn to_text(document: &DoctorDoc) -> String {
    let features = match document.features.as_slice() {
        [] => "none".to_owned(),
        features => features.join(", "),
    };
    let mut text = format!("{} (features: {features})\n", document.tool);
    if let Some(ProfileCounts { gpus, models, runtimes }) = document.profiles {
        let _ = writeln!(text, "{gpus} GPUs, {models} models, {runtimes} runtimes known");
    }
    text.push_str(&surroundings(document));
    if let Some(driver) = &document.driver {
        for (device, found) in driver.devices.iter().zip(&document.matches) {
            text.push('\n');
            text.push_str(&card(device, found));
        }
    }
    text.push('\n');
    text.push_str(&libraries(&document.host));
    text.push('\n');
    text.push_str(&stores(&document.stores));
    text.push('\n');
    for finding in &document.findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        };
        let line = format!("- {severity}: {}: {}; {}", finding.code, finding.text, finding.remedy);
        text.push_str(&wrap(&line, WIDTH));
    }
    let prevented = document.findings.iter().any(|f| f.severity == Severity::Error);
    let _ = writeln!(text, "planning is {}possible", if prevented { "not " } else { "" });
    text
}

fn surroundings(document: &DoctorDoc) -> String {
    let unknown = "unknown";
    let mut text = match &document.driver {
        None => "no NVIDIA driver\n".to_owned(),
        Some(driver) => format!(
            "driver {} · NVML {} · CUDA up to {}\n",
            driver.driver.as_deref().unwrap_or(unknown),
            driver.nvml.as_deref().unwrap_or(unknown),
            driver.cuda.as_deref().unwrap_or(unknown)
        ),
    };
    if let Some(container) = &document.host.container {
        let _ = writeln!(text, "in a container ({container})");
    }
    if document.host.wsl {
        text.push_str("under WSL\n");
    }
    if let Some(worker) = &document.worker {
        let devices = worker.devices.join(", ");
        let _ = writeln!(text, "worker {} on {devices}: {}", worker.version, worker.path);
    }
    text
}

fn card(device: &DeviceFacts, found: &ProfileMatch) -> String {
    let unknown = || "unknown".to_owned();
    let size = |size: Option<Bytes>| size.map_or_else(unknown, |size| size.to_string());
    let switch = |on: Option<bool>| match on {
        Some(true) => "on".to_owned(),
        Some(false) => "off".to_owned(),
        None => unknown(),
    };
    let word = |word: &Option<String>| word.clone().unwrap_or_else(unknown);
    let mut text = format!("GPU {}: {}\n", device.index, word(&device.name));
    let mut line = |content: String| text.push_str(&wrap(&format!("  {content}"), WIDTH));
    line(word(&device.uuid));
    line(format!(
        "total {} · reserved {} · free {} · used by others {}",
        size(device.total),
        size(device.reserved),
        size(device.free),
        size(device.used)
    ));
    line(format!(
        "compute capability {} · ECC {} · MIG {} · persistence {} · compute mode {}",
        word(&device.compute_capability),
        switch(device.ecc),
        switch(device.mig),
        switch(device.persistence),
        word(&device.compute_mode)
    ));
    line(match (&found.profile, &found.problem) {
        (Some(profile), _) => format!("profile `{profile}`"),
        (None, problem) => format!("no profile: {}", problem.as_deref().unwrap_or("no name")),
    });
    for process in device.processes.iter().flatten() {
        let name = process.name.as_deref().unwrap_or("not visible from here");
        line(format!("process {} ({name}): {}", process.pid, size(process.bytes)));
    }
    text
}

fn stores(stores: &[StoreDoc]) -> String {
    let mut rows = table(&["models of", "found", "in"], &[]);
    for store in stores {
        let models = store.models.map_or_else(|| "no".to_owned(), |models| models.to_string());
        rows.add_row([store.of.clone(), models, store.path.clone()]);
    }
    finish(&rows)
}

fn libraries(host: &Host) -> String {
    let mut rows = table(&["library", "for", "found"], &[]);
    for library in &host.libraries {
        let path = library.path.as_ref().map(|path| printable_path(path));
        let path = path.unwrap_or_else(|| "no".to_owned());
        rows.add_row([library.name.clone(), library.purpose.clone(), path]);
    }
    finish(&rows)
}
