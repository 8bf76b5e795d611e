//! How many users there is room for at once, each with a conversation of the same length.

use std::borrow::Cow;

use super::search::bisect;
use super::{Condition, RecommendError, Solver, TierName};
use crate::deployment::{CacheSize, Deployment};
use crate::estimate::rules;
use crate::plan::Demand;

/// Users at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Users {
    /// How many were planned: those asked for, or as many as there is room for.
    pub planned: u64,
    /// Tokens of each conversation, the system prompt included.
    pub context: u64,
    /// The most for whom there is room, and the headroom, even at the high bound.
    pub safe: u64,
    /// The most for whom there is room if all is as expected.
    pub expected: u64,
}

impl Solver<'_> {
    /// How many users there is room for, each with so many cached tokens, found by planning for more and more of them:
    /// up to as many as the runtime takes.
    ///
    /// # Errors
    /// On sizes that no device has.
    pub fn users(&self, cache_tokens: u64) -> Result<Users, RecommendError> {
        let Deployment { workload, .. } = self.deployment;
        Ok(Users {
            planned: workload.batch,
            context: workload.system_tokens.saturating_add(cache_tokens),
            safe: self.most_users(Condition::SAFE, cache_tokens)?,
            expected: self.most_users(TierName::Aggressive.condition(), cache_tokens)?,
        })
    }

    fn most_users(&self, condition: Condition, cache_tokens: u64) -> Result<u64, RecommendError> {
        let options = self.deployment.options();
        let rules = rules(self.deployment.kind());
        let is_alone = rules.runs_one_sequence(&self.deployment.model);
        let most = if is_alone { 1 } else { rules.most_sequences(&options) };
        let fits = |users| self.have_room(condition, cache_tokens, users);
        let (mut has, mut next) = (0, 1);
        while next <= most && fits(next)? {
            (has, next) = (next, next * 2);
        }
        let beyond = next.min(most.saturating_add(1));
        bisect(has, beyond, fits)
    }

    /// Whether cards have room for so many users.
    pub(super) fn have_room(
        &self,
        condition: Condition,
        cache_tokens: u64,
        users: u64,
    ) -> Result<bool, RecommendError> {
        let mut changed = self.deployment.clone();
        changed.workload.batch = users;
        let solver = self.varied(&changed);
        let demands = solver.demands(cache_tokens)?;
        let starts =
            |demand: &Demand| demand.pool.is_none_or(|pool| pool.start.succeeds(condition.left));
        Ok(solver.holds(condition, cache_tokens)? && demands.iter().all(starts))
    }
}

/// The deployment for as many users as there is room for, where it says how long a conversation is and not how many there
/// are; at least one.
///
/// # Errors
/// Where the model cannot be planned so.
pub fn settle(deployment: Cow<'_, Deployment>) -> Result<Cow<'_, Deployment>, RecommendError> {
    let given = &deployment.given;
    let CacheSize::Fixed(tokens) = deployment.cache else { return Ok(deployment) };
    if given.context_per_user.is_none() || given.users.is_some() {
        return Ok(deployment);
    }
    let found = Solver::new(&deployment)?.users(tokens)?;
    let users = if found.safe > 0 { found.safe } else { found.expected.max(1) };
    let mut settled = deployment.into_owned();
    settled.workload.batch = users;
    Ok(Cow::Owned(settled))
}
