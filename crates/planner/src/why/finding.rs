//! The answer: what ran out and why, beside a plan where one can be made, and what mends it.

use super::asked::{self, Asked};
use super::cause::{self, Cause};
use super::compare::{Compared, compare};
use super::evidence::Evidence;
use super::remedy::{self, Remedy};
use crate::deployment::{Deployment, Question};
use crate::estimate::rules;
use crate::recommend::{Answer, answer};

/// Finds what a question names, and fills in what it leaves out; else says why it cannot be planned.
pub type Resolve<'a> = &'a dyn Fn(&Question) -> Result<Deployment, String>;

/// A plan of the run that a log tells of.
#[derive(Clone, Debug)]
pub struct Planned {
    /// What was planned.
    pub deployment: Deployment,
    /// The question.
    pub question: Question,
    /// The plan.
    pub answer: Answer,
}

/// What is found in a log.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What the log says.
    pub evidence: Evidence,
    /// What ran out.
    pub cause: Cause,
    /// The plan of the run; none where the log does not say enough.
    pub plan: Option<Planned>,
    /// What is missing for a plan, or what it takes for granted.
    pub notes: Vec<String>,
    /// What is stated beside what is planned.
    pub compared: Vec<Compared>,
    /// What mends it, the surest first.
    pub remedies: Vec<Remedy>,
}

/// What a pool holds by the log, beside the plan's.
fn tokens(evidence: &Evidence, plan: Option<&Planned>) -> Option<String> {
    let stated = evidence.counts.cache_tokens?;
    let planned = plan.and_then(|plan| plan.answer.plan.pool).map(|pool| pool.tokens);
    let planned = planned.map(|tokens| format!(", the plan's {tokens}")).unwrap_or_default();
    Some(format!("the log's cache holds {stated} tokens{planned}"))
}

/// The context that a plan takes where neither the log nor the user says one.
fn context(plan: Option<&Planned>) -> Option<String> {
    let Planned { deployment, question, answer } = plan?;
    let is_told = [question.cache_tokens, question.context, question.max_model_len];
    if is_told.iter().any(Option::is_some) {
        return None;
    }
    if rules(deployment.kind()).places_tensors() {
        let tokens = answer.planned(deployment).resolved().cache_tokens?;
        return Some(format!(
            "the log does not say the context: the plan's {tokens} tokens are what fits, and not the run's; say `--cache-tokens`, as `-c`"
        ));
    }
    let longest = answer.plan.pool.map(|pool| pool.start.context).filter(|tokens| *tokens > 0)?;
    Some(format!(
        "the log does not say the longest request: the model's own {longest} tokens are planned; say `--max-model-len`"
    ))
}

/// Explains what a log says, completed by what the user says.
pub fn explain(evidence: Evidence, user: &Question, resolve: Resolve<'_>) -> Finding {
    let resolve: Resolve<'_> =
        &|question| Ok(asked::of_printed_size(&evidence, question, resolve(question)?));
    let (plan, mut notes) = match asked::asked(&evidence, user, resolve) {
        Ok(Asked { deployment, question, notes }) => match answer(&deployment) {
            Ok(answer) => (Some(Planned { deployment, question, answer }), notes),
            Err(error) => (None, vec![error.to_string()]),
        },
        Err(missing) => (None, missing),
    };
    notes.extend(context(plan.as_ref()));
    notes.extend(tokens(&evidence, plan.as_ref()));
    let compared = plan.as_ref().map(|plan| compare(&evidence, plan));
    let compared = compared.and_then(Result::ok).unwrap_or_default();
    let cause = cause::cause(&evidence, plan.as_ref());
    let remedies = remedy::remedies(&evidence, &cause, plan.as_ref(), resolve);
    if evidence.cut {
        let note = "the log is longer than is read: of a file the middle is left out, of a stream the rest, and lines are counted without it";
        notes.push(note.to_owned());
    }
    Finding { evidence, cause, plan, notes, compared, remedies }
}
