//! Experts: how many, how wide, in which layers.

use super::Config;
use crate::read::SourceError;
use crate::spec::families::{HfExperts, RouterBias};
use crate::spec::{MAX_LAYERS, Moe};
use crate::units::{at_most, to_u64};

/// Names of the same number in different families.
const N_EXPERTS: [&str; 5] =
    ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts"];
const USED: [&str; 6] = [
    "num_experts_per_tok",
    "num_experts_per_token",
    "top_k_experts",
    "moe_k",
    "moe_topk",
    "moe_top_k",
];
const WIDTH: [&str; 3] = ["moe_intermediate_size", "moe_ffn_hidden_size", "intermediate_size"];
/// Width of the shared experts together.
const SHARED_WIDTH: [&str; 4] = [
    "shared_expert_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "shared_intermediate_size",
    "share_expert_dim",
];
const N_SHARED: [&str; 4] =
    ["n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "num_shared_expert"];
const LEADING: [&str; 3] = ["first_k_dense_replace", "num_dense_layers", "moe_layer_start_index"];

/// Experts, and which layers have them, where these are not all behind the leading ones.
#[derive(Default)]
pub(super) struct ExpertLayers {
    pub(super) moe: Option<Moe>,
    pub(super) listed: Vec<bool>,
}

impl ExpertLayers {
    /// Lists that begin with dense layers and have no others need no list.
    fn of(moe: Moe, listed: Vec<bool>) -> Self {
        let dense = listed.iter().take_while(|&&experts| !experts).count();
        if dense == listed.len() && !listed.is_empty() {
            return Self::default();
        }
        if listed[dense.min(listed.len())..].iter().all(|&experts| experts) {
            let leading_dense_layers = moe.leading_dense_layers.max(to_u64(dense));
            return Self { moe: Some(Moe { leading_dense_layers, ..moe }), listed: Vec::new() };
        }
        Self { moe: Some(moe), listed }
    }
}

impl Config<'_> {
    pub(super) fn experts(&self, n_layers: u64) -> Result<ExpertLayers, SourceError> {
        let experts = self.family.experts;
        let found = match experts.hf {
            HfExperts::None => return Ok(ExpertLayers::default()),
            HfExperts::Plain => ExpertLayers::of(self.moe_of("intermediate_size", 0)?, Vec::new()),
            HfExperts::Listed => self.listed_experts(0, n_layers)?,
            HfExperts::ListedAndShared => {
                let shared = self.fields.required("shared_expert_intermediate_size")?;
                self.listed_experts(shared, n_layers)?
            }
            HfExperts::Leading(default) => self.deepseek_experts(default, n_layers)?,
            HfExperts::Optional if self.fields.number("num_local_experts")? == Some(0) => {
                return Ok(ExpertLayers::default());
            }
            HfExperts::Optional => ExpertLayers::of(
                self.moe_of("intermediate_size", self.granite_shared()?)?,
                Vec::new(),
            ),
            HfExperts::Stated => self.stated_experts(n_layers, None)?,
            HfExperts::Llama4 => {
                let width = self.fields.required("intermediate_size")?;
                self.stated_experts(n_layers, Some(width))?
            }
        };
        let router_bias = match experts.router_bias {
            RouterBias::None => false,
            RouterBias::Linear | RouterBias::Correction => true,
            RouterBias::CorrectionInSome => self.is_corrected()?,
        };
        let complete = |moe| Moe { router_bias, expert_bias: experts.bias, ..moe };
        Ok(ExpertLayers { moe: found.moe.map(complete), ..found })
    }

    /// Whether scores are corrected by a bias: in DeepSeek-V3 and what says so.
    fn is_corrected(&self) -> Result<bool, SourceError> {
        let method = self.fields.text("topk_method")?;
        let flag = |key| Ok::<_, SourceError>(self.fields.flag(key)?.unwrap_or(false));
        Ok(method.map_or(self.is_deepseek_v3()?, |method| method == "noaux_tc")
            || flag("use_routing_bias")?
            || flag("use_moe_router_bias")?
            || flag("use_expert_bias")?
            || flag("moe_router_enable_expert_bias")?)
    }

    fn moe_of(&self, size: &str, shared: u64) -> Result<Moe, SourceError> {
        Ok(Moe {
            n_experts: self.n_experts()?,
            n_experts_used: self.used()?,
            expert_ffn_size: self.fields.required(size)?,
            shared_ffn_size: shared,
            shared_gate: false,
            leading_dense_layers: 0,
            router_bias: false,
            expert_bias: false,
            router: None,
        })
    }

    /// Families, and versions of transformers, differ in the name.
    fn n_experts(&self) -> Result<u64, SourceError> {
        let found = self.fields.first_number(&N_EXPERTS)?;
        found.ok_or_else(|| self.fields.missing("num_experts", "a whole number"))
    }

    fn used(&self) -> Result<u64, SourceError> {
        let found = self.uniform(&USED)?.or(self.family.experts.n_used);
        found.ok_or_else(|| self.fields.missing("num_experts_per_tok", "a whole number"))
    }

    /// The first number of these names; a list of them has to be the same for all layers.
    fn uniform(&self, keys: &[&str]) -> Result<Option<u64>, SourceError> {
        for key in keys {
            let Some(numbers) = self.fields.numbers(key)? else { continue };
            if numbers.windows(2).any(|pair| pair[0] != pair[1]) {
                return Err(self.fields.invalid(key, "the same number for all layers"));
            }
            if let Some(&number) = numbers.first() {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// Qwen's experts: dense layers in `mlp_only_layers`, and all but every `decoder_sparse_step`th.
    fn listed_experts(&self, shared: u64, n_layers: u64) -> Result<ExpertLayers, SourceError> {
        let moe = self.moe_of("moe_intermediate_size", shared)?;
        let moe = Moe { shared_gate: shared > 0, ..moe };
        let dense = self.fields.numbers("mlp_only_layers")?.unwrap_or_default();
        let step = self.fields.number("decoder_sparse_step")?.unwrap_or(1).max(1);
        let has = |index: u64| !dense.contains(&index) && (index + 1).is_multiple_of(step);
        Ok(ExpertLayers::of(moe, self.of_layers(n_layers, has)))
    }

    /// A flag for each layer; none where there are more than any model has, which is refused later.
    #[allow(clippy::unused_self)]
    fn of_layers(&self, n_layers: u64, has: impl Fn(u64) -> bool) -> Vec<bool> {
        if n_layers > MAX_LAYERS { Vec::new() } else { (0..n_layers).map(has).collect() }
    }

    /// DeepSeek's experts: some dense layers first, shared experts as wide as the others.
    fn deepseek_experts(&self, default: u64, n_layers: u64) -> Result<ExpertLayers, SourceError> {
        let default = if self.is_deepseek_v3()? { 3 } else { default };
        let moe = self.moe_of("moe_intermediate_size", 0)?;
        let moe = Moe { shared_ffn_size: self.shared_width(moe.expert_ffn_size)?, ..moe };
        let listed = self.sparse_layers(n_layers, default)?;
        Ok(ExpertLayers::of(moe, listed))
    }

    /// Experts by whichever of the usual names the file has; none where it states no number of them.
    /// `shared` is the width of the shared ones where the keys do not say.
    fn stated_experts(
        &self,
        n_layers: u64,
        shared: Option<u64>,
    ) -> Result<ExpertLayers, SourceError> {
        if self.fields.first_number(&N_EXPERTS)?.unwrap_or(0) < 2 {
            return Ok(ExpertLayers::default());
        }
        let missing = || self.fields.missing("moe_intermediate_size", "a whole number");
        let width = self.uniform(&WIDTH)?.ok_or_else(missing)?;
        let shared_ffn_size = match (shared, self.uniform(&SHARED_WIDTH)?) {
            (Some(width), _) | (None, Some(width)) => width,
            (None, None) => self.shared_width(width)?,
        };
        let moe = Moe {
            n_experts: self.n_experts()?,
            n_experts_used: self.used()?,
            expert_ffn_size: width,
            shared_ffn_size,
            shared_gate: false,
            leading_dense_layers: 0,
            router_bias: false,
            expert_bias: false,
            router: None,
        };
        let listed = self.sparse_layers(n_layers, self.family.experts.dense_first)?;
        Ok(ExpertLayers::of(moe, listed))
    }

    /// Shared experts together, each as wide as a routed one.
    fn shared_width(&self, width: u64) -> Result<u64, SourceError> {
        // `null` is none, as in files of MiMo-V2.
        let stated = N_SHARED.iter().any(|key| self.fields.has(key));
        let default = if stated { 0 } else { self.family.experts.n_shared };
        let shared = self.uniform(&N_SHARED)?.unwrap_or(default);
        shared.checked_mul(width).ok_or_else(|| {
            self.fields.invalid("n_shared_experts", "a number of experts that fits in memory")
        })
    }

    /// Which layers have experts, by whichever of the usual names the file has.
    fn sparse_layers(&self, n_layers: u64, dense: u64) -> Result<Vec<bool>, SourceError> {
        if let Some(words) = self.layer_words("mlp_layer_types", n_layers)? {
            return Ok(words.into_iter().map(|word| word != "dense").collect());
        }
        if let Some(layers) = self.fields.numbers("moe_layers")? {
            return Ok(self.of_layers(n_layers, |index| layers.contains(&index)));
        }
        if let Some(step) = self.fields.number("interleave_moe_layer_step")? {
            let step = step.max(1);
            return Ok(self.of_layers(n_layers, |index| (index + 1).is_multiple_of(step)));
        }
        if let Some(text) = self.fields.get("moe_layers_enum") {
            let layers = self.numbers_in("moe_layers_enum", text)?;
            return Ok(self.of_layers(n_layers, |index| layers.contains(&index)));
        }
        let leading = self.fields.first_number(&LEADING)?.unwrap_or(dense);
        let frequency = self.fields.numbers("moe_layer_freq")?.unwrap_or_default();
        if frequency.len() > 1 {
            self.check_count("moe_layer_freq", frequency.len(), n_layers)?;
            let has = |index| frequency[at_most(index, frequency.len() - 1)] > 0;
            return Ok(self.of_layers(n_layers, has));
        }
        let interval = self.fields.number("moe_layer_interval")?;
        let every = frequency.first().copied().or(interval).unwrap_or(1).max(1);
        let last = self.last_sparse(n_layers);
        let has =
            |index: u64| (leading..=last).contains(&index) && is_sparse(index, every, interval);
        Ok(self.of_layers(n_layers, has))
    }

    /// The last layer that may have experts (ERNIE); −1 is the last of all.
    fn last_sparse(&self, n_layers: u64) -> u64 {
        const KEY: &str = "moe_layer_end_index";
        let whole = self.fields.get(KEY).and_then(crate::read::json::Json::whole);
        whole.unwrap_or(n_layers)
    }

    /// Numbers of layers in a text: `"3,4,5"`.
    fn numbers_in(
        &self,
        key: &str,
        value: &crate::read::json::Json,
    ) -> Result<Vec<u64>, SourceError> {
        let crate::read::json::Json::Text(text) = value else {
            return Ok(self.fields.numbers(key)?.unwrap_or_default());
        };
        let numbers = text.split(',').map(|part| part.trim().parse().ok());
        let numbers = numbers.collect::<Option<Vec<u64>>>();
        numbers
            .ok_or_else(|| self.fields.invalid(key, "numbers of layers, with commas between them"))
    }
}

/// DeepSeek counts every Nth layer from the first, ERNIE each Nth counting from one.
const fn is_sparse(index: u64, every: u64, interval: Option<u64>) -> bool {
    match interval {
        Some(_) => (index + 1).is_multiple_of(every),
        None => index.is_multiple_of(every),
    }
}
