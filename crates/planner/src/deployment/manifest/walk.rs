//! Looks for engines in a manifest, wherever they stand.

use super::cards::{given, slice, wanted};
use super::container::Container;
use super::expand::has_variable;
use super::{Engine, Wanted, servers, shown};
use crate::deployment::served::{Unread, served_by};
use crate::read::yaml::Yaml;
use crate::text::printable;

/// Engines and images that are kept.
const MOST: usize = 32;

/// Keys below which commands stand that are not the container's own.
const ELSEWHERE: [&str; 8] = [
    "initContainers",
    "initContainer",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "healthcheck",
    "macros",
];

/// What was found.
#[derive(Default)]
pub(super) struct Walk {
    pub(super) found: Vec<Engine>,
    /// Images that run no engine that is known.
    pub(super) images: Vec<String>,
    /// The first command of an engine's that could not be read.
    pub(super) unread: Option<(String, Unread)>,
}

/// Where a value stands.
#[derive(Clone, Default)]
struct Place {
    /// `Deployment/chat`.
    resource: Option<String>,
    /// The key of the mapping.
    key: String,
    is_compose: bool,
    card: Option<Wanted>,
    /// The model that a resource around it names.
    model: Option<String>,
}

impl Walk {
    /// Looks through a document.
    pub(super) fn document(&mut self, document: &Yaml) {
        self.visit(document, &Place::default());
    }

    fn visit(&mut self, value: &Yaml, place: &Place) {
        if self.found.len() == MOST {
            return;
        }
        if let Yaml::List(items) = value {
            return items.iter().for_each(|item| self.visit(item, place));
        }
        let place = place.within(value);
        if value.entries().is_empty() || self.takes(value, &place) {
            return;
        }
        for (key, inner) in value.entries() {
            if !ELSEWHERE.contains(&key.as_str()) {
                let is_compose = place.is_compose || (key == "services" && place.is_outermost());
                self.visit(inner, &Place { key: key.clone(), is_compose, ..place.clone() });
            }
        }
    }

    /// Whether a mapping runs an engine, which is then kept.
    fn takes(&mut self, map: &Yaml, place: &Place) -> bool {
        // What a preset runs is said nowhere in a container of it.
        let of_preset = || place.model.is_some() && map.get("resources").is_some();
        let described = servers::container(map).or_else(|| Container::of(map, place.is_compose));
        let described = described.or_else(|| of_preset().then(|| Container::bare(map)));
        let Some(described) = described else { return false };
        let preset = servers::preset(&described, place.model.as_deref());
        let container = preset.unwrap_or(described);
        let own = [container.entry.as_slice(), &container.arguments].concat();
        let read = served_by(container.image.as_deref(), &own, &container.variables);
        let (mut served, words) = match read {
            Ok(read) => read,
            Err(Unread::Program(_)) => {
                let image = container.image.filter(|_| self.images.len() < MOST);
                self.images.extend(image.map(|image| printable(&image)));
                return false;
            }
            Err(why) => {
                self.unread.get_or_insert((place.text(map), why));
                return true;
            }
        };
        let model = &mut served.question.model;
        if let (None, Some(told)) = (&model, told_beside(map)) {
            served
                .remarks
                .push(format!("its model is said beside its command: `{}`", printable(told)));
            *model = Some(told.to_owned());
        }
        // What is written elsewhere names nothing here.
        if let Some(name) = model.take_if(|name| has_variable(name)) {
            served.remarks.push(format!("its model `{}` is set elsewhere", printable(&name)));
        }
        let given = given(map);
        let card = place.card.clone().map(|card| sliced(card, given.as_ref().and_then(slice)));
        self.found.push(Engine {
            name: place.name(map).to_owned(),
            place: place.text(map),
            command: shown(&words),
            served,
            given,
            card,
        });
        true
    }
}

/// The slice of a card, where a container is given one.
fn sliced(card: Wanted, slice: Option<&str>) -> Wanted {
    match slice.filter(|slice| !card.name.contains(*slice)) {
        Some(slice) => Wanted { name: format!("{}-MIG-{slice}", card.name), ..card },
        None => card,
    }
}

/// The model that a chart's values name beside the arguments.
fn told_beside(map: &Yaml) -> Option<&str> {
    let name = ["model", "modelName", "modelId", "modelID", "model_id", "modelURL"];
    name.iter().find_map(|key| map.get(key)?.text()).filter(|model| !model.is_empty())
}

impl Place {
    /// What a mapping adds: its kind and name, the card of its nodes, the model that it names.
    fn within(&self, map: &Yaml) -> Self {
        let mut place = self.clone();
        if let Some(kind) = map.get("kind").and_then(Yaml::text) {
            let name = map.at(&["metadata", "name"]).and_then(Yaml::text).unwrap_or_default();
            place.resource = Some(format!("{}/{}", printable(kind), printable(name)));
            place.model = None;
            if kind == "LLMInferenceService" {
                let model = map.at(&["spec", "model", "uri"]).and_then(Yaml::text);
                place.model = model.map(str::to_owned);
            }
        }
        place.card = wanted(map).or(place.card);
        place
    }

    fn is_outermost(&self) -> bool {
        self.key.is_empty() && self.resource.is_none()
    }

    /// The name of a container: its own, else that under which it stands.
    fn name<'a>(&'a self, map: &'a Yaml) -> &'a str {
        let own = ["name", "container_name"].iter().find_map(|key| map.get(key)?.text());
        let is_general = ["spec", "model", "image", "containers", ""].contains(&self.key.as_str());
        let resource = self.resource.as_deref().and_then(|text| text.split('/').nth(1));
        match own.filter(|_| !self.is_compose) {
            Some(own) => own,
            None if is_general => resource.unwrap_or(&self.key),
            None => &self.key,
        }
    }

    fn text(&self, map: &Yaml) -> String {
        let name = printable(self.name(map));
        match &self.resource {
            Some(resource) if resource.ends_with(&format!("/{name}")) => resource.clone(),
            Some(resource) => format!("{resource}, container `{name}`"),
            None if self.is_compose => format!("service `{name}`"),
            None if name.is_empty() => "its values".to_owned(),
            None => format!("`{name}`"),
        }
    }
}
