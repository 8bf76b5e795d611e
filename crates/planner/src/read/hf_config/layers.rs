//! What differs from layer to layer, and layers that keep a state.

use super::Config;
use super::windows::Windows;
use crate::read::SourceError;
use crate::spec::families::LayerKinds;
use crate::spec::{MAX_LAYERS, Mixer, ModelShape, PerLayer, Recurrent, Ssm};
use crate::units::{at_most, to_u64};

impl Config<'_> {
    /// Numbers that differ from layer to layer; nothing where none do.
    pub(super) fn per_layer(
        &self,
        n_layers: u64,
        n_heads: u64,
        windows: &Windows,
        experts: Vec<bool>,
    ) -> Result<Option<PerLayer>, SourceError> {
        if n_layers > MAX_LAYERS {
            return Ok(None);
        }
        let own = match self.family.layers {
            LayerKinds::TwoHeadSizes => self.gemma4_layers(n_layers)?,
            LayerKinds::StateSpace => self.granite_layers(n_layers, n_heads)?,
            LayerKinds::OneSublayer => self.nemotron_layers(n_layers)?,
            LayerKinds::Both => PerLayer {
                mixers: vec![Mixer::Both; at_most(n_layers, usize::MAX)],
                ..PerLayer::default()
            },
            LayerKinds::Pruned => self.pruned_layers(n_layers, n_heads)?,
            LayerKinds::LatentAndDelta => {
                PerLayer { mixers: self.kimi_mixers(n_layers)?, ..PerLayer::default() }
            }
            LayerKinds::Convolution => {
                PerLayer { mixers: self.convolution_mixers(n_layers)?, ..PerLayer::default() }
            }
            LayerKinds::Attention if self.family.windows_have_heads => {
                self.mimo_layers(n_layers)?
            }
            LayerKinds::Attention => {
                let n_heads = self.listed_heads(n_layers)?;
                let ffn_size = self.ffn_sizes(n_layers)?;
                PerLayer {
                    n_heads,
                    ffn_size,
                    mixers: self.text_mixers(n_layers)?,
                    ..PerLayer::default()
                }
            }
            LayerKinds::Latent | LayerKinds::DeltaNet(_) | LayerKinds::Compressed => {
                PerLayer::default()
            }
        };
        let experts = if own.experts.is_empty() { experts } else { own.experts };
        let lists = PerLayer { window: windows.listed.clone(), experts, ..own };
        Ok((lists != PerLayer::default()).then_some(lists))
    }

    /// Widths of MLPs, where a list states them layer by layer (Gemma 3n, `OpenELM`'s kin).
    fn ffn_sizes(&self, n_layers: u64) -> Result<Vec<u64>, SourceError> {
        const KEY: &str = "intermediate_size";
        match self.fields.numbers(KEY)? {
            Some(list) if list.len() > 1 => {
                self.check_count(KEY, list.len(), n_layers)?;
                Ok(ModelShape::list_of(list))
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Layers that attend to an image alone mix no tokens of a text.
    fn text_mixers(&self, n_layers: u64) -> Result<Vec<Mixer>, SourceError> {
        let cross = self.cross_layers()?;
        let mixer = |index| if cross.contains(&index) { Mixer::Nothing } else { Mixer::Attention };
        Ok(if cross.is_empty() { Vec::new() } else { (0..n_layers).map(mixer).collect() })
    }

    /// Query heads, where a list states them layer by layer (Laguna).
    fn listed_heads(&self, n_layers: u64) -> Result<Vec<u64>, SourceError> {
        const KEY: &str = "num_attention_heads_per_layer";
        let Some(list) = self.fields.numbers(KEY)? else { return Ok(Vec::new()) };
        self.check_count(KEY, list.len(), n_layers)?;
        Ok(ModelShape::list_of(list))
    }

    /// Gemma 4: heads of full layers have another size, and layers that share a cache may have wider MLPs.
    fn gemma4_layers(&self, n_layers: u64) -> Result<PerLayer, SourceError> {
        let head_dim = self.fields.number("head_dim")?.unwrap_or(256);
        let kv_heads = self.kv_heads(0)?;
        let full_dim = self.fields.number("global_head_dim")?.unwrap_or(512);
        let full_heads = match self.fields.number("num_global_key_value_heads")? {
            Some(heads) if self.keys_are_values()? => heads,
            _ => kv_heads,
        };
        let full = self.full_layers(n_layers)?;
        let pick = |of_full: u64, windowed: u64| {
            let of = |index| if full.holds(index) { of_full } else { windowed };
            ModelShape::list_of((0..n_layers).map(of).collect())
        };
        let lists = PerLayer {
            kv_heads: pick(full_heads, kv_heads),
            head_dim: pick(full_dim, head_dim),
            ffn_size: self.double_wide(n_layers)?,
            ..PerLayer::default()
        };
        match self.fields.child("per_layer_config")? {
            Some(layers) => self.overridden(n_layers, layers),
            None => Ok(lists),
        }
    }

    /// Heads that newer files state layer by layer, by the number of those that differ (`per_layer_config`).
    fn overridden(
        &self,
        n_layers: u64,
        layers: &std::collections::BTreeMap<String, crate::read::json::Json>,
    ) -> Result<PerLayer, SourceError> {
        let (kv_heads, head_dim) =
            (self.kv_heads(0)?, self.fields.number("head_dim")?.unwrap_or(256));
        let mut lists = PerLayer { ffn_size: self.double_wide(n_layers)?, ..PerLayer::default() };
        for index in 0..n_layers {
            let is_its = |key: &&String| key.parse() == Ok(index);
            let nothing = std::collections::BTreeMap::new();
            let own = match layers.keys().find(is_its).and_then(|key| layers.get(key)) {
                Some(crate::read::json::Json::Object(own)) => own,
                _ => &nothing,
            };
            let own = crate::read::json::Fields::new(self.fields.at, "per_layer_config.", own);
            lists.kv_heads.push(own.number("num_key_value_heads")?.unwrap_or(kv_heads));
            lists.head_dim.push(own.number("head_dim")?.unwrap_or(head_dim));
        }
        lists.kv_heads = ModelShape::list_of(lists.kv_heads);
        lists.head_dim = ModelShape::list_of(lists.head_dim);
        Ok(lists)
    }

    /// Twice the width in layers that share a cache, where `use_double_wide_mlp` says so.
    fn double_wide(&self, n_layers: u64) -> Result<Vec<u64>, SourceError> {
        if !self.fields.flag("use_double_wide_mlp")?.unwrap_or(false) {
            return Ok(Vec::new());
        }
        let width = self.fields.required("intermediate_size")?;
        let own = n_layers.saturating_sub(self.shared_cache_layers()?);
        let of = |index| if index < own { width } else { width.saturating_mul(2) };
        Ok(ModelShape::list_of((0..n_layers).map(of).collect()))
    }

    /// MiMo-V2: windowed layers have heads of their own number.
    fn mimo_layers(&self, n_layers: u64) -> Result<PerLayer, SourceError> {
        let heads = self.fields.required("num_attention_heads")?;
        let kv_heads = self.kv_heads(heads)?;
        for (key, other) in [("swa_head_dim", "head_dim"), ("swa_v_head_dim", "v_head_dim")] {
            let (own, full) = (self.fields.number(key)?, self.fields.number(other)?);
            if own.is_some() && own != full {
                return Err(self.fields.invalid(key, format!("`{other}`, of all layers")));
            }
        }
        let setting = self.fields.child("attention_other_setting")?;
        let setting = setting.map(|object| {
            crate::read::json::Fields::new(self.fields.at, "attention_other_setting.", object)
        });
        let in_setting = |key: &str| match &setting {
            Some(fields) => fields.number(key),
            None => Ok(None),
        };
        let stated = self
            .fields
            .first_number(&["swa_num_attention_heads", "num_sliding_attention_heads"])?;
        let windowed = stated.or(in_setting("num_attention_heads")?).unwrap_or(heads);
        let doubled = kv_heads.saturating_mul(self.family.windows_kv_heads_times);
        let windowed_kv = self.fields.number("swa_num_key_value_heads")?.unwrap_or(doubled);
        let full = self.full_layers(n_layers)?;
        let pick = |of_full: u64, of_window: u64| {
            let of = |index| if full.holds(index) { of_full } else { of_window };
            ModelShape::list_of((0..n_layers).map(of).collect())
        };
        Ok(PerLayer {
            n_heads: pick(heads, windowed),
            kv_heads: pick(kv_heads, windowed_kv),
            ..PerLayer::default()
        })
    }

    /// The shared MLP of Granite's hybrids, which every layer has.
    pub(super) fn granite_shared(&self) -> Result<u64, SourceError> {
        Ok(self.fields.number("shared_intermediate_size")?.unwrap_or(1024))
    }

    fn granite_layers(&self, n_layers: u64, n_heads: u64) -> Result<PerLayer, SourceError> {
        const KEY: &str = "layer_types";
        let kv_heads = self.kv_heads(n_heads)?;
        if self.fields.get(KEY).is_none() {
            return self.listed_attention(n_layers, kv_heads);
        }
        let mut heads = Vec::new();
        for kind in self.layer_words(KEY, n_layers)?.unwrap_or_default() {
            heads.push(match kind {
                "mamba" | "linear_attention" => 0,
                "attention" | "full_attention" => kv_heads,
                kind => return Err(self.unknown_kind(KEY, kind, "`mamba` or `attention`")),
            });
        }
        Ok(PerLayer { kv_heads: heads, ..PerLayer::default() })
    }

    /// Bamba lists its layers with attention by number; without any list none has it.
    fn listed_attention(&self, n_layers: u64, kv_heads: u64) -> Result<PerLayer, SourceError> {
        const KEY: &str = "attn_layer_indices";
        let attending = self.fields.numbers(KEY)?.unwrap_or_default();
        let heads = |index| if attending.contains(&index) { kv_heads } else { 0 };
        Ok(PerLayer { kv_heads: (0..n_layers).map(heads).collect(), ..PerLayer::default() })
    }

    fn unknown_kind(&self, key: &str, kind: &str, expected: &str) -> SourceError {
        let value = format!("\"{}\"", crate::text::printable(kind));
        self.fields.at.invalid(&self.fields.name(key), value, expected)
    }

    /// What Nemotron-H's layers are: words, or letters of a text.
    pub(super) fn sublayers(&self) -> Result<Vec<Sublayer>, SourceError> {
        const EXPECTED: &str = "`mamba`, `attention`, `mlp` or `moe`";
        const PATTERN: &str = "hybrid_override_pattern";
        for key in ["layers_block_type", "layer_types"] {
            let Some(words) = self.fields.words(key)? else { continue };
            let kind = |word: &&str| Sublayer::of(word);
            let unknown = words.iter().find(|word| kind(word).is_none());
            return match unknown {
                Some(word) => Err(self.unknown_kind(key, word, EXPECTED)),
                None => Ok(words.iter().filter_map(kind).collect()),
            };
        }
        let Some(pattern) = self.fields.text(PATTERN)? else {
            return Err(self.fields.missing("layers_block_type", "a list of kinds of layers"));
        };
        let letters = pattern.chars().map(|letter| match letter {
            'M' => Some(Sublayer::StateSpace),
            '*' => Some(Sublayer::Attention),
            '-' => Some(Sublayer::Mlp),
            'E' => Some(Sublayer::Experts),
            _ => None,
        });
        let letters = letters.collect::<Option<Vec<_>>>();
        letters.ok_or_else(|| self.fields.invalid(PATTERN, "letters `M`, `*`, `-` and `E`"))
    }

    fn nemotron_layers(&self, n_layers: u64) -> Result<PerLayer, SourceError> {
        let kinds = self.sublayers()?;
        if to_u64(kinds.len()) != n_layers {
            return Err(self
                .fields
                .invalid("num_hidden_layers", format!("{}, the layers listed", kinds.len())));
        }
        let width = self.fields.required("intermediate_size")?;
        let mixer = |kind: &Sublayer| match kind {
            Sublayer::StateSpace => Mixer::Recurrent,
            Sublayer::Attention => Mixer::Attention,
            Sublayer::Mlp | Sublayer::Experts => Mixer::Nothing,
        };
        let mlp = |kind: &Sublayer| if *kind == Sublayer::Mlp { width } else { 0 };
        let has_experts = kinds.contains(&Sublayer::Experts);
        Ok(PerLayer {
            mixers: kinds.iter().map(mixer).collect(),
            ffn_size: kinds.iter().map(mlp).collect(),
            experts: if has_experts {
                kinds.iter().map(|kind| *kind == Sublayer::Experts).collect()
            } else {
                Vec::new()
            },
            ..PerLayer::default()
        })
    }

    /// Kimi Linear: numbers of layers, counted from one, or words.
    fn kimi_mixers(&self, n_layers: u64) -> Result<Vec<Mixer>, SourceError> {
        const KEY: &str = "layer_types";
        if let Some(words) = self.layer_words(KEY, n_layers)? {
            return self.mixers(KEY, words, "linear_attention");
        }
        let full = match self.linear_config()? {
            Some(fields) => fields.numbers("full_attn_layers")?,
            None => None,
        };
        let group = self.layer_group()?;
        let mixer = |index: u64| {
            let is_full = match &full {
                Some(layers) => layers.contains(&(index + 1)),
                None if group.is_some() => (index + 1).is_multiple_of(group.unwrap_or(1)),
                None if self.family.indexer.is_some() => index % 4 == 3,
                None => index > 0 && index.is_multiple_of(4),
            };
            if is_full { Mixer::Attention } else { Mixer::Recurrent }
        };
        Ok((0..n_layers).map(mixer).collect())
    }

    /// Layers of a group of Ling 3's, the last of which attends.
    fn layer_group(&self) -> Result<Option<u64>, SourceError> {
        const KEY: &str = "layer_group_size";
        match self.fields.number(KEY)? {
            Some(0) => Err(self.fields.invalid(KEY, "1 or more")),
            found => Ok(found),
        }
    }

    /// `linear_attn_config` of Kimi Linear.
    pub(super) fn linear_config(
        &self,
    ) -> Result<Option<crate::read::json::Fields<'_>>, SourceError> {
        let object = self.fields.child("linear_attn_config")?;
        Ok(object.map(|object| {
            crate::read::json::Fields::new(self.fields.at, "linear_attn_config.", object)
        }))
    }

    fn mixers(
        &self,
        key: &str,
        words: Vec<&str>,
        recurrent: &str,
    ) -> Result<Vec<Mixer>, SourceError> {
        let mut mixers = Vec::with_capacity(words.len());
        for word in words {
            mixers.push(match word {
                "full_attention"
                | "attention"
                | "indexed_attention"
                | "deepseek_sparse_attention" => Mixer::Attention,
                word if word == recurrent => Mixer::Recurrent,
                word => {
                    return Err(self.unknown_kind(
                        key,
                        word,
                        &format!("`full_attention` or `{recurrent}`"),
                    ));
                }
            });
        }
        Ok(mixers)
    }

    /// LFM2: `layer_types`, or the numbers of layers with attention; all have it where neither is stated.
    fn convolution_mixers(&self, n_layers: u64) -> Result<Vec<Mixer>, SourceError> {
        const KEY: &str = "layer_types";
        if let Some(words) = self.layer_words(KEY, n_layers)? {
            return self.mixers(KEY, words, "conv");
        }
        let full = self.fields.numbers("full_attn_idxs")?;
        let mixer = |index| match &full {
            Some(full) if !full.contains(&index) => Mixer::Recurrent,
            _ => Mixer::Attention,
        };
        Ok((0..n_layers).map(mixer).collect())
    }

    /// State-space layers, whose numbers go by two sets of names.
    pub(super) fn ssm(&self, hidden_size: u64) -> Result<Option<Ssm>, SourceError> {
        match self.family.layers {
            LayerKinds::StateSpace | LayerKinds::Both => {}
            LayerKinds::OneSublayer => return self.nemotron_ssm().map(Some),
            _ => return Ok(None),
        }
        for key in ["mamba_proj_bias", "projectors_bias"] {
            if self.fields.flag(key)?.unwrap_or(false) {
                return Err(self.fields.invalid(key, "`false`"));
            }
        }
        let number =
            |key, default| Ok::<_, SourceError>(self.fields.number(key)?.unwrap_or(default));
        let expand = number("mamba_expand", 2)?;
        let inner_size = match self.fields.number("mamba_d_ssm")? {
            Some(size) => Some(size),
            None => expand.checked_mul(hidden_size),
        };
        Ok(Some(Ssm {
            inner_size: inner_size
                .ok_or_else(|| self.fields.invalid("mamba_expand", "a small number"))?,
            state_size: number("mamba_d_state", 256)?,
            n_groups: number("mamba_n_groups", 1)?,
            n_heads: number("mamba_n_heads", 128)?,
            conv_kernel: number("mamba_d_conv", 4)?,
            conv_bias: self.fields.flag("mamba_conv_bias")?.unwrap_or(true),
            without_norm: self.family.layers == LayerKinds::Both
                && !self.fields.flag("mamba_rms_norm")?.unwrap_or(false),
        }))
    }

    fn nemotron_ssm(&self) -> Result<Ssm, SourceError> {
        if self.fields.flag("use_bias")?.unwrap_or(false) {
            return Err(self.fields.invalid("use_bias", "`false`"));
        }
        let number = |keys: &[&str], default| {
            Ok::<_, SourceError>(self.fields.first_number(keys)?.unwrap_or(default))
        };
        let n_heads = number(&["mamba_num_heads"], 128)?;
        let inner_size = n_heads.checked_mul(number(&["mamba_head_dim"], 64)?);
        Ok(Ssm {
            inner_size: inner_size
                .ok_or_else(|| self.fields.invalid("mamba_head_dim", "a small number"))?,
            state_size: number(&["ssm_state_size"], 128)?,
            n_groups: number(&["mamba_n_groups", "n_groups"], 8)?,
            n_heads,
            conv_kernel: number(&["mamba_d_conv", "conv_kernel"], 4)?,
            conv_bias: self.fields.flag("use_conv_bias")?.unwrap_or(true),
            without_norm: false,
        })
    }

    pub(super) fn recurrent(&self, n_layers: u64) -> Result<Option<Recurrent>, SourceError> {
        if self.family.layers == LayerKinds::LatentAndDelta {
            return self.kimi_recurrent().map(Some);
        }
        if self.family.delta_net().is_none() {
            return Ok(None);
        }
        let number =
            |key, default| Ok::<_, SourceError>(self.fields.number(key)?.unwrap_or(default));
        Ok(Some(Recurrent {
            full_attention_every: self.full_attention_every(n_layers)?,
            key_heads: number("linear_num_key_heads", 16)?,
            value_heads: number("linear_num_value_heads", 32)?,
            key_head_dim: number("linear_key_head_dim", 128)?,
            value_head_dim: number("linear_value_head_dim", 128)?,
            conv_kernel: number("linear_conv_kernel_dim", 4)?,
        }))
    }

    /// Every how manyth layer of Qwen3-Next attends, by its `layer_types` or by a number.
    fn full_attention_every(&self, n_layers: u64) -> Result<u64, SourceError> {
        const KEY: &str = "layer_types";
        let Some(words) = self.layer_words(KEY, n_layers)? else {
            return Ok(self.fields.number("full_attention_interval")?.unwrap_or(4));
        };
        let mixers = self.mixers(KEY, words, "linear_attention")?;
        let full: Vec<_> = mixers.iter().map(|mixer| *mixer == Mixer::Attention).collect();
        match crate::read::pattern::Full::of(&full) {
            Some(crate::read::pattern::Full::Every(every)) => Ok(every),
            Some(crate::read::pattern::Full::Never) => {
                Err(self.fields.invalid(KEY, "some full attention"))
            }
            None => Err(self.fields.invalid(KEY, "every Nth layer with full attention")),
        }
    }

    /// Kimi's delta-net: as many heads of queries and keys as of values.
    fn kimi_recurrent(&self) -> Result<Recurrent, SourceError> {
        let nested = self.linear_config()?;
        let number = |keys: [&str; 2], default| {
            let own = self.fields.number(keys[0])?;
            let inner = match &nested {
                Some(fields) => fields.number(keys[1])?,
                None => None,
            };
            Ok::<_, SourceError>(inner.or(own).unwrap_or(default))
        };
        // Ling 3 has no numbers of its own for it.
        let is_grouped = self.layer_group()?.is_some();
        let of_attention = |key: &str, default| {
            let own = if is_grouped { self.fields.number(key)? } else { None };
            Ok::<_, SourceError>(own.unwrap_or(default))
        };
        let heads = of_attention("num_attention_heads", 32)?;
        let heads = number(["linear_num_heads", "num_heads"], heads)?;
        let head_dim = of_attention("head_dim", 128)?;
        let head_dim = number(["linear_head_dim", "head_dim"], head_dim)?;
        let kernel = self.fields.number("short_conv_kernel_size")?.unwrap_or(4);
        Ok(Recurrent {
            full_attention_every: 4,
            key_heads: heads,
            value_heads: heads,
            key_head_dim: head_dim,
            value_head_dim: head_dim,
            conv_kernel: number(["linear_conv_kernel_dim", "short_conv_kernel_size"], kernel)?,
        })
    }
}

/// The one sublayer of a layer of Nemotron-H.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sublayer {
    StateSpace,
    Attention,
    Mlp,
    Experts,
}

impl Sublayer {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "mamba" | "mamba2" | "linear_attention" => Self::StateSpace,
            "attention" | "full_attention" => Self::Attention,
            "mlp" => Self::Mlp,
            "moe" => Self::Experts,
            _ => return None,
        })
    }
}
