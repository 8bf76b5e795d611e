//! The tools by name: what a client is told of each. Arguments and answers follow the schemas in `schemas/`.

use serde_json::{Map, Value, json};

use super::answers;
use super::profiles;
use crate::cli::args::CatalogArgs;
use crate::cli::describe;
use crate::mcp::{Reply, Tool, Tools};

const SCENARIO: &str = include_str!("../../../schemas/scenario.schema.json");
const PLAN: &str = include_str!("../../../schemas/plan-v2.schema.json");
const QUANTS: &str = include_str!("../../../schemas/quants-v1.schema.json");
const COMPARE: &str = include_str!("../../../schemas/compare-v1.schema.json");
const WHY: &str = include_str!("../../../schemas/why-v1.schema.json");
const PROFILES: &str = include_str!("../../../schemas/profiles-v1.schema.json");

/// The planner's tools, and where they look for models.
pub struct Planner {
    catalog: CatalogArgs,
}

impl Planner {
    /// Tools that look where these flags say.
    pub const fn new(catalog: CatalogArgs) -> Self {
        Self { catalog }
    }

    /// Where a call looks: no server is asked where either the command line or the call says so.
    fn catalog(&self, arguments: &mut Map<String, Value>) -> anyhow::Result<CatalogArgs> {
        let offline = answers::boolean(arguments, "offline")?;
        Ok(CatalogArgs { offline: offline || self.catalog.offline, ..self.catalog.clone() })
    }

    fn answer(&self, name: &str, mut arguments: Map<String, Value>) -> anyhow::Result<Reply> {
        let known = self.catalog(&mut arguments)?.quiet();
        match name {
            "budget" => answers::budget(&known, arguments),
            "quants" => answers::quants(&known, arguments),
            "compare" => answers::compare(&known, arguments),
            "why" => answers::why(&known, arguments),
            _ => profiles::answer(&known, arguments),
        }
    }
}

impl Tools for Planner {
    fn list(&self) -> Vec<Tool> {
        vec![budget(), quants(), compare(), why(), profiles()]
    }

    fn call(&self, name: &str, arguments: Map<String, Value>) -> Result<Reply, String> {
        self.answer(name, arguments).map_err(|error| describe(&error))
    }
}

fn budget() -> Tool {
    let mut input = scenario();
    input["properties"]["emit"] = json!({
        "type": "string",
        "enum": vramplan_planner::render::Target::NAMES.map(|(name, _)| name),
        "description": "Also print the settings that make this program run the plan, where it fits.",
    });
    Tool {
        name: "budget",
        title: "Plan the memory of a model on a GPU",
        description: "Says whether a model fits a GPU with these settings, what each component takes at the peak \
            (low, expected, high), how large the cache can be in three tiers of certainty, and advice whose quoted flags \
            are arguments of this tool (`--kv q8_0` is {\"kv\": \"q8_0\"}). Give `gpu` and `model`, and of the rest what the \
            user's setup says.",
        input: with_offline(input),
        output: read(PLAN),
        asks_servers: true,
    }
}

fn quants() -> Tool {
    let mut input = brief(scenario());
    if let Some(properties) = input["properties"].as_object_mut() {
        properties.remove("weights");
    }
    input["properties"]["model"] = json!({
        "type": "string",
        "description": "A repository (`unsloth/Qwen3-30B-A3B-GGUF`), a folder, or a model by name.",
    });
    input["required"] = json!(["model"]);
    Tool {
        name: "quants",
        title: "Compare the formats of a model",
        description: "Plans every format of a repository, a folder or a model on a GPU, and says which fit, with how much \
            context, and the best that does. The other arguments are those of `budget`, without `weights`.",
        input: with_offline(input),
        output: read(QUANTS),
        asks_servers: true,
    }
}

