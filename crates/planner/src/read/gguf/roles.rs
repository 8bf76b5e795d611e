//! What the tensors of GGUF files are for, by name (llama.cpp `src/llama-arch.cpp`,
//! `LLM_TENSOR_NAMES`).

use crate::spec::Role;

/// A tensor's name in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name<'a> {
    /// The `N` of `blk.N.`.
    pub(super) layer: Option<u64>,
    /// What is between the layer and the last dot, such as `attn_q`.
    pub(super) stem: &'a str,
    /// `weight`, `bias`, or nothing.
    pub(super) kind: &'a str,
}

impl<'a> Name<'a> {
    pub(super) fn of(name: &'a str) -> Self {
        let block = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
        let (layer, rest) = match block {
            Some((layer, rest)) if layer.parse::<u64>().is_ok() => (layer.parse().ok(), rest),
            _ => (None, name),
        };
        let (stem, kind) = match rest.rsplit_once('.') {
            Some((stem, kind @ ("weight" | "bias"))) => (stem, kind),
            _ => (rest, ""),
        };
        Self { layer, stem, kind }
    }

    /// What it is for; nothing where the name is none of the known ones.
    pub(super) fn role(self) -> Option<Role> {
        match (self.layer, self.kind) {
            (None, "weight") => outside_layers(self.stem),
            (None, "bias") => matches!(self.stem, "output_norm").then_some(Role::Bias),
            (Some(_), "bias") => bias(self.stem),
            (Some(_), "weight") => attention(self.stem).or_else(|| feed_forward(self.stem)),
            (Some(_), _) => matches!(self.stem, "ssm_a" | "ssm_d").then_some(Role::RecurrentVector),
            _ => None,
        }
    }
}

fn outside_layers(stem: &str) -> Option<Role> {
    Some(match stem {
        "token_embd" => Role::TokenEmbedding,
        "position_embd" | "per_layer_token_embd" => Role::LayerEmbedding,
        "output" => Role::OutputHead,
        "output_norm" => Role::Norm,
        _ => return None,
    })
}

fn bias(stem: &str) -> Option<Role> {
    match stem {
        "ssm_dt" => Some(Role::RecurrentVector),
        "exp_probs_b" => Some(Role::Bias),
        _ => attention(stem).or_else(|| feed_forward(stem)).map(|_| Role::Bias),
    }
}

fn attention(stem: &str) -> Option<Role> {
    Some(match stem {
        "attn_q" => Role::AttnQ,
        "attn_k" => Role::AttnK,
        "attn_v" => Role::AttnV,
        "attn_qkv" => Role::AttnQkv,
        "attn_output" => Role::AttnOutput,
        "attn_q_a" => Role::MlaQa,
        "attn_q_b" => Role::MlaQb,
        "attn_kv_a_mqa" => Role::MlaKvA,
        "attn_kv_b" | "attn_k_b" | "attn_v_b" => Role::MlaKvB,
        "attn_sinks" => Role::Sinks,
        "attn_gate" => Role::RecurrentGate,
        "ssm_in" => Role::RecurrentQkv,
        "ssm_ba" | "ssm_beta" | "ssm_alpha" => Role::RecurrentBetaAlpha,
        "ssm_conv1d" => Role::RecurrentConv,
        "ssm_out" => Role::RecurrentOutput,
        "attn_norm"
        | "attn_norm_2"
        | "ffn_norm"
        | "post_attention_norm"
        | "post_ffw_norm"
        | "layer_output_scale"
        | "attn_q_norm"
        | "attn_k_norm"
        | "attn_q_a_norm"
        | "attn_kv_a_norm"
        | "ssm_norm" => Role::Norm,
        _ => return None,
    })
}

fn feed_forward(stem: &str) -> Option<Role> {
    // Files from before 2024-04 hold every expert as a tensor of its own: `ffn_up.7`.
    let (stem, split) = match stem.rsplit_once('.') {
        Some((stem, expert)) if expert.parse::<u64>().is_ok() => (stem, true),
        _ => (stem, false),
    };
    Some(match stem {
        "ffn_gate" if split => Role::ExpertGate,
        "ffn_up" if split => Role::ExpertUp,
        "ffn_down" if split => Role::ExpertDown,
        _ if split => return None,
        "ffn_gate" => Role::FfnGate,
        "ffn_up" => Role::FfnUp,
        "ffn_down" => Role::FfnDown,
        "ffn_gate_exps" => Role::ExpertGate,
        "ffn_up_exps" | "ffn_gate_up_exps" => Role::ExpertUp,
        "ffn_down_exps" => Role::ExpertDown,
        "ffn_gate_shexp" => Role::SharedGate,
        "ffn_up_shexp" => Role::SharedUp,
        "ffn_down_shexp" => Role::SharedDown,
        "ffn_gate_inp" => Role::Router,
        "ffn_gate_inp_shexp" => Role::SharedRouter,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_roles() {
        for (name, role) in [
            ("token_embd.weight", Some(Role::TokenEmbedding)),
            ("output.weight", Some(Role::OutputHead)),
            ("output_norm.weight", Some(Role::Norm)),
            ("output_norm.bias", Some(Role::Bias)),
            ("blk.11.attn_q.weight", Some(Role::AttnQ)),
            ("blk.11.attn_q.bias", Some(Role::Bias)),
            ("blk.0.ffn_gate_exps.weight", Some(Role::ExpertGate)),
            ("blk.0.ffn_up.7.weight", Some(Role::ExpertUp)),
            ("blk.0.ffn_gate_inp.weight", Some(Role::Router)),
            ("blk.0.exp_probs_b.bias", Some(Role::Bias)),
            ("blk.0.ssm_a", Some(Role::RecurrentVector)),
            ("blk.0.ssm_dt.bias", Some(Role::RecurrentVector)),
            ("blk.0.attn_kv_a_norm.weight", Some(Role::Norm)),
            ("rope_freqs.weight", None),
            ("blk.0.nextn.eh_proj.weight", None),
            ("blk.x.attn_q.weight", None),
            ("blk.0.", None),
            ("", None),
        ] {
            assert_eq!(Name::of(name).role(), role, "{name}");
        }
    }
}
