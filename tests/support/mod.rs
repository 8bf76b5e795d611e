//! Deployments for tests: questions such as a user asks, from the embedded profiles.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "test code")]

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use vramplan_planner::deployment::{CacheSize, Card, Cards, Deployment, Question, resolve};
use vramplan_planner::estimate::weights_of;
use vramplan_planner::estimate::{Buffer, Scenario, buffers};
use vramplan_planner::plan::Capacity;
use vramplan_planner::read::{Catalog, MemoryFiles};
use vramplan_planner::recommend::{Answer, answer};
use vramplan_planner::spec::{
    Attention, GpuSpec, Headroom, ModelSpec, Runtime, RuntimeOptions, Serving, TransformersStack,
};
use vramplan_planner::units::Bytes;

/// What `budget` would plan, to be changed by a test.
#[derive(Clone, Debug)]
pub struct Case(pub Deployment);

impl Deref for Case {
    type Target = Deployment;

    fn deref(&self) -> &Deployment {
        &self.0
    }
}

impl DerefMut for Case {
    fn deref_mut(&mut self) -> &mut Deployment {
        &mut self.0
    }
}

impl Case {
    /// What is planned for this GPU, model and runtime where nothing else is said.
    pub fn new(gpu: &str, model: &str, runtime: Runtime) -> Self {
        Self::asked(&Question {
            gpu: Some(gpu.to_owned()),
            model: Some(model.to_owned()),
            runtime: Some(runtime),
            ..Question::default()
        })
    }

    /// What is planned for a question.
    pub fn asked(question: &Question) -> Self {
        let catalog = Catalog::built_in();
        Self(resolve(question, &catalog, &MemoryFiles::default(), None).unwrap())
    }

    /// Everything that is listed for it, before a plan adds anything up.
    pub fn buffers(&self) -> Vec<Buffer> {
        let weights = weights_of(&self.model, self.weights, &self.runtime).unwrap();
        buffers(&Scenario {
            model: &self.model,
            gpu: self.gpu(),
            runtime: &self.runtime,
            weights: &weights,
            kv: self.kv,
            workload: self.workload,
            cache_tokens: self.cache.fixed().unwrap_or(1),
        })
        .unwrap()
    }

    /// The first GPU.
    pub fn gpu(&self) -> &GpuSpec {
        &self.cards.first().gpu
    }

    /// What the first GPU offers.
    pub fn capacity(&self) -> Capacity {
        self.cards.first().capacity
    }

    /// The same with a cache of this size.
    pub fn cache(mut self, tokens: u64) -> Self {
        self.cache = CacheSize::Fixed(tokens);
        self
    }

    /// The same with this as the first card, and those beside it.
    pub fn on(mut self, first: Card, others: Vec<Card>) -> Self {
        self.cards = Cards::new(first, others);
        self
    }

    /// The same with a pinned system prompt of so many tokens.
    pub fn pinned(mut self, tokens: u64) -> Self {
        self.workload.system_tokens = tokens;
        self
    }

    /// The same of another model.
    pub fn of(mut self, model: ModelSpec) -> Self {
        self.model = Arc::new(model);
        self
    }

    pub fn weights(mut self, format: &str) -> Self {
        self.weights = format.parse().unwrap();
        self
    }

    pub fn kv(mut self, format: &str) -> Self {
        self.kv = format.parse().unwrap();
        self
    }

    pub fn attention(mut self, attention: Attention) -> Self {
        self.workload.attention = attention;
        self
    }

    /// Changes what vLLM is told.
    pub fn serving(&mut self, change: impl FnOnce(&mut Serving)) {
        let mut serving = self.options().serving().unwrap();
        change(&mut serving);
        self.set_options(RuntimeOptions::Vllm(serving));
    }

    /// Changes the versions of transformers and bitsandbytes.
    pub fn stack(&mut self, change: impl FnOnce(&mut TransformersStack)) {
        let mut stack = self.options().stack();
        change(&mut stack);
        self.set_options(RuntimeOptions::Transformers(stack));
    }

    pub fn answer(&self) -> Answer {
        answer(self).unwrap()
    }
}

/// A card of which nothing else takes any.
pub fn card(gpu: GpuSpec, headroom: Headroom) -> Card {
    Card { capacity: capacity(&gpu, headroom), gpu }
}

pub fn capacity(gpu: &GpuSpec, headroom: Headroom) -> Capacity {
    let (total, reserved) = (gpu.total.value, gpu.reserved.value);
    Capacity::new(total, reserved, Bytes::ZERO, headroom).unwrap()
}
