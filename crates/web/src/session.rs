//! Answers requests, one after the other. What was read of a model is kept between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::value::RawValue;
use vramplan_planner::deployment::{
    self, Deployment, Found, Origin, OriginKind, Question, resolve, resolve_model,
};
use vramplan_planner::estimate::rules;
use vramplan_planner::plan::Verdict;
use vramplan_planner::read::Catalog;
use vramplan_planner::recommend::{answer, outline, settle_cards};
use vramplan_planner::render::{CompareDoc, Document, PLAN, SweepDoc, Target, emit, heading};
use vramplan_planner::spec::ModelSpec;
use vramplan_planner::sweep::Sweep;
use vramplan_planner::text::printable;

use crate::ask::{Answer, Ask, Body, Planned, Settings};
use crate::{Given, Heads, Lists, Problem, change_of, command, parse, question};

/// Models that are kept; a page asks about one or two at a time.
const MOST_MODELS: usize = 16;

/// A page's planner: the profiles, and the files that it was handed.
pub struct Session {
    catalog: Catalog,
    heads: Heads,
    /// Models that were read, by the name that a question gives.
    models: BTreeMap<String, Arc<ModelSpec>>,
    aliases: BTreeMap<String, Alias>,
}

/// Files under a name of their own.
struct Alias {
    path: String,
    origin: Option<Origin>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            catalog: Catalog::built_in(),
            heads: Heads::default(),
            models: BTreeMap::new(),
            aliases: BTreeMap::new(),
        }
    }
}

impl Session {
    /// Answers a request: a line of JSON ([`Ask`]), and bytes behind it.
    pub fn answer(&mut self, request: &[u8]) -> String {
        let end = request.iter().position(|byte| *byte == b'\n').unwrap_or(request.len());
        let (line, behind) = request.split_at(end);
        let read = serde_json::from_slice(line).map_err(Problem::from);
        let answered = read.and_then(|ask| self.ask(ask, behind.get(1..).unwrap_or_default()));
        let answer = match (answered, self.heads.take_missing()) {
            (Ok(body), _) => Answer::Ok(Box::new(body)),
            (Err(_), Some(missing)) => Answer::Needs(missing),
            (Err(problem), None) => Answer::Error(problem),
        };
        serde_json::to_string(&answer).unwrap_or_else(|_| {
            r#"{"error":{"message":"the answer cannot be written","hints":[]}}"#.to_owned()
        })
    }

    fn ask(&mut self, ask: Ask, bytes: &[u8]) -> Result<Body, Problem> {
        Ok(match ask {
            Ask::Lists {} => Body::Lists(Lists::of(&self.catalog)?),
            Ask::Flags { line } => {
                let given = parse(&line)?;
                question(&given)?;
                Body::Flags(given)
            }
            Ask::Plan { question: given } => self.plan(&given)?,
            Ask::Outline { question: given } => self.outline(&given)?,
            Ask::Print { question: given, format } => {
                let (_, document) = self.document(&question(&given)?)?;
                Body::Text { text: printed(&document, &format)? }
            }
            Ask::Settings { question: given } => self.settings(&question(&given)?)?,
            Ask::Compare { current, proposed } => self.compare([&current, &proposed])?,
            Ask::Sweep { question: given, gpus, weights } => {
                self.sweep(&question(&given)?, &gpus, &weights)?
            }
            Ask::File { path, size, from } => {
                self.heads.add(&path, size, from, bytes)?;
                Body::Done {}
            }
            Ask::Alias { name, path, origin } => {
                self.models.remove(&name);
                self.aliases.insert(name, Alias { path, origin });
                Body::Done {}
            }
            Ask::Forget {} => {
                self.heads.clear();
                self.models.clear();
                self.aliases.clear();
                Body::Done {}
            }
        })
    }

    /// Resolves a question as the command does: the same model under the name that was given.
    fn deployment(&mut self, asked: &Question) -> Result<Deployment, Problem> {
        let Some(name) = asked.model.clone() else {
            return Ok(resolve(asked, &self.catalog, &self.heads, None)?);
        };
        let alias = self.aliases.get(&name);
        let path = alias.map_or_else(|| name.clone(), |alias| alias.path.clone());
        let question = Question { model: Some(path), ..asked.clone() };
        let kept = self.models.get(&name);
        let mut found = match kept {
            Some(model) => resolve_model(&question, model, &self.catalog, &self.heads)?,
            None => resolve(&question, &self.catalog, &self.heads, None)?,
        };
        if kept.is_none() {
            if self.models.len() >= MOST_MODELS {
                self.models.clear();
            }
            self.models.insert(name.clone(), Arc::clone(&found.model));
        }
        if let Some(Alias { origin, .. }) = alias {
            if origin.as_ref().is_some_and(|origin| origin.kind == OriginKind::Hub) {
                // No program opens a file that is on a server.
                found.file = None;
            }
            found.origin = origin.clone().map(Arc::new);
        }
        found.given = Arc::new(asked.clone());
        Ok(settle_cards(&found)?.into_owned())
    }

