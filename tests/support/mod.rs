//! Requests for tests, from the embedded profiles.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "test code")]

use vramplan_planner::dtype::{KvFormat, WeightFormat};
use vramplan_planner::estimate::weights_of;
use vramplan_planner::estimate::{Buffer, Scenario, buffers};
use vramplan_planner::plan::Capacity;
use vramplan_planner::read::Catalog;
use vramplan_planner::recommend::{Answer, Card, Request, answer};
use vramplan_planner::spec::{
    Attention, GpuSpec, Headroom, LlamaCppVersion, Logits, ModelSpec, Runtime, RuntimeSpec,
    Serving, Split, Workload,
};
use vramplan_planner::units::Bytes;

/// A request that owns what it borrows.
#[derive(Clone, Debug)]
pub struct Case {
    pub gpu: GpuSpec,
    pub model: ModelSpec,
    pub runtime: RuntimeSpec,
    pub weights: WeightFormat,
    pub kv: KvFormat,
    pub workload: Workload,
    pub capacity: Capacity,
    pub others: Vec<Card>,
    pub split: Split,
    pub fixed_cache: bool,
}

impl Case {
    /// The defaults of the command line for this GPU, model and runtime.
    pub fn new(gpu: &str, model: &str, runtime: Runtime) -> Self {
        let catalog = Catalog::built_in();
        let (weights, kv) = match runtime {
            Runtime::Vramplan => ("q4_k_m", "int8"),
            Runtime::Transformers => ("nf4", "hqq8"),
            Runtime::LlamaCpp => ("q4_k_m", "q8_0"),
            Runtime::Vllm => ("awq-int4", "bf16"),
        };
        let headroom = match runtime {
            Runtime::Vllm => Headroom::Size(Bytes::ZERO),
            _ => Headroom::Default,
        };
        let gpu = catalog.gpu(gpu).unwrap();
        let model = catalog.model(model).unwrap();
        let workload = Workload {
            system_tokens: 6000,
            cache_tokens: 1,
            recent_window: None,
            prefill_chunk: 512,
            batch: 1,
            context: model.shape.context_len,
            attention: runtime.default_attention(),
            capture: None,
            images: None,
            logits: Logits::Last,
            grown_cache: runtime == Runtime::Transformers,
            llama_cpp: LlamaCppVersion::default(),
            serving: (runtime == Runtime::Vllm).then(|| Serving::on(&gpu)),
        };
        Self {
            capacity: capacity(&gpu, headroom),
            runtime: catalog.runtime(runtime).unwrap(),
            weights: weights.parse().unwrap(),
            kv: kv.parse().unwrap(),
            gpu,
            model,
            workload,
            others: Vec::new(),
            split: Split::Layer,
            fixed_cache: false,
        }
    }

    /// Everything that is listed for it, before a plan adds anything up.
    pub fn buffers(&self) -> Vec<Buffer> {
        let weights = weights_of(&self.model, self.weights, &self.runtime).unwrap();
        buffers(&Scenario {
            model: &self.model,
            gpu: &self.gpu,
            runtime: &self.runtime,
            weights: &weights,
            kv: self.kv,
            workload: self.workload.clone(),
        })
        .unwrap()
    }

    /// The same with a cache of this size.
    pub fn cache(mut self, tokens: u64) -> Self {
        self.workload.cache_tokens = tokens;
        self.fixed_cache = true;
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

    pub fn request(&self) -> Request<'_> {
        Request {
            model: &self.model,
            gpu: &self.gpu,
            runtime: &self.runtime,
            weights: self.weights,
            kv: self.kv,
            workload: self.workload.clone(),
            capacity: self.capacity,
            others: &self.others,
            split: self.split,
            fixed_cache: self.fixed_cache,
            min_decode_speed: None,
            siblings: &[],
        }
    }

    pub fn answer(&self) -> Answer {
        answer(&self.request()).unwrap()
    }
}

pub fn capacity(gpu: &GpuSpec, headroom: Headroom) -> Capacity {
    let (total, reserved) = (gpu.total.value, gpu.reserved.value);
    Capacity::new(total, reserved, Bytes::ZERO, headroom).unwrap()
}
