//! What `SGLang` takes where nothing is said: the tokens of a step and the captured batches by the card's memory, and from both
//! the share of the card.
//!
//! `share = (card − reserve) / card` to three digits, where the reserve in MiB is `512 + 1.5 · tokens of a step + 128 · GPUs`,
//! 2 for each request of the largest captured batch, 8 for each captured step of prompts (or 1,536 for latent attention), and no
//! less than 10 GiB on cards above 60 GiB. A multimodal model gets about 95% of that, less with a large tower.
//!
//! Sources: `SGLang` 0.5.23 `srt/arg_groups/memory_hook.py` (`handle_gpu_memory_settings`, `reserve_for_graph_mb`,
//! `adjust_mem_fraction_for_vlm`); before 0.5.20 `srt/server_args.py` (`_handle_gpu_memory_settings`), before 0.5.3 its
//! `__post_init__`.

use super::graphs;
use crate::estimate::rules::Asked;
use crate::spec::{Drafter, GpuSpec, Grid, ModelSpec, SglangVersion, Tower, Utilization, Vision};

/// MiB of a GiB.
const GIB: u64 = 1024;

/// MiB that `nvidia-smi` says the card has.
const fn card_mib(gpu: &GpuSpec) -> u64 {
    gpu.total.value.get() >> 20
}

/// What follows from a card's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByCard {
    /// Tokens of a step of prompts (`chunked_prefill_size`).
    pub chunk: u64,
    /// Requests of the largest captured batch (`cuda_graph_max_bs`).
    pub largest_batch: u64,
}

impl ByCard {
    /// Of a release on a card, one of `ranks` that every layer is split over.
    pub const fn of(gpu: &GpuSpec, version: SglangVersion, ranks: u64) -> Self {
        let mib = card_mib(gpu);
        let (chunk, [few, many]) = if !version.reserves_by_step() {
            before(mib)
        } else if mib < 20 * GIB {
            (2048, [8, 8])
        } else if mib < 35 * GIB {
            (version.chunk_of_small_cards(), version.batches_of_small_cards())
        } else if mib < 60 * GIB {
            (4096, [32, 160])
        } else if mib < 160 * GIB {
            (8192, [256, 512])
        } else {
            (16_384, [512, 512])
        };
        Self { chunk, largest_batch: if ranks < 4 { few } else { many } }
    }
}

/// Before 0.5.3: the tokens of a step, and the largest batch on fewer than four GPUs and on more.
const fn before(mib: u64) -> (u64, [u64; 2]) {
    if mib < 35 * GIB {
        (2048, [8, 80])
    } else if mib <= 90 * GIB {
        (8192, [160, 160])
    } else if mib < 160 * GIB {
        (8192, [256, 256])
    } else {
        (16_384, [512, 512])
    }
}

/// What is asked for that the share of a card follows from.
#[derive(Clone, Copy, Debug)]
pub struct Reserved<'a> {
    /// The release.
    pub version: SglangVersion,
    /// The card.
    pub gpu: &'a GpuSpec,
    /// The model.
    pub model: &'a ModelSpec,
    /// Its tower, where it is loaded.
    pub tower: Option<Vision>,
    /// GPUs that every layer is split over, and all GPUs.
    pub ranks: u64,
    /// All GPUs.
    pub gpus: u64,
    /// Tokens of a step, where they are given.
    pub chunk: Option<u64>,
    /// Requests together, where they are given.
    pub max_requests: Option<u64>,
    /// Whether no graph is captured.
    pub eager: bool,
    /// Copies of attention.
    pub copies: u64,
    /// What predicts tokens, where anything does.
    pub drafter: Option<Drafter>,
    /// Requests of the largest captured batch, where they are given.
    pub largest_batch: Option<u64>,
}

/// MiB that a draft model and a head or a layer get, in releases that load them after the pool.
const FOR_DRAFT: [u64; 2] = [6 * GIB, 2 * GIB];

impl<'a> Reserved<'a> {
    /// Of a question.
    pub fn of(
        asked: &Asked<'a>,
        gpu: &'a GpuSpec,
        version: SglangVersion,
        tower: Option<Vision>,
    ) -> Self {
        Self {
            version,
            gpu,
            model: asked.model,
            tower,
            ranks: asked.server.grid.map_or(asked.ranks, Grid::experts),
            gpus: asked.gpus,
            chunk: asked.prefill_chunk,
            max_requests: asked.max_seqs,
            eager: asked.eager,
            copies: asked.server.grid.map_or(1, |grid| grid.copies.max(1)),
            drafter: (asked.server.ahead > 0).then_some(asked.server.drafter),
            largest_batch: asked.server.most_captured,
        }
    }

    /// Tokens of a step.
    fn chunk(&self) -> u64 {
        self.chunk.unwrap_or(ByCard::of(self.gpu, self.version, self.ranks).chunk)
    }

