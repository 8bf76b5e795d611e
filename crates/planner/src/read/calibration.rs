//! What `calibrate --write` keeps: what a process of a runtime holds on a card beside its buffers, run
//! by run, in `calibrated/<gpu>+<runtime>.toml` of a directory with profiles.
//!
//! ```text
//! overhead   = held at the peak − what the allocator's pool took
//!            = context + libraries + workspaces, each as held at the end of its stage
//! slack      = what the pool took − what it handed out, both at most
//! granule    = the greatest step that every size of the pool is a multiple of
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};

use super::SourceError;
use super::error::At;
use super::files::Files;
use super::profile::{from_toml, text_of};
use crate::spec::{Basis, Bounds, CalibratedParts, Fact, Runtime};
use crate::units::Bytes;

/// The version of the format.
pub const SCHEMA: u64 = 1;
/// The folder in a directory with profiles.
pub const FOLDER: &str = "calibrated";

/// Measured runs of a runtime on a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The version of the format.
    pub schema: u64,
    /// The card's short name.
    pub gpu: String,
    /// The runtime.
    pub runtime: Runtime,
    /// The runs, in the order in which they were made.
    #[serde(rename = "run")]
    pub runs: Vec<CalibratedRun>,
}

/// One measured run, and what it was measured under.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CalibratedRun {
    /// When, in UTC.
    pub date: String,
    /// What measured it.
    pub tool: String,
    /// The driver's version.
    pub driver: String,
    /// The model.
    pub model: String,
    /// The format of its weights.
    pub weights: String,
    /// The format of keys and values.
    pub kv: String,
    /// What the process held beside its pool.
    #[serde(serialize_with = "exactly")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub overhead: Bytes,
    /// What the pool took beyond what it handed out.
    #[serde(serialize_with = "exactly")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub slack: Bytes,
    /// Of the overhead, what was held once the device was open.
    #[serde(default, serialize_with = "exactly_if", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub context: Option<Bytes>,
    /// Of the overhead, what loading libraries added.
    #[serde(default, serialize_with = "exactly_if", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub libraries: Option<Bytes>,
    /// Of the overhead, what came later.
    #[serde(default, serialize_with = "exactly_if", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub workspaces: Option<Bytes>,
    /// What the pool's sizes are multiples of, where it had several.
    #[serde(default, serialize_with = "exactly_if", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    pub granule: Option<Bytes>,
}

