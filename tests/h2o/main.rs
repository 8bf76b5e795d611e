//! The evicting cache against the oracle, against plain attention, and by its laws.

#![cfg(feature = "h2o")]
#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "test code")]

mod case;
mod decode_kernels;
mod laws;
mod oracle;
mod reference;
mod shadow;
mod smoothing;
mod source;
