//! A deployment as the question that reads back as it.

use super::{CacheAllocation, CaptureLayers, Deployment, Question};
use crate::estimate::rules;
use crate::spec::Workload;

impl Deployment {
    /// The question with every key that counts: what reads back as this deployment.
    pub fn resolved(&self) -> Question {
        let Workload { capture, .. } = self.workload;
        let options = self.options();
        let (serving, tokens) = (options.serving(), options.token_serving());
        let versioned = self.options().version().is_some();
        let version = self.given.runtime_version.clone().or_else(|| Some("latest".to_owned()));
        let (gpu, gpus) = self.cards.names();
        let other_use = self.cards.first().capacity.other_use;
        let launch = &self.runtime.launch;
        // Read back it would be planned whole: where it was not given, it is the model's own.
        let says_context =
            self.cache.fixed().is_some() || !rules(self.kind()).plans_given_context();
        Question {
            gpu: Some(gpu),
            gpus,
            fewest_gpus: false,
            split: (self.cards.len() > 1).then_some(self.split),
            model: self.given.model.clone().or_else(|| Some(self.model.name.clone())),
            runtime: Some(self.kind()),
            runtime_version: version.filter(|_| versioned),
            weights: Some(self.weights),
            kv: Some(self.cache_formats()),
            attention: Some(self.workload.attention),
            system_tokens: Some(self.workload.system_tokens),
            cache_tokens: self.cache.fixed(),
            recent_window: self.workload.recent_window,
            prefill_chunk: Some(self.workload.prefill_chunk),
            batch: (!launch.unified).then_some(self.workload.batch),
            users: None,
            context_per_user: None,
            context: says_context.then_some(self.workload.context),
            own_context: false,
            max_model_len: serving
                .filter(|serving| !serving.fits_length || serving.fitted_length.is_some())
                .and_then(|serving| serving.fitted_length.or(serving.max_model_len))
                .or(tokens.and_then(|serving| serving.context)),
            auto_max_model_len: serving
                .is_some_and(|serving| serving.fits_length && serving.fitted_length.is_none()),
            max_seqs: serving
                .map(|serving| serving.max_seqs)
                .or(tokens.and_then(|serving| serving.max_requests)),
            images: self.workload.images.filter(|_| !self.given.says_media()),
            logits: Some(self.workload.logits),
            cache: Some(CacheAllocation::of(self.workload.grown_cache)),
            capture_layers: capture.map(|capture| CaptureLayers::Some(capture.layers)),
            capture_tokens: capture.map(|capture| capture.tokens),
            capture_attention: capture.is_some_and(|capture| capture.attention),
            capture_keep: capture.is_some_and(|capture| capture.keep),
            headroom: Some(self.headroom),
            gpu_memory_utilization: options.asked_share().filter(|_| serving.is_some()),
            mem_fraction_static: options.asked_share().filter(|_| tokens.is_some()),
            enforce_eager: serving.is_some_and(|serving| serving.eager)
                || tokens.is_some_and(|serving| serving.eager),
            expandable_segments: serving.is_some_and(|serving| serving.expandable_segments)
                || options.stack().expandable_segments,
            other_use: (!other_use.is_zero()).then_some(other_use),
            ngl: launch.gpu_layers,
            n_cpu_moe: launch.cpu_moe,
            cpu_moe: false,
            override_tensor: launch.overrides.clone(),
            tensor_split: launch.tensor_split.clone(),
            split_mode: None,
            main_gpu: None,
            no_kv_offload: !launch.offloads_cache,
            no_op_offload: !launch.offloads_operations,
            ram: self.ram,
            parallel: launch.unified.then_some(self.workload.batch),
            kv_unified: launch.unified,
            no_kv_unified: false,
            swa_full: launch.full_window,
            batch_size: launch.batch,
            min_decode_speed: self.min_decode_speed,
            ..(*self.given).clone()
        }
    }
}
