//! GGUF metadata and tensor table → [`ModelSpec`].
//!
//! The tensors are the truth about everything that they show (sizes, biases, norms, experts); the
//! metadata is asked for the rest. Keys: llama.cpp `src/llama-arch.cpp`, `LLM_KV_NAMES`; what they
//! mean per family: `src/models/*.cpp`.

use std::collections::BTreeMap;
use std::path::Path;

use super::caches::{self, fits};
use super::roles::Name;
use super::unknown;
use super::{GgufFile, GgufTensor, Value, read};
use crate::read::SourceError;
use crate::read::error::At;
use crate::read::files::Files;
use crate::read::pattern::Full;
use crate::read::unmodelled;
use crate::spec::families::{Family, LayerKinds, SoftCaps};
use crate::spec::{
    Architecture, MAX_LAYERS, Mla, ModelShape, ModelSpec, Moe, PerLayer, QkNorm, Recurrent, Router,
    RouterGating, Ssm, StoredTensor, StoredWeights, Window,
};
use crate::units::{at_most, to_u64};

/// Reads a GGUF file as a model: its shape, and its weights tensor by tensor.
pub fn model(files: &dyn Files, path: &Path) -> Result<ModelSpec, SourceError> {
    spec(path, &read(files, path)?)
}

/// The model that the header `file`, read from `path`, describes.
pub fn spec(path: &Path, file: &GgufFile) -> Result<ModelSpec, SourceError> {
    let at = At::new(path);
    let header = Header::new(&at, file)?;
    let is_other = header.architecture == Architecture::Other;
    let shape = if is_other { unknown::shape(&header)? } else { header.shape()? };
    let mut model =
        ModelSpec::new(name(path, file), shape, format!("GGUF header of {}", at.path()))
            .map_err(|error| at.shape(&error))?;
    model.stored = Some(header.stored());
    if is_other {
        let caches = caches::read(&header)?;
        model.gguf_layers = caches.kinds();
        model.layers.clone_from(&model.gguf_layers);
        model.file_caches = Some(caches);
    }
    Ok(model)
}

/// The file's name without extension and part number.
fn name(path: &Path, file: &GgufFile) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let split = format!("-of-{:05}", file.parts.len());
    let whole = stem.strip_suffix(&split).and_then(|rest| rest.rsplit_once('-'));
    crate::text::printable(whole.map_or(&*stem, |(name, _)| name))
}

pub(super) struct Header<'a> {
    pub(super) at: &'a At,
    pub(super) file: &'a GgufFile,
    /// `general.architecture`, with which keys begin.
    pub(super) prefix: &'a str,
    pub(super) architecture: Architecture,
    /// Decoder layers, without those that only predict tokens ahead.
    pub(super) n_layers: u64,
    /// Such layers, which come last and which runtimes leave in the file.
    n_ahead: u64,
    /// One tensor of each name without its layer: those of different layers differ in nothing that
    /// is asked here.
    tensors: BTreeMap<(&'a str, &'a str), &'a GgufTensor>,
}

const INTERVAL: u64 = 4;
/// More layers than a list is made for.
pub(super) const MAX_LISTED: usize = 2_000;

impl<'a> Header<'a> {
    fn new(at: &'a At, file: &'a GgufFile) -> Result<Self, SourceError> {
        let (prefix, architecture) = architecture(at, file)?;
        let mut header = Self {
            at,
            file,
            prefix,
            architecture,
            n_layers: 0,
            n_ahead: 0,
            tensors: BTreeMap::new(),
        };
        let blocks = header.required("block_count")?;
        header.n_ahead = header.number("nextn_predict_layers")?.unwrap_or(0);
        header.n_layers = blocks.checked_sub(header.n_ahead).ok_or_else(|| {
            let expected = format!("at most `block_count`, {blocks}");
            at.invalid(&header.key("nextn_predict_layers"), header.n_ahead, expected)
        })?;
        for tensor in &file.tensors {
            if !header.is_ahead(tensor) {
                let Name { stem, kind, .. } = Name::of(&tensor.name);
                header.tensors.entry((stem, kind)).or_insert(tensor);
            }
        }
        if header.is_rare()? {
            header.architecture = Architecture::Other;
        } else if header.number("expert_count")?.unwrap_or(0) > 0 {
            header.architecture = architecture.with_experts();
        }
        Ok(header)
    }

