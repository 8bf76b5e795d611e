//! Models from stores and servers: made-up folders, and a hub on this machine. Nothing outside is ever asked.

#![cfg(feature = "hub")]
#![allow(clippy::unwrap_used, reason = "test code")]

#[path = "../../../../tests/support/fake_hub.rs"]
mod fake_hub;
mod hub;
#[path = "../../../../tests/support/loopback.rs"]
mod loopback;
mod refusals;
mod stores;