fn compare() -> Tool {
    let question = brief(scenario());
    let input = json!({
        "type": "object",
        "properties": {
            "current": {
                "$ref": "#/$defs/Question",
                "description": "What is: arguments of `budget`.",
            },
            "proposed": {
                "$ref": "#/$defs/Question",
                "description": "What would change: the keys that differ, over those of `current`.",
            },
        },
        "required": ["current", "proposed"],
        "additionalProperties": false,
        "$defs": definitions(question),
    });
    Tool {
        name: "compare",
        title: "Compare two settings",
        description: "Plans both and says per component, per phase and per tier what the change gives.",
        input: with_offline(input),
        output: read(COMPARE),
        asks_servers: true,
    }
}

fn why() -> Tool {
    let input = json!({
        "type": "object",
        "properties": {
            "log": {
                "type": "string",
                "description": "The engine's output, or its error message alone. The beginning of a log says the most.",
            },
            "file": {
                "type": "string",
                "description": "In its place the path of a log on this machine.",
            },
            "plan": {
                "$ref": "#/$defs/Question",
                "description": "What the log does not say, as arguments of `budget`; they win over what it does.",
            },
        },
        "additionalProperties": false,
        "$defs": definitions(brief(scenario())),
    });
    Tool {
        name: "why",
        title: "Explain an out-of-memory log",
        description: "Reads the log of llama.cpp, Ollama, vLLM, SGLang or transformers, or an error message, and says what \
            ran out, why, and which flags mend it.",
        input: with_offline(input),
        output: read(WHY),
        asks_servers: true,
    }
}

fn profiles() -> Tool {
    Tool {
        name: "profiles",
        title: "List GPUs, models and runtimes",
        description: "The names that `gpu`, `model` and `runtime` take, with what each runtime takes. Repositories, tags of \
            Ollama's, files and addresses are models, too, without a profile.",
        input: json!({
            "type": "object",
            "properties": {
                "kind": { "type": "string", "enum": ["gpus", "models", "runtimes"] },
                "matching": {
                    "type": "string",
                    "description": "Only names that have every word of this in them, whatever their case.",
                },
            },
            "required": ["kind"],
            "additionalProperties": false,
        }),
        output: read(PROFILES),
        asks_servers: false,
    }
}

/// A committed schema; what it is made from is tested to be an object.
fn read(schema: &str) -> Value {
    serde_json::from_str(schema).unwrap_or_else(|_| json!({ "type": "object" }))
}

/// The arguments of a plan, without the address of their dialect.
fn scenario() -> Value {
    let mut schema = read(SCENARIO);
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$schema");
        schema.remove("title");
        schema.remove("description");
    }
    schema
}

/// A schema without its descriptions: `budget` has them, and a client reads every schema of the list.
fn brief(mut schema: Value) -> Value {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for property in properties.values_mut().filter_map(Value::as_object_mut) {
            property.remove("description");
        }
    }
    schema
}

/// The schema of a question under its name, beside the definitions that it has itself.
fn definitions(mut question: Value) -> Value {
    let own = question.as_object_mut().and_then(|question| question.remove("$defs"));
    let mut definitions = own.unwrap_or_else(|| json!({}));
    definitions["Question"] = question;
    definitions
}

