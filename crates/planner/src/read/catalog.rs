//! Profiles by name: those in the binary, and the user's own, which win.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::At;
use super::files::{Files, NoFiles};
use super::names::Kind;
use super::profile::Written;
use super::{
    Calibration, SourceError, apple, card_words, encoders, mig, name_format, names, profile,
};
use crate::dtype::{FileType, WeightFormat};
use crate::spec::{GpuSpec, ModelSpec, OwnFormat, Runtime, RuntimeSpec};
use crate::text::printable;
use crate::units::Bytes;

/// A profile in the binary.
struct Embedded {
    kind: Kind,
    name: &'static str,
    path: &'static str,
    /// As it is written.
    text: &'static str,
    /// The same as JSON.
    json: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/profiles.rs"));

/// A profile in a directory of the user's.
struct Own {
    kind: Kind,
    name: String,
    /// Its other names as they are written.
    aliases: Vec<String>,
    /// Every name of it, normalised: its own first, then its aliases in order.
    names: Vec<String>,
    path: PathBuf,
    text: String,
}

/// A profile that a catalog has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Its name.
    pub name: String,
    /// Its file, relative to the sources of vramplan where it is in the binary.
    pub path: PathBuf,
    /// Whether it is in the binary.
    pub built_in: bool,
}

/// A profile as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it is from.
    pub listing: Listing,
    /// Its TOML.
    pub text: String,
}

/// A directory that profiles are looked for in: it has the folders `gpus`, `models` and `runtimes`, or
/// the profiles themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
    asked_for: bool,
}

impl Folder {
    /// One that the user named: it has to be there.
    pub fn asked_for(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), asked_for: true }
    }

    /// One that is read where it is there.
    pub fn usual(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), asked_for: false }
    }
}

/// Where profiles are found by name.
///
/// ```
/// use vramplan_planner::read::Catalog;
///
/// let catalog = Catalog::built_in();
/// assert_eq!(catalog.gpu("rtx 4090").unwrap().sm_count.value, 128);
/// assert!(catalog.gpu("rtx 4091").unwrap_err().to_string().contains("did you mean `RTX 4090`"));
/// ```
pub struct Catalog {
    files: Box<dyn Files>,
    folders: Vec<Folder>,
    /// Read when first needed.
    own: OnceCell<Result<Vec<Own>, SourceError>>,
}

impl Catalog {
    /// The profiles in `folders` of `files`, and those in the binary; the first that has a name wins.
    pub fn new(files: Box<dyn Files>, folders: impl IntoIterator<Item = Folder>) -> Self {
        Self { files, folders: folders.into_iter().collect(), own: OnceCell::new() }
    }

    /// The profiles in the binary.
    pub fn built_in() -> Self {
        Self::new(Box::new(NoFiles), [])
    }

    /// The GPU of that name, or the MIG slice of one.
    pub fn gpu(&self, name: &str) -> Result<GpuSpec, SourceError> {
        let found = self.find(Kind::Gpu, name, profile::gpu);
        if let Some(slice) = mig::alone(name) {
            return self.only_slice(name, ("", slice));
        }
        match (&found, mig::parts(name)) {
            (Err(SourceError::Unknown { .. }), Some((card, slice))) => {
                let cut = self.slice_of(card, slice);
                if matches!(cut, Err(SourceError::Unknown { .. })) {
                    return self.only_slice(name, (card, slice));
                }
                cut
            }
            (Err(SourceError::Unknown { .. }), None) => match apple::named(name) {
                Some(apple::Named::Chip(gpu)) => Ok(*gpu),
                Some(apple::Named::WithoutMemory(chip)) => {
                    let example = format!("{chip} 64GB");
                    Err(SourceError::WithoutMemory { name: printable(name), example })
                }
                None => match size_alone(name) {
                    Some((size, total)) => Ok(GpuSpec::of_size(size, total)),
                    None => self
                        .gpu_in_other_words(name)
                        .map_or_else(|| self.of_several_memories(name).map_or(found, Err), Ok),
                },
            },
            _ => found,
        }
    }

    fn slice_of(&self, card: &str, slice: &str) -> Result<GpuSpec, SourceError> {
        self.find(Kind::Gpu, card, |at, text| profile::gpu_slice(at, text, slice))
    }

