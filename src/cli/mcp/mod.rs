//! `vramplan mcp`: the planner as tools of an agent.

mod answers;
mod profiles;
mod tools;

use clap::Args;

use super::Outcome;
use super::args::CatalogArgs;
use crate::mcp::{Identity, serve};

#[cfg(test)]
pub(super) use profiles::{ProfilesDoc, example};

/// Answer an agent's calls of tools, by the Model Context Protocol over standard input and output.
#[derive(Clone, Debug, Args)]
pub struct McpArgs {
    /// Where profiles are looked for.
    #[command(flatten)]
    catalog: CatalogArgs,
}

const IDENTITY: Identity = Identity {
    name: "vramplan",
    title: "vramplan",
    version: env!("CARGO_PKG_VERSION"),
    instructions: "\
Plans the GPU memory of language models before anything runs. `budget` says whether a model fits a card under llama.cpp, \
vLLM, SGLang or transformers, component by component with bounds, and which settings would make it fit; `quants` compares \
the formats of one model; `compare` two settings; `why` explains an out-of-memory log; `profiles` lists the names of GPUs \
and models. Pass what the user's setup says and leave out what is not known: defaults are the runtime's own and are named \
in the answer. Quote the bounds with a figure, and the `basis` where it is `assumed`: nothing was measured.",
};

/// Serves until standard input ends.
pub fn run(args: &McpArgs) -> anyhow::Result<Outcome> {
    let tools = tools::Planner::new(args.catalog.clone());
    serve(IDENTITY, tools, &mut std::io::stdin().lock(), std::io::stdout())?;
    Ok(Outcome::Done)
}
