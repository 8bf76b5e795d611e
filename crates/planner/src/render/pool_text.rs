//! A runtime's own share of a card, in a line.

use super::document::{Document, PoolDoc, shown};
use crate::estimate::rules;
use crate::estimate::rules::PoolWords;
use crate::spec::Runtime;

/// What the runtime's share of the card is, and what its cache holds.
pub(super) fn pool_line(document: &Document, pool: &PoolDoc) -> String {
    let asked = &document.deployment;
    let share = match asked.resolved.kv_cache_memory_bytes {
        Some(pool) => format!("a pool of {pool}"),
        None => shown(asked.resolved.share().as_ref()),
    };
    let host = match pool.host {
        Some(host) => format!("; it pins {host} of main memory for this GPU"),
        None => String::new(),
    };
    let words = pool_words(document);
    let requests = pool.requests.map(|requests| format!(", {requests} requests together"));
    let takes = format!(
        "{} takes {} ({share}) whatever is cached: {} {}, {} tokens by its own count{}{host}",
        asked.runtime(),
        pool.limit,
        pool.blocks,
        words.block,
        pool.tokens,
        requests.unwrap_or_default()
    );
    if words.has_two_ends {
        takes + &start_window(pool, words)
    } else if asked.resolved.kv_cache_memory_bytes.is_some() {
        takes + &concurrency(pool)
    } else {
        takes + &concurrency(pool) + &startable(pool, words)
    }
}

/// Requests of the longest kind that the pool holds, as vLLM prints them when it starts.
fn concurrency(pool: &PoolDoc) -> String {
    let (has, of_one) = match pool.blocks_of_a_request {
        Some(of_one) => (pool.blocks, of_one),
        None => (pool.tokens, pool.start.context),
    };
    let hundredths = u128::from(has) * 100 / u128::from(of_one.max(1));
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    format!(", {whole}.{rest:02} requests of {} tokens", pool.start.context)
}

/// The shares with which a server starts that looks whether its share is free.
fn startable(pool: &PoolDoc, words: PoolWords) -> String {
    let flag = words.share;
    match (&pool.start.smallest_share, &pool.start.largest_share) {
        (Some(least), Some(most)) => {
            format!(
                "; `{flag}` {least} is the smallest that starts, {most} the largest that is safe"
            )
        }
        (Some(least), None) => {
            format!("; `{flag}` {least} is the smallest that starts, and none is safe")
        }
        (None, _) => format!("; no `{flag}` makes it start"),
    }
}

/// The shares with which a server starts and does not run out of memory later, where too small ones fail otherwise than too
/// large ones.
fn start_window(pool: &PoolDoc, words: PoolWords) -> String {
    let flag = words.share;
    match (&pool.start.smallest_share, &pool.start.largest_share) {
        (Some(least), Some(most)) => format!(
            "; `{flag}` below {least} leaves no pool, above {most} the rest may not fit beside it"
        ),
        (Some(least), None) => {
            format!("; `{flag}` below {least} leaves no pool, and the rest may not fit beside any")
        }
        (None, _) => format!("; no `{flag}` leaves a pool"),
    }
}

/// What the runtime calls its pool's parts.
pub(super) fn pool_words(document: &Document) -> PoolWords {
    let runtime = document.deployment.resolved.runtime.unwrap_or(Runtime::Vllm);
    rules(runtime).pool_words()
}
