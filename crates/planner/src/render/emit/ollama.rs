//! A Modelfile: `PARAMETER`s as `docs/modelfile.md` lists them, and the environment of `ollama serve` (`envconfig/config.go`, where
//! `OLLAMA_FLASH_ATTENTION` is read by `strconv.ParseBool`).

use super::{EmitError, chunk, is_flash, llama_cpp, sequences, slot};
use crate::render::document::Document;
use crate::spec::Count;
use crate::text::printable;

pub(super) fn settings(document: &Document, file: Option<&str>) -> Result<String, EmitError> {
    let asked = &document.deployment;
    // What was solved is what Ollama does by itself.
    if document.placement.is_none() {
        refuse_tensors(document, "Ollama")?;
    }
    let kv = asked.kv();
    if !["f16", "q8_0", "q4_0"].contains(&kv.as_str()) {
        return Err(EmitError::Unsupported {
            target: "Ollama",
            what: "cache format",
            value: kv,
            expected: "`f16`, `q8_0` or `q4_0`",
        });
    }
    let given = asked.given.model.as_deref().unwrap_or_default();
    let is_tag = given.contains(':') && !given.contains(['/', '\\', ' ']);
    let from = if let Some(file) = file {
        format!("FROM {file}")
    } else if is_tag {
        format!("FROM {}", printable(given))
    } else {
        let (model, weights) = (printable(&asked.model.name), printable(&asked.weights()));
        format!("# FROM the GGUF file of {model} in {weights}")
    };
    let layers = document.deployment.resolved.ngl.filter(|_| document.placement.is_none());
    let num_gpu = match layers {
        Some(Count::Some(layers)) => format!("PARAMETER num_gpu {layers}\n"),
        Some(Count::All | Count::Auto) | None => String::new(),
    };
    let flash = u8::from(is_flash(document));
    let spread = match asked.resolved.split {
        Some(_) => "#   OLLAMA_SCHED_SPREAD=1\n",
        None => "",
    };
    Ok(format!(
        "{from}\n\
         PARAMETER num_ctx {}\n\
         PARAMETER num_batch {}\n\
         {num_gpu}\
         # In the environment of `ollama serve`:\n\
         #   OLLAMA_FLASH_ATTENTION={flash}\n\
         #   OLLAMA_KV_CACHE_TYPE={}\n\
         #   OLLAMA_NUM_PARALLEL={}\n\
         {spread}",
        slot(document)?,
        chunk(document),
        kv,
        sequences(document),
    ))
}

/// Refuses a placement of single tensors, which a program has no setting for.
fn refuse_tensors(document: &Document, target: &'static str) -> Result<(), EmitError> {
    let flags = llama_cpp::placement(document)?;
    match flags.into_iter().find(|flag| flag != "--swa-full") {
        Some(value) => Err(EmitError::Unsupported {
            target,
            what: "placement",
            value,
            expected: "whole layers on GPUs or in main memory",
        }),
        None => Ok(()),
    }
}
