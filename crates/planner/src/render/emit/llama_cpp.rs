//! Flags of `llama-server`, as llama.cpp's `common/arg.cpp` names them.

use super::{EmitError, cache_formats, chunk, gpu_layers, is_flash, quoted, sequences, slot};
use crate::render::document::Document;
use crate::spec::{Count, Split};
use crate::text::printable;
use crate::units::Overflow;

/// `llama-server`'s default logical batch.
const LOGICAL_BATCH: u64 = 2048;

/// A whole command; a model that is known by name is a variable, which names its file.
pub(super) fn settings(document: &Document, file: Option<&str>) -> Result<String, EmitError> {
    let asked = &document.deployment;
    let (chunk, batch) = (chunk(document), sequences(document));
    let is_unified = asked.resolved.kv_unified;
    let slots = if is_unified { 1 } else { batch };
    let context = slot(document)?.checked_mul(slots).ok_or(Overflow)?;
    let mut flags = Vec::new();
    let comment = if let Some(file) = file {
        flags.push(format!("-m {}", quoted(file)?));
        String::new()
    } else {
        flags.push("-m \"$MODEL\"".to_owned());
        let (model, weights) = (printable(&asked.model.name), printable(&asked.weights()));
        format!("# MODEL: the GGUF file of {model} in {weights}\n")
    };
    flags.push(format!("-c {context} -np {batch}"));
    if batch > 1 {
        flags.push(if is_unified { "--kv-unified" } else { "--no-kv-unified" }.to_owned());
    }
    let logical = asked.resolved.batch_size.unwrap_or(LOGICAL_BATCH.max(chunk));
    if logical != LOGICAL_BATCH {
        flags.push(format!("-b {logical}"));
    }
    let flash = if is_flash(document) { "on" } else { "off" };
    let [keys, values] = cache_formats(document);
    flags.push(format!(
        "-ub {chunk} -ngl {} -fa {flash} -ctk {keys} -ctv {values}",
        gpu_layers(document)
    ));
    flags.extend(placement(document)?);
    flags.extend(split(document));
    flags.extend(beside(document)?);
    Ok(format!("{comment}llama-server {}\n", flags.join(" ")))
}

/// What is in main memory besides whole layers, overrides first: the first that matches counts.
pub(super) fn placement(document: &Document) -> Result<Vec<String>, EmitError> {
    let asked = &document.deployment.resolved;
    let mut flags = Vec::new();
    for given in &asked.override_tensor {
        flags.push(format!("-ot {}", quoted(&given.to_string())?));
    }
    match asked.n_cpu_moe {
        Some(Count::All) => flags.push("--cpu-moe".to_owned()),
        Some(Count::Some(layers)) if layers > 0 => flags.push(format!("--n-cpu-moe {layers}")),
        _ => {}
    }
    for (flag, is_given) in [
        ("--no-kv-offload", asked.no_kv_offload),
        ("--no-op-offload", asked.no_op_offload),
        ("--swa-full", asked.swa_full),
    ] {
        flags.extend(is_given.then(|| flag.to_owned()));
    }
    Ok(flags)
}

/// What is loaded beside the model; what is known by name only is a variable, which names its file.
fn beside(document: &Document) -> Result<Vec<String>, EmitError> {
    let asked = &document.deployment.resolved;
    let is_file = |name: &str| name.to_ascii_lowercase().ends_with(".gguf");
    let named = |name: &str, variable: &str| -> Result<String, EmitError> {
        if is_file(name) { Ok(quoted(name)?.into_owned()) } else { Ok(format!("\"${variable}\"")) }
    };
    let mut flags = Vec::new();
    if let Some(file) = &asked.mmproj {
        flags.push(format!("--mmproj {}", named(file, "MMPROJ")?));
    }
    for file in &asked.lora {
        flags.push(format!("--lora {}", quoted(file)?));
    }
    if let Some(model) = &asked.draft {
        // A draft that no type names is loaded, and given back before the first request (0.5.0).
        flags.push(format!("-md {} --spec-type draft-simple", named(model, "DRAFT")?));
        flags.extend(asked.draft_tokens.map(|ahead| format!("--spec-draft-n-max {ahead}")));
    }
    if let Some(ahead) = asked.mtp {
        flags.push(format!("--spec-type draft-mtp --spec-draft-n-max {ahead}"));
    }
    Ok(flags)
}

/// How layers are dealt out, as many for each GPU as planned: the output head is one more. Rows are cut
/// by total memory unless told otherwise.
fn split(document: &Document) -> Option<String> {
    match document.deployment.resolved.split? {
        Split::Tensor => Some("-sm row".to_owned()),
        Split::Layer => {
            if let Some(split) = &document.deployment.resolved.tensor_split {
                return Some(format!("-sm layer -ts {split}"));
            }
            let parts =
                document.devices.iter().filter(|device| !device.host).map(|device| &device.part);
            let counts = parts.map(|part| (part.layers + u64::from(part.output_head)).to_string());
            Some(format!("-sm layer -ts {}", counts.collect::<Vec<_>>().join(",")))
        }
    }
}
