//! What a question says that llama.cpp loads beside the model.

use std::path::Path;
use std::sync::Arc;

use super::{Deployment, DeploymentError, Question};
use crate::dtype::{FileType, WeightFormat};
use crate::estimate::rules;
use crate::estimate::weights::gguf::stored_or;
use crate::read::{self, Catalog, Files};
use crate::spec::{Beside, Draft, Drafter, Encoder, ModelSpec, Role, TensorSpec, Tower, Vision};
use crate::units::{Bytes, Overflow, to_u64};

/// More tokens than are ever predicted ahead.
const MOST_AHEAD: u64 = 64;
/// What `--mmproj` takes instead of a file.
const AUTO: &str = "auto";

impl Deployment {
    /// The same with what is beside the model.
    ///
    /// # Errors
    /// Where a file is not found or of another kind, or the runtime loads no such thing.
    pub(super) fn beside(
        mut self,
        question: &Question,
        catalog: &Catalog,
        files: &dyn Files,
    ) -> Result<Self, DeploymentError> {
        if let Some(found) = beside(&self, question, catalog, files)? {
            Arc::make_mut(&mut self.runtime).launch.beside = Some(Arc::new(found));
        }
        Ok(self)
    }
}

/// Whether `--draft` names none that is known.
pub(super) fn is_unknown(name: &str) -> bool {
    name.eq_ignore_ascii_case(Drafter::UNKNOWN)
}

/// The encoder that is loaded: as given, or of itself where the program takes one with the model that has one.
fn mmproj<'q>(deployment: &Deployment, question: &'q Question) -> Option<&'q str> {
    let takes = rules(deployment.kind()).loads_encoder() && deployment.model.shape.vision.is_some();
    question.mmproj.as_deref().or(takes.then_some(AUTO))
}

fn beside(
    deployment: &Deployment,
    question: &Question,
    catalog: &Catalog,
    files: &dyn Files,
) -> Result<Option<Beside>, DeploymentError> {
    let mmproj = mmproj(deployment, question);
    let flags = [
        ("--mmproj", mmproj.is_some()),
        ("--lora", !question.lora.is_empty()),
        ("--draft", question.draft.is_some()),
        ("--mtp", question.mtp.is_some()),
    ];
    let Some((flag, _)) = flags.into_iter().find(|(_, given)| *given) else { return Ok(None) };
    if rules(deployment.kind()).is_server() {
        return beside_server(deployment, question, catalog, files);
    }
    if !rules(deployment.kind()).places_tensors() {
        let runtime = deployment.kind();
        let message = format!("what `{flag}` takes under the `{runtime}` runtime is not modelled");
        return Err(DeploymentError::refused(
            message,
            format!("drop `{flag}`, or use `--runtime llama.cpp`"),
        ));
    }
    let model = &deployment.model;
    let encoder = mmproj.map(|given| encoder(given, model, files));
    let adapter = |file: &String| read::gguf::adapter(files, Path::new(file));
    // One that is not known is not in the plan, and the verdict says so.
    let known = question.draft.as_deref().filter(|name| !is_unknown(name));
    let draft = known.map(|name| draft(name, model, catalog, files));
    Ok(Some(Beside {
        encoder: encoder.transpose()?,
        adapters: question.lora.iter().map(adapter).collect::<Result<_, _>>()?,
        drafted: drafted(question)?,
        draft: draft.transpose()?,
        ahead: question.mtp.map_or(Ok(0), |ahead| tokens_ahead(ahead, model))?,
    }))
}

/// What predicts tokens ahead of a model on a server; adapters have slots there, and towers are the model's.
fn beside_server(
    deployment: &Deployment,
    question: &Question,
    catalog: &Catalog,
    files: &dyn Files,
) -> Result<Option<Beside>, DeploymentError> {
    let runtime = deployment.kind();
    let refused = |flag: &str, hint: &str| {
        Err(DeploymentError::refused(format!("the `{runtime}` runtime has no `{flag}`"), hint))
    };
    if question.mmproj.is_some() {
        return refused("--mmproj", "drop `--mmproj`: the tower is loaded with the model");
    }
    if !question.lora.is_empty() {
        return refused(
            "--lora",
            "use `--max-loras N --max-lora-rank RANK`: slots are what it allocates",
        );
    }
    let model = &deployment.model;
    if question.mtp.is_some() {
        predicts(model)?;
    }
    let Some(name) = question.draft.as_deref() else { return Ok(None) };
    match Drafter::named(name) {
        Some(Drafter::Published(draft)) if !draft.is_for(model) => {
            let (draft, model) = (draft.shape().name, &model.name);
            let message = format!("`--draft {draft}` is for another model than `{model}`");
            return Err(DeploymentError::refused(message, "use the one that is published for it"));
        }
        Some(_) => return Ok(None),
        None => {}
    }
    let found = read::model(files, name, catalog)?;
    let [ours, theirs] = [model, &found].map(|model| model.shape.vocab_size);
    if ours != theirs {
        let message = format!(
            "`--draft {}` has a vocabulary of {theirs} tokens, `{}` one of {ours}: `{runtime}` asks for the same",
            found.name, model.name
        );
        return Err(DeploymentError::refused(message, "use a smaller model of the same family"));
    }
    let defaults = rules(runtime).defaults(&found, &deployment.cards.first().gpu);
    let draft = Draft { weights: defaults.weights, model: Arc::new(found) };
    Ok(Some(Beside { draft: Some(draft), ..Beside::default() }))
}

