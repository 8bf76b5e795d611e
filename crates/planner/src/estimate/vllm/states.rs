//! What layers that keep a state keep of a request: its last state, or one for every block of it.

use crate::spec::{ModelShape, Serving};

/// States of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum States {
    /// The last one: no prompts share theirs.
    Last,
    /// The last ones, so that prompts that begin alike share them (`mamba_cache_mode` `align`).
    Shared,
    /// One for every block of tokens (`all`), as state-space layers had it.
    OfEveryBlock,
}

/// What a release keeps. Those before 0.19 were not read: they are planned as it.
pub fn kept_states(shape: &ModelShape, serving: Serving) -> States {
    let version = serving.version;
    if !serving.server.shares_prefixes.unwrap_or(version.shares_states()) {
        return States::Last;
    }
    // `SupportsMambaPrefixCaching`: Bamba, Falcon-H1, Granite 4, Nemotron-H, Zamba 2.
    if shape.ssm.is_some() && version.keeps_every_state() {
        States::OfEveryBlock
    } else {
        States::Shared
    }
}
