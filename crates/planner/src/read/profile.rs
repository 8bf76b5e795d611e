//! Profiles: GPUs, models and runtimes described in TOML.
//!
//! Every figure stands with its basis and its source. Sizes are texts with a unit: a bare number is
//! refused, because nobody can tell which unit it is in.

use std::path::Path;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};

use super::error::At;
use super::files::{Files, read_bounded};
use super::names::Kind;
use super::{SourceError, mig};
use crate::spec::{
    Basis, Bounds, CalibratedParts, ComputeCapability, Ecc, Fact, GpuSpec, MOST_MULTIPROCESSORS,
    Maker, ModelShape, ModelSpec, OwnFormat, Runtime, RuntimeOptions, RuntimeSpec,
};
use crate::text::{self, printable, printable_message};
use crate::units::Bytes;

/// The version of the profile format.
pub const SCHEMA: u64 = 1;

/// No profile, scenario or table is larger. A parsed list of numbers takes a hundred times its text.
const MAX_SIZE: u64 = 1 << 18;

/// Reads a GPU's profile.
pub fn read_gpu(files: &dyn Files, path: &Path) -> Result<GpuSpec, SourceError> {
    gpu(&At::new(path), Written::Toml(&text_of(files, path)?))
}

/// Reads a model's profile.
pub fn read_model(files: &dyn Files, path: &Path) -> Result<ModelSpec, SourceError> {
    model(&At::new(path), Written::Toml(&text_of(files, path)?))
}

/// The text of a TOML file: a profile, a scenario or a table of limits.
pub fn text_of(files: &dyn Files, path: &Path) -> Result<String, SourceError> {
    let bytes = read_bounded(files, path, MAX_SIZE)?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = text::line_at(&String::from_utf8_lossy(&error.as_bytes()[..valid]), valid);
        At::new(path).malformed(format!("line {line} is not UTF-8: expected TOML"))
    })
}

