//! The GPUs of a request, what each has of the model, and which of them binds.

use std::borrow::Cow;

use super::{Condition, RecommendError, Request};
use crate::estimate::placement::{self, Room, Spread};
use crate::estimate::weights::Weights;
use crate::estimate::weights_of_part;
use crate::estimate::{Scenario, vision};
use crate::plan::{self, Capacity, Demand, Plan, Verdict};
use crate::spec::{GpuSpec, Part, Workload};
use crate::units::{Bytes, Overflow};

/// A GPU and what it offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The GPU.
    pub gpu: GpuSpec,
    /// What it offers.
    pub capacity: Capacity,
}

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
    pub(super) gpu: &'a GpuSpec,
    pub(super) capacity: Capacity,
    pub(super) weights: Cow<'a, Weights>,
}

impl<'a> Device<'a> {
    /// Every GPU of a request with its part of the weights.
    pub(super) fn all(request: &'a Request<'a>) -> Result<Vec<Self>, RecommendError> {
        let cards: Vec<_> = request.cards().collect();
        let room =
            |(gpu, capacity): &(&'a GpuSpec, Capacity)| Room { gpu, usable: capacity.usable };
        let rooms: Vec<Room<'_>> = cards.iter().map(room).collect();
        let Request { model, weights, runtime, split, .. } = *request;
        let images = request.workload.images;
        let spread = Spread { model, format: weights, runtime, split, images };
        let parts = placement::parts(&spread, &rooms)?;
        let mut devices = Vec::with_capacity(cards.len());
        for ((gpu, capacity), part) in cards.into_iter().zip(parts) {
            let weights = Cow::Owned(weights_of_part(model, weights, runtime, &part)?);
            devices.push(Self { gpu, capacity, weights });
        }
        Ok(devices)
    }

    /// Weights with the vision tower, where that is loaded, and what of them GPUs before it have, too.
    pub(super) fn loaded(&self, request: &Request<'_>) -> Result<(Bytes, Bytes), Overflow> {
        let Weights { device, repeated, vision, vision_repeated, .. } = *self.weights;
        let Request { model, runtime, ref workload, .. } = *request;
        if vision::loaded(model, runtime.runtime, workload.images).is_none() {
            return Ok((device, repeated));
        }
        Ok((device.plus(vision)?, repeated.plus(vision_repeated)?))
    }

    /// The same for a request that differs in its workload or its cache's format only.
    pub(super) fn borrowed(&self) -> Device<'_> {
        Device { gpu: self.gpu, capacity: self.capacity, weights: Cow::Borrowed(&self.weights) }
    }

    pub(super) fn scenario<'b>(
        &'b self,
        request: &'b Request<'_>,
        workload: Workload,
    ) -> Scenario<'b> {
        let Request { model, runtime, kv, .. } = *request;
        Scenario { model, gpu: self.gpu, runtime, weights: &self.weights, kv, workload }
    }
}

/// What every GPU's plan asks for. Where runtimes keep a pool on each, all are as small as the smallest.
pub(super) fn demands(
    devices: &[Device<'_>],
    request: &Request<'_>,
    workload: &Workload,
) -> Result<Vec<Demand>, RecommendError> {
    let of = |workload: &Workload| -> Result<Vec<Demand>, RecommendError> {
        let demand =
            |device: &Device<'_>| plan::demand(&device.scenario(request, workload.clone()));
        Ok(devices.iter().map(demand).collect::<Result<_, _>>()?)
    };
    let demands = of(workload)?;
    let blocks = demands.iter().filter_map(|demand| Some(demand.pool?.blocks));
    match levelled(workload, blocks) {
        Some(workload) => of(&workload),
        None => Ok(demands),
    }
}

/// Every GPU's plan.
pub(super) fn plans(
    devices: &[Device<'_>],
    request: &Request<'_>,
    workload: &Workload,
) -> Result<Vec<Plan>, RecommendError> {
    let of = |workload: &Workload| -> Result<Vec<Plan>, RecommendError> {
        let plan = |device: &Device<'_>| {
            plan::plan(&device.scenario(request, workload.clone()), device.capacity)
        };
        Ok(devices.iter().map(plan).collect::<Result<_, _>>()?)
    };
    let plans = of(workload)?;
    let blocks = plans.iter().filter_map(|plan| Some(plan.pool?.blocks));
    match levelled(workload, blocks) {
        Some(workload) => of(&workload),
        None => Ok(plans),
    }
}

/// The workload with pools of the smallest number of blocks, where they differ.
fn levelled(workload: &Workload, blocks: impl Iterator<Item = u64> + Clone) -> Option<Workload> {
    let (least, most) = (blocks.clone().min()?, blocks.max()?);
    if least == most {
        return None;
    }
    let mut workload = workload.clone();
    workload.serving.as_mut()?.most_blocks = Some(least);
    Some(workload)
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
    let capacity = &device.capacity;
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
        if !condition.holds(*demand, &device.capacity)? {
            return Ok(false);
        }
    }
    Ok(true)
}
