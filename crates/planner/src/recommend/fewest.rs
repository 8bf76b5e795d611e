//! The fewest of a card that hold what is asked for.
//!
//! Numbers are tried one after the other, each by planning again: more cards do not always hold more, as each has a context of
//! its own, and tensor parallelism takes only numbers that divide a model's heads.

use std::borrow::Cow;

use super::{Condition, LEAST_CONTEXT, RecommendError, Solver, settle_share, solve};
use crate::deployment::{CacheSize, Deployment, MOST_GPUS};
use crate::estimate::rules;

/// The most cards that advice tries.
const MOST_IN_ADVICE: u64 = 16;

/// The deployment on the fewest of its card that hold it, where it asks for that. Where no number does, on the most that can be
/// planned.
///
/// # Errors
/// Where the model cannot be planned on any number of them.
pub fn settle(deployment: &Deployment) -> Result<Cow<'_, Deployment>, RecommendError> {
    if !deployment.given.fewest_gpus {
        return Ok(Cow::Borrowed(deployment));
    }
    let (mut most, mut failed) = (None, None);
    for gpus in 1..=MOST_GPUS {
        let Ok(changed) = deployment.on_equal_cards(gpus) else { continue };
        match holds(&changed) {
            Ok(true) => return Ok(Cow::Owned(changed)),
            Ok(false) => most = Some(changed),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match (most, failed) {
        (Some(most), _) => Ok(Cow::Owned(most)),
        (None, Some(error)) => Err(error),
        (None, None) => Ok(Cow::Borrowed(deployment)),
    }
}

/// How many more of the one card of a deployment hold it, where so few do that it is worth a line.
pub fn more_cards(deployment: &Deployment) -> Option<u64> {
    let first = &deployment.cards.first().gpu.name;
    let is_fixed = deployment.given.says_parallelism();
    if is_fixed || deployment.cards.iter().any(|card| card.gpu.name != *first) {
        return None;
    }
    let more = deployment.cards.len() as u64 + 1;
    let with = |gpus| Some((gpus, deployment.on_equal_cards(gpus).ok()?));
    let mut found = (more..=MOST_IN_ADVICE).filter_map(with);
    Some(found.find(|(_, changed)| holds(changed).unwrap_or(false))?.0)
}

/// Whether cards hold all of what is asked for, with the headroom and at the high bound, and nothing of it in main memory that
/// was not asked to be there.
fn holds(deployment: &Deployment) -> Result<bool, RecommendError> {
    let deployment = &*settle_share(deployment)?;
    let tokens = tokens(deployment);
    let solver = Solver::new(deployment)?;
    if !is_fast(&solver, tokens) {
        return Ok(false);
    }
    if solver.have_room(Condition::SAFE, tokens, deployment.workload.batch)? {
        return Ok(true);
    }
    // llama.cpp's own dealing may overfill one of them.
    if deployment.cards.len() == 1 || !rules(deployment.kind()).places_tensors() {
        return Ok(false);
    }
    let mut fixed = deployment.clone();
    fixed.cache = CacheSize::Fixed(tokens);
    let placed = solve(&fixed)?;
    Ok(placed.is_some_and(|placed| placed.fits && placed.is_on_cards()))
}

fn is_fast(solver: &Solver<'_>, tokens: u64) -> bool {
    let wanted = solver.deployment.min_decode_speed;
    wanted.is_none_or(|wanted| solver.speed(tokens).is_ok_and(|speed| speed.high >= wanted))
}

/// Cached tokens of a conversation: as given, else those of the context asked for, else of the shortest worth having.
fn tokens(deployment: &Deployment) -> u64 {
    let workload = &deployment.workload;
    let whole = workload.context.saturating_sub(workload.system_tokens);
    match deployment.cache {
        CacheSize::Fixed(tokens) => tokens,
        CacheSize::Solve if deployment.given.context.is_some() => whole,
        CacheSize::Solve => whole.min(LEAST_CONTEXT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::{Question, resolve};
    use crate::plan::Verdict;
    use crate::read::{Catalog, MemoryFiles};
    use crate::recommend::answer;

    fn fewest(asked: &str) -> (Deployment, usize) {
        let question: Question = toml::from_str(asked).unwrap();
        let question = Question { fewest_gpus: true, ..question };
        let found = resolve(&question, &Catalog::built_in(), &MemoryFiles::default(), None);
        let found = found.unwrap_or_else(|error| panic!("{asked}: {error}"));
        let settled = settle(&found).unwrap().into_owned();
        let cards = settled.cards.len();
        (settled, cards)
    }

    /// On the number that was found it fits, on no smaller one that can be planned, whatever the engine.
    #[test]
    fn no_smaller_number_holds_it() {
        for asked in [
            "gpu = 'RTX 3090'\nmodel = 'llama-3.3-70b'\nruntime = 'llama.cpp'\ncontext = 8192",
            "gpu = 'L4'\nmodel = 'qwen2.5-32b'\nruntime = 'llama.cpp'\nusers = 8\ncontext_per_user = 8192",
            "gpu = 'L4'\nmodel = 'qwen2.5-14b'\nruntime = 'vllm'\nusers = 32\ncontext_per_user = 4096",
            "gpu = 'A100-80GB'\nmodel = 'llama-3.3-70b'\nruntime = 'vllm'\nusers = 16\ncontext_per_user = 16384",
            "gpu = 'H100'\nmodel = 'qwen2.5-72b'\nruntime = 'sglang'\nusers = 16\ncontext_per_user = 8192",
            "gpu = 'RTX 4090'\nmodel = 'qwen2.5-32b'\nruntime = 'transformers'\ncontext = 4096",
        ] {
            let (settled, cards) = fewest(asked);
            let found = answer(&settled).unwrap();
            assert_eq!(found.verdict, Verdict::Fits, "{asked}: {cards}");
            assert!(found.settlement.is_none_or(|found| found.placement.is_on_cards()), "{asked}");
            assert!(cards > 1, "{asked}");
            for fewer in 1..cards {
                let Ok(smaller) = settled.on_equal_cards(fewer as u64) else { continue };
                assert!(!holds(&smaller).unwrap_or(false), "{asked}: {fewer} of {cards}");
            }
            assert_eq!(
                more_cards(&settled.on_equal_cards(1).unwrap()),
                Some(cards as u64),
                "{asked}"
            );
        }
    }

    /// 28 heads are not dealt out to 3, 5 or 6.
    #[test]
    fn only_numbers_that_an_engine_takes_are_found() {
        let (settled, cards) = fewest(
            "gpu = 'T4'\nmodel = 'qwen2.5-7b'\nruntime = 'vllm'\nusers = 64\ncontext_per_user = 8192",
        );
        assert_eq!(settled.model.shape.n_heads % cards as u64, 0, "{cards}");
        assert!(cards > 2, "{cards}");
    }

    #[test]
    fn where_no_number_holds_it_the_most_are_planned() {
        let (settled, cards) = fewest(
            "gpu = 'T4'\nmodel = 'qwen2.5-7b'\nruntime = 'vllm'\nusers = 256\ncontext_per_user = 32768",
        );
        assert!(answer(&settled).unwrap().verdict != Verdict::Fits);
        assert!(cards > 4, "{cards}");
        assert_eq!(more_cards(&settled), None);
    }
}