/// A profile as it comes.
#[derive(Clone, Copy)]
pub(super) enum Written<'a> {
    /// As its author wrote it.
    Toml(&'a str),
    /// What the build script makes of the embedded ones, which is read many times faster.
    Json(&'a str),
}

pub(super) fn gpu(at: &At, text: Written<'_>) -> Result<GpuSpec, SourceError> {
    Ok(card(at, parse(at, text)?)?.0)
}

/// A MIG slice of the GPU that a profile describes.
pub(super) fn gpu_slice(at: &At, text: Written<'_>, slice: &str) -> Result<GpuSpec, SourceError> {
    let (card, slices) = card(at, parse(at, text)?)?;
    mig::slice(at, &card, slices, slice)
}

fn card(at: &At, profile: GpuProfile) -> Result<(GpuSpec, Vec<MigProfile>), SourceError> {
    check_names(at, &profile.name, &profile.aliases)?;
    for slice in &profile.mig {
        if !(1..=8).contains(&slice.memory_slices) {
            return Err(at.invalid("mig.memory_slices", slice.memory_slices, "1 to 8"));
        }
        check_multiprocessors(at, "mig.sm_count", slice.sm_count)?;
    }
    check_multiprocessors(at, "sm_count.value", profile.sm_count.value)?;
    let capability = &profile.compute_capability;
    let spec = GpuSpec {
        compute_capability: capability.parse::<ComputeCapability>().map_err(|_| {
            at.invalid("compute_capability", format!("\"{capability}\""), "one such as `8.9`")
        })?,
        name: profile.name,
        aliases: profile.aliases,
        maker: profile.maker,
        total: positive(at, "total", profile.total.into())?,
        reserved_range: profile.reserved.range(at)?,
        reserved: profile.reserved.into(),
        sm_count: profile.sm_count.into(),
        bandwidth: positive(at, "bandwidth", profile.bandwidth.into())?,
        ecc: profile.ecc.into(),
        calibrated: CalibratedParts::default(),
        unified: profile.unified,
        context: profile.context.map(|context| context.bounds(at, "context")).transpose()?,
    };
    Ok((spec, profile.mig))
}

pub(super) fn model(at: &At, text: Written<'_>) -> Result<ModelSpec, SourceError> {
    model_of(at, parse(at, text)?)
}

/// The model as a repository of that name has it, or the first one whose own name is that, where the profile lists such.
pub(super) fn published(
    at: &At,
    text: Written<'_>,
    name: &str,
) -> Result<Option<ModelSpec>, SourceError> {
    let mut profile: ModelProfile = parse(at, text)?;
    let is_it = |known: &Published| {
        let own = known.repository.rsplit('/').next().unwrap_or_default();
        known.repository.eq_ignore_ascii_case(name) || own.eq_ignore_ascii_case(name)
    };
    let Some(found) = profile.published.iter().position(is_it) else { return Ok(None) };
    let found = profile.published.swap_remove(found);
    let mut model = model_of(at, profile)?;
    model.own_format = Some(super::hf_config::own_format_of(at, &found.quantization)?);
    if !found.repository.eq_ignore_ascii_case(name) {
        model.remarks.push(format!("planned as `{}` is published", printable(&found.repository)));
    }
    model.source = format!("{}; its format by {}", model.source, found.source);
    Ok(Some(model))
}

fn model_of(at: &At, profile: ModelProfile) -> Result<ModelSpec, SourceError> {
    check_names(at, &profile.name, &profile.aliases)?;
    let mut model =
        ModelSpec::new(profile.name, profile.shape, profile.source).map_err(|error| {
            at.invalid(&format!("shape.{}", error.field), error.value, error.expected)
        })?;
    model.aliases = profile.aliases;
    let format = |text: &String| {
        text.parse()
            .map(OwnFormat::Named)
            .map_err(|_| at.invalid("format", text, "a format of weights, such as `fp8-block`"))
    };
    model.own_format = match (&profile.format, &profile.quantization) {
        (Some(_), Some(_)) => {
            let expected = "one of `format` and `quantization`";
            return Err(at.invalid("format", "both".to_owned(), expected));
        }
        (named, None) => named.as_ref().map(format).transpose()?,
        (None, Some(stated)) => Some(super::hf_config::own_format_of(at, stated)?),
    };
    model.published_parameters = profile.parameters.map(Into::into);
    model.published_total = profile.total_parameters.map(Into::into);
    Ok(model)
}

pub(super) fn runtime(at: &At, text: Written<'_>) -> Result<RuntimeSpec, SourceError> {
    let profile: RuntimeProfile = parse(at, text)?;
    let known = || {
        let names: Vec<_> = Runtime::ALL.iter().map(|runtime| format!("`{runtime}`")).collect();
        format!("one of {}", names.join(", "))
    };
    let runtime = profile
        .name
        .parse()
        .map_err(|_| at.invalid("name", format!("\"{}\"", profile.name), known()))?;
    Ok(RuntimeSpec {
        options: RuntimeOptions::newest(runtime),
        launch: crate::spec::Launch::default(),
        version: profile.version,
        libraries: profile.libraries.bounds(at, "libraries")?,
        blas_workspace: profile.blas_workspace.into(),
        blas_workspace_hopper: profile.blas_workspace_hopper.into(),
        allocation_granule: positive(at, "allocation_granule", profile.allocation_granule.into())?,
        segment_granule: positive(at, "segment_granule", profile.segment_granule.into())?,
    })
}

/// A value without the fields that are null, for which TOML has no word.
fn without_nothing(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(fields) => {
            let some = fields.iter().filter(|(_, value)| !value.is_null());
            some.map(|(key, value)| (key.clone(), without_nothing(value))).collect()
        }
        serde_json::Value::Array(values) => {
            values.iter().filter(|value| !value.is_null()).map(without_nothing).collect()
        }
        other => other.clone(),
    }
}