    /// The slice of the one card that has such a slice and whose name begins so: `A100 3g.20gb` is of the `A100-40GB`.
    fn only_slice(&self, name: &str, (card, slice): (&str, &str)) -> Result<GpuSpec, SourceError> {
        let wanted = Kind::Gpu.normalise(card);
        let begins_so = |name: &&str| Kind::Gpu.normalise(name).starts_with(&wanted);
        let cards = self.names(Kind::Gpu)?.filter(begins_so);
        let mut found: Vec<GpuSpec> =
            cards.filter_map(|card| self.slice_of(card, slice).ok()).collect();
        found.sort_by(|one, other| one.name.cmp(&other.name));
        match (found.len(), found.pop()) {
            (1, Some(only)) => Ok(only),
            (0, _) | (_, None) => {
                Err(self.unknown(Kind::Gpu, if card.is_empty() { name } else { card }))
            }
            (_, Some(last)) => Err(SourceError::Unknown {
                kind: Kind::Gpu.name(),
                name: printable(name),
                near: found.into_iter().chain([last]).map(|gpu| gpu.name).collect(),
            }),
        }
    }

    /// What a name says that cards with different memories have, but for the memory: `A100`, `4060ti`.
    fn of_several_memories(&self, name: &str) -> Option<SourceError> {
        let wanted = Kind::Gpu.normalise(name);
        let mut cards: Vec<String> = self
            .every_name(Kind::Gpu)
            .filter(|(name, _)| name.strip_prefix(&*wanted).is_some_and(is_memory))
            .map(|(_, of)| printable(of))
            .collect();
        cards.sort();
        cards.dedup();
        (cards.len() > 1).then(|| SourceError::SeveralMemories { name: printable(name), cards })
    }

    /// Every name of a kind as it is compared, and the profile that has it.
    fn every_name(&self, kind: Kind) -> impl Iterator<Item = (&str, &str)> {
        let own = self.own().unwrap_or_default().iter().filter(move |own| own.kind == kind);
        let own = own.flat_map(|own| own.names.iter().map(|n| (n.as_str(), own.name.as_str())));
        let built_in =
            table(kind).iter().filter_map(|&(name, index)| Some((name, PROFILES.get(index)?.name)));
        own.chain(built_in)
    }

    /// A card whose name is written otherwise than its profile has it.
    fn gpu_in_other_words(&self, name: &str) -> Option<GpuSpec> {
        let words = card_words::Words::new(name);
        let known = |candidate: card_words::Candidate| {
            let gpu = self.find(Kind::Gpu, &candidate.name, profile::gpu).ok()?;
            candidate.admits(gpu.total.value).then_some(gpu)
        };
        if let Some(found) = words.candidates().into_iter().find_map(known) {
            return Some(found);
        }
        let mut same = self.names(Kind::Gpu).ok()?.filter(|name| words.are_of(name));
        match (same.next(), same.next()) {
            (Some(only), None) => self.find(Kind::Gpu, only, profile::gpu).ok(),
            _ => None,
        }
    }

    /// The model of that name, of a name that ends in the format of its weights, or the only one whose name begins so; also where the
    /// name of its maker stands before it, as in `google_gemma-3-12b-it-Q4_K_M`.
    pub fn model(&self, name: &str) -> Result<ModelSpec, SourceError> {
        let found = self.model_as_named(name);
        if !matches!(found, Err(SourceError::Unknown { .. })) {
            return found;
        }
        let is_maker = |maker: &str| maker.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        // A model has the shape that it had before it was tuned.
        if let Some(tuned) = without_base(name)
            && let Ok(model) = self.model_as_named(tuned)
        {
            return Ok(model);
        }
        let own = name.rsplit('/').next().unwrap_or(name);
        match own.split_once('_').filter(|(maker, _)| !maker.is_empty() && is_maker(maker)) {
            Some((_, rest)) if rest.contains('-') => self.model_as_named(rest).or(found),
            _ => found,
        }
    }

    fn model_as_named(&self, name: &str) -> Result<ModelSpec, SourceError> {
        if let Some(cloud) = self.on_their_servers(name) {
            return Err(cloud);
        }
        let found = self.named_or_tagged(name);
        if !matches!(found, Err(SourceError::Unknown { .. })) {
            return found;
        }
        let Some((base, format)) = name_format::split(name) else {
            return match self.of_a_mixture(name) {
                Some(mixture) => Err(mixture),
                None => self.only_model(name).map_or(found, Ok),
            };
        };
        let listed =
            self.find(Kind::Model, base, |at, text| profile::published(at, text, name.trim()));
        let named_cache = name_format::cache_of_name(name, format);
        if let Ok(Some(model)) = listed {
            return Ok(ModelSpec { named_format: Some(format), named_cache, ..model });
        }
        match self.named_or_tagged(base) {
            // A repository of files is published in what its family is, where no file is named.
            Ok(model) if name_format::is_whole_repository(name) && is_in_mxfp4(&model) => Ok(model),
            Ok(model) => Ok(ModelSpec {
                own_format: Some(OwnFormat::Named(format)),
                named_cache,
                // What a family is published in is what every runtime has of it.
                named_format: Some(format)
                    .filter(|format| *format != WeightFormat::Mxfp4 || !is_in_mxfp4(&model)),
                ..model
            }),
            Err(_) => found,
        }
    }

