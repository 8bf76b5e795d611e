//! `config.toml`: what a user means where a command line is silent.

use std::io::Write as _;
use std::path::PathBuf;

use super::args::CatalogArgs;
use super::problem::Problem;
use vramplan_planner::deployment::Question;
use vramplan_planner::text::{excerpt, one_line, printable, printable_message, printable_path};

/// The variable that names another file; empty for none.
const VARIABLE: &str = "VRAMPLAN_CONFIG";

/// What may stand in it.
const HINT: &str =
    "its keys are `gpu`, `runtime`, `ram`, `other_use` and `color`; `--no-config` ignores the file";

/// When text is coloured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Makes it what everything that is printed goes by.
    pub fn choose(self) {
        let choice = match self {
            Self::Auto => return,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

/// A user's defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Of a question: the GPU, the runtime, main memory, what others hold.
    question: Question,
    /// Of colours.
    pub color: Option<Color>,
}

/// A question with the defaults of a user where it was silent.
pub struct Configured {
    /// The question.
    pub question: Question,
    /// What is from the file, as it is said.
    pub said: Vec<String>,
}

impl Configured {
    /// Says on standard error what is from the file, where the answer has no place for it.
    pub fn note(&self) -> std::io::Result<()> {
        if self.said.is_empty() {
            return Ok(());
        }
        let note = format!("note: from `config.toml`: {}\n", self.said.join(", "));
        anstream::stderr().write_all(note.as_bytes())
    }
}

impl CatalogArgs {
    /// The user's defaults, unless they are to be ignored.
    pub fn config(&self) -> anyhow::Result<Config> {
        if self.no_config { Ok(Config::default()) } else { Config::read() }
    }
}

impl Config {
    /// Reads the file of this user, where there is one.
    pub fn read() -> anyhow::Result<Self> {
        let Some(place) = place() else { return Ok(Self::default()) };
        if !place.is_named && !matches!(place.path.try_exists(), Ok(true)) {
            return Ok(Self::default());
        }
        let text = vramplan_disk::text(&place.path)?;
        Ok(Self::of(&text, &printable_path(&place.path))?)
    }

    /// Reads its text; `path` is what errors call it.
    fn of(text: &str, path: &str) -> Result<Self, Problem> {
        let table: toml::Table = toml::from_str(text).map_err(|error| {
            let place = error.span().map(|span| excerpt(text, &span)).unwrap_or_default();
            let message = one_line(error.message());
            Problem::with_lines(format!("`{path}` is not TOML: at {place}{message}")).hint(HINT)
        })?;
        let mut config = Self::default();
        for (key, value) in table {
            let wrong = |why: &str| {
                let (key, value) = (printable(&key), printable(&value.to_string()));
                let why = printable_message(why);
                Problem::new(format!("`{path}`: `{key} = {value}`: {why}")).hint(HINT)
            };
            let name = key.replace('-', "_");
            match name.as_str() {
                "color" | "colour" => {
                    let color = value.clone().try_into::<Color>();
                    config.color = Some(color.map_err(|error| wrong(error.message()))?);
                }
                "gpu" | "runtime" | "ram" | "other_use" => {
                    let one = toml::Table::from_iter([(name.clone(), value.clone())]);
                    let question = toml::Value::Table(one).try_into::<Question>();
                    let question = question.map_err(|error| wrong(error.message()))?;
                    config.question = question.or(config.question);
                }
                _ => return Err(wrong("unknown key")),
            }
        }
        Ok(config)
    }

    /// Fills in what a question leaves out. Main memory is for those runtimes alone that place tensors there, as
    /// `places` says.
    pub fn fill(&self, question: Question, places: impl FnOnce(&Question) -> bool) -> Configured {
        let mut said = Vec::new();
        let mut filled = question;
        let Question { gpu, runtime, ram, other_use, .. } = &self.question;
        let mut say =
            |name: &str, value: String| said.push(format!("{name} {}", printable(&value)));
        if filled.gpu.is_none()
            && let Some(gpu) = gpu
        {
            say("gpu", gpu.clone());
            filled.gpu = Some(gpu.clone());
        }
        if filled.runtime.is_none()
            && let Some(runtime) = runtime
        {
            say("runtime", runtime.to_string());
            filled.runtime = Some(*runtime);
        }
        if filled.other_use.is_none()
            && let Some(other_use) = other_use
        {
            say("other-use", other_use.to_string());
            filled.other_use = Some(*other_use);
        }
        if filled.ram.is_none()
            && let Some(ram) = ram
            && places(&filled)
        {
            say("ram", ram.to_string());
            filled.ram = Some(*ram);
        }
        Configured { question: filled, said }
    }
}

/// The user's choice of colours, unless the file is to be ignored. One that cannot be read is said by the commands that
/// go by it.
pub fn color() -> Option<Color> {
    let mut words = std::env::args_os().take_while(|word| word != "--");
    if words.any(|word| word == "--no-config") { None } else { Config::read().ok()?.color }
}

/// Where the file is.
struct Place {
    path: PathBuf,
    /// Whether the user named it: then it has to be there.
    is_named: bool,
}

fn place() -> Option<Place> {
    match std::env::var_os(VARIABLE) {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(Place { path: path.into(), is_named: true }),
        None => {
            let path = vramplan_disk::configuration()?.join("config.toml");
            Some(Place { path, is_named: false })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::problem::describe;

    fn of(text: &str) -> Result<Config, String> {
        Config::of(text, "config.toml").map_err(|problem| describe(&problem.into()))
    }

    #[test]
    fn a_question_is_filled_in_where_it_is_silent() {
        let config = of(
            "gpu = 'L4'\nruntime = 'ollama'\nram = '64GiB'\nother-use = '1GiB'\ncolour = 'never'",
        );
        let config = config.unwrap();
        assert_eq!(config.color, Some(Color::Never));
        let asked = Question { gpu: Some("T4".to_owned()), ..Question::default() };
        let Configured { question, said } = config.fill(asked, |_| true);
        assert_eq!(question.gpu.as_deref(), Some("T4"));
        assert_eq!(said, ["runtime ollama", "other-use 1.00 GiB", "ram 64.00 GiB"]);
        let Configured { said, .. } = config.fill(Question::default(), |_| false);
        assert_eq!(said, ["gpu L4", "runtime ollama", "other-use 1.00 GiB"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, why) in [
            ("gpu = ", "is not TOML"),
            ("gpus = 2", "`gpus = 2`: unknown key"),
            ("runtime = 'exl2'", "is not modelled"),
            ("ram = '64'", "ambiguous"),
            ("color = 'blue'", "`auto`"),
            ("model = 'qwen3-8b'", "unknown key"),
            ("gpu = '\\u001b[31m'", ""),
        ] {
            match of(text) {
                Ok(config) => assert!(why.is_empty(), "{text}: {config:?}"),
                Err(said) => {
                    assert!(said.contains(why) && said.contains("hint: its keys are"), "{said}");
                }
            }
        }
    }
}