#[allow(clippy::ref_option, reason = "serde's signature")]
fn exactly_if<S: Serializer>(size: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
    match size {
        Some(size) => exactly(size, serializer),
        None => serializer.serialize_none(),
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn exactly<S: Serializer>(size: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{size:#}"))
}

impl Calibration {
    /// No runs yet.
    pub fn new(gpu: &str, runtime: Runtime) -> Self {
        Self { schema: SCHEMA, gpu: gpu.to_owned(), runtime, runs: Vec::new() }
    }

    /// Where it is in a directory with profiles.
    pub fn path(folder: &Path, gpu: &str, runtime: Runtime) -> PathBuf {
        let gpu: String = gpu
            .to_ascii_lowercase()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .collect();
        folder.join(FOLDER).join(format!("{gpu}+{runtime}.toml"))
    }

    /// Reads the runs in a directory with profiles; none where there is no file.
    pub fn read(
        files: &dyn Files,
        folder: &Path,
        gpu: &str,
        runtime: Runtime,
    ) -> Result<Option<Self>, SourceError> {
        let path = Self::path(folder, gpu, runtime);
        if !files.is_file(&path) {
            return Ok(None);
        }
        let at = At::new(&path);
        let read: Self = from_toml(&at, &text_of(files, &path)?)?;
        if read.schema != SCHEMA {
            return Err(at.invalid("schema", read.schema, SCHEMA.to_string()));
        }
        if read.gpu != gpu {
            return Err(at.invalid("gpu", format!("\"{}\"", read.gpu), format!("`{gpu}`")));
        }
        if read.runtime != runtime {
            let (value, expected) = (format!("\"{}\"", read.runtime), format!("`{runtime}`"));
            return Err(at.invalid("runtime", value, expected));
        }
        if read.runs.is_empty() {
            return Err(at.invalid("run", "[]", "at least one run"));
        }
        Ok(Some(read))
    }

    /// As TOML, to be read again.
    pub fn to_toml(&self) -> Result<String, SourceError> {
        toml::to_string(self).map_err(|error| At::named(&self.gpu).malformed(error))
    }

    /// What a process holds beside its pool: the median, and the spread with a margin. Where every run
    /// told context, libraries and workspaces apart, the context alone.
    pub fn context(&self) -> Option<Fact<Bounds>> {
        if self.is_told_apart() {
            return self.fact(|run| run.context);
        }
        self.fact(|run| Some(run.overhead))
    }

    /// What else it holds, as far as runs told it apart.
    pub fn parts(&self) -> CalibratedParts {
        let apart = self.is_told_apart();
        let of = |of: fn(&CalibratedRun) -> Option<Bytes>| self.fact(of).filter(|_| apart);
        CalibratedParts {
            libraries: of(|run| run.libraries),
            workspaces: of(|run| run.workspaces),
            slack: self.slack(),
            served: None,
        }
    }

    /// What the pool takes beyond what it hands out. Other sizes end elsewhere in its last granule, so
    /// that it may be one less or more.
    fn slack(&self) -> Option<Fact<Bounds>> {
        let granule = self.runs.iter().filter_map(|run| run.granule).max();
        self.fact_within(|run| Some(run.slack), granule.unwrap_or_default())
    }

    /// Whether every run has all parts: what a part is of one run only says nothing of the others.
    fn is_told_apart(&self) -> bool {
        let all = |run: &CalibratedRun| {
            run.context.is_some() && run.libraries.is_some() && run.workspaces.is_some()
        };
        !self.runs.is_empty() && self.runs.iter().all(all)
    }

    fn fact(&self, of: fn(&CalibratedRun) -> Option<Bytes>) -> Option<Fact<Bounds>> {
        self.fact_within(of, MARGIN)
    }

    /// The median of the runs, and their spread with a margin.
    fn fact_within(
        &self,
        of: fn(&CalibratedRun) -> Option<Bytes>,
        least: Bytes,
    ) -> Option<Fact<Bounds>> {
        let mut sizes: Vec<Bytes> = self.runs.iter().filter_map(of).collect();
        sizes.sort();
        let (low, high) = (*sizes.first()?, *sizes.last()?);
        let median = *sizes.get(sizes.len() / 2)?;
        // What one driver and day differ by from the next is not known from a few runs.
        let margin = median.scale(1, 100).ok()?.max(MARGIN).max(least);
        let bounds = Bounds::new(low.minus_or_zero(margin), median, high.plus(margin).ok()?);
        Some(Fact::new(bounds, Basis::Calibrated, self.source()))
    }

    fn source(&self) -> String {
        let runs = if self.runs.len() == 1 { "run" } else { "runs" };
        let last = self.runs.last();
        let date = last.map_or("", |run| run.date.as_str());
        let driver = last.map_or("", |run| run.driver.as_str());
        format!(
            "{} {runs} of `calibrate`, the last on {date} under driver {driver}",
            self.runs.len()
        )
    }

    /// Why the runs contradict each other, if they do.
    pub fn contradiction(&self) -> Option<String> {
        let overhead = self.runs.iter().map(|run| run.overhead);
        let (low, high) = (overhead.clone().min()?, overhead.max()?);
        let spread = high.minus_or_zero(low);
        let much = high.scale(1, 4).ok()?.max(CONTRADICTION);
        (spread > much).then(|| format!("runs of one runtime on one card differ: {low} and {high}"))
    }
}

/// The smallest margin: a page of the device's memory.
const MARGIN: Bytes = Bytes::new(2 << 20);
/// The smallest spread that is a contradiction.
const CONTRADICTION: Bytes = Bytes::new(64 << 20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::testing::TestDisk;

    fn run(overhead: u64) -> CalibratedRun {
        CalibratedRun {
            date: "2026-01-01T00:00:00Z".to_owned(),
            tool: "vramplan 0".to_owned(),
            driver: "0".to_owned(),
            model: "m".to_owned(),
            weights: "q4_k_m".to_owned(),
            kv: "int8".to_owned(),
            overhead: Bytes::mib(overhead).unwrap(),
            slack: Bytes::mib(8).unwrap(),
            context: None,
            libraries: None,
            workspaces: None,
            granule: None,
        }
    }

    /// The same, told apart: what is not context or libraries are workspaces.
    fn apart(overhead: u64, context: u64, libraries: u64) -> CalibratedRun {
        let mib = |n| Some(Bytes::mib(n).unwrap());
        CalibratedRun {
            context: mib(context),
            libraries: mib(libraries),
            workspaces: mib(overhead - context - libraries),
            granule: mib(2),
            ..run(overhead)
        }
    }

    fn of(overheads: &[u64]) -> Calibration {
        let runs = overheads.iter().map(|overhead| run(*overhead)).collect();
        Calibration { runs, ..Calibration::new("L4", Runtime::Vramplan) }
    }

    #[test]
    fn bounds_are_the_spread_and_a_margin() {
        let mib = |low, expected, high| {
            let mib = |n| Bytes::mib(n).unwrap();
            Bounds::new(mib(low), mib(expected), mib(high))
        };
        assert_eq!(of(&[100]).context().unwrap().value, mib(98, 100, 102));
        let fact = of(&[140, 100, 120]).context().unwrap();
        assert_eq!((fact.value, fact.basis), (mib(98, 120, 142), Basis::Calibrated));
        assert!(fact.source.starts_with("3 runs of `calibrate`"), "{}", fact.source);
        assert_eq!(of(&[]).context(), None);
    }

    #[test]
    fn slack_is_known_to_a_granule_of_the_pool() {
        let slack = |granule: Option<u64>| {
            let granule = granule.map(|n| Bytes::mib(n).unwrap());
            let runs = vec![CalibratedRun { granule, ..run(100) }];
            let calibration = Calibration { runs, ..of(&[]) };
            calibration.parts().slack.unwrap().value
        };
        let mib = |n| Bytes::mib(n).unwrap();
        assert_eq!(slack(None), Bounds::new(mib(6), mib(8), mib(10)));
        assert_eq!(slack(Some(32)), Bounds::new(Bytes::ZERO, mib(8), mib(40)));
    }

    #[test]
    fn parts_are_told_apart_where_every_run_does() {
        let runs = vec![apart(300, 200, 60), apart(310, 204, 60)];
        let known = Calibration { runs, ..Calibration::new("L4", Runtime::Vramplan) };
        let mib = |fact: Option<Fact<Bounds>>| fact.unwrap().value.expected.get() >> 20;
        assert_eq!(mib(known.context()), 204);
        let parts = known.parts();
        assert_eq!([mib(parts.libraries), mib(parts.workspaces), mib(parts.slack)], [60, 46, 8]);
        let mut mixed = known;
        mixed.runs.push(run(305));
        assert_eq!(mib(mixed.context()), 305);
        assert_eq!((mixed.parts().libraries, mixed.parts().workspaces), (None, None));
    }

    #[test]
    fn runs_that_contradict_each_other_are_told() {
        assert_eq!(of(&[300, 340]).contradiction(), None);
        assert_eq!(
            of(&[300, 500]).contradiction().unwrap(),
            "runs of one runtime on one card differ: 300.00 MiB and 500.00 MiB"
        );
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = Calibration::path(folder.path(), "L4", Runtime::Vramplan);
        assert!(path.ends_with("calibrated/l4+vramplan.toml"));
        let read = || Calibration::read(&TestDisk, folder.path(), "L4", Runtime::Vramplan);
        assert_eq!(read(), Ok(None));
        fs_err::create_dir(path.parent().unwrap()).unwrap();
        let mut known = of(&[100, 101]);
        known.runs.push(apart(102, 80, 10));
        let text = known.to_toml().unwrap();
        fs_err::write(&path, &text).unwrap();
        assert_eq!(read(), Ok(Some(known)));
        for (from, to) in [
            ("schema = 1", "schema = 2"),
            ("gpu = \"L4\"", "gpu = \"T4\""),
            ("\"104857600 B\"", "\"100M\""),
            ("runtime = \"vramplan\"", "runtime = \"vllm\""),
            ("slack", "slacks"),
        ] {
            fs_err::write(&path, text.replacen(from, to, 1)).unwrap();
            let error = read().unwrap_err().to_string();
            assert!(error.contains("l4+vramplan.toml"), "{error}");
        }
    }
}