    /// The numbers of every layer under `key`: one for each, or one for all.
    pub(super) fn each(&self, key: &str, default: u64) -> Result<Vec<u64>, SourceError> {
        let count = at_most(self.n_layers, MAX_LISTED);
        match self.value(key) {
            Some(Value::Numbers(numbers)) if fits(numbers.len(), self.n_layers) => {
                let each = numbers.iter().take(count).map(|&n| u64::try_from(n));
                each.collect::<Result<_, _>>().map_err(|_| {
                    let value = Value::Numbers(numbers.clone());
                    self.at.invalid(&self.key(key), value, "whole numbers, not negative")
                })
            }
            Some(Value::Numbers(numbers)) => {
                let expected = format!("one number for each of {} layers", self.n_layers);
                Err(self.at.invalid(&self.key(key), Value::Numbers(numbers.clone()), expected))
            }
            _ => Ok(vec![self.number(key)?.unwrap_or(default); count]),
        }
    }

    /// The flags of every layer under `key`, where it holds a list.
    pub(super) fn flags(&self, key: &str) -> Option<Vec<bool>> {
        match self.value(key) {
            Some(Value::Numbers(flags)) => Some(flags.iter().map(|&flag| flag != 0).collect()),
            _ => None,
        }
    }

    fn is_ahead(&self, tensor: &GgufTensor) -> bool {
        self.n_ahead > 0 && Name::of(&tensor.name).layer.is_some_and(|n| n >= self.n_layers)
    }

    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a Value> {
        self.file.metadata.get(&self.key(key))
    }

    /// The numbers of every layer under `key`, where they differ.
    pub(super) fn layers(&self, key: &str) -> Result<Vec<u64>, SourceError> {
        let Some(Value::Numbers(numbers)) = self.value(key) else { return Ok(Vec::new()) };
        let wrong = |expected: String| {
            let value = Value::Numbers(numbers.clone());
            Err(self.at.invalid(&self.key(key), value, expected))
        };
        let count = to_u64(numbers.len());
        if count < self.n_layers {
            return wrong(format!("one number for each of {} layers", self.n_layers));
        }
        let kept = numbers.iter().take(at_most(self.n_layers, numbers.len()));
        let list: Result<Vec<u64>, _> = kept.map(|&n| u64::try_from(n)).collect();
        match list {
            Ok(list) => Ok(ModelShape::list_of(list)),
            Err(_) => wrong("whole numbers, not negative".to_owned()),
        }
    }

