//! Flags of `python -m sglang.launch_server` (0.5.23's `srt/arg_groups/fields/`, `srt/server_args.py`).

use super::{chunk, format_of_weights, longest};
use crate::dtype::{KvFormat, WeightFormat};
use crate::render::document::{Document, shown};
use crate::spec::Split;

/// `auto` is the model's own type for weights and cache (`srt/server_args.py`).
pub(super) fn settings(document: &Document) -> String {
    let asked = &document.deployment.resolved;
    let kv = if asked.kv.map(|kv| kv.keys) == Some(KvFormat::Fp8) { "fp8_e4m3" } else { "auto" };
    let dtype = if format_of_weights(document) == Some(WeightFormat::F32) {
        "--dtype float32 "
    } else {
        ""
    };
    let length = longest(document);
    let gpus = document.devices.len();
    let parallel = match asked.split {
        Some(Split::Tensor) => format!(" --tp-size {gpus}"),
        Some(Split::Layer) => format!(" --pp-size {gpus}"),
        None => String::new(),
    };
    let requests = asked.max_seqs.map(|seqs| format!(" --max-running-requests {seqs}"));
    let eager = if asked.enforce_eager { " --disable-cuda-graph" } else { "" };
    format!(
        "--context-length {length}{} --chunked-prefill-size {} {dtype}--kv-cache-dtype {kv} \
         --mem-fraction-static {}{parallel}{eager}\n",
        requests.unwrap_or_default(),
        chunk(document),
        shown(asked.mem_fraction_static.as_ref()),
    )
}