    /// A tag of Ollama's without its colon, as in `deepseek r1 70b`, or with the one that stands for none: `llama3.1:latest`.
    fn tag_in_other_words(&self, name: &str) -> Option<ModelSpec> {
        let name = name.trim();
        if let Some(base) = name.strip_suffix(":latest") {
            return self.find(Kind::Model, base, profile::model).ok();
        }
        if name.contains([':', '/']) || name.len() > LONGEST_LIKE_A_NAME {
            return None;
        }
        if let Ok(latest) = self.find(Kind::Model, &format!("{name}:latest"), profile::model) {
            return Some(latest);
        }
        let wanted = Kind::Model.normalise(name);
        let is_it = |(tag, _): &(&str, &str)| {
            tag.split_once(':').is_some_and(|(family, size)| {
                // `qwen 14b` may be one of any generation.
                let is_of_one = family.bytes().any(|byte| byte.is_ascii_digit());
                is_of_one && wanted.strip_prefix(family).is_some_and(|rest| rest == size)
            })
        };
        let mut of: Vec<&str> =
            self.every_name(Kind::Model).filter(is_it).map(|(_, of)| of).collect();
        of.dedup();
        match of.as_slice() {
            [only] => self.find(Kind::Model, only, profile::model).ok(),
            _ => None,
        }
    }

    /// The profile of that name, or that a tag means in other words.
    fn named_or_tagged(&self, name: &str) -> Result<ModelSpec, SourceError> {
        let found = self.find(Kind::Model, name, profile::model);
        if !matches!(found, Err(SourceError::Unknown { .. })) {
            return found;
        }
        let other = self.tag_in_other_words(name).or_else(|| self.same_words(name));
        other.map_or(found, Ok)
    }

    /// The only model with a name of the same words, whatever their order: `deepseek-r1:70b-llama-distill`.
    fn same_words(&self, name: &str) -> Option<ModelSpec> {
        if name.contains('/') || name.len() > LONGEST_LIKE_A_NAME {
            return None;
        }
        let words = names::words(name);
        // `qwen-14b` may be one of any generation; as a tag it is what Ollama has.
        let is_number = |word: &str| word.starts_with(|first: char| first.is_ascii_digit());
        let (sizes, numbers): (Vec<&str>, Vec<&str>) = words
            .split(' ')
            .filter(|word| is_number(word))
            .partition(|word| names::billions(word).is_some());
        if !name.contains(':') && !sizes.is_empty() && numbers.is_empty() {
            return None;
        }
        self.of_words(&words).or_else(|| self.of_a_tag(&words, name))
    }

    /// The model of a tag that says besides that it was not tuned yet, or what size it has. A size alone may be one that there
    /// is not.
    fn of_a_tag(&self, words: &str, name: &str) -> Option<ModelSpec> {
        let (_, tag) = name.split_once(':')?;
        let is_stage = |word: &str| BEFORE_TUNING.contains(&word);
        let is_size = |word: &str| names::billions(word).is_some();
        let tuned = without(words, is_stage);
        if let Some(found) = self.of_words(&tuned) {
            return Some(found);
        }
        let of_tag = without(&without(&names::words(tag), is_stage), is_size);
        let size = words.split(' ').find_map(names::billions).filter(|_| !of_tag.is_empty())?;
        let found = self.of_words(&without(&tuned, is_size))?;
        let there = Bytes::new(found.parameters()).as_f64() / 1e9;
        ((there / size - 1.0).abs() < ROUNDED_BY).then_some(found)
    }

    /// The model that alone has a name of these words.
    fn of_words(&self, wanted: &str) -> Option<ModelSpec> {
        let found = MODEL_WORDS.binary_search_by(|(words, _)| (*words).cmp(wanted)).ok()?;
        let (_, index) = MODEL_WORDS.get(found)?;
        self.find(Kind::Model, PROFILES.get(*index)?.name, profile::model).ok()
    }

