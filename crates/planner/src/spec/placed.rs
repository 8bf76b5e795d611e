//! Where a model's layers, tensors and caches are, once a placement is settled.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex};

/// A device of a placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Home {
    /// A GPU, from 0.
    Gpu(usize),
    /// Main memory.
    Host,
}

impl Home {
    /// Its place among `gpus` GPUs and main memory behind them.
    pub const fn index(self, gpus: usize) -> usize {
        match self {
            Self::Gpu(index) => index,
            Self::Host => gpus,
        }
    }
}

/// A weight by name, for what runs where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlacedWeight {
    /// Its name in a GGUF file.
    pub name: Arc<str>,
    /// Where it is; on every device that has layers, where it is a table for all of them.
    pub home: Option<Home>,
    /// Bytes of a copy on a GPU.
    pub copy: u64,
}

/// A settled placement. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// How many GPUs there are.
    pub gpus: usize,
    /// Where each decoder layer is.
    pub layers: Arc<[Home]>,
    /// Where the output norm and head are.
    pub output: Home,
    /// Where each tensor is, in the order in which the runtime lists them: `None` where it is on every device that
    /// has layers.
    pub tensors: Arc<[Option<Home>]>,
    /// Where the token embedding is once more, as the output head.
    pub tied_head: Option<Home>,
    /// Whether it is held twice where both are in one place.
    pub doubles_table: bool,
    /// Whether all layers and the head are on GPUs, whatever their tensors are (`-ngl` beyond the layers).
    pub is_full: bool,
    /// Whether some tensors were placed one by one.
    pub is_overridden: bool,
    /// Whether caches are where their layers are.
    pub offloads_cache: bool,
    /// Whether products of large batches run on the GPU though their weights are in main memory.
    pub offloads_operations: bool,
    /// Whether matrices are cut by rows over the GPUs.
    pub by_rows: bool,
    /// Whether the first GPU's vector kernel reads a quantized cache for two rows.
    pub ada: bool,
    /// Whether the first GPU has tensor cores that apply gates with products.
    pub turing: bool,
    /// The weights of each decoder layer, and behind them those of none.
    pub weights: Arc<[Vec<PlacedWeight>]>,
    /// What was last worked out for all devices at once.
    pub memo: Memo,
    /// What the types of the weights allow, which every placement of a model shares.
    pub types: Memo,
}

/// A result that every device of a placement asks for: the last one is kept.
#[derive(Clone, Default)]
pub struct Memo(Arc<Mutex<Option<Box<dyn Any + Send>>>>);

impl Memo {
    /// The result of `make` for this key, made once.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or<K, V, E>(&self, key: &K, make: impl FnOnce() -> Result<V, E>) -> Result<V, E>
    where
        K: PartialEq + Clone + Send + 'static,
        V: Clone + Send + 'static,
    {
        let known = self.0.lock().ok().and_then(|kept| {
            let (of, value) = kept.as_ref()?.downcast_ref::<(K, V)>()?;
            (of == key).then(|| value.clone())
        });
        if let Some(value) = known {
            return Ok(value);
        }
        let value = make()?;
        if let Ok(mut kept) = self.0.lock() {
            *kept = Some(Box::new((key.clone(), value.clone())));
        }
        Ok(value)
    }
}

/// What is remembered is no part of what a placement is.
impl PartialEq for Memo {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Memo {}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

impl Placed {
    /// Where a layer's cache is.
    pub fn cache_of(&self, layer: u64) -> Home {
        let home = usize::try_from(layer).ok().and_then(|layer| self.layers.get(layer));
        match home {
            Some(home) if self.offloads_cache => *home,
            _ => Home::Host,
        }
    }

    /// A weight by its layer and what its name has behind that, in two parts.
    pub fn weight(&self, layer: Option<u64>, stem: &str, kind: &str) -> Option<&PlacedWeight> {
        let outside = self.weights.len().checked_sub(1)?;
        let find = |index: usize| {
            self.weights.get(index)?.iter().find(|weight| is_called(&weight.name, stem, kind))
        };
        let of_layer = layer.and_then(|layer| find(usize::try_from(layer).ok()?));
        of_layer.or_else(|| find(outside))
    }

    /// Where a weight is, seen from a layer.
    pub fn home_of(&self, weight: &PlacedWeight, layer: Option<u64>) -> Home {
        let of_layer = layer.and_then(|layer| self.layers.get(usize::try_from(layer).ok()?));
        weight.home.or(of_layer.copied()).unwrap_or(self.output)
    }

    /// Whether several micro-batches are worked on at a time, for which inputs are kept in copies
    /// (`pipeline_parallel` in `llama-context.cpp`).
    pub const fn is_pipeline(&self) -> bool {
        self.gpus > 1 && self.is_full && self.offloads_cache && !self.is_overridden && !self.by_rows
    }
}

/// Whether a tensor's name ends in these two parts, behind its layer or from its start.
fn is_called(name: &str, stem: &str, kind: &str) -> bool {
    let before = name.strip_suffix(kind).and_then(|name| name.strip_suffix(stem));
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}