/// Whether servers have a layer for the model that predicts tokens, of those whose sizes are known here.
fn predicts(model: &ModelSpec) -> Result<(), DeploymentError> {
    let shape = &model.shape;
    let family = shape.architecture.family();
    // DeepSeek-V3 corrects the scores of its router, V2 does not.
    let is_v3 = shape.mla.is_some() && shape.moe.is_some_and(|moe| moe.router_bias);
    if family.gguf_extras.predicting_layers > 0 || family.delta_net().is_some() || is_v3 {
        return Ok(());
    }
    let message = format!("`--mtp`: `{}` has no layer that predicts tokens ahead", model.name);
    Err(DeploymentError::refused(message, "use `--draft MODEL --draft-tokens N`"))
}

fn encoder(given: &str, model: &ModelSpec, files: &dyn Files) -> Result<Encoder, DeploymentError> {
    if !given.eq_ignore_ascii_case(AUTO) {
        return Ok(read::gguf::encoder(files, Path::new(given), model.shape.hidden_size)?);
    }
    let Some(vision) = model.shape.vision else {
        let message = format!("`--mmproj auto`: `{}` has no encoder that is known", model.name);
        return Err(DeploymentError::refused(message, "name its file: `--mmproj mmproj.gguf`"));
    };
    Ok(known_encoder(model, vision)?)
}

/// As such files are published: matrices in f16, the rest in f32, with it learned positions, and the convolution that makes
/// patches of Gemma 3 (`conversion/*.py`, `tensor_force_quant`).
fn known_encoder(model: &ModelSpec, vision: Vision) -> Result<Encoder, Overflow> {
    let is_wide = |tensor: &TensorSpec| {
        let is_kept = tensor.role == Role::VisionOther && tensor.row == vision.hidden_size;
        let is_position = is_kept && tensor.rows == vision.positions;
        let is_patch = tensor.role == Role::VisionOther && tensor.row == vision.patch_values();
        // A norm and its bias are two rows here.
        tensor.rows <= 2 || is_position || (is_patch && vision.tower == Tower::Siglip)
    };
    let size = |tensor: &TensorSpec| {
        let width = if is_wide(tensor) { 4 } else { 2 };
        Bytes::product(&[tensor.elements(), width])?.round_up(Bytes::new(128))
    };
    let sizes = model.vision_tensors.iter().map(size).collect::<Result<Vec<_>, _>>()?;
    let Vision { hidden_size, ffn_size, max_patches, n_heads, deepstack, .. } = vision;
    let usual = if vision.is_qwen() { max_patches.min(46 * 46 * 4) } else { max_patches };
    let most = if vision.is_qwen() { max_patches.min(4096 * 4) } else { max_patches };
    Ok(Encoder {
        source: format!("the encoder of {} in f16", model.name),
        tensors: to_u64(sizes.len()),
        weights: Bytes::sum(sizes)?,
        is_read: false,
        patches: [usual, most],
        width: ffn_size.saturating_add(hidden_size.saturating_mul(3)),
        kept: deepstack.saturating_mul(model.shape.hidden_size) / vision.patches_per_token().max(1),
        n_heads,
    })
}

/// A draft model has to have the model's vocabulary, but for a few tokens (`common_speculative_are_compatible`).
const MOST_OTHER_TOKENS: u64 = 128;

fn draft(
    name: &str,
    model: &ModelSpec,
    catalog: &Catalog,
    files: &dyn Files,
) -> Result<Draft, DeploymentError> {
    let found = read::model(files, name, catalog)?;
    let [ours, theirs] = [model, &found].map(|model| model.shape.vocab_size);
    if ours.abs_diff(theirs) > MOST_OTHER_TOKENS {
        let message = format!(
            "`--draft {}` has a vocabulary of {theirs} tokens, `{}` one of {ours}",
            found.name, model.name
        );
        return Err(DeploymentError::refused(message, "use a smaller model of the same family"));
    }
    let defaults = WeightFormat::Gguf(FileType::Q4KM);
    let weights = stored_or(&found, defaults);
    Ok(Draft { model: Arc::new(found), weights })
}

/// Tokens of llama.cpp's drafts where nothing is said (`common_params_speculative_draft`, `n_max`).
const DRAFTED: u64 = 3;

/// Tokens that a draft model predicts ahead.
fn drafted(question: &Question) -> Result<u64, DeploymentError> {
    if question.draft.is_none() {
        return Ok(0);
    }
    let tokens = question.draft_tokens.unwrap_or(DRAFTED);
    if (1..=MOST_AHEAD).contains(&tokens) {
        return Ok(tokens);
    }
    let expected = format!("1 to {MOST_AHEAD}");
    Err(DeploymentError::out_of_range("--draft-tokens", tokens, expected))
}

fn tokens_ahead(ahead: u64, model: &ModelSpec) -> Result<u64, DeploymentError> {
    if !(1..=MOST_AHEAD).contains(&ahead) {
        let expected = format!("1 to {MOST_AHEAD}");
        return Err(DeploymentError::out_of_range("--mtp", ahead, expected));
    }
    let family = model.shape.architecture.family();
    // GLM-4.5 and the models with delta-nets.
    let predicts = family.gguf_extras.predicting_layers > 0 || model.shape.recurrent.is_some();
    if predicts {
        return Ok(ahead);
    }
    let message = format!("`--mtp`: `{}` has no layer that predicts tokens ahead", model.name);
    Err(DeploymentError::refused(message, "use a draft model: `--draft MODEL`"))
}