    fn document(&mut self, asked: &Question) -> Result<(Deployment, Document), Problem> {
        let deployment = self.deployment(asked)?;
        let answer = answer(&deployment)?;
        let document = Document::new(&deployment, &answer);
        Ok((deployment, document))
    }

    fn plan(&mut self, given: &Given) -> Result<Body, Problem> {
        let asked = question(given)?;
        let (_, document) = self.document(&asked)?;
        shown(given, asked, document, false)
    }

    /// What follows a slider; all of the plan where that is no more work.
    fn outline(&mut self, given: &Given) -> Result<Body, Problem> {
        let asked = question(given)?;
        let deployment = self.deployment(&asked)?;
        let Some(found) = outline(&deployment)? else { return self.plan(given) };
        shown(given, asked, Document::new(&deployment, &found), true)
    }

    /// The settings for every program that takes plans of this runtime; those of one that does not fit would fail.
    fn settings(&mut self, asked: &Question) -> Result<Body, Problem> {
        let (deployment, document) = self.document(asked)?;
        if document.verdict == Verdict::DoesNotFit {
            return Ok(Body::Settings(Vec::new()));
        }
        let gpu = deployment.cards.first().gpu.compute_capability;
        let targets = Target::NAMES.into_iter().filter(|(_, target)| {
            target.takes().is_empty() || target.takes().contains(&deployment.kind())
        });
        let settings = targets.map(|(name, target)| {
            let text = emit(&document, target, deployment.file.as_deref(), gpu);
            let (text, problem) = match text {
                Ok(text) => (Some(text), None),
                Err(error) => (None, Some(error.into())),
            };
            Settings { target: name, text, problem }
        });
        Ok(Body::Settings(settings.collect()))
    }

    fn compare(&mut self, [current, proposed]: [&Given; 2]) -> Result<Body, Problem> {
        let (_, current) = self.document(&question(current)?)?;
        let (_, proposed) = self.document(&question(proposed)?)?;
        let compared = CompareDoc::new(("current", &current), ("proposed", &proposed));
        Ok(Body::Json(RawValue::from_string(compared.to_json()?)?))
    }

    /// The question on every card in every format, as `sweep` answers it; cards that the runtime does not run on are left
    /// out.
    fn sweep(
        &mut self,
        asked: &Question,
        gpus: &[String],
        weights: &[String],
    ) -> Result<Body, Problem> {
        let found = self.deployment(asked)?;
        let question = Question { runtime: Some(found.kind()), weights: None, ..asked.clone() };
        let on = |gpu: &String| self.on_card(&question, &found, gpu);
        let runs = |gpu: &&String| match self.catalog.gpu(gpu) {
            Ok(gpu) => rules(found.kind()).runs_on(gpu.maker),
            Err(_) => true,
        };
        let cells = gpus.iter().filter(runs).map(on).collect::<Result<Vec<_>, Problem>>()?;
        let mut rows = Vec::with_capacity(weights.len());
        for weights in weights {
            let format = weights.parse().map_err(|error| Problem::of(&error))?;
            let row = cells.iter().map(|cell| cell.with_formats(format, cell.cache_formats()));
            rows.push(row.collect());
        }
        let sweep = Sweep { rows, largest: true };
        let document = SweepDoc::new(&sweep, &sweep.answer());
        Ok(Body::Json(RawValue::from_string(document.to_json()?)?))
    }

    /// The same model on as many cards of another kind.
    fn on_card(
        &self,
        question: &Question,
        found: &Deployment,
        gpu: &str,
    ) -> Result<Deployment, Problem> {
        let count = u64::try_from(found.cards.len()).ok().filter(|count| *count > 1);
        let split = question.split.filter(|_| count.is_some());
        let gpu = Some(gpu.to_owned());
        let question = Question { gpu, gpus: count, split, ..question.clone() };
        let cards = deployment::cards(&question, found.kind(), &self.catalog, None)?;
        let found = Found {
            model: Arc::clone(&found.model),
            file: found.file.clone(),
            runtime: Arc::clone(&found.runtime),
            cards,
            siblings: Arc::new([]),
        };
        Ok(Deployment::new(question, found)?)
    }
}

/// A plan with what the page shows beside it.
fn shown(
    given: &Given,
    question: Question,
    document: Document,
    is_outline: bool,
) -> Result<Body, Problem> {
    let changes = document.advice.iter().map(|advice| change_of(&advice.text)).collect();
    Ok(Body::Plan(Box::new(Planned {
        heading: heading(&document),
        command: command(given)?,
        question,
        is_outline,
        changes,
        document,
    })))
}

fn printed(document: &Document, format: &str) -> Result<String, Problem> {
    let known = PLAN.formats().find(|known| known.name() == format);
    let text = known.and_then(|format| PLAN.print(document, format));
    let unknown = || Problem::new(format!("`{}` is not a format of a plan", printable(format)));
    text.ok_or_else(unknown)?.map_err(|_| Problem::new("the plan cannot be written so"))
}
