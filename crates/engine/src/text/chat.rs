//! The chat template of a GGUF file: messages to the text that the model was trained on.
//!
//! Templates are Jinja programs from strangers: they run with no access to anything but the messages,
//! and for a bounded number of steps.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};

use super::Tokenizer;
use crate::EngineError;
use vramplan_planner::text::printable;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The system prompt.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name in templates.
    const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// What someone says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who.
    pub role: Role,
    /// What.
    pub content: String,
}

impl Message {
    /// `content`, said by `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }

    fn value(&self) -> Value {
        context! { role => self.role.name(), content => self.content.as_str() }
    }
}

/// A template that renders messages.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    ends: [String; 2],
}

/// Steps of a template, at most.
const FUEL: u64 = 1_000_000;
const NAME: &str = "chat";

impl ChatTemplate {
    /// The template of the tokenizer's file; nothing without one.
    ///
    /// # Errors
    /// Where it is not a template.
    pub fn of(tokenizer: &Tokenizer) -> Result<Option<Self>, EngineError> {
        let Some(source) = tokenizer.template() else { return Ok(None) };
        Self::new(source.to_owned(), tokenizer.ends()).map(Some)
    }

    fn new(source: String, ends: [String; 2]) -> Result<Self, EngineError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(refuse)?);
        environment.set_fuel(Some(FUEL));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| {
            Err::<String, _>(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_template_owned(NAME, source).map_err(refuse)?;
        Ok(Self { environment, ends })
    }

    /// The text of `messages`, with the start of the model's turn behind them where `reply` is set.
    ///
    /// # Errors
    /// Where the template refuses the messages.
    pub fn render(&self, messages: &[Message], reply: bool) -> Result<String, EngineError> {
        let template = self.environment.get_template(NAME).map_err(refuse)?;
        let [bos_token, eos_token] = &self.ends;
        let messages: Value = messages.iter().map(Message::value).collect();
        let add_generation_prompt = reply;
        template
            .render(context! { messages, add_generation_prompt, bos_token, eos_token })
            .map_err(refuse)
    }

    /// The text of a system prompt alone, and of a first turn behind it.
    ///
    /// # Errors
    /// Where the template refuses a system prompt, or has it elsewhere than at the start.
    pub fn system_and_turn(&self, system: &str, user: &str) -> Result<[String; 2], EngineError> {
        let mut messages = vec![Message::new(Role::System, system)];
        let before = self.render(&messages, false)?;
        messages.push(Message::new(Role::User, user));
        let whole = self.render(&messages, true)?;
        match whole.strip_prefix(&before) {
            Some(turn) => Ok([before.clone(), turn.to_owned()]),
            None => Err(refuse("it does not keep the system prompt at the start")),
        }
    }
}

#[allow(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn refuse(error: impl ToString) -> EngineError {
    EngineError::Template(printable(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHATML: &str = "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' \
        + message['content'].strip() + '<|im_end|>' + '\n'}}{% endfor %}\
        {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new(source.to_owned(), ["<s>".to_owned(), String::new()]).unwrap()
    }

    #[test]
    fn a_system_prompt_is_the_start_of_every_conversation() {
        let [system, turn] = template(CHATML).system_and_turn("Be brief. ", "Hi").unwrap();
        assert_eq!(system, "<|im_start|>system\nBe brief.<|im_end|>\n");
        assert_eq!(turn, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
        let moved = "{{ bos_token }}{{ messages | length }}";
        let error = template(moved).system_and_turn("a", "b").unwrap_err();
        assert!(error.to_string().contains("keep the system prompt"), "{error}");
    }

    #[test]
    fn a_template_can_refuse_and_cannot_run_for_ever() {
        let refusing = template("{{ raise_exception('no system role') }}");
        let error = refusing.render(&[], false).unwrap_err().to_string();
        assert!(error.contains("no system role"), "{error}");
        let endless =
            "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}";
        assert!(template(endless).render(&[], false).is_err());
        assert!(ChatTemplate::new("{% for %}".to_owned(), Default::default()).is_err());
    }
}