    const fn family(&self) -> &'static Family {
        self.architecture.family()
    }

    /// Numbers that differ from layer to layer. Gemma 4 states its two sizes of heads by kind of layer.
    fn per_layer(&self, head_dim: u64) -> Result<Option<PerLayer>, SourceError> {
        if !self.family().layers_differ() {
            return Ok(None);
        }
        let mut lists = PerLayer {
            n_heads: self.layers("attention.head_count")?,
            kv_heads: self.layers("attention.head_count_kv")?,
            head_dim: Vec::new(),
            ffn_size: self.layers("feed_forward_length")?,
            ..PerLayer::default()
        };
        if self.has_two_head_sizes() && self.n_layers <= MAX_LAYERS {
            let windowed = self.required("attention.key_length_swa")?;
            let usual = self.architecture.gguf_window().map_or(1, |window| window.full_every);
            let full = self.full_layers(usual)?;
            let of = |index| if full.holds(index) { head_dim } else { windowed };
            lists.head_dim = ModelShape::list_of((0..self.n_layers).map(of).collect());
        }
        Ok((lists != PerLayer::default()).then_some(lists))
    }

    /// Parts of a family that no formula covers, refused by the key that asks for them.
    fn refuse_parts(&self) -> Result<(), SourceError> {
        // Every published model of such a family gives images to as many layers.
        let known = self.family().image_layers;
        let deepstack = self.number("n_deepstack_layers")?;
        if let Some(n) = deepstack.filter(|&n| known > 0 && n != known) {
            return Err(self.at.invalid(&self.key("n_deepstack_layers"), n, known.to_string()));
        }
        Ok(())
    }

    /// Whether it is a Gemma 4 with what the graph of the others does not have: embeddings of every layer, layers that
    /// share a cache, experts beside a dense MLP. Such a file is read as one whose graph is not known.
    fn is_rare(&self) -> Result<bool, SourceError> {
        if !self.has_two_head_sizes() {
            return Ok(false);
        }
        let keys =
            ["embedding_length_per_layer_input", "attention.shared_kv_layers", "expert_count"];
        for key in keys {
            if self.number(key)?.is_some_and(|n| n > 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn ssm(&self) -> Result<Option<Ssm>, SourceError> {
        if self.family().layers != LayerKinds::StateSpace {
            return Ok(None);
        }
        Ok(Some(Ssm { without_norm: false, ..self.state_space()? }))
    }

    /// Mamba-2, as its keys state it.
    pub(super) fn state_space(&self) -> Result<Ssm, SourceError> {
        Ok(Ssm {
            inner_size: self.required("ssm.inner_size")?,
            state_size: self.required("ssm.state_size")?,
            n_groups: self.required("ssm.group_count")?,
            n_heads: self.required("ssm.time_step_rank")?,
            conv_kernel: self.required("ssm.conv_kernel")?,
            conv_bias: self.has_bias("ssm_conv1d"),
            without_norm: !self.has_weight("ssm_norm"),
        })
    }

    /// The number under `key`; an array has to be the same for every layer, or the most of it counts where
    /// layers may differ.
    pub(super) fn number(&self, key: &str) -> Result<Option<u64>, SourceError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        let number = match value {
            Value::Unsigned(n) => Some(*n),
            Value::Signed(n) => u64::try_from(*n).ok(),
            Value::Numbers(numbers) => return self.uniform(key, numbers).map(Some),
            _ => None,
        };
        number
            .map(Some)
            .ok_or_else(|| self.at.invalid(&self.key(key), value, "a whole number, not negative"))
    }

    /// The one number of a per-layer array. Recurrent layers have no heads and say 0.
    fn uniform(&self, key: &str, numbers: &[i64]) -> Result<u64, SourceError> {
        if self.family().layers_differ() {
            let most = numbers.iter().max().copied().unwrap_or(0);
            return u64::try_from(most).map_err(|_| {
                let value = Value::Numbers(numbers.to_vec());
                self.at.invalid(&self.key(key), value, "whole numbers, not negative")
            });
        }
        let recurrent = self.family().delta_net().is_some();
        let mut layers = numbers.iter().filter(|&&n| !(recurrent && n == 0));
        let first = layers.next().and_then(|&n| u64::try_from(n).ok());
        let same = first.filter(|&n| layers.all(|&m| u64::try_from(m) == Ok(n)));
        same.ok_or_else(|| {
            let value = Value::Numbers(numbers.to_vec());
            self.at.invalid(&self.key(key), value, "the same number for every layer")
        })
    }

    pub(super) fn required(&self, key: &str) -> Result<u64, SourceError> {
        self.number(key)?.ok_or_else(|| self.at.missing(&self.key(key), "a whole number"))
    }

    /// Whether `key` holds a float other than zero; `default` where it is not stated.
    pub(super) fn is_set(&self, key: &str, default: bool) -> bool {
        match self.value(key) {
            Some(Value::Float(n)) => *n != 0.0,
            _ => default,
        }
    }

    pub(super) fn tensor(&self, stem: &str, kind: &str) -> Option<&'a GgufTensor> {
        self.tensors.get(&(stem, kind)).copied()
    }

    pub(super) fn weight(&self, stem: &str) -> Option<&'a GgufTensor> {
        self.tensor(stem, "weight")
    }

    pub(super) fn has_weight(&self, stem: &str) -> bool {
        self.weight(stem).is_some()
    }

    pub(super) fn has_bias(&self, stem: &str) -> bool {
        self.tensor(stem, "bias").is_some()
    }

    /// Whether windowed layers have heads of another size (Gemma 4).
    fn has_two_head_sizes(&self) -> bool {
        self.family().layers == LayerKinds::TwoHeadSizes
    }

    fn shape(&self) -> Result<ModelShape, SourceError> {
        self.refuse_parts()?;
        let hidden_size = self.required("embedding_length")?;
        let n_heads = self.required("attention.head_count")?;
        let mla = self.mla()?;
        let head_dim = self.head_dim(mla, hidden_size, n_heads)?;
        let kv_heads = match mla {
            Some(_) => n_heads,
            None => self.number("attention.head_count_kv")?.unwrap_or(n_heads),
        };
        let moe = self.moe()?;
        let dense = self.number("feed_forward_length")?.filter(|&n| n > 0);
        let ffn_size = dense.or(moe.map(|moe| moe.expert_ffn_size)).ok_or_else(|| {
            self.at.missing(&self.key("feed_forward_length"), "a whole number above 0")
        })?;
        let softcaps = self.family().softcaps == SoftCaps::Usual;
        Ok(ModelShape {
            architecture: self.architecture,
            n_layers: self.n_layers,
            hidden_size,
            n_heads,
            kv_heads,
            head_dim,
            ffn_size,
            vocab_size: self.vocab_size(hidden_size)?,
            context_len: self.required("context_length")?,
            tied_embeddings: !self.has_weight("output"),
            qkv_bias: self.has_bias("attn_q") || self.has_bias("attn_qkv"),
            attn_output_bias: self.has_bias("attn_output"),
            ffn_bias: self.has_bias("ffn_up") || self.has_bias("ffn_down"),
            qk_norm: match self.family().layers {
                // Its two kinds of layers have norms of two widths.
                LayerKinds::TwoHeadSizes => self.family().norms.qk,
                _ => self.qk_norm(n_heads, head_dim)?,
            },
            norms_per_layer: self.norms_per_layer(),
            norm_bias: self.has_bias("attn_norm"),
            gated_ffn: self.is_gated(ffn_size),
            fused_projections: self.has_weight("attn_qkv") && !self.has_weight("attn_q"),
            attention_sinks: self.has_weight("attn_sinks"),
            attention_output_gate: self.family().delta_net().is_some(),
            attention_softcap: self.is_set("attn_logit_softcapping", softcaps),
            logit_softcap: self.is_set("final_logit_softcapping", softcaps),
            window: self.window()?,
            moe,
            mla,
            recurrent: self.recurrent()?,
            ssm: self.ssm()?,
            keys_are_values: self.keys_are_values(),
            per_layer: self.per_layer(head_dim)?,
            vision: None,
            parts: Vec::new(),
            extras: crate::spec::Extras::default(),
        })
    }

    /// Gemma 4's full layers without values of their own have none in the file.
    fn keys_are_values(&self) -> bool {
        let values = self.file.tensors.iter().map(|tensor| Name::of(&tensor.name));
        let values = values.filter(|name| matches!(name.stem, "attn_v" | "attn_qkv")).count();
        self.has_two_head_sizes() && u64::try_from(values).is_ok_and(|count| count < self.n_layers)
    }

    pub(super) fn vocab_size(&self, hidden_size: u64) -> Result<u64, SourceError> {
        const NAME: &str = "token_embd.weight";
        let tensor = self.weight("token_embd").ok_or_else(|| {
            self.at.missing(NAME, "the token embedding, from which the vocabulary is counted")
        })?;
        match tensor.dims.as_slice() {
            &[row, rows] if row == hidden_size => Ok(rows),
            dims => {
                let expected =
                    format!("rows of `{}` = {hidden_size}", self.key("embedding_length"));
                Err(self.at.invalid(NAME, format!("{dims:?}"), expected))
            }
        }
    }

    fn head_dim(&self, mla: Option<Mla>, hidden: u64, heads: u64) -> Result<u64, SourceError> {
        if let Some(mla) = mla {
            return Ok(mla.qk_nope_head_dim.saturating_add(mla.qk_rope_head_dim));
        }
        let Some(key) = self.number("attention.key_length")? else {
            return quotient(self.at, &self.key("attention.head_count"), hidden, heads);
        };
        let value = self.number("attention.value_length")?.unwrap_or(key);
        if value != key {
            let expected = format!("`{}` = {key}", self.key("attention.key_length"));
            return Err(self.at.invalid(&self.key("attention.value_length"), value, expected));
        }
        Ok(key)
    }

    fn qk_norm(&self, n_heads: u64, head_dim: u64) -> Result<QkNorm, SourceError> {
        let Some(norm) = self.weight("attn_q_norm") else { return Ok(QkNorm::None) };
        match norm.elements() {
            n if n == head_dim => Ok(QkNorm::PerHead),
            n if n == n_heads.saturating_mul(head_dim) => Ok(QkNorm::Full),
            n => {
                let expected = format!("{head_dim} elements, or that for each of {n_heads} heads");
                Err(self.at.invalid(&norm.name, n, expected))
            }
        }
    }

    pub(super) fn norms_per_layer(&self) -> u64 {
        ["attn_norm", "attn_norm_2", "ffn_norm", "post_attention_norm", "post_ffw_norm"]
            .into_iter()
            .map(|stem| u64::from(self.has_weight(stem)))
            .sum()
    }

    pub(super) fn is_gated(&self, ffn_size: u64) -> bool {
        let up_has_both = self
            .weight("ffn_up")
            .is_some_and(|up| up.dims.get(1).copied() == ffn_size.checked_mul(2));
        let gates = ["ffn_gate", "ffn_gate.0", "ffn_gate_exps", "ffn_gate_up_exps"];
        up_has_both || gates.into_iter().any(|stem| self.has_weight(stem))
    }

    /// Families whose windows llama.cpp respects; it ignores those of the others.
    fn window(&self) -> Result<Option<Window>, SourceError> {
        let Some(usual) = self.architecture.gguf_window() else { return Ok(None) };
        let size = self.number("attention.sliding_window")?.or(usual.size).filter(|&n| n > 0);
        let Some(size) = size else { return Ok(None) };
        Ok(self.full_layers(usual.full_every)?.window(size))
    }

    /// The layers without a window.
    fn full_layers(&self, default: u64) -> Result<Full, SourceError> {
        const KEY: &str = "attention.sliding_window_pattern";
        let Some(Value::Numbers(windowed)) = self.value(KEY) else {
            return Ok(Full::Every(self.number(KEY)?.unwrap_or(default)));
        };
        self.pattern(windowed).ok_or_else(|| {
            let value = Value::Numbers(windowed.clone());
            self.at.invalid(&self.key(KEY), value, "every Nth layer without a window")
        })
    }

    /// The layers whose flag is 0.
    fn pattern(&self, flags: &[i64]) -> Option<Full> {
        let n_layers = usize::try_from(self.n_layers).ok()?;
        let full: Vec<_> = flags.iter().take(n_layers).map(|&flag| flag == 0).collect();
        Full::of(&full)
    }

    pub(super) fn moe(&self) -> Result<Option<Moe>, SourceError> {
        let n_experts = self.number("expert_count")?.unwrap_or(0);
        if n_experts == 0 {
            return Ok(None);
        }
        let down = self.weight("ffn_down_exps").or_else(|| self.weight("ffn_down.0"));
        // What is dense in every layer has no experts, whatever a key says.
        if down.is_none() && self.has_weight("ffn_down") {
            return Ok(None);
        }
        let expert_ffn_size = match (self.number("expert_feed_forward_length")?, down) {
            (_, Some(down)) => down.row(),
            (Some(n), None) => n,
            (None, None) => self.required("feed_forward_length")?,
        };
        Ok(Some(Moe {
            n_experts,
            n_experts_used: self.required("expert_used_count")?,
            expert_ffn_size,
            shared_ffn_size: self.weight("ffn_down_shexp").map_or(0, GgufTensor::row),
            shared_gate: self.has_weight("ffn_gate_inp_shexp"),
            leading_dense_layers: self.leading_dense_layers()?,
            router_bias: self.has_bias("ffn_gate_inp") || self.has_bias("exp_probs_b"),
            expert_bias: self.has_bias("ffn_up_exps"),
            router: Some(self.router()?),
        }))
    }

    /// Layers before the first with experts; by the key where no tensors of experts are listed.
    pub(super) fn leading_dense_layers(&self) -> Result<u64, SourceError> {
        let names = self.file.tensors.iter().map(|tensor| Name::of(&tensor.name));
        let first = names.filter(|name| name.stem == "ffn_down_exps").filter_map(|name| name.layer);
        match first.min() {
            Some(first) => Ok(first),
            None => Ok(self.number("leading_dense_block_count")?.unwrap_or(0)),
        }
    }

    /// What the file says of how experts are chosen.
    pub(super) fn router(&self) -> Result<Router, SourceError> {
        let scale = match self.value("expert_weights_scale") {
            Some(Value::Float(scale)) => *scale,
            _ => 0.0,
        };
        Ok(Router {
            gating: match self.number("expert_gating_func")? {
                Some(1) => Some(RouterGating::Softmax),
                Some(2) => Some(RouterGating::Sigmoid),
                Some(3) => Some(RouterGating::SoftmaxOfChosen),
                _ => None,
            },
            normalized: match self.value("expert_weights_norm") {
                Some(Value::Bool(normalized)) => Some(*normalized),
                _ => None,
            },
            scaled: ![0.0, 1.0].contains(&scale),
            groups: self.number("expert_group_count")?.unwrap_or(0),
            groups_used: self.number("expert_group_used_count")?.unwrap_or(0),
        })
    }

    pub(super) fn mla(&self) -> Result<Option<Mla>, SourceError> {
        if self.family().layers != LayerKinds::Latent {
            return Ok(None);
        }
        let Some(kv_lora_rank) = self.number("attention.kv_lora_rank")? else { return Ok(None) };
        let rope = self.required("rope.dimension_count")?;
        // Files from before 2025-04 state the lengths of a head as `key_length` and `value_length`.
        let length = |new: &str, old: &str| match self.number(new)? {
            Some(n) => Ok(n),
            None => self.required(old),
        };
        let key = length("attention.key_length_mla", "attention.key_length")?;
        let value = length("attention.value_length_mla", "attention.value_length")?;
        let nope = key.checked_sub(rope).filter(|&n| n > 0).ok_or_else(|| {
            let expected = format!("less than the length of a key, {key}");
            self.at.invalid(&self.key("rope.dimension_count"), rope, expected)
        })?;
        Ok(Some(Mla {
            kv_lora_rank,
            q_lora_rank: self.number("attention.q_lora_rank")?.filter(|&rank| rank > 0),
            qk_nope_head_dim: nope,
            qk_rope_head_dim: rope,
            v_head_dim: value,
            // llama.cpp absorbs the projections where the file has the lengths of both kinds of head
            // (`llama_hparams::is_mla`).
            expanded: self.number("attention.key_length_mla")?.unwrap_or(0) == 0,
        }))
    }

    fn recurrent(&self) -> Result<Option<Recurrent>, SourceError> {
        if self.family().delta_net().is_none() {
            return Ok(None);
        }
        let value_heads = self.required("ssm.time_step_rank")?;
        let inner = self.required("ssm.inner_size")?;
        let value_head_dim =
            quotient(self.at, &self.key("ssm.time_step_rank"), inner, value_heads)?;
        Ok(Some(Recurrent {
            full_attention_every: self.full_attention_every()?,
            key_heads: self.required("ssm.group_count")?,
            value_heads,
            key_head_dim: self.required("ssm.state_size")?,
            value_head_dim,
            conv_kernel: self.required("ssm.conv_kernel")?,
        }))
    }

    fn full_attention_every(&self) -> Result<u64, SourceError> {
        const KEY: &str = "attention.recurrent_layers";
        let Some(Value::Numbers(recurrent)) = self.value(KEY) else {
            return Ok(self.number("full_attention_interval")?.unwrap_or(INTERVAL));
        };
        if let Some(Full::Every(every)) = self.pattern(recurrent) {
            return Ok(every);
        }
        let value = Value::Numbers(recurrent.clone());
        Err(self.at.invalid(&self.key(KEY), value, "every Nth layer with full attention"))
    }

    fn stored(&self) -> StoredWeights {
        let kept = self.file.tensors.iter().filter(|tensor| !self.is_ahead(tensor));
        let tensors: Vec<_> = kept.map(stored_tensor).collect();
        let left_out = self.file.tensors.len() - tensors.len();
        let mut source = format!("tensor table of {}", self.at.path());
        if left_out > 0 {
            let of =
                format!("{left_out} tensors of {} layers that predict tokens ahead", self.n_ahead);
            source = format!("{source}, without {of}, which runtimes do not load");
        }
        // A quantized file says nothing against planning the same model in another format.
        StoredWeights { label: self.label(), source, tensors, prequantized: false }
    }

    /// The file type by its name, or that of most bytes.
    fn label(&self) -> String {
        let stated = match self.file.metadata.get("general.file_type") {
            Some(Value::Unsigned(n)) => file_type(n & !GUESSED),
            _ => None,
        };
        if let Some(name) = stated {
            return name.to_owned();
        }
        let mut bytes = BTreeMap::new();
        for tensor in &self.file.tensors {
            let sum: &mut u64 = bytes.entry(tensor.ty).or_default();
            *sum = sum.saturating_add(tensor.size.get());
        }
        let most = bytes.into_iter().max_by_key(|(_, bytes)| *bytes);
        most.map_or_else(String::new, |(ty, _)| ty.name().to_ascii_lowercase())
    }
}

