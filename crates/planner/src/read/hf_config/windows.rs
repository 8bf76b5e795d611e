//! Which layers attend to a window only.

use super::Config;
use crate::read::SourceError;
use crate::read::pattern::Full;
use crate::spec::Window;
use crate::spec::families::HfWindows;

/// The layers without a window.
pub(super) enum FullLayers {
    /// By a period.
    Regular(Full),
    /// One flag for each layer.
    Listed(Vec<bool>),
}

/// All layers keep every token.
const ALL: FullLayers = FullLayers::Regular(Full::Every(1));

impl FullLayers {
    fn of(list: Vec<bool>) -> Self {
        Full::of(&list).map_or(Self::Listed(list), Self::Regular)
    }

    /// Whether layer `index` has full attention.
    pub(super) fn holds(&self, index: u64) -> bool {
        match self {
            Self::Regular(full) => full.holds(index),
            Self::Listed(list) => usize::try_from(index)
                .ok()
                .and_then(|index| list.get(index))
                .is_none_or(|&full| full),
        }
    }
}

/// The windows of a model, and those of its layers one by one, where they follow no period.
#[derive(Default)]
pub(super) struct Windows {
    pub(super) window: Option<Window>,
    pub(super) listed: Vec<u64>,
}

impl Config<'_> {
    pub(super) fn windows(&self, n_layers: u64) -> Result<Windows, SourceError> {
        let full = self.full_layers(n_layers)?;
        if matches!(full, FullLayers::Regular(Full::Every(1))) {
            return Ok(Windows::default());
        }
        let Some(size) = self.window_size()? else { return Ok(Windows::default()) };
        Ok(match full {
            FullLayers::Regular(full) => Windows { window: full.window(size), listed: Vec::new() },
            FullLayers::Listed(list) => Windows {
                window: Some(Window { size, full_every: None }),
                listed: list.into_iter().map(|full| if full { 0 } else { size }).collect(),
            },
        })
    }

    /// Tokens that a windowed layer attends to.
    fn window_size(&self) -> Result<Option<u64>, SourceError> {
        let key = match self.family.windows.hf {
            HfWindows::Chunks => "attention_chunk_size",
            _ => "sliding_window",
        };
        let stated = self.fields.has(key);
        if stated { self.fields.number(key) } else { Ok(self.family.windows.hf_size) }
    }

    /// The layers without a window.
    pub(super) fn full_layers(&self, n_layers: u64) -> Result<FullLayers, SourceError> {
        let used =
            || Ok::<_, SourceError>(self.fields.flag("use_sliding_window")?.unwrap_or(false));
        let listed = || self.attention_types(n_layers);
        let every = |every| FullLayers::Regular(Full::Every(every));
        match self.family.windows.hf {
            HfWindows::None => Ok(ALL),
            HfWindows::Compressed => Ok(FullLayers::Regular(Full::Never)),
            HfWindows::Every => Ok(listed()?.unwrap_or(FullLayers::Regular(Full::Never))),
            HfWindows::AllBut(period) => Ok(listed()?.unwrap_or_else(|| every(period))),
            HfWindows::AllButStated(period) => {
                let stated = self.window_period()?.unwrap_or(period);
                Ok(listed()?.unwrap_or_else(|| every(stated)))
            }
            HfWindows::Chunks => Ok(match self.rotating_layers(n_layers)? {
                Some(full) => full,
                None => every(self.fields.number("no_rope_layer_interval")?.unwrap_or(4)),
            }),
            HfWindows::FirstAndEvery(period) => Ok(match listed()? {
                Some(full) => full,
                None => FullLayers::of(
                    (0..n_layers.min(crate::spec::MAX_LAYERS))
                        .map(|index| index == 0 || Full::Every(period).holds(index))
                        .collect(),
                ),
            }),
            HfWindows::AllButFirstOf(period) => Ok(match listed()? {
                Some(full) => full,
                None => FullLayers::of(
                    (0..n_layers.min(crate::spec::MAX_LAYERS))
                        .map(|index| index.is_multiple_of(period))
                        .collect(),
                ),
            }),
            HfWindows::Listed => Ok(listed()?.unwrap_or(ALL)),
            HfWindows::Stated if self.fields.flag("use_sliding_window")? == Some(false) => Ok(ALL),
            HfWindows::Stated => Ok(match (listed()?, self.window_period()?) {
                (Some(full), _) => full,
                (None, Some(period)) => every(period),
                (None, None) => FullLayers::Regular(Full::Never),
            }),
            _ if !used()? => Ok(ALL),
            HfWindows::EveryIfUsed => Ok(FullLayers::Regular(Full::Never)),
            HfWindows::FromLayerIfUsed | HfWindows::BeforeLayerIfUsed => match listed()? {
                Some(full) => Ok(full),
                None => self.max_window_layers(n_layers).map(FullLayers::Regular),
            },
        }
    }

    /// Every how manyth layer is full: a number, or a text such as `LLLG`.
    fn window_period(&self) -> Result<Option<u64>, SourceError> {
        for key in ["sliding_window_pattern", "global_attn_every_n_layers"] {
            match self.fields.get(key) {
                None => {}
                Some(crate::read::json::Json::Text(text)) => {
                    let local = text.trim_end_matches('G');
                    let is_period =
                        local.len() + 1 == text.len() && local.chars().all(|c| c == 'L');
                    if !is_period {
                        return Err(self.fields.invalid(key, "a number, or a text such as `LLLG`"));
                    }
                    return Ok(Some(crate::units::to_u64(text.len())));
                }
                Some(_) => return self.fields.number(key),
            }
        }
        Ok(None)
    }

    /// Qwen2 and Qwen3 put windows on the layers from `max_window_layers` on, Qwen2-MoE on every
    /// other layer before it.
    fn max_window_layers(&self, n_layers: u64) -> Result<Full, SourceError> {
        const KEY: &str = "max_window_layers";
        let limit = self.fields.number(KEY)?.unwrap_or(28);
        let before = self.family.windows.hf == HfWindows::BeforeLayerIfUsed;
        match limit {
            0 => Ok(if before { Full::Every(1) } else { Full::Never }),
            _ if limit >= n_layers => Ok(Full::Every(if before { 2 } else { 1 })),
            _ => {
                let expected = format!("0, or at least `num_hidden_layers` = {n_layers}");
                Err(self.fields.at.invalid(&self.fields.name(KEY), limit, expected))
            }
        }
    }

    /// The layers of Llama 4 that rotate attend in chunks (`no_rope_layers`, 1 where a layer rotates).
    fn rotating_layers(&self, n_layers: u64) -> Result<Option<FullLayers>, SourceError> {
        const KEY: &str = "no_rope_layers";
        if let Some(listed) = self.attention_types(n_layers)? {
            return Ok(Some(listed));
        }
        let list = self.fields.numbers(KEY)?.filter(|list| !list.is_empty());
        let Some(list) = list else { return Ok(None) };
        self.check_count(KEY, list.len(), n_layers)?;
        Ok(Some(FullLayers::of(list.into_iter().map(|rotates| rotates == 0).collect())))
    }

    /// The layers with attention to all tokens, by `layer_types`, or by the pattern that MiMo-V2 has for it.
    fn attention_types(&self, n_layers: u64) -> Result<Option<FullLayers>, SourceError> {
        const KEY: &str = "layer_types";
        const PATTERN: &str = "hybrid_layer_pattern";
        if self.fields.get(KEY).is_none() {
            let Some(pattern) = self.fields.numbers(PATTERN)? else { return Ok(None) };
            self.check_count(PATTERN, pattern.len(), n_layers)?;
            return Ok(Some(FullLayers::of(
                pattern.into_iter().map(|window| window == 0).collect(),
            )));
        }
        let mut full = Vec::new();
        for kind in self.layer_words(KEY, n_layers)?.unwrap_or_default() {
            full.push(match kind {
                "full_attention"
                | "attention"
                | "global"
                | "minimax_m3_sparse"
                | "deepseek_sparse_attention" => true,
                "sliding_attention" | "chunked_attention" | "local" => false,
                kind => {
                    let expected = "`full_attention` or `sliding_attention`";
                    let value = format!("\"{}\"", crate::text::printable(kind));
                    return Err(self.fields.at.invalid(&self.fields.name(KEY), value, expected));
                }
            });
        }
        Ok(Some(FullLayers::of(full)))
    }

    /// A list of words, one for each layer. Layers for multi-token prediction may be listed behind them.
    pub(super) fn layer_words(
        &self,
        key: &str,
        n_layers: u64,
    ) -> Result<Option<Vec<&str>>, SourceError> {
        let Some(mut words) = self.fields.words(key)? else { return Ok(None) };
        let predicting = self.fields.number("num_nextn_predict_layers")?.unwrap_or(0);
        let count = crate::units::to_u64(words.len());
        if count > n_layers && count - n_layers == predicting {
            words.truncate(crate::units::at_most(n_layers, words.len()));
        }
        self.check_count(key, words.len(), n_layers)?;
        Ok(Some(words))
    }

    /// Checks that a list has one entry for each layer.
    pub(super) fn check_count(
        &self,
        key: &str,
        count: usize,
        n_layers: u64,
    ) -> Result<(), SourceError> {
        if u64::try_from(count) == Ok(n_layers) {
            return Ok(());
        }
        Err(self.fields.invalid(key, format!("one entry for each of {n_layers} layers")))
    }
}
