//! One layer's cache, on the host and on a device.

use half::f16;
use vramplan_engine::h2o::{Heads, Policy, Rows, RowsMut};
use vramplan_engine::launch::{LayerMemory, RegionMemory};

use crate::kernels::device::{Device, Number, download, upload};
use crate::kernels::random::Random;

#[derive(Clone, Debug)]
pub struct Region {
    pub keys: Vec<i8>,
    pub key_scales: Vec<f16>,
    pub values: Vec<i8>,
    pub value_scales: Vec<f16>,
}

#[derive(Clone, Debug)]
pub struct Layer {
    pub heads: Heads,
    pub policy: Policy,
    pub pinned: Region,
    pub slots: Region,
    pub scores: Vec<f32>,
    pub smoothing: Vec<f32>,
}

impl Region {
    /// What nobody may read: scales are not numbers.
    pub fn unwritten(heads: Heads, capacity: usize) -> Self {
        let rows = heads.kv_heads() * capacity;
        Self {
            keys: vec![0x55; rows * heads.head_dim()],
            key_scales: vec![f16::NAN; rows],
            values: vec![0x55; rows * heads.head_dim()],
            value_scales: vec![f16::NAN; rows],
        }
    }

    pub fn as_rows(&self) -> Rows<'_> {
        Rows {
            keys: &self.keys,
            key_scales: &self.key_scales,
            values: &self.values,
            value_scales: &self.value_scales,
        }
    }

    pub fn as_rows_mut(&mut self) -> RowsMut<'_> {
        RowsMut {
            keys: &mut self.keys,
            key_scales: &mut self.key_scales,
            values: &mut self.values,
            value_scales: &mut self.value_scales,
        }
    }

    /// Writes one token of one head.
    fn fill(&mut self, heads: Heads, head: usize, token: usize, random: &mut Random) {
        let at = head * (self.key_scales.len() / heads.kv_heads()) + token;
        let row = at * heads.head_dim()..(at + 1) * heads.head_dim();
        for x in self.keys[row.clone()].iter_mut().chain(&mut self.values[row]) {
            *x = (random.below(255) as i32 - 127) as i8;
        }
        self.key_scales[at] = f16::from_f32(0.01 * (0.2 + random.unit()));
        self.value_scales[at] = f16::from_f32(0.02 * (random.normal() * 1.5).exp());
    }

    fn upload(&self, device: &mut dyn Device, name: &str) -> RegionMemory {
        let name = |part| format!("{name} {part}");
        RegionMemory {
            keys: upload_some(device, &name("keys"), &self.keys),
            key_scales: upload_some(device, &name("key scales"), &self.key_scales),
            values: upload_some(device, &name("values"), &self.values),
            value_scales: upload_some(device, &name("value scales"), &self.value_scales),
        }
    }

    pub fn download(device: &dyn Device, memory: &RegionMemory) -> Self {
        Self {
            keys: download(device, memory.keys),
            key_scales: download(device, memory.key_scales),
            values: download(device, memory.values),
            value_scales: download(device, memory.value_scales),
        }
    }

    /// A number in a row as it was before quantization, about.
    pub fn key(&self, heads: Heads, head: usize, token: usize, channel: usize) -> f64 {
        let at = head * (self.key_scales.len() / heads.kv_heads()) + token;
        f64::from(self.keys[at * heads.head_dim() + channel]) * self.key_scales[at].to_f64()
    }

    pub fn value(&self, heads: Heads, head: usize, token: usize, channel: usize) -> f64 {
        let at = head * (self.key_scales.len() / heads.kv_heads()) + token;
        f64::from(self.values[at * heads.head_dim() + channel]) * self.value_scales[at].to_f64()
    }
}

fn upload_some<T: Number>(
    device: &mut dyn Device,
    name: &str,
    numbers: &[T],
) -> vramplan_engine::launch::Span {
    if numbers.is_empty() { device.upload(name, &[0]) } else { upload(device, name, numbers) }
}

impl Layer {
    pub fn empty(heads: Heads, policy: Policy, random: &mut Random) -> Self {
        let smoothing = (0..heads.kv_width()).map(|_| (random.normal() * 0.5).exp()).collect();
        Self {
            heads,
            policy,
            pinned: Region::unwritten(heads, policy.pinned()),
            slots: Region::unwritten(heads, policy.max_cache_tokens()),
            scores: vec![0.0; heads.kv_heads() * policy.max_cache_tokens()],
            smoothing,
        }
    }

    /// With `pinned` tokens pinned and what is live after `written` tokens, of random content.
    pub fn filled(
        heads: Heads,
        policy: Policy,
        pinned: usize,
        written: usize,
        random: &mut Random,
    ) -> Self {
        let mut layer = Self::empty(heads, policy, random);
        for head in 0..heads.kv_heads() {
            for token in 0..pinned {
                layer.pinned.fill(heads, head, token, random);
            }
            for slot in policy.live(written).into_iter().flatten() {
                layer.slots.fill(heads, head, slot, random);
                layer.scores[head * policy.max_cache_tokens() + slot] = random.unit() * 5.0;
            }
        }
        layer
    }

    pub fn upload(&self, device: &mut dyn Device) -> LayerMemory {
        LayerMemory {
            pinned: self.pinned.upload(device, "pinned"),
            slots: self.slots.upload(device, "slots"),
            scores: upload(device, "scores", &self.scores),
            smoothing: upload(device, "smoothing", &self.smoothing),
        }
    }

    /// The same with what is on the device.
    pub fn downloaded(&self, device: &dyn Device, memory: &LayerMemory) -> Self {
        let mut layer = self.clone();
        if self.policy.pinned() > 0 {
            layer.pinned = Region::download(device, &memory.pinned);
        }
        layer.slots = Region::download(device, &memory.slots);
        layer.scores = download(device, memory.scores);
        layer
    }
}