/// A model's profile as TOML, to be read by [`read_model`] again.
pub fn model_to_toml(model: &ModelSpec) -> Result<String, SourceError> {
    let count = |fact: &Option<Fact<u64>>| {
        fact.as_ref().map(|fact| Count {
            value: fact.value,
            basis: fact.basis,
            source: fact.source.clone(),
        })
    };
    let profile = ModelProfile {
        schema: SCHEMA,
        name: model.name.clone(),
        aliases: model.aliases.clone(),
        source: model.source.clone(),
        format: match &model.own_format {
            Some(OwnFormat::Named(format)) => Some(format.to_string()),
            Some(OwnFormat::Listed(_)) | None => None,
        },
        quantization: match &model.own_format {
            Some(OwnFormat::Listed(found)) => found.stated.as_ref().map(without_nothing),
            Some(OwnFormat::Named(_)) | None => None,
        },
        shape: model.shape.clone(),
        parameters: count(&model.published_parameters),
        total_parameters: count(&model.published_total),
        published: Vec::new(),
    };
    toml::to_string(&profile).map_err(|error| At::named(&model.name).malformed(error))
}

/// Names go into tables, titles and logs, and are what a profile is asked for by: one that cannot be shown
/// as it is could not be typed from what is shown.
fn check_names(at: &At, name: &str, aliases: &[String]) -> Result<(), SourceError> {
    let name = std::iter::once(("name", name));
    let mut names = name.chain(aliases.iter().map(|alias| ("aliases", alias.as_str())));
    let unfit = names.find(|(_, name)| name.trim().is_empty() || printable(name) != *name);
    unfit.map_or(Ok(()), |(field, name)| {
        let expected = "1 to 120 characters, none of them a control character or invisible";
        Err(at.invalid(field, format!("\"{name}\""), expected))
    })
}

/// Checks a name that a profile is to be given.
///
/// # Errors
/// Where it is empty, too long, or holds what cannot be shown.
pub fn check_name(name: &str) -> Result<(), SourceError> {
    check_names(&At::named(name), name, &[])
}

/// What a profile is called, and what it describes as far as its tables tell.
pub(super) struct Header {
    pub(super) name: String,
    pub(super) aliases: Vec<String>,
    pub(super) kind: Option<Kind>,
}

pub(super) fn header(at: &At, text: &str) -> Result<Header, SourceError> {
    #[derive(Deserialize)]
    struct Names {
        name: String,
        #[serde(default)]
        aliases: Vec<String>,
        shape: Option<de::IgnoredAny>,
        libraries: Option<de::IgnoredAny>,
        total: Option<de::IgnoredAny>,
    }
    let names: Names = parse(at, Written::Toml(text))?;
    check_names(at, &names.name, &names.aliases)?;
    let kind = match (names.shape, names.libraries, names.total) {
        (Some(_), None, None) => Some(Kind::Model),
        (None, Some(_), None) => Some(Kind::Runtime),
        (None, None, Some(_)) => Some(Kind::Gpu),
        _ => None,
    };
    Ok(Header { name: names.name, aliases: names.aliases, kind })
}

fn positive(at: &At, key: &str, fact: Fact<Bytes>) -> Result<Fact<Bytes>, SourceError> {
    if fact.value.is_zero() {
        return Err(at.invalid(&format!("{key}.value"), fact.value, "more than nothing"));
    }
    Ok(fact)
}

fn check_multiprocessors(at: &At, key: &str, count: u64) -> Result<(), SourceError> {
    if (1..=MOST_MULTIPROCESSORS).contains(&count) {
        return Ok(());
    }
    Err(at.invalid(key, count, format!("1 to {MOST_MULTIPROCESSORS} multiprocessors")))
}

/// Parses a profile. Of one in TOML the schema is checked first: of another schema nothing else is known.
fn parse<T: de::DeserializeOwned>(at: &At, text: Written<'_>) -> Result<T, SourceError> {
    #[derive(Deserialize)]
    struct Version {
        schema: Option<toml::Value>,
    }
    let text = match text {
        Written::Toml(text) => text,
        Written::Json(text) => {
            return serde_json::from_str(text).map_err(|error| at.malformed(error));
        }
    };
    match from_toml::<Version>(at, text)?.schema {
        Some(toml::Value::Integer(1)) => {}
        Some(other) => {
            let expected = format!("{SCHEMA}, the schema that this version reads");
            return Err(at.invalid("schema", other, expected));
        }
        None => return Err(at.missing("schema", format!("`schema = {SCHEMA}`"))),
    }
    from_toml(at, text)
}

