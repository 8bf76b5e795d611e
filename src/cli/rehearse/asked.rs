//! Which cards, and which plan beside them.

use super::RehearseArgs;
use crate::cli::known::Known;
use crate::cli::problem::Problem;
use crate::cli::scenario;
use crate::report::rehearsal::Plan;
use vramplan_planner::deployment::{self, Cards, Deployment, Question};
use vramplan_planner::deployment::{Recognised, recognise};
use vramplan_planner::recommend;
use vramplan_planner::spec::Runtime;
use vramplan_planner::text::{printable, shell_word};

use crate::calibrate::PlannedRun;

/// What was asked, once for every rehearsal.
pub struct Asked {
    /// The flags, over those of a scenario.
    flags: Question,
    /// What the command says of itself.
    recognised: Recognised,
    /// Profiles.
    pub catalog: Known,
}

/// The cards of a rehearsal, with the plan beside them.
pub struct Target {
    /// What tells it from others.
    pub name: String,
    /// The cards.
    pub cards: Cards,
    /// The plan.
    pub plan: Plan,
}

impl Asked {
    /// Reads the flags, the scenario and the command.
    pub fn new(args: &RehearseArgs) -> anyhow::Result<Self> {
        let flags = scenario::merged(&args.plan, args.scenario.as_deref())?;
        let has = |prefix: &str| {
            std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with(prefix))
        };
        let recognised = recognise(&args.command, has);
        Ok(Self { flags, recognised, catalog: args.catalog.known() })
    }

    /// The cards that are asked for, or those of this name, with their plan.
    pub fn target(&self, gpu: Option<&str>) -> anyhow::Result<Target> {
        let mut flags = self.flags.clone();
        if let Some(gpu) = gpu {
            flags.gpu = Some(gpu.trim().to_owned());
        }
        let cards = self.cards(&flags)?;
        let plan = self.plan(&flags, &cards)?;
        let names: Vec<&str> = cards.iter().map(|card| card.gpu.name.as_str()).collect();
        let equal = names.iter().all(|name| *name == names[0]);
        let name = match names.len() {
            1 => names[0].to_owned(),
            n if equal => format!("{n}x{}", names[0]),
            _ => names.join(","),
        };
        Ok(Target { name, cards, plan })
    }

    fn cards(&self, flags: &Question) -> anyhow::Result<Cards> {
        // What is asked of the cards alone: how a model is spread over them is the plan's.
        let only = Question { split: None, ..flags.clone() };
        let local = scenario::local_card_for(&only, &self.catalog)?;
        let runtime = self.runtime(flags).unwrap_or(Runtime::Transformers);
        let cards = deployment::cards(&only, runtime, &self.catalog, local.as_ref())?;
        if let Some(card) = cards.iter().find(|card| !card.gpu.maker.is_nvidia()) {
            let message = format!(
                "`{}` cannot be rehearsed on: the GPU that is not there is one for CUDA",
                printable(&card.gpu.name)
            );
            return Err(Problem::usage(message).hint("name a GPU of NVIDIA").into());
        }
        Ok(cards)
    }

    fn runtime(&self, flags: &Question) -> Option<Runtime> {
        let recognised = match &self.recognised {
            Recognised::Deployment(question) => question.runtime,
            Recognised::Uncertain(_) | Recognised::Nothing => None,
        };
        flags.runtime.or(recognised)
    }

    fn plan(&self, flags: &Question, cards: &Cards) -> anyhow::Result<Plan> {
        let none = |note: String| Plan {
            source: "none",
            note,
            deployment: None,
            cards: Vec::new(),
            runtime: None,
        };
        if flags.model.is_some() {
            let question = flags.clone().or(self.recognised_for(flags));
            return planned(&self.resolve(&question, cards)?, "given", String::new());
        }
        match &self.recognised {
            Recognised::Nothing => {
                Ok(none("no plan beside it: `--model` and its flags give one".to_owned()))
            }
            Recognised::Uncertain(why) => Ok(none(format!("no plan beside it: {why}"))),
            Recognised::Deployment(found) => {
                let question = flags.clone().or(found.as_ref().clone());
                if let Some(ranks) = found.gpus.filter(|ranks| *ranks != cards.len() as u64) {
                    let all = cards.len();
                    return Ok(none(format!("no plan beside it: it uses {ranks} of {all} cards")));
                }
                let said = format!("recognised: {}", words(found));
                let plan = self
                    .resolve(&question, cards)
                    .and_then(|found| planned(&found, "recognised", said.clone()));
                // What nobody asked for does not stand in the way.
                Ok(plan
                    .unwrap_or_else(|error| none(format!("{said}; no plan beside it: {error:#}"))))
            }
        }
    }

    /// What the command says beside flags that name a model.
    fn recognised_for(&self, flags: &Question) -> Question {
        match &self.recognised {
            Recognised::Deployment(found)
                if flags.runtime.is_none_or(|runtime| Some(runtime) == found.runtime) =>
            {
                found.as_ref().clone()
            }
            _ => Question::default(),
        }
    }

    fn resolve(&self, question: &Question, cards: &Cards) -> anyhow::Result<Deployment> {
        let located = self.catalog.locate(question.model.as_deref().unwrap_or_default())?;
        self.catalog.resolve_on(question, &located, cards.clone())
    }
}

/// The plan of every card.
fn planned(found: &Deployment, source: &'static str, note: String) -> anyhow::Result<Plan> {
    let answer = recommend::answer(found)?;
    let resolved = answer.planned(found).resolved();
    let run = |plan| PlannedRun::new(plan, resolved.clone());
    let cards = if answer.devices.is_empty() {
        vec![run(&answer.plan)?]
    } else {
        answer.devices.iter().map(|device| run(&device.plan)).collect::<Result<_, _>>()?
    };
    let runtime = Some(found.runtime.as_ref().clone());
    let note = if note.is_empty() { format!("planned: {}", words(&resolved)) } else { note };
    Ok(Plan { source, note, deployment: Some(resolved), cards, runtime })
}

/// A deployment as flags of `budget`, the cards left out.
fn words(question: &Question) -> String {
    let mut words = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let value = printable(&value);
            let value =
                shell_word(&value).map_or_else(|| value.clone(), std::borrow::Cow::into_owned);
            words.push(format!("--{name} {value}"));
        }
    };
    add("model", question.model.clone());
    add("runtime", question.runtime.map(|runtime| runtime.to_string()));
    add("weights", question.weights.map(|weights| weights.to_string()));
    add("kv", question.kv.map(|kv| kv.to_string()));
    add("cache-tokens", question.cache_tokens.map(|tokens| tokens.to_string()));
    add(
        "context",
        question
            .context
            .filter(|_| question.cache_tokens.is_none())
            .map(|tokens| tokens.to_string()),
    );
    add("prefill-chunk", question.prefill_chunk.map(|tokens| tokens.to_string()));
    add("max-seqs", question.max_seqs.map(|seqs| seqs.to_string()));
    add("gpu-memory-utilization", question.gpu_memory_utilization.map(|share| share.to_string()));
    add("mem-fraction-static", question.mem_fraction_static.map(|share| share.to_string()));
    add("attention", question.attention.map(|kind| kind.to_string()));
    words.join(" ")
}