    /// What a tag says that Ollama runs on its own servers, with the same model here where it is known.
    fn on_their_servers(&self, name: &str) -> Option<SourceError> {
        let (family, tag) = name.trim().rsplit_once(':').filter(|(_, tag)| !tag.contains('/'))?;
        let lower = tag.to_ascii_lowercase();
        let size =
            lower.strip_suffix("cloud").filter(|size| size.is_empty() || size.ends_with('-'))?;
        let size = size.trim_end_matches('-');
        let family = family.rsplit([':', '/']).next().unwrap_or(family);
        let here = [format!("{family}:{size}"), format!("{family}-{size}"), family.to_owned()];
        let here = here.into_iter().find_map(|name| self.named_or_tagged(&name).ok());
        let here = here.map(|model| printable(&model.name));
        Some(SourceError::OnTheirServers { name: printable(name), here })
    }

    /// What a name says that ends in a format with a type for every tensor, where its model is known.
    fn of_a_mixture(&self, name: &str) -> Option<SourceError> {
        let (base, like) = name_format::mixed(name)?;
        let model = self.find(Kind::Model, base, profile::model).ok()?;
        Some(SourceError::Mixture {
            name: printable(name),
            model: printable(&model.name),
            like: like.map(FileType::name),
        })
    }

    /// The only model whose name goes on behind these words: `codestral` for `codestral-22b-v0.1`.
    fn only_model(&self, name: &str) -> Option<ModelSpec> {
        let words = |name: &str| -> Vec<String> {
            let lower = name.trim().to_ascii_lowercase();
            lower.split([' ', '-', '_']).map(str::to_owned).collect()
        };
        let wanted = words(name);
        if name.contains(['/', ':', '.']) || wanted.concat().len() < LEAST_OF_A_NAME {
            return None;
        }
        let goes_on = |name: &&str| words(name).starts_with(&wanted);
        let mut found = self.names(Kind::Model).ok()?.filter(goes_on);
        match (found.next(), found.next()) {
            (Some(only), None) => self.find(Kind::Model, only, profile::model).ok(),
            _ => None,
        }
    }

    /// The constants of a runtime.
    pub fn runtime(&self, runtime: Runtime) -> Result<RuntimeSpec, SourceError> {
        self.find(Kind::Runtime, runtime.name(), profile::runtime)
    }