/// Reads TOML; an error names the line, and the key where a value is at fault.
pub(super) fn from_toml<T: de::DeserializeOwned>(at: &At, text: &str) -> Result<T, SourceError> {
    let wrong = |key: &str, error: &toml::de::Error| {
        let line = error.span().map(|span| format!("line {}: ", text::line_at(text, span.start)));
        let key = if key.is_empty() { String::new() } else { format!("`{}`: ", printable(key)) };
        let message = text::one_line(error.message());
        at.malformed(format!("{}{key}{message}", line.unwrap_or_default()))
    };
    let document = toml::Deserializer::parse(text).map_err(|error| wrong("", &error))?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let key = error.path().to_string();
        // The path of a document as a whole is a dot.
        wrong(if key == "." { "" } else { &key }, error.inner())
    })
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct GpuProfile {
    #[serde(rename = "schema")]
    _schema: u64,
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    maker: Maker,
    compute_capability: String,
    ecc: EccProfile,
    total: Size,
    reserved: Reserve,
    bandwidth: Rate,
    sm_count: Count,
    context: Option<Range>,
    #[serde(default)]
    unified: bool,
    #[serde(default)]
    mig: Vec<MigProfile>,
}

/// A MIG slice of a card.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub(super) struct MigProfile {
    /// NVIDIA's name of it, such as `3g.40gb`.
    pub(super) name: String,
    /// What NVML reports as its total.
    #[serde(deserialize_with = "size")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(super) total: Bytes,
    /// Its streaming multiprocessors.
    pub(super) sm_count: u64,
    /// Memory slices that it has of the card's eight.
    pub(super) memory_slices: u64,
    pub(super) basis: Basis,
    #[serde(deserialize_with = "shown")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub(super) source: String,
}

#[derive(Clone, Copy, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
enum EccProfile {
    None,
    InbandOn,
    InbandOff,
    Sideband,
}

impl From<EccProfile> for Ecc {
    fn from(ecc: EccProfile) -> Self {
        match ecc {
            EccProfile::None => Self::None,
            EccProfile::InbandOn => Self::InbandOn,
            EccProfile::InbandOff => Self::InbandOff,
            EccProfile::Sideband => Self::Sideband,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct ModelProfile {
    schema: u64,
    name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<String>,
    #[serde(deserialize_with = "shown")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    source: String,
    /// The format that the checkpoint is published in, where that is not 16 bits: what runtimes that load it take by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    /// The same where the checkpoint has rules for its layers: `quantization_config` of its `config.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quantization: Option<serde_json::Value>,
    shape: ModelShape,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parameters: Option<Count>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total_parameters: Option<Count>,
    /// Repositories of the same model in other formats that have rules for its layers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    published: Vec<Published>,
}

/// A repository of a model in a format of its own.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Published {
    /// Its name on the hub.
    repository: String,
    #[serde(deserialize_with = "shown")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    source: String,
    /// `quantization_config` of its `config.json`.
    quantization: serde_json::Value,
}

#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct RuntimeProfile {
    #[serde(rename = "schema")]
    _schema: u64,
    name: String,
    #[serde(deserialize_with = "shown")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    version: String,
    libraries: Range,
    blas_workspace: Size,
    blas_workspace_hopper: Size,
    allocation_granule: Size,
    segment_granule: Size,
}

/// A number with its basis and source.
#[derive(Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Count {
    value: u64,
    basis: Basis,
    #[serde(deserialize_with = "shown")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    source: String,
}

impl From<Count> for Fact<u64> {
    fn from(count: Count) -> Self {
        Self::new(count.value, count.basis, count.source)
    }
}