fn with_offline(mut input: Value) -> Value {
    input["properties"]["offline"] = json!({
        "type": "boolean",
        "description": "Ask no server: files, profiles, other programs' caches and what was read before [default: false, \
            as on the command line; a server is asked only for the headers of a model that is nowhere here].",
    });
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planner() -> Planner {
        Planner::new(CatalogArgs {
            profiles: Vec::new(),
            evidence: Vec::new(),
            offline: true,
            no_config: true,
        })
    }

    /// Calls a tool with arguments that its own schema takes, and holds the answer against the schema that it names.
    #[allow(clippy::needless_pass_by_value, reason = "written where it is asked")]
    fn called(name: &str, arguments: Value) -> Reply {
        let planner = planner();
        let tool = planner.list().into_iter().find(|tool| tool.name == name).unwrap();
        let follows = |schema: &Value, value: &Value| {
            let validator = jsonschema::validator_for(schema).unwrap();
            let told: Vec<_> = validator.iter_errors(value).map(|e| e.to_string()).collect();
            assert!(told.is_empty(), "{name}: {told:#?}");
        };
        follows(&tool.input, &arguments);
        let reply = planner.call(name, arguments.as_object().unwrap().clone()).unwrap();
        follows(&tool.output, &reply.data);
        reply
    }

    #[allow(clippy::needless_pass_by_value, reason = "written where it is asked")]
    fn refused(name: &str, arguments: Value) -> String {
        planner().call(name, arguments.as_object().unwrap().clone()).unwrap_err()
    }

    #[test]
    fn every_tool_answers_by_its_schemas() {
        let plan = called("budget", json!({ "gpu": "L4", "model": "qwen2.5-14b" }));
        assert_eq!(plan.data["schema"], "vramplan/plan/v2");
        assert!(plan.texts[0].starts_with("fits: "), "{}", plan.texts[0]);
        let quants = called("quants", json!({ "model": "qwen2.5-7b", "gpu": "T4" }));
        assert!(quants.data["best"].is_object() || quants.data["best"].is_string());
        let pair = json!({ "current": { "gpu": "L4", "model": "qwen2.5-14b" }, "proposed": { "kv": "f16" } });
        let compared = called("compare", pair);
        assert!(!compared.texts[0].is_empty());
        let log = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of \
            22.03 GiB of which 1.00 GiB is free.";
        let why = called("why", json!({ "log": log, "plan": { "model": "qwen2.5-14b" } }));
        assert!(!why.texts[0].is_empty());
        let listed = called("profiles", json!({ "kind": "gpus", "matching": "RTX 4090" }));
        assert!(listed.texts[0].contains("RTX 4090"), "{}", listed.texts[0]);
        called("profiles", json!({ "kind": "models" }));
        called("profiles", json!({ "kind": "runtimes" }));
    }

    #[test]
    fn a_plan_that_does_not_fit_is_an_answer() {
        let plan =
            called("budget", json!({ "gpu": "T4", "model": "llama-3.3-70b", "runtime": "vllm" }));
        assert_eq!(plan.data["verdict"], "does_not_fit");
    }

    #[test]
    fn settings_are_printed_where_they_are_asked_for() {
        let arguments = json!({ "gpu": "L4", "model": "llama-3.1-8b", "runtime": "llama.cpp", "emit": "llama.cpp" });
        let plan = called("budget", arguments);
        assert!(plan.texts[1].contains("llama-server"), "{}", plan.texts[1]);
    }

    #[test]
    fn values_are_taken_as_people_write_them() {
        let reply = planner().call(
            "budget",
            json!({ "gpu": "L4", "model": "qwen2.5-14b", "context": "8k" })
                .as_object()
                .unwrap()
                .clone(),
        );
        assert_eq!(reply.unwrap().data["deployment"]["given"]["context"], 8192);
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        for (name, arguments, expected) in [
            ("budget", json!({ "gpu": "L5", "model": "qwen2.5-14b" }), "hint:"),
            ("budget", json!({ "gpus": "a", "model": 3 }), "`--gpus a`"),
            ("budget", json!({ "colour": "red" }), "`--colour` is not a flag of a plan"),
            (
                "budget",
                json!({ "gpu": "L4", "model": "gemma-2-9b", "emit": "tensorrt" }),
                "tensorrt",
            ),
            ("budget", json!({ "offline": "yes" }), "`offline`: expected true or false"),
            ("quants", json!({ "gpu": "L4" }), "`model` is missing"),
            ("quants", json!({ "model": "qwen2.5-7b", "weights": "q4_k_m" }), "`weights`"),
            ("compare", json!({ "current": { "gpu": "L4" } }), "`proposed` is missing"),
            ("why", json!({}), "`log` or `file`"),
            ("why", json!({ "log": "" }), "empty"),
            ("why", json!({ "file": "/nonexistent/log" }), "/nonexistent/log"),
            ("profiles", json!({ "kind": "cats" }), "`gpus`, `models`, `runtimes`"),
            ("profiles", json!({ "kind": "gpus", "like": "L4" }), "`like`"),
        ] {
            let said = refused(name, arguments);
            assert!(said.starts_with("error: ") && said.contains(expected), "{name}: {said}");
        }
    }
}
