//! The models of `evidence/llama_cpp/shapes.txt`, in the notation of `shapes.py`.

#![allow(
    clippy::unwrap_used,
    reason = "a fixture of our own: what it cannot be is a fault of the test"
)]

use std::collections::HashMap;

use vramplan_planner::spec::{
    Architecture, Mla, ModelShape, ModelSpec, Moe, PerLayer, QkNorm, Recurrent, Router,
    RouterGating, Ssm, Window,
};

/// A line of the table.
pub struct Line<'a> {
    /// What rows call it.
    pub name: &'a str,
    arch: &'a str,
    numbers: HashMap<&'a str, u64>,
    /// Whether experts' weights are multiplied by something, which need be no whole number.
    is_scaled: bool,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let pairs: Vec<_> = words.map(|word| word.split_once('=').unwrap()).collect();
        let arch = pairs.iter().find(|(key, _)| *key == "arch").unwrap().1;
        let numbers = pairs.iter().filter_map(|(key, n)| Some((*key, n.parse().ok()?))).collect();
        let is_scaled = pairs.iter().any(|(key, n)| *key == "scale" && *n != "1");
        Self { name, arch, numbers, is_scaled }
    }

    fn get(&self, key: &str) -> u64 {
        self.numbers.get(key).copied().unwrap_or(0)
    }

    fn has(&self, key: &str) -> bool {
        self.get(key) > 0
    }

    fn architecture(&self) -> Architecture {
        match self.arch {
            "llama" if self.has("E") => Architecture::Mixtral,
            other => Architecture::from_gguf_name(other).unwrap(),
        }
    }

    fn moe(&self) -> Option<Moe> {
        let shared = self.get("Fs").max(self.get("sh") * self.get("Fe"));
        self.has("E").then(|| Moe {
            n_experts: self.get("E"),
            n_experts_used: self.get("U"),
            expert_ffn_size: self.get("Fe"),
            shared_ffn_size: shared,
            shared_gate: self.has("Fs"),
            leading_dense_layers: self.get("dense"),
            router_bias: matches!(self.arch, "gpt-oss" | "glm4moe") || self.has("ebias"),
            expert_bias: self.arch == "gpt-oss",
            router: self.router(),
        })
    }

    /// What files say of groups of experts; of the others a shape says enough.
    fn router(&self) -> Option<Router> {
        self.has("groups").then(|| Router {
            gating: Some(RouterGating::Sigmoid),
            normalized: Some(true),
            scaled: self.is_scaled,
            groups: self.get("groups"),
            groups_used: self.get("gused"),
        })
    }

    fn mla(&self) -> Option<Mla> {
        self.has("lora").then(|| Mla {
            kv_lora_rank: self.get("lora"),
            q_lora_rank: self.numbers.get("qlora").copied(),
            qk_nope_head_dim: self.get("nope"),
            qk_rope_head_dim: self.get("rope"),
            v_head_dim: self.get("vh"),
            expanded: false,
        })
    }

    fn recurrent(&self) -> Option<Recurrent> {
        self.has("nk").then(|| Recurrent {
            full_attention_every: 4,
            key_heads: self.get("nk"),
            value_heads: self.get("nv"),
            key_head_dim: self.get("ds"),
            value_head_dim: self.get("ds"),
            conv_kernel: 4,
        })
    }

    fn ssm(&self) -> Option<Ssm> {
        self.has("inner").then(|| Ssm {
            inner_size: self.get("inner"),
            state_size: self.get("state"),
            n_groups: self.get("sgroups"),
            n_heads: self.get("sheads"),
            conv_kernel: 4,
            conv_bias: true,
            without_norm: false,
        })
    }

    fn per_layer(&self) -> Option<PerLayer> {
        let layers = 0..self.get("L");
        let pick = |every: u64, first: u64, here: u64, else_: u64| {
            layers.clone().map(|i| if i % every == first { here } else { else_ }).collect()
        };
        if self.has("inner") {
            let kv_heads = pick(10, 5, self.get("kv"), 0);
            return Some(PerLayer { kv_heads, ..PerLayer::default() });
        }
        self.has("kvf").then(|| PerLayer {
            kv_heads: pick(6, 5, self.get("kvf"), self.get("kv")),
            head_dim: pick(6, 5, self.get("hdf"), self.get("hd")),
            ..PerLayer::default()
        })
    }

    fn window(&self) -> Option<Window> {
        let full_every = if self.arch.starts_with("gemma3") || self.has("kvf") { 6 } else { 2 };
        self.has("swa").then(|| Window { size: self.get("swa"), full_every: Some(full_every) })
    }

    fn shape(&self) -> ModelShape {
        let gpt_oss = self.arch == "gpt-oss";
        let (heads, kv_heads, head_dim) = match self.mla() {
            Some(mla) => {
                (self.get("nh"), self.get("nh"), mla.qk_nope_head_dim + mla.qk_rope_head_dim)
            }
            None => (self.get("nh"), self.get("kv"), self.get("hd")),
        };
        ModelShape {
            architecture: self.architecture(),
            // The layers of multi-token prediction are in the file, but not among the model's.
            n_layers: self.get("L") - self.get("nextn"),
            hidden_size: self.get("H"),
            n_heads: heads,
            kv_heads,
            head_dim,
            ffn_size: self.get("F"),
            vocab_size: self.get("V"),
            context_len: self.get("ctx"),
            tied_embeddings: self.has("tied"),
            qkv_bias: self.has("qkvb") || gpt_oss,
            attn_output_bias: gpt_oss || self.has("ob"),
            ffn_bias: self.has("fb"),
            qk_norm: match self.arch {
                "olmo2" => QkNorm::Full,
                _ if self.has("qkn") => QkNorm::PerHead,
                _ => QkNorm::None,
            },
            norms_per_layer: match self.arch {
                "command-r" => 1,
                _ if self.has("post") => 4,
                _ => 2,
            },
            norm_bias: self.has("nb"),
            gated_ffn: self.arch != "starcoder2",
            fused_projections: self.arch == "phi3",
            attention_sinks: gpt_oss,
            attention_output_gate: self.has("nk"),
            attention_softcap: self.arch == "gemma2",
            logit_softcap: self.arch == "gemma2" || self.has("cap"),
            window: self.window(),
            moe: self.moe(),
            mla: self.mla(),
            recurrent: self.recurrent(),
            ssm: self.ssm(),
            keys_are_values: self.has("kvf"),
            per_layer: self.per_layer(),
            vision: None,
            parts: Vec::new(),
            extras: vramplan_planner::spec::Extras::default(),
        }
    }
}

/// Every model of the table.
///
/// # Panics
/// Where the recorded list describes no model.
pub fn models() -> HashMap<String, ModelSpec> {
    include_str!("../../../evidence/llama_cpp/shapes.txt")
        .lines()
        .map(Line::parse)
        .map(|line| {
            let model = ModelSpec::new(line.name, line.shape(), "shapes.py").unwrap();
            (line.name.to_owned(), model)
        })
        .collect()
}
