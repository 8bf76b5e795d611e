//! Settings as Python's engines print them: `key=value`, `key='value'`, `'key': value`.

use crate::deployment::Question;
use crate::dtype::WeightFormat;
use crate::spec::{Attention, Count, Split};
use crate::why::Evidence;
use crate::why::scan::{number, value};

/// Takes vLLM's settings of a line.
pub fn of_vllm(text: &str, evidence: &mut Evidence) {
    let model = value(text, "model").or_else(|| value(text, "model_tag"));
    if let Some(model) = model.filter(|model| is_said(model)) {
        evidence.name(model);
    }
    let question = &mut evidence.run.question;
    let count = |key| value(text, key).and_then(number).map(|(n, _)| n).filter(|n| *n > 0);
    if let Some(length) = count("max_model_len").or_else(|| count("max_seq_len")) {
        (question.context, question.max_model_len) = (Some(length), Some(length));
    }
    question.max_seqs = count("max_num_seqs").or(question.max_seqs);
    question.prefill_chunk = count("max_num_batched_tokens").or(question.prefill_chunk);
    ranks(count("tensor_parallel_size"), question);
    if let Some(share) = value(text, "gpu_memory_utilization") {
        question.gpu_memory_utilization = share.parse().ok().or(question.gpu_memory_utilization);
    }
    if value(text, "enforce_eager") == Some("True") {
        question.enforce_eager = true;
    }
    if value(text, "kv_cache_dtype").is_some_and(|dtype| dtype.starts_with("fp8")) {
        question.kv = "fp8".parse().ok();
    }
    let method = value(text, "quantization").filter(|method| is_said(method));
    evidence.format = method.map(crate::text::printable).or_else(|| evidence.format.take());
}

/// Takes `SGLang`'s settings of a line.
pub fn of_sglang(text: &str, evidence: &mut Evidence) {
    let model = value(text, "model_path").or_else(|| value(text, "model"));
    if let Some(model) = model.filter(|model| is_said(model)) {
        evidence.name(model);
    }
    let share = value(text, "mem_fraction_static").filter(|share| is_said(share));
    evidence.static_share =
        share.map(crate::text::printable).or_else(|| evidence.static_share.take());
    let question = &mut evidence.run.question;
    let count = |key| value(text, key).and_then(number).map(|(n, _)| n).filter(|n| *n > 0);
    // The longest of a request, for which nothing is held before it comes.
    question.max_model_len = count("context_length").or(question.max_model_len);
    question.mem_fraction_static =
        share.and_then(|share| share.parse().ok()).or(question.mem_fraction_static);
    question.prefill_chunk = count("chunked_prefill_size").or(question.prefill_chunk);
    question.max_seqs = count("max_running_requests").or(question.max_seqs);
    question.enforce_eager |= value(text, "disable_cuda_graph") == Some("True");
    ranks(count("tp_size"), question);
    if value(text, "kv_cache_dtype").is_some_and(|dtype| dtype.starts_with("fp8")) {
        question.kv = "fp8".parse().ok();
    }
}

/// Takes what a line of Python code says of transformers.
pub fn of_transformers(text: &str, evidence: &mut Evidence) {
    for quote in ['"', '\''] {
        let call = format!("from_pretrained({quote}");
        let name = text.split_once(call.as_str()).and_then(|(_, rest)| rest.split_once(quote));
        if let Some((name, _)) = name {
            evidence.name(name);
        }
    }
    let weights = if text.contains("quantizer_bnb_4bit") {
        Some(WeightFormat::Nf4 { double_quant: false })
    } else if text.contains("quantizer_bnb_8bit") {
        Some(WeightFormat::Int8)
    } else if value(text, "load_in_4bit") == Some("True") {
        Some(WeightFormat::Nf4 { double_quant: text.contains("double_quant=True") })
    } else if value(text, "load_in_8bit") == Some("True") {
        Some(WeightFormat::Int8)
    } else {
        None
    };
    evidence.run.question.weights = weights.or(evidence.run.question.weights);
}

/// Takes what `KoboldCpp` prints of its arguments.
pub fn of_koboldcpp(text: &str, evidence: &mut Evidence) {
    let model = value(text, "model_param").filter(|model| is_said(model));
    // Newer versions have a list: `model=['E:\\m.gguf']`.
    let listed = value(text, "model").map(|model| model.trim_matches(['[', ']', '\'', '"']));
    if let Some(model) = model.or(listed.filter(|model| is_said(model))) {
        evidence.name(&model.replace("\\\\", "\\"));
    }
    let question = &mut evidence.run.question;
    let count = |key| value(text, key).and_then(number).map(|(n, _)| n).filter(|n| *n > 0);
    if let Some(cells) = count("contextsize") {
        (question.cache_tokens, question.context) = (Some(cells), Some(cells));
    }
    let batch = count("blasbatchsize").or_else(|| count("batchsize"));
    question.prefill_chunk = batch.or(question.prefill_chunk);
    question.ngl = count("gpulayers").map(Count::Some).or(question.ngl);
    if value(text, "flashattention") == Some("True") {
        question.attention = Some(Attention::Flash);
    }
}

fn ranks(count: Option<u64>, question: &mut Question) {
    if let Some(count) = count {
        question.gpus = Some(count);
        question.split = (count > 1).then_some(Split::Tensor);
    }
}

fn is_said(value: &str) -> bool {
    !value.is_empty() && value != "None"
}
