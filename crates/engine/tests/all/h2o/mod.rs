//! The evicting cache against the oracle, against plain attention, and by its laws.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "test code")]
#![allow(clippy::float_cmp, reason = "exact where it is compared")]

mod case;
mod decode_kernels;
mod laws;
mod oracle;
mod reference;
mod shadow;
mod sizes;
mod smoothing;
mod source;