    /// What was measured of a runtime on a GPU, in the first directory that has it.
    pub fn calibration(
        &self,
        gpu: &str,
        runtime: Runtime,
    ) -> Result<Option<Calibration>, SourceError> {
        for folder in &self.folders {
            if let Some(found) = Calibration::read(&*self.files, &folder.path, gpu, runtime)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A profile as it is written.
    pub fn document(&self, kind: Kind, name: &str) -> Result<Document, SourceError> {
        if let Some(own) = self.own_of(kind, name)? {
            return Ok(Document { listing: own.listing(), text: own.text.clone() });
        }
        let embedded = embedded_of(kind, name).ok_or_else(|| self.unknown(kind, name))?;
        Ok(Document { listing: embedded.listing(), text: embedded.text.to_owned() })
    }

    /// Every profile of a kind, by name; of those of one name only that which wins.
    pub fn list(&self, kind: Kind) -> Result<Vec<Listing>, SourceError> {
        let mut listings = BTreeMap::new();
        let own = self.own()?.iter().filter(|own| own.kind == kind).map(Own::listing);
        let built_in = PROFILES.iter().filter(|p| p.kind == kind).map(Embedded::listing);
        for listing in own.chain(built_in) {
            listings.entry(kind.normalise(&listing.name)).or_insert(listing);
        }
        Ok(listings.into_values().collect())
    }

    /// The names of all profiles of a kind, in no order, one that is hidden by another included.
    pub fn names(&self, kind: Kind) -> Result<impl Iterator<Item = &str>, SourceError> {
        let own = self.own()?.iter().filter(move |own| own.kind == kind);
        let built_in = PROFILES.iter().filter(move |profile| profile.kind == kind);
        Ok(own.map(|own| own.name.as_str()).chain(built_in.map(|profile| profile.name)))
    }

    fn find<T>(
        &self,
        kind: Kind,
        name: &str,
        read: impl FnOnce(&At, Written<'_>) -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        if let Some(own) = self.own_of(kind, name)? {
            return read(&At::new(&own.path), Written::Toml(&own.text));
        }
        let embedded = embedded_of(kind, name).ok_or_else(|| self.unknown(kind, name))?;
        read(&At::named(embedded.path), Written::Json(embedded.json))
    }

    fn own(&self) -> Result<&[Own], SourceError> {
        match self.own.get_or_init(|| read_folders(&*self.files, &self.folders)) {
            Ok(own) => Ok(own),
            Err(error) => Err(error.clone()),
        }
    }

    fn own_of(&self, kind: Kind, name: &str) -> Result<Option<&Own>, SourceError> {
        let wanted = kind.normalise(name);
        Ok(self.own()?.iter().find(|own| own.kind == kind && own.names.contains(&wanted)))
    }

    fn unknown(&self, kind: Kind, name: &str) -> SourceError {
        if kind == Kind::Model && encoders::is_one(name) {
            return SourceError::Encoder { name: printable(name) };
        }
        SourceError::Unknown {
            kind: kind.name(),
            name: printable(name),
            near: self.near(kind, &kind.normalise(name)),
        }
    }

    /// Up to three profiles whose names are most like `wanted`.
    fn near(&self, kind: Kind, wanted: &str) -> Vec<String> {
        const LIKE: f64 = 0.8;
        const SHOWN: usize = 3;
        // How alike two names are takes as long as the product of their lengths.
        if wanted.len() > LONGEST_LIKE_A_NAME {
            return Vec::new();
        }
        let mut scored: Vec<_> = self
            .every_name(kind)
            .map(|(name, of)| (likeness(wanted, name), of))
            .filter(|(score, _)| *score >= LIKE)
            .collect();
        scored.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        let mut near: Vec<String> = Vec::new();
        for (_, name) in scored {
            let name = printable(name);
            if near.len() < SHOWN && !near.contains(&name) {
                near.push(name);
            }
        }
        near
    }
}

/// A text that is longer than this is like no name, the longest of which has 66 letters.
const LONGEST_LIKE_A_NAME: usize = 256;

/// Whether what follows a card's name is a memory: the `16gb` of `rtx4060ti16gb`, and of `a10040gb` that of an A100, not of an A10.
fn is_memory(rest: &str) -> bool {
    let digits = rest.strip_suffix("gb").unwrap_or_default();
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    (1..=3).contains(&digits.len()) && are_digits && !digits.starts_with('0')
}

/// The words that are not left out.
fn without(words: &str, is_left_out: impl Fn(&str) -> bool) -> String {
    words.split(' ').filter(|word| !is_left_out(word)).collect::<Vec<_>>().join(" ")
}

/// The name of the tuned model, where this is the name of the one before that: `granite-4.0-h-tiny-base`.
fn without_base(name: &str) -> Option<&str> {
    let at = name.len().checked_sub("-base".len())?;
    name.get(at..)?.eq_ignore_ascii_case("-base").then(|| name.get(..at)).flatten()
}

/// Words of tags of models that were not tuned yet, which have the shape of those that were.
const BEFORE_TUNING: [&str; 4] = ["base", "text", "pt", "code"];
/// How far a size that a tag states may be from the number of parameters that it stands for.
const ROUNDED_BY: f64 = 0.1;
/// Letters of the beginning of a model's name that may stand for all of it.
const LEAST_OF_A_NAME: usize = 4;

fn is_in_mxfp4(model: &ModelSpec) -> bool {
    model.shape.architecture.family().experts.in_mxfp4()
}

/// A size that stands for a card, with its text: `24GiB`, `8 GB vram`, `16 GB of VRAM`.
pub(crate) fn size_alone(name: &str) -> Option<(&str, Bytes)> {
    const BEHIND: [&str; 7] = ["vram", "of", "memory", "gpu", "card", "graphics", "video"];
    let mut text = name.trim();
    while let Some((before, word)) = text.rsplit_once([' ', '-'])
        && BEHIND.iter().any(|known| word.eq_ignore_ascii_case(known))
    {
        text = before.trim_end();
    }
    in_whole_gb(text).or_else(|| text.parse().ok()).map(|size| (text, size))
}

/// `24GB` of a card, whose makers mean GiB by it.
fn in_whole_gb(text: &str) -> Option<Bytes> {
    let at = text.len().checked_sub(2)?;
    let (number, unit) = text.split_at_checked(at)?;
    let number = Some(number.trim_end()).filter(|_| unit.eq_ignore_ascii_case("gb"))?;
    let gib: u64 = number.parse().ok()?;
    gib.checked_mul(1 << 30).map(Bytes::new)
}

/// From 0 to 1; a name that begins like the other counts as like it, and most of all one that goes on where the other
/// ends.
fn likeness(wanted: &str, name: &str) -> f64 {
    const PREFIX: f64 = 0.9;
    const LONGER: f64 = 0.99;
    let alike = strsim::jaro_winkler(wanted, name);
    match wanted.len() >= 3 {
        true if name.starts_with(wanted) => alike.max(LONGER),
        true if wanted.starts_with(name) => alike.max(PREFIX),
        _ => alike,
    }
}

const fn table(kind: Kind) -> &'static [(&'static str, usize)] {
    match kind {
        Kind::Gpu => GPUS,
        Kind::Model => MODELS,
        Kind::Runtime => RUNTIMES,
    }
}

