//! How the kernels that both servers run lay out DeepSeek-V4's compressed keys (`FlashMLA`; vLLM 0.33
//! `models/deepseek_v4/attention.py`, `fp8_ds_mla`; `SGLang` 0.5.23 `kernels/ops/attention/dsv4/kv_layout.py`, `KVLayout.V4`).

/// Tokens that share a key where little is compressed.
pub(crate) const LITTLE: u64 = 4;
/// The same where much is compressed.
pub(crate) const MUCH: u64 = 128;
/// Elements of the heads that they read.
pub(crate) const HEAD: u64 = 512;
/// The same of the indexer's.
pub(crate) const INDEX_HEAD: u64 = 128;
/// Bytes of a key: 448 numbers in 8 bits with eight bytes of scales, 64 in 16 bits.
pub(crate) const KEY: u64 = 584;
/// Bytes of an indexer's: 8-bit numbers, and a scale of 4 B for each 128.
pub(crate) const INDEX_KEY: u64 = INDEX_HEAD + 4;
/// Bytes that a page of keys is a multiple of.
pub(crate) const ALIGNMENT: u64 = 576;