    /// The share (`mem_fraction_static`), at least 0.001.
    #[allow(clippy::cast_precision_loss, reason = "a few million")]
    pub fn fraction(&self) -> Utilization {
        let card = 2 * card_mib(self.gpu);
        let left = card.saturating_sub(self.half_mib());
        // As Python rounds: by what the quotient is in binary.
        let share = format!("{:.3}", left as f64 / card.max(1) as f64);
        let share: f64 = share.parse().unwrap_or_default();
        Utilization::of_share(share * self.left_by_tower())
    }

    /// Half MiB that stay free of weights and pool.
    fn half_mib(&self) -> u64 {
        let mib = card_mib(self.gpu);
        if !self.version.reserves_by_step() {
            return 2 * reserved_before(mib, self.gpus);
        }
        let step = self.chunk().max(2048).min(mib * 4);
        let reserved = 2 * 512 + 3 * step + 256 * self.gpus + self.half_mib_of_graphs();
        let reserved = if mib > 60 * GIB { reserved.max(2 * 10 * GIB) } else { reserved };
        reserved + 2 * self.mib_of_draft()
    }

    fn mib_of_draft(&self) -> u64 {
        let [model, other] = FOR_DRAFT;
        match self.drafter {
            _ if self.version.counts_predictions() => 0,
            None => 0,
            Some(Drafter::Model) => model,
            Some(
                Drafter::Layer
                | Drafter::Eagle
                | Drafter::Eagle3
                | Drafter::Published(_)
                | Drafter::Lookup
                | Drafter::Unknown,
            ) => other,
        }
    }

    /// More padding for copies of attention, and more still of large batches.
    const fn half_mib_of_copies(&self, batch: u64) -> u64 {
        if self.copies < 2 {
            return 0;
        }
        let all = batch.saturating_mul(self.copies);
        if batch > 300 { 9 * all } else { 6 * all }
    }

    fn half_mib_of_graphs(&self) -> u64 {
        let batch = ByCard::of(self.gpu, self.version, self.ranks).largest_batch;
        let asked = self.max_requests.filter(|_| self.version.reserves_for_asked_only());
        let batch = asked.map_or(batch, |requests| requests.min(batch));
        let batch = self.largest_batch.unwrap_or(batch);
        let copies = self.half_mib_of_copies(batch);
        if self.eager && self.version.reserves_for_captured_only() {
            return copies;
        }
        let decode = 4 * batch + copies;
        let captured = graphs::Prompts {
            version: self.version,
            latent: self.model.shape.mla.is_some(),
            recurrent: self.model.recurrent_layers() > 0,
            compressed: self.model.shape.extras.compressed.is_some(),
            tower: self.tower,
            eager: self.eager,
            stages: self.gpus.div_ceil(self.ranks.max(1)),
            chunk: self.chunk(),
        };
        match captured.largest() {
            None => decode,
            Some(_) if captured.latent => decode + 2 * 1536,
            Some(largest) => decode + 2 * 8 * graphs::prompt_sizes(largest).count() as u64,
        }
    }

    /// The part that a tower leaves of a share (`adjust_mem_fraction_for_vlm`).
    #[allow(clippy::cast_precision_loss, reason = "a few million")]
    fn left_by_tower(&self) -> f64 {
        let Some(tower) = self.tower else { return 1.0 };
        let [layers, hidden] = counted(&tower, self.model).map(|n| n as f64);
        let complexity = layers * hidden * hidden / (24.0 * 1024.0 * 1024.0);
        0.95 * (1.0 - 0.1 * (complexity - 1.0)).clamp(0.8, 1.05)
    }
}

/// Layers and width of a tower as they are looked for in its configuration: 24 and 1,024 where they have other names there.
const fn counted(tower: &Vision, model: &ModelSpec) -> [u64; 2] {
    match tower.tower {
        Tower::Siglip | Tower::Pixtral | Tower::Gemma4 => [tower.n_layers, tower.hidden_size],
        Tower::Qwen25Vl | Tower::Qwen3Vl => [24, tower.hidden_size],
        // Its `hidden_size` is that of the language model.
        Tower::Qwen2Vl => [24, model.shape.hidden_size],
        Tower::MoonVit => [24, 1024],
    }
}

/// MiB that stayed free before 0.5.3.
const fn reserved_before(mib: u64, gpus: u64) -> u64 {
    if mib < 35 * GIB {
        // 2.8 GiB and a tenth for each GPU.
        (28 + gpus) * GIB / 10
    } else if mib < 90 * GIB {
        (19 + gpus) * GIB / 2
    } else if mib < 160 * GIB {
        (24 + gpus) * GIB / 2
    } else {
        32 * GIB
    }
}