/// A size with its basis and source.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Size {
    #[serde(deserialize_with = "size")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    value: Bytes,
    basis: Basis,
    #[serde(deserialize_with = "shown")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    source: String,
}

impl From<Size> for Fact<Bytes> {
    fn from(size: Size) -> Self {
        Self::new(size.value, size.basis, size.source)
    }
}

/// What a driver or a system keeps, with its basis and source, and between which sizes machines were seen to keep it.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Reserve {
    #[serde(deserialize_with = "size")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    value: Bytes,
    #[serde(default, deserialize_with = "some_size")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    low: Option<Bytes>,
    #[serde(default, deserialize_with = "some_size")]
    #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
    high: Option<Bytes>,
    basis: Basis,
    #[serde(deserialize_with = "shown")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    source: String,
}

impl Reserve {
    /// The least and the most, where one of them is given.
    fn range(&self, at: &At) -> Result<Option<[Bytes; 2]>, SourceError> {
        if self.low.or(self.high).is_none() {
            return Ok(None);
        }
        let [low, high] = [self.low, self.high].map(|size| size.unwrap_or(self.value));
        if low > self.value || self.value > high {
            let value = format!("{low} to {} to {high}", self.value);
            return Err(at.invalid("reserved", value, "`low` ≤ `value` ≤ `high`"));
        }
        Ok(Some([low, high]))
    }
}

impl From<Reserve> for Fact<Bytes> {
    fn from(reserve: Reserve) -> Self {
        Self::new(reserve.value, reserve.basis, reserve.source)
    }
}

/// A size a second with its basis and source.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Rate {
    #[serde(deserialize_with = "rate")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    value: Bytes,
    basis: Basis,
    #[serde(deserialize_with = "shown")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    source: String,
}

impl From<Rate> for Fact<Bytes> {
    fn from(rate: Rate) -> Self {
        Self::new(rate.value, rate.basis, rate.source)
    }
}

/// Three sizes with their basis and source.
#[derive(Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
struct Range {
    #[serde(deserialize_with = "size")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    low: Bytes,
    #[serde(deserialize_with = "size")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    expected: Bytes,
    #[serde(deserialize_with = "size")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    high: Bytes,
    basis: Basis,
    #[serde(deserialize_with = "shown")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    source: String,
}

impl Range {
    fn bounds(self, at: &At, key: &str) -> Result<Fact<Bounds>, SourceError> {
        let Self { low, expected, high, basis, source } = self;
        if low > expected || expected > high {
            let value = format!("{low} to {expected} to {high}");
            return Err(at.invalid(key, value, "`low` ≤ `expected` ≤ `high`"));
        }
        Ok(Fact::new(Bounds { low, expected, high }, basis, source))
    }
}

/// Words of the profile's author, such as where a figure is from: made safe to print where they are read.
fn shown<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::deserialize(deserializer).map(|text| printable_message(&text))
}

/// A text with a unit.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    deserializer.deserialize_any(SizeVisitor { per_second: false })
}

/// The same, where it may be missing.
fn some_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
    size(deserializer).map(Some)
}

/// A text with a unit, which may end in `/s`.
fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    deserializer.deserialize_any(SizeVisitor { per_second: true })
}

struct SizeVisitor {
    per_second: bool,
}

impl de::Visitor<'_> for SizeVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let example = if self.per_second { "300 GB/s" } else { "24 GiB" };
        write!(f, "a text with a unit, such as \"{example}\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
        let size = if self.per_second { text.strip_suffix("/s").unwrap_or(text) } else { text };
        size.parse().map_err(E::custom)
    }
}

/// The schemas of profiles, by the name of their file.
#[cfg(feature = "schema")]
pub fn schemas() -> [(&'static str, schemars::Schema); 3] {
    [
        ("gpu", schemars::schema_for!(GpuProfile)),
        ("model", schemars::schema_for!(ModelProfile)),
        ("runtime", schemars::schema_for!(RuntimeProfile)),
    ]
}

#[cfg(test)]
#[path = "profile_tests.rs"]
mod tests;
