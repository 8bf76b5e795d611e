//! Manifests: what a file of Kubernetes, of docker compose, of a Helm chart's values or of llama-swap runs, as a question.
//!
//! Whatever their kinds are, an engine's command stands in a mapping with an image, a command, arguments, variables and what it is given of
//! cards. Such mappings are looked for wherever they are, and their commands are read as `budget -- COMMAND` reads one. A file is a
//! stranger's: nothing in it is run, and what it may hold is bounded ([`yaml`]).

mod cards;
mod container;
mod expand;
mod servers;
mod walk;

use self::walk::Walk;
use super::served::{Served, Unread};
use super::{Question, flags_of, served};
use crate::estimate::rules;
use crate::read::yaml::{self, Yaml, YamlError};
use crate::text::{printable, shell_word};

/// An engine that a manifest runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Engine {
    /// The name that tells it from others of the file.
    pub name: String,
    /// Where it stands: the container `vllm` of `Deployment/chat`.
    pub place: String,
    /// Its command, as a shell would be given it.
    pub command: String,
    /// What the command asks for.
    pub served: Served,
    /// The cards that it is given, and the key that says so.
    pub given: Option<Given>,
    /// The card that its node has to have, and the key that says so.
    pub card: Option<Wanted>,
}

/// How many cards a container is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// Their number; nothing for all that there are.
    pub count: Option<u64>,
    /// The key, such as `nvidia.com/gpu`.
    pub key: String,
}

impl Given {
    /// The slice of a card that it is given, such as `3g.40gb`.
    pub fn slice(&self) -> Option<&str> {
        cards::slice(self)
    }
}

/// The card that a node is chosen by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// As the label has it: `NVIDIA-L4`, `g5.xlarge`.
    pub name: String,
    /// The label's key.
    pub key: String,
}

/// Why a manifest says nothing that can be planned.
#[derive(Clone, Debug, PartialEq)]
pub enum ManifestError {
    /// It is not read as YAML.
    Yaml(YamlError),
    /// It is a template, of which YAML is only made.
    Template,
    /// It is YAML, and runs no engine that is known: the images that it names.
    NoEngine(Vec<String>),
    /// The command of an engine that it runs cannot be read: where that stands.
    Unread(String, Unread),
}

/// The engines that a manifest runs, in its order.
///
/// ```
/// use vramplan_planner::deployment::manifest;
///
/// let file = "services:\n  chat:\n    image: vllm/vllm-openai:v0.11.0\n    command: --model Qwen/Qwen3-8B --max-model-len 8192\n";
/// let engines = manifest(file).unwrap();
/// assert_eq!(engines[0].name, "chat");
/// assert_eq!(engines[0].served.question.context, Some(8192));
/// ```
///
/// # Errors
/// Where it is no manifest that is read, or runs no engine that is.
pub fn manifest(text: &str) -> Result<Vec<Engine>, ManifestError> {
    let documents = yaml::documents(text).map_err(|error| {
        if is_template(text) { ManifestError::Template } else { ManifestError::Yaml(error) }
    })?;
    let mut walk = Walk::default();
    for document in &documents {
        walk.document(document);
    }
    if let (true, Some(engine)) = (walk.found.is_empty(), of_settings(&documents, text)) {
        return Ok(vec![engine?]);
    }
    if walk.found.is_empty() {
        let is_template = is_template(text);
        return Err(match walk.unread {
            Some((place, why)) => ManifestError::Unread(place, why),
            None if is_template => ManifestError::Template,
            None => ManifestError::NoEngine(walk.images),
        });
    }
    let mut engines = walk.found;
    tell_apart(&mut engines);
    engines.iter_mut().for_each(Engine::settle);
    Ok(engines)
}

/// Whether it is a template of Helm's or Jinja's; `${{` is an expression of GitHub's.
fn is_template(text: &str) -> bool {
    let begins = |(at, _): (usize, &str)| !text.get(..at).unwrap_or_default().ends_with('$');
    text.match_indices("{{").any(begins) || text.contains("{%")
}

/// A server's settings: a file of vLLM's or `SGLang`'s `--config`, whose keys are their flags.
fn of_settings(documents: &[Yaml], text: &str) -> Option<Result<Engine, ManifestError>> {
    let [document] = documents else { return None };
    let program: &[&str] = if document.get("model-path").or(document.get("model_path")).is_some() {
        &["sglang.launch_server"]
    } else {
        document.get("model")?.text()?;
        &["vllm", "serve"]
    };
    let words = flags_of(text).ok()?;
    let words: Vec<&str> =
        program.iter().copied().chain(words.iter().map(String::as_str)).collect();
    let place = format!("the settings of `{}`", program.join(" "));
    Some(match served(&words) {
        Ok(served) => Ok(Engine {
            name: String::new(),
            place,
            command: shown(&words),
            served,
            given: None,
            card: None,
        }),
        Err(why) => Err(ManifestError::Unread(place, why)),
    })
}

/// Names that several engines have are told apart by where these stand.
fn tell_apart(engines: &mut [Engine]) {
    let names: Vec<String> = engines.iter().map(|engine| engine.name.clone()).collect();
    for (at, engine) in engines.iter_mut().enumerate() {
        let is_shared = names.iter().filter(|name| **name == engine.name).count() > 1;
        if is_shared || engine.name.is_empty() {
            let number = names.iter().take(at + 1).filter(|name| **name == engine.name).count();
            engine.name = format!("{}{number}", engine.name);
        }
    }
}

/// Words as a shell reads them, a script's lines in one.
fn shown<S: AsRef<str>>(words: &[S]) -> String {
    let quoted = |word: &S| {
        let word = word.as_ref().split_whitespace().collect::<Vec<_>>().join(" ");
        let is_plain = !word.is_empty() && !word.contains([' ', '\'', '"']);
        if is_plain { Some(word) } else { shell_word(&word).map(std::borrow::Cow::into_owned) }
    };
    words.iter().filter_map(quoted).collect::<Vec<_>>().join(" ")
}

impl Engine {
    /// Takes the number of cards from what the container is given, where the engine runs on all that it sees; else says
    /// on how many it runs.
    fn settle(&mut self) {
        let Some(Given { count: Some(count), key }) = &self.given else { return };
        let (count, question) = (*count, &mut self.served.question);
        let told = question.gpus.unwrap_or(1);
        let runs_on_all = question.runtime.is_some_and(|runtime| rules(runtime).places_tensors());
        if count > 1 && question.gpus.is_none() && runs_on_all {
            question.gpus = Some(count);
        } else if told < count {
            self.served.remarks.push(format!(
                "`{}: {count}` gives it {count} cards, and its command runs on {told}, which is planned",
                printable(key)
            ));
        } else if told > count && count > 0 {
            self.served.remarks.push(format!(
                "its command runs on {told} cards, and `{}: {count}` gives each container {count}: planned are {told}",
                printable(key)
            ));
        }
    }

    /// What it asks for, and its node's card where no other is asked for.
    pub fn question_beside(&self, other: &Question) -> Question {
        let mut question = self.served.question_beside(other);
        if other.gpu.is_none() {
            question.gpu = self.card.as_ref().map(|card| card.name.clone());
        }
        question
    }
}

#[cfg(test)]
mod tests;
