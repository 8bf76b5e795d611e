//! Shares of a card, and what a server's cache must hold.

use super::remedy;
use crate::units::Bytes;
use crate::why::cause::{Cause, reserved, thousandths};
use crate::why::evidence::{Engine, Evidence, Failure, FailureKind};
use crate::why::remedy::{Checked, Remedy};

/// Shares of a card above this leave nothing for what is outside of them.
const MOST_SHARE: u64 = 970;

/// Hundredths of a card, and what of it is free, below which no share is worth naming.
const LEAST_SHARE: u64 = 10;
const LEAST_FREE: Bytes = Bytes::new(2 << 30);

/// A share of the card by which so much more is taken, in hundredths rounded up.
fn share_for(evidence: &Evidence, more: Bytes) -> Option<u64> {
    let now = thousandths(&evidence.run.question.gpu_memory_utilization?.to_string())?;
    let total =
        evidence.cards.iter().find_map(|card| card.total).filter(|total| !total.is_zero())?;
    let more = Bytes::new(1000).scale(more.get(), total.get()).ok()?.get();
    Some((now + more + 1).div_ceil(10) * 10)
}

/// `0.95` of 950 thousandths.
fn shown(thousandths: u64) -> String {
    let text = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub(super) fn no_cache(evidence: &Evidence, cause: &Cause) -> Vec<Remedy> {
    let mut found = Vec::new();
    let share = cause.short_by.and_then(|short| share_for(evidence, short));
    if let Some(share) = share.filter(|share| *share <= MOST_SHARE) {
        let share = shown(share);
        let flags = format!("--gpu-memory-utilization {share}");
        let text =
            format!("`{flags}` covers what is missing, and little of a cache: more is better");
        found.push(remedy("other-share", flags, Checked::ByLog, text));
    }
    for (code, flags, text) in [
        (
            "other-share",
            "--gpu-memory-utilization 0.95",
            "a larger share, where nothing else is on the card",
        ),
        (
            "smaller-batch",
            "--max-num-batched-tokens 2048",
            "smaller steps and `--max-num-seqs 64`: the profile run's peak grows with them",
        ),
        ("no-graphs", "--enforce-eager", "no graphs, which newer versions take out of the share"),
        (
            "smaller-weights",
            "",
            "weights in fewer bits (AWQ, GPTQ, FP8), or `--tensor-parallel-size 2`",
        ),
    ] {
        if !found.iter().any(|known| known.code == code) {
            let shown =
                if flags.is_empty() { text.to_owned() } else { format!("`{flags}`: {text}") };
            found.push(remedy(code, flags, Checked::Unchecked, shown));
        }
    }
    found
}

pub(super) fn context(evidence: &Evidence, failure: &Failure) -> Vec<Remedy> {
    let FailureKind::ContextTooLong { needs, has, longest, context } = &failure.kind else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let proportional = || {
        let (needs, has, context) = ((*needs)?, (*has)?, (*context)?);
        let tokens = Bytes::new(context).scale(has.bytes.get(), needs.bytes.get().max(1)).ok()?;
        Some(tokens.get() / 16 * 16)
    };
    let said = longest.filter(|longest| *longest > 0);
    if let Some(tokens) = said.or_else(proportional).filter(|tokens| *tokens > 0) {
        let flags = format!("--max-model-len {tokens}");
        let who =
            if said.is_some() { "vLLM's own estimate" } else { "the cache grows with the length" };
        found.push(remedy(
            "shorter-context",
            flags.clone(),
            Checked::ByLog,
            format!("`{flags}`: {who}"),
        ));
    }
    if let (Some(needs), Some(has)) = (needs, has) {
        let half = Bytes::new(needs.bytes.get() / 2);
        let is_16_bit = evidence.run.question.kv.is_none();
        if is_16_bit && half <= has.bytes {
            let flags = "--kv-cache-dtype fp8";
            let text = format!("`{flags}` halves what the request needs to {half}, which fits");
            found.push(Remedy {
                frees: Some(half),
                ..remedy("smaller-cache-type", flags, Checked::ByLog, text)
            });
        }
        let more = needs.bytes.minus_or_zero(has.bytes);
        if let Some(share) = share_for(evidence, more).filter(|share| *share <= MOST_SHARE) {
            let flags = format!("--gpu-memory-utilization {}", shown(share));
            let text =
                format!("`{flags}` gives the cache the {more} that it lacks, if they are free");
            found.push(remedy("other-share", flags, Checked::ByLog, text));
        }
    }
    found
}

pub(super) fn share(evidence: &Evidence, failure: &Failure) -> Vec<Remedy> {
    let FailureKind::ShareNotFree { free, total, .. } = &failure.kind else { return Vec::new() };
    let mut found = Vec::new();
    let hundredths = Bytes::new(100).scale(free.bytes.get(), total.bytes.get().max(1));
    let hundredths = hundredths.map_or(0, Bytes::get);
    // Less than this holds no model that is served.
    if hundredths > LEAST_SHARE && free.bytes >= LEAST_FREE {
        let flags = format!("--gpu-memory-utilization {}", shown((hundredths - 1) * 10));
        let text = format!(
            "`{flags}` takes what is free; whether weights and cache fit that, a plan says"
        );
        found.push(remedy("other-share", flags, Checked::ByLog, text));
    }
    let held = total.bytes.minus_or_zero(free.bytes);
    let _ = evidence;
    let text = format!("end what else holds the card ({held}, see `nvidia-smi`)");
    found.push(Remedy { frees: Some(held), ..remedy("end-others", "", Checked::ByLog, text) });
    found
}

pub(super) fn static_share(evidence: &Evidence) -> Vec<Remedy> {
    let mut found = Vec::new();
    if let (Some(before), Some(after)) = (evidence.counts.free_before, evidence.counts.free_after) {
        let rest = Bytes::new(1000).scale(after.bytes.get(), before.bytes.get().max(1));
        let least = 1000u64.saturating_sub(rest.map_or(0, Bytes::get));
        // A cache of nothing starts no server: two hundredths more.
        let share = (least + 20).div_ceil(10) * 10;
        if share <= 950 {
            let flags = format!("--mem-fraction-static {}", shown(share));
            let text = format!(
                "`{flags}` or more: weights fill {} of the card; what is left out is for passes and graphs",
                shown(least)
            );
            found.push(remedy("other-share", flags, Checked::ByLog, text));
        }
    } else {
        let flags = "--mem-fraction-static";
        let text = format!(
            "a larger `{flags}`: it counts weights and cache, and what it leaves is for passes and graphs"
        );
        found.push(remedy("other-share", flags, Checked::Unchecked, text));
    }
    let text =
        "weights in fewer bits, or more cards (`--tp 2`), where no share has room".to_owned();
    found.push(remedy("smaller-weights", "", Checked::Unchecked, text));
    found
}

/// Of vLLM graphs are captured beside its share, until they are counted in it.
fn capture_of_vllm(evidence: &Evidence, cause: &Cause) -> Vec<Remedy> {
    let total = evidence.cards.iter().find_map(|card| card.total).filter(|total| !total.is_zero());
    let now = evidence.run.question.gpu_memory_utilization;
    let now = now.and_then(|share| thousandths(&share.to_string()));
    let less = cause.short_by.zip(total).zip(now).and_then(|((short, total), now)| {
        let less = Bytes::new(1000).scale(short.get(), total.get()).ok()?.get();
        Some(now.saturating_sub(less + 10) / 10 * 10).filter(|share| *share > 0)
    });
    let share = if let Some(share) = less {
        let flags = format!("--gpu-memory-utilization {}", shown(share));
        let text = format!("`{flags}` leaves what was short beside vLLM's share");
        remedy("other-share", flags, Checked::ByLog, text)
    } else {
        let flags = "--gpu-memory-utilization";
        let text = format!("a lower `{flags}` leaves more beside vLLM's share");
        remedy("other-share", flags, Checked::Unchecked, text)
    };
    let eager = "`--enforce-eager`: no graphs, which makes decoding slower";
    let fewer = "`--max-num-seqs 64`: graphs are captured for batches up to this";
    vec![
        share,
        remedy("no-graphs", "--enforce-eager", Checked::Unchecked, eager.to_owned()),
        remedy("fewer-sequences", "--max-num-seqs 64", Checked::Unchecked, fewer.to_owned()),
    ]
}

pub(super) fn capture(evidence: &Evidence, cause: &Cause) -> Vec<Remedy> {
    if evidence.engine.is_some_and(|(engine, _)| engine == Engine::Vllm) {
        return capture_of_vllm(evidence, cause);
    }
    let mut found = Vec::new();
    let total = evidence.cards.iter().find_map(|card| card.total);
    let now = evidence.static_share.as_deref().and_then(thousandths);
    if let (Some(short), Some(total), Some(now)) = (cause.short_by, total, now) {
        let less = Bytes::new(1000).scale(short.get(), total.get().max(1)).map_or(0, Bytes::get);
        let share = now.saturating_sub(less + 10) / 10 * 10;
        if share > 0 && reserved(total, &shown(share)).is_some() {
            let flags = format!("--mem-fraction-static {}", shown(share));
            let text = format!("`{flags}` leaves {short} more beside weights and cache");
            found.push(Remedy {
                frees: Some(short),
                ..remedy("other-share", flags, Checked::ByLog, text)
            });
        }
    } else {
        let flags = "--mem-fraction-static";
        found.push(remedy("other-share", flags, Checked::Unchecked, format!("a lower `{flags}`")));
    }
    let flags = "--cuda-graph-max-bs 16";
    let text = format!("`{flags}`: fewer graphs are captured");
    found.push(remedy("fewer-graphs", flags, Checked::Unchecked, text));
    found
}