fn embedded_of(kind: Kind, name: &str) -> Option<&'static Embedded> {
    let wanted = kind.normalise(name);
    let found = table(kind).binary_search_by(|(name, _)| (*name).cmp(wanted.as_str())).ok()?;
    let (_, index) = table(kind).get(found)?;
    PROFILES.get(*index)
}

impl Embedded {
    fn listing(&self) -> Listing {
        Listing { name: self.name.to_owned(), path: PathBuf::from(self.path), built_in: true }
    }
}

impl Own {
    fn listing(&self) -> Listing {
        Listing { name: printable(&self.name), path: self.path.clone(), built_in: false }
    }
}

fn read_folders(files: &dyn Files, folders: &[Folder]) -> Result<Vec<Own>, SourceError> {
    let mut own = Vec::new();
    for folder in folders {
        if files.is_folder(&folder.path) {
            own.extend(read_folder(files, &folder.path)?);
        } else if folder.asked_for {
            return Err(SourceError::NoSuchPath { path: At::new(&folder.path).path().to_owned() });
        }
    }
    Ok(own)
}

/// The profiles in one directory, among which no name may occur twice.
fn read_folder(files: &dyn Files, folder: &Path) -> Result<Vec<Own>, SourceError> {
    let mut own: Vec<Own> = Vec::new();
    let kinds = Kind::ALL.map(|kind| (folder.join(kind.folder()), Some(kind)));
    for (folder, kind) in kinds.into_iter().chain([(folder.to_owned(), None)]) {
        for path in profiles_in(files, &folder)? {
            let profile = read_own(files, path, kind)?;
            check_unique(&own, &profile)?;
            own.push(profile);
        }
    }
    Ok(own)
}

/// Refuses a profile one of whose names another one has, by the name that both have.
fn check_unique(others: &[Own], profile: &Own) -> Result<(), SourceError> {
    let same_kind = || others.iter().filter(|other| other.kind == profile.kind);
    for (index, name) in profile.names.iter().enumerate() {
        let Some(twin) = same_kind().find(|other| other.names.contains(name)) else { continue };
        let (field, written) = match index.checked_sub(1) {
            None => ("name", &profile.name),
            Some(alias) => ("aliases", profile.aliases.get(alias).unwrap_or(name)),
        };
        let expected = format!("another name: `{}` has it", At::new(&twin.path).path());
        return Err(At::new(&profile.path).invalid(field, format!("\"{written}\""), expected));
    }
    Ok(())
}

fn profiles_in(files: &dyn Files, folder: &Path) -> Result<Vec<PathBuf>, SourceError> {
    if !files.is_folder(folder) {
        return Ok(Vec::new());
    }
    let mut found = files.list(folder).map_err(|error| At::new(folder).io(&error))?;
    found.retain(|path| {
        path.extension().is_some_and(|extension| extension == "toml") && files.is_file(path)
    });
    found.sort();
    Ok(found)
}

/// A profile's names; the rest of it is read when it is asked for.
fn read_own(files: &dyn Files, path: PathBuf, kind: Option<Kind>) -> Result<Own, SourceError> {
    let text = profile::text_of(files, &path)?;
    let at = At::new(&path);
    let header = profile::header(&at, &text)?;
    let kind = kind.or(header.kind).ok_or_else(|| {
        at.unsupported("a profile of no known kind", "`[shape]`, `[libraries]` or `[total]` in it")
    })?;
    let names = std::iter::once(&header.name).chain(&header.aliases);
    let names = names.map(|name| kind.normalise(name)).collect();
    Ok(Own { kind, name: header.name, aliases: header.aliases, names, path, text })
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
