//! The GPUs of a deployment, what each has of the model, and which of them binds.

use std::borrow::Cow;

use super::{Condition, RecommendError};
use crate::deployment::{Card, Deployment};
use crate::estimate::placement::{self, Room, Spread};
use crate::estimate::weights::Weights;
use crate::estimate::weights_of_part;
use crate::estimate::{Scenario, vision};
use crate::plan::{self, Demand, Plan, Verdict};
use crate::spec::Part;
use crate::units::{Bytes, Overflow};

/// One GPU's plan, where there are several.
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePlan {
    /// The GPU.
    pub card: Card,
    /// What it has of the model.
    pub part: Part,
    /// Its weights with the vision tower, and what of them GPUs before it have, too.
    pub weights: (Bytes, Bytes),
    /// Its plan.
    pub plan: Plan,
}

/// A GPU with its weights.
#[derive(Clone, Debug)]
pub(super) struct Device<'a> {
    pub(super) card: &'a Card,
    pub(super) weights: Cow<'a, Weights>,
}

impl<'a> Device<'a> {
    /// Every GPU of a deployment with its part of the weights.
    pub(super) fn all(deployment: &'a Deployment) -> Result<Vec<Self>, RecommendError> {
        let Deployment { model, weights: format, runtime, split, cards, .. } = deployment;
        let room = |card: &'a Card| Room { gpu: &card.gpu, usable: card.capacity.usable };
        let rooms: Vec<Room<'_>> = cards.iter().map(room).collect();
        let images = deployment.workload.images;
        let spread = Spread { model, format: *format, runtime, split: *split, images };
        let parts = placement::parts(&spread, &rooms)?;
        let mut devices = Vec::with_capacity(cards.len());
        // Main memory comes behind the GPUs, where it is a device.
        for (card, part) in cards.iter().chain([&*deployment.host]).zip(parts) {
            let weights = Cow::Owned(weights_of_part(model, *format, runtime, &part)?);
            devices.push(Self { card, weights });
        }
        Ok(devices)
    }

    /// Weights with the vision tower, where that is loaded, and what of them GPUs before it have, too.
    pub(super) fn loaded(&self, deployment: &Deployment) -> Result<(Bytes, Bytes), Overflow> {
        let Weights { device, repeated, vision, vision_repeated, .. } = *self.weights;
        let Deployment { model, workload, .. } = deployment;
        if vision::loaded(model, deployment.kind(), workload.images).is_none() {
            return Ok((device, repeated));
        }
        Ok((device.plus(vision)?, repeated.plus(vision_repeated)?))
    }

    /// The same for a deployment that differs in its workload or its cache's format only.
    pub(super) fn borrowed(&self) -> Device<'_> {
        Device { card: self.card, weights: Cow::Borrowed(&self.weights) }
    }

    pub(super) fn scenario<'b>(
        &'b self,
        deployment: &'b Deployment,
        cache_tokens: u64,
    ) -> Scenario<'b> {
        let Deployment { model, runtime, kv, workload, .. } = deployment;
        let (gpu, weights) = (&self.card.gpu, &*self.weights);
        let (kv, workload) = (*kv, *workload);
        Scenario { model, gpu, runtime, weights, kv, workload, cache_tokens }
    }
}

/// What every GPU's plan asks for. Where runtimes keep a pool on each, all are as small as the smallest.
pub(super) fn demands(
    devices: &[Device<'_>],
    deployment: &Deployment,
    cache_tokens: u64,
) -> Result<Vec<Demand>, RecommendError> {
    let of = |deployment: &Deployment| -> Result<Vec<Demand>, RecommendError> {
        let demand = |device: &Device<'_>| plan::demand(&device.scenario(deployment, cache_tokens));
        Ok(devices.iter().map(demand).collect::<Result<_, _>>()?)
    };
    let demands = of(deployment)?;
    let blocks = demands.iter().filter_map(|demand| Some(demand.pool?.blocks));
    match levelled(deployment, blocks) {
        Some(levelled) => of(&levelled),
        None => Ok(demands),
    }
}

/// Every GPU's plan.
pub(super) fn plans(
    devices: &[Device<'_>],
    deployment: &Deployment,
    cache_tokens: u64,
) -> Result<Vec<Plan>, RecommendError> {
    let of = |deployment: &Deployment| -> Result<Vec<Plan>, RecommendError> {
        let plan = |device: &Device<'_>| {
            plan::plan(&device.scenario(deployment, cache_tokens), device.card.capacity)
        };
        Ok(devices.iter().map(plan).collect::<Result<_, _>>()?)
    };
    let plans = of(deployment)?;
    let blocks = plans.iter().filter_map(|plan| Some(plan.pool?.blocks));
    match levelled(deployment, blocks) {
        Some(levelled) => of(&levelled),
        None => Ok(plans),
    }
}

/// The deployment with pools of the smallest number of blocks, where they differ.
fn levelled(
    deployment: &Deployment,
    blocks: impl Iterator<Item = u64> + Clone,
) -> Option<Deployment> {
    let (least, most) = (blocks.clone().min()?, blocks.max()?);
    if least == most {
        return None;
    }
    let mut levelled = deployment.clone();
    levelled.set_options(deployment.options().with_most_blocks(least));
    Some(levelled)
}

/// The GPU that has the least left at the high bound with the headroom free: the first among equals.
pub(super) fn binding(devices: &[Device<'_>], demands: &[Demand]) -> Result<usize, Overflow> {
    let mut binding = (0, None);
    for (index, (device, demand)) in devices.iter().zip(demands).enumerate() {
        let slack = slack(device, *demand)?;
        if binding.1.is_none_or(|least| slack < least) {
            binding = (index, Some(slack));
        }
    }
    Ok(binding.0)
}

/// What is left, at worst, of what may be taken; negative where it is not enough. A device on which
/// the plan does not fit comes before any on which it is tight, and that before those where it fits.
fn slack(device: &Device<'_>, demand: Demand) -> Result<(u8, i128), Overflow> {
    let capacity = &device.card.capacity;
    let verdict = match capacity.verdict(demand)? {
        Verdict::DoesNotFit => 0,
        Verdict::Tight => 1,
        Verdict::Fits => 2,
    };
    let size = |bytes: Bytes| i128::from(bytes.get());
    let card = size(capacity.less_headroom(1)?) - size(demand.peak.high);
    let pool = demand.pool.map(|pool| size(pool.limit) - size(pool.need.high));
    Ok((verdict, pool.map_or(card, |pool| pool.min(card))))
}

/// Whether every GPU meets a condition.
pub(super) fn all_hold(
    devices: &[Device<'_>],
    demands: &[Demand],
    condition: Condition,
) -> Result<bool, Overflow> {
    for (device, demand) in devices.iter().zip(demands) {
        if !condition.holds(*demand, &device.card.capacity)? {
            return Ok(false);
        }
    }
    Ok(true)
}
