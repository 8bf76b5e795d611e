//! `vramplan doctor`.

use std::io::Write as _;

use clap::Args;

use super::Outcome;
use super::args::CatalogArgs;
use super::format;
use super::known::Known;
use crate::calibrate::devices::{DeviceFacts, Inventory};
use crate::calibrate::host::{Host, host};
use crate::report::doctor::{
    DoctorDoc, Finding, ProfileCounts, ProfileMatch, SCHEMA, Severity, StoreDoc, WorkerDoc, to_text,
};
use vramplan_planner::read::{Catalog, Kind};
use vramplan_planner::render::{Format, Printers};
use vramplan_planner::text::{printable, printable_path};
use vramplan_planner::units::Bytes;
use vramplan_sources::Store;

/// The formats of what was found; the JSON's schema is `vramplan/doctor/v1`.
const DOCTOR: Printers<DoctorDoc, serde_json::Error> = Printers(&[
    (Format::Table, |found| Ok(to_text(found))),
    (Format::Json, |found| Ok(serde_json::to_string_pretty(found)? + "\n")),
]);

/// Say what this machine and this build can do: driver, GPUs, libraries.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// Where profiles are looked for.
    #[command(flatten)]
    catalog: CatalogArgs,

    /// Output format.
    #[arg(
        long,
        value_name = "FORMAT",
        default_value = "table",
        value_parser = format::one_of(&DOCTOR),
        help_heading = "Output"
    )]
    format: Format,

    /// Short for `--format json`.
    #[arg(long, conflicts_with = "format", help_heading = "Output")]
    json: bool,
}

/// Looks at the machine and prints.
pub fn run(args: &DoctorArgs) -> anyhow::Result<Outcome> {
    let document = document(&args.catalog.known());
    let text = format::print(&DOCTOR, &document, format::chosen(args.format, args.json))?;
    anstream::stdout().write_all(text.as_bytes())?;
    let prevented = document.findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if prevented { Outcome::Child(1) } else { Outcome::Done })
}

fn document(catalog: &Known) -> DoctorDoc {
    let mut findings = Vec::new();
    let profiles = profiles(catalog, &mut findings);
    let host = host();
    let driver = driver(&mut findings);
    let devices = driver.as_ref().map_or(&[][..], |driver| &driver.devices);
    let matches: Vec<_> = devices.iter().map(|device| profile(device, catalog)).collect();
    for (device, found) in devices.iter().zip(&matches) {
        check_card(device, found, &mut findings);
    }
    check_host(&host, devices, &mut findings);
    let worker = worker(&mut findings);
    check_build(worker.as_ref(), &mut findings);
    findings.sort();
    let stores = catalog.sources().stores();
    DoctorDoc {
        schema: SCHEMA.to_owned(),
        tool: concat!("vramplan ", env!("CARGO_PKG_VERSION")).to_owned(),
        features: features(),
        profiles,
        driver,
        matches,
        host,
        worker,
        stores: stores.iter().map(store_doc).collect(),
        findings,
    }
}

fn store_doc(store: &Store) -> StoreDoc {
    StoreDoc { of: store.of.to_owned(), path: printable_path(&store.path), models: store.models }
}

fn features() -> Vec<String> {
    let features = [("nvml", cfg!(feature = "nvml")), ("hub", cfg!(feature = "hub"))];
    features.iter().filter(|(_, built)| *built).map(|(name, _)| (*name).to_owned()).collect()
}

fn note(
    findings: &mut Vec<Finding>,
    severity: Severity,
    code: &str,
    text: impl Into<String>,
    remedy: &str,
) {
    let (code, text, remedy) = (code.to_owned(), text.into(), remedy.to_owned());
    findings.push(Finding { severity, code, text, remedy });
}

/// How many profiles of each kind there are; unreadable ones prevent planning.
fn profiles(catalog: &Catalog, findings: &mut Vec<Finding>) -> Option<ProfileCounts> {
    let count = |kind| catalog.list(kind).map(|list| list.len());
    let counts = [Kind::Gpu, Kind::Model, Kind::Runtime].map(count);
    for error in counts.iter().filter_map(|count| count.as_ref().err()) {
        let remedy = "mend the profile, or move it out of the directory";
        note(findings, Severity::Error, "profile-unreadable", error.to_string(), remedy);
    }
    let [gpus, models, runtimes] = counts;
    Some(ProfileCounts { gpus: gpus.ok()?, models: models.ok()?, runtimes: runtimes.ok()? })
}

#[cfg(all(feature = "nvml", target_os = "linux"))]
fn driver(findings: &mut Vec<Finding>) -> Option<Inventory> {
    let nvml = match crate::local::open_nvml() {
        Ok(nvml) => nvml,
        Err(error) => {
            let remedy = "planning needs none: name the GPU, such as `--gpu L4`; to measure one, \
                          install NVIDIA's driver, or in a container start it with `--gpus all`";
            let text = format!("no GPU can be measured here: {error}");
            note(findings, Severity::Info, "no-driver", text, remedy);
            return None;
        }
    };
    let inventory = crate::calibrate::inventory(&nvml);
    if let Some(error) = &inventory.error {
        let remedy = "after an update of the driver, restart or reload its module";
        note(findings, Severity::Warning, "cards-not-listed", error.clone(), remedy);
    } else if inventory.devices.is_empty() {
        let remedy = "in a container, start it with `--gpus all`";
        note(findings, Severity::Info, "no-card", "the driver lists no GPU", remedy);
    }
    Some(inventory)
}

#[cfg(not(all(feature = "nvml", target_os = "linux")))]
fn driver(findings: &mut Vec<Finding>) -> Option<Inventory> {
    let text = "this build cannot read a GPU's memory";
    let remedy = "planning needs none; to measure, build with the `nvml` feature on Linux";
    note(findings, Severity::Info, "no-nvml", text, remedy);
    None
}