/// What the file calls its architecture, and the family that it is.
fn architecture<'a>(at: &At, file: &'a GgufFile) -> Result<(&'a str, Architecture), SourceError> {
    const KEY: &str = "general.architecture";
    let expected = "the name of an architecture such as `llama`";
    match file.metadata.get(KEY) {
        None => Err(at.missing(KEY, expected)),
        Some(Value::Text(name)) if is_no_decoder(name) => match unmodelled::gguf_name(name) {
            Some(found) => Err(at.unmodelled(KEY, name, found)),
            None => Err(at.invalid(KEY, format!("\"{name}\""), expected)),
        },
        Some(Value::Text(name)) => {
            // A family whose graph is not known is read as any other file: by its keys.
            let known = Architecture::from_gguf_name(name);
            let known = known.filter(|family| family.family().graph.known);
            Ok((name, known.unwrap_or(Architecture::Other)))
        }
        Some(other) => Err(at.invalid(KEY, other, expected)),
    }
}

/// Files that go with a model and are none.
fn is_no_decoder(name: &str) -> bool {
    matches!(name, "clip" | "adapter" | "imatrix" | "")
}

/// `whole / parts`, which has to come out even.
fn quotient(at: &At, field: &str, whole: u64, parts: u64) -> Result<u64, SourceError> {
    match whole.checked_div(parts) {
        Some(quotient) if quotient * parts == whole => Ok(quotient),
        _ => Err(at.invalid(field, parts, format!("a divisor of {whole}"))),
    }
}

