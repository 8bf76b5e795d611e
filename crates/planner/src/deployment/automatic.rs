//! What a program settles by itself before it starts a run: a context, a batch, one card of several.

use std::sync::Arc;

use super::{Card, Cards, Deployment, DeploymentError, Question};
use crate::estimate::rules;
use crate::estimate::rules::{Automatic, AutomaticAsked};
use crate::estimate::runtimes::file_size;
use crate::spec::{Maker, ModelSpec, Runtime, RuntimeOptions};
use crate::units::Bytes;

/// The context that a program takes by itself on these cards, where that is neither the model's nor what fits.
fn own_context(options: &RuntimeOptions, cards: &Cards, model: &ModelSpec) -> Option<u64> {
    // What Metal says that a GPU has is what it may take of the machine's memory.
    let of_card = |card: &Card| {
        let is_metal = card.gpu.maker == Maker::Apple;
        let has = if is_metal { card.gpu.free() } else { card.gpu.total.value };
        has.minus_or_zero(card.capacity.other_use)
    };
    let total =
        cards.iter().map(of_card).fold(Bytes::ZERO, |sum, has| sum.plus(has).unwrap_or(sum));
    let own = rules(options.runtime()).own_context(options, model, total)?;
    Some(own.min(model.shape.context_len))
}

/// The question with the context that the program takes by itself, where it asks for that; a longer one than the model's is the
/// model's then (`llm/server.go`, `requested context size too large for model`).
pub(super) fn with_own_context(
    question: Question,
    options: &RuntimeOptions,
    cards: &Cards,
    model: &ModelSpec,
) -> Question {
    let is_told =
        question.cache_tokens.or(question.context).or(question.context_per_user).is_some();
    match own_context(options, cards, model) {
        Some(own) if question.own_context && !is_told => {
            Question { context: Some(own), ..question }
        }
        Some(_) => {
            let most =
                |tokens: Option<u64>| tokens.map(|tokens| tokens.min(model.shape.context_len));
            Question {
                cache_tokens: most(question.cache_tokens),
                context: most(question.context),
                context_per_user: most(question.context_per_user),
                ..question
            }
        }
        None => question,
    }
}

/// What a plan has in the place of what was asked for, or of what the program does untold: the model's context, one
/// sequence, what fits of the context.
pub(super) fn replaced(
    question: &Question,
    options: &RuntimeOptions,
    cards: &Cards,
    model: &ModelSpec,
) -> Vec<String> {
    let program = options.runtime();
    let most = model.shape.context_len;
    let context = question.cache_tokens.or(question.context).or(question.context_per_user);
    let own = own_context(options, cards, model);
    let context = own.and(context);
    let untold = of_own_context(question, own, program);
    let clamped = context.filter(|&asked| asked > most).map(|asked| {
        format!("{program} gives {asked} tokens of context no more than the model's: {most}")
    });
    let sequences = question.users.or(question.parallel).or(question.batch);
    let sequences = sequences.filter(|_| rules(program).runs_one_sequence(model));
    let alone = sequences.filter(|&asked| asked > 1).map(|asked| {
        format!("{program} runs this model for one user at a time: for 1 and not for {asked}")
    });
    [clamped, alone, untold].into_iter().flatten().collect()
}

/// What has to be said of a context that nobody gave.
fn of_own_context(question: &Question, own: Option<u64>, program: Runtime) -> Option<String> {
    let given = question.cache_tokens.or(question.context).or(question.context_per_user);
    let own = own.filter(|_| given.is_none() && !question.own_context)?;
    Some(format!(
        "{program} takes a context of {own} tokens here unless it is told one: planned is what fits (`--own-context` \
         plans that one)"
    ))
}

/// Refuses to be asked for a context that a program does not have.
pub(super) fn check(
    question: &Question,
    options: &RuntimeOptions,
    cards: &Cards,
    model: &ModelSpec,
) -> Result<(), DeploymentError> {
    if !question.own_context || own_context(options, cards, model).is_some() {
        return Ok(());
    }
    let program = options.runtime();
    Err(DeploymentError::refused(
        format!("`--own-context`: the `{program}` runtime takes the model's context, or what fits"),
        "drop `--own-context`, or use `--runtime ollama`",
    ))
}

impl Deployment {
    /// Takes the longest sequence that pools were found to hold, which is the context where nothing else is said of that.
    pub fn set_fitted_length(&mut self, tokens: u64) {
        self.set_options(self.options().with_fitted_length(tokens));
        if self.given.context.or(self.given.context_per_user).is_none() {
            self.workload.context = self.workload.context.min(tokens);
        }
    }

    /// What the program settles by itself for a cache of so many tokens; nothing where it settles nothing.
    pub fn automatic(&self, cache_tokens: u64) -> Option<Automatic> {
        let options = self.options();
        let tokens = cache_tokens.saturating_add(self.workload.system_tokens);
        let cards: Vec<_> =
            self.cards.iter().map(|card| (&card.gpu, card.capacity.usable)).collect();
        rules(self.kind()).automatic(&AutomaticAsked {
            options: &options,
            model: &self.model,
            file: file_size(&self.model, self.weights, self.kind()).ok()?,
            context: tokens.saturating_mul(self.workload.batch),
            attention: self.workload.attention,
            cards: &cards,
        })
    }

    /// The same with the batch that was settled, where none was given.
    #[must_use]
    pub fn with_automatic_batch(mut self, settled: Automatic) -> Self {
        let given = self.given.prefill_chunk.or(self.given.batch_size);
        if given.is_none() {
            self.set_batch(Some(settled.batch), settled.batch);
        }
        self
    }

    /// Sets the tokens of a batch, where they are told or chosen, and of a prefill step.
    pub fn set_batch(&mut self, batch: Option<u64>, chunk: u64) {
        self.workload.prefill_chunk = chunk;
        if self.runtime.launch.batch != batch {
            Arc::make_mut(&mut self.runtime).launch.batch = batch;
        }
    }

    /// The same with what is settled of a size that is given, on the card that is taken then.
    pub(super) fn settled(self) -> Self {
        let tokens = self.cache.fixed();
        let Some(found) = self.automatic(tokens.unwrap_or(1)) else { return self };
        let mut settled = match tokens {
            Some(_) => self.with_automatic_batch(found),
            None => self,
        };
        // It tells the server one number for both.
        let chunk = settled.workload.prefill_chunk;
        settled.set_batch(Some(settled.given.batch_size.unwrap_or(chunk)), chunk);
        let is_spread = settled.given.split.is_some() || settled.given.split_mode.is_some();
        let card = found.card.filter(|_| tokens.is_some() && !is_spread);
        if let Some(card) = card.and_then(|card| settled.cards.iter().nth(card).cloned()) {
            settled.replaced.push(format!(
                "{} takes {} alone, of which its own estimate is at most 80%: `--split layer` spreads the model \
                 (`OLLAMA_SCHED_SPREAD=1`)",
                settled.kind(),
                card.gpu.name
            ));
            settled.cards = Cards::one(card);
        }
        settled
    }
}