fn profile(device: &DeviceFacts, catalog: &Catalog) -> ProfileMatch {
    let Some(name) = &device.name else {
        return ProfileMatch { profile: None, problem: device.error.clone() };
    };
    match catalog.gpu(name) {
        Ok(gpu) => ProfileMatch { profile: Some(gpu.name), problem: None },
        Err(error) => ProfileMatch { profile: None, problem: Some(error.to_string()) },
    }
}

/// What of a card is held by others from which on planning should know.
const MUCH: Bytes = Bytes::new(256 << 20);

fn check_card(device: &DeviceFacts, found: &ProfileMatch, findings: &mut Vec<Finding>) {
    let index = device.index;
    let mut add = |severity, code: &str, text: String, remedy: &str| {
        note(findings, severity, code, format!("GPU {index}: {text}"), remedy);
    };
    if let Some(error) = &device.error {
        let remedy = "drivers before R510 do not report it; update, or plan with `--gpu NAME`";
        add(Severity::Warning, "memory-unreadable", error.clone(), remedy);
    }
    if let (Some(problem), Some(_)) = (&found.problem, &device.name) {
        let remedy = "write one (`vramplan profiles show L4` shows how), and give its directory \
                      with `--profiles DIR`";
        add(Severity::Warning, "no-profile", problem.clone(), remedy);
    }
    if device.mig == Some(true) {
        let remedy = "measure an instance: `--device MIG-…`, as `nvidia-smi -L` lists them";
        add(Severity::Warning, "mig-enabled", "it is cut into instances".to_owned(), remedy);
    }
    if let Some(mode) = device.compute_mode.as_ref().filter(|mode| *mode != "Default") {
        let remedy = "`nvidia-smi -c DEFAULT` lets more than one process in";
        add(Severity::Warning, "compute-mode", format!("compute mode {mode}"), remedy);
    }
    if let Some(used) = device.used.filter(|used| *used > MUCH) {
        let remedy = "plan with `--gpu auto`, which deducts it, or with `--other-use`";
        add(Severity::Info, "in-use", format!("{used} are held by others"), remedy);
    }
    if device.persistence == Some(false) {
        let remedy = "`nvidia-smi -pm 1` keeps the driver loaded, so that runs start sooner";
        add(Severity::Info, "persistence-off", "persistence mode is off".to_owned(), remedy);
    }
}

fn check_host(host: &Host, devices: &[DeviceFacts], findings: &mut Vec<Finding>) {
    for file in &host.device_files {
        if let Some(refused) = &file.refused {
            let remedy = "add the user to the group that owns it (often `video` or `render`)";
            note(findings, Severity::Warning, "no-permission", refused.clone(), remedy);
        }
    }
    if devices.is_empty() {
        return;
    }
    if host.wsl {
        let text = "under WSL the driver does not say what a process holds";
        let remedy = "measure while nothing else uses the GPU";
        note(findings, Severity::Info, "wsl", text, remedy);
    }
    if host.container.is_some() {
        let text = "in a container the driver's process numbers can differ from those seen here";
        let remedy = "share the host's (`--pid=host`), or measure while nothing else uses the GPU";
        note(findings, Severity::Info, "container", text, remedy);
    }
    let missing: Vec<_> =
        host.libraries.iter().filter(|l| l.path.is_none()).map(|l| l.name.as_str()).collect();
    if !missing.is_empty() {
        let text = format!("{} are not on the loader's path", missing.join(", "));
        let remedy = "the engine on a GPU needs them: install CUDA 13's runtime libraries, or add \
                      their directory to LD_LIBRARY_PATH; planning and `observe` do not";
        note(findings, Severity::Warning, "library-missing", text, remedy);
    }
}

/// The worker, as it describes itself.
fn worker(findings: &mut Vec<Finding>) -> Option<WorkerDoc> {
    match super::calibrate::worker::about() {
        Ok((path, about)) => Some(WorkerDoc {
            path: printable(&path.to_string_lossy()),
            version: printable(&about.version),
            devices: about.devices.iter().map(|device| printable(device)).collect(),
        }),
        Err(error) => {
            let remedy = "install vramplan with the `engine` feature, or `cuda` for a GPU, or name the \
                          worker in VRAMPLAN_WORKER; planning and `observe` need none";
            let text = format!("`calibrate` cannot run a model: {error}");
            note(findings, Severity::Info, "no-worker", text, remedy);
            None
        }
    }
}

fn check_build(worker: Option<&WorkerDoc>, findings: &mut Vec<Finding>) {
    if worker.is_some_and(|worker| !worker.devices.iter().any(|device| device == "cuda")) {
        let text = "the worker runs the engine on the CPU only";
        let remedy = "install it with the `cuda` feature, which needs a CUDA toolkit";
        note(findings, Severity::Info, "no-cuda", text, remedy);
    }
}

/// A document with everything in it, for the schema's test.
#[cfg(test)]
pub fn example() -> DoctorDoc {
    let mut document = document(&Known::built_in());
    let occupant = crate::calibrate::devices::Occupant { pid: 7, name: None, bytes: None };
    document.worker = Some(WorkerDoc {
        path: "vramplan-worker".to_owned(),
        version: "0".to_owned(),
        devices: vec!["cpu".to_owned()],
    });
    let device = DeviceFacts {
        name: Some("NVIDIA L4".to_owned()),
        processes: Some(vec![occupant]),
        mig: Some(true),
        ..DeviceFacts::default()
    };
    document.matches = vec![profile(&device, &Catalog::built_in())];
    document.driver = Some(Inventory { devices: vec![device], ..Inventory::default() });
    document
}