/// What planning needs to know of each tensor.
pub fn stored(tensors: &[GgufTensor]) -> Vec<StoredTensor> {
    tensors.iter().map(stored_tensor).collect()
}

fn stored_tensor(tensor: &GgufTensor) -> StoredTensor {
    let name = Name::of(&tensor.name);
    StoredTensor {
        name: tensor.name.as_str().into(),
        role: name.role(),
        layer: name.layer,
        row: tensor.row(),
        elements: tensor.elements(),
        size: tensor.size,
        ggml: Some(tensor.ty),
    }
}

/// Set in `general.file_type` where a tool guessed it.
const GUESSED: u64 = 1024;

/// The names of llama.cpp's file types (`llama_ftype` in `llama.h`).
const FILE_TYPES: [(u32, &str); 36] = [
    (0, "f32"),
    (1, "f16"),
    (2, "q4_0"),
    (3, "q4_1"),
    (7, "q8_0"),
    (8, "q5_0"),
    (9, "q5_1"),
    (10, "q2_k"),
    (11, "q3_k_s"),
    (12, "q3_k_m"),
    (13, "q3_k_l"),
    (14, "q4_k_s"),
    (15, "q4_k_m"),
    (16, "q5_k_s"),
    (17, "q5_k_m"),
    (18, "q6_k"),
    (19, "iq2_xxs"),
    (20, "iq2_xs"),
    (21, "q2_k_s"),
    (22, "iq3_xs"),
    (23, "iq3_xxs"),
    (24, "iq1_s"),
    (25, "iq4_nl"),
    (26, "iq3_s"),
    (27, "iq3_m"),
    (28, "iq2_s"),
    (29, "iq2_m"),
    (30, "iq4_xs"),
    (31, "iq1_m"),
    (32, "bf16"),
    (36, "tq1_0"),
    (37, "tq2_0"),
    (38, "mxfp4_moe"),
    (39, "nvfp4"),
    (40, "q1_0"),
    (41, "q2_0"),
];

fn file_type(id: u64) -> Option<&'static str> {
    FILE_TYPES.iter().find(|(known, _)| u64::from(*known) == id).map(|(_, name)| *name)
}

/// The number of the file type that is called `name`, such as `q4_k_m`.
pub fn file_type_id(name: &str) -> Option<u32> {
    FILE_TYPES.iter().find(|(_, known)| *known == name).map(|(id, _)| *id)
}
