//! `vramplan completions` and `vramplan man`: both are made from the command line's own description.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap::builder::PossibleValuesParser;
use clap_complete::Shell;
use vramplan_planner::dtype::FileType;
use vramplan_planner::read::{Catalog, Kind};
use vramplan_planner::spec::Runtime;

use super::{Cli, Outcome};

/// Prints a shell's completions.
pub fn completions(shell: Shell) -> anyhow::Result<Outcome> {
    let mut text = Vec::new();
    let mut command = Cli::command();
    command.build();
    let mut command = with_names(command, &Catalog::built_in())?;
    clap_complete::generate(shell, &mut command, "vramplan", &mut text);
    anstream::stdout().write_all(&text)?;
    Ok(Outcome::Done)
}

/// The command line with the names of profiles and formats as values of its flags: what a shell offers behind them.
fn with_names(command: clap::Command, catalog: &Catalog) -> anyhow::Result<clap::Command> {
    // A shell parts words at spaces; names are the same with dashes.
    // What is leaked lives as long as the process, which prints it and ends.
    let of = |kind| -> anyhow::Result<Vec<&'static str>> {
        Ok(catalog.names(kind)?.map(|name| &*name.replace(' ', "-").leak()).collect())
    };
    let formats = FileType::ALL.iter().map(|format| format.name());
    let values = [
        ("gpu", of(Kind::Gpu)?),
        ("model", of(Kind::Model)?),
        ("runtime", Runtime::ALL.map(Runtime::name).to_vec()),
        ("weights", formats.chain(WEIGHTS).collect()),
        ("kv", KV.to_vec()),
    ];
    let offer = |mut command: clap::Command| {
        for (flag, names) in &values {
            if command.get_arguments().any(|argument| argument.get_id() == flag) {
                let names = PossibleValuesParser::new(names.clone());
                command = command.mut_arg(flag, |argument| argument.value_parser(names));
            }
        }
        command
    };
    Ok(command.mut_subcommands(offer))
}

/// Formats of weights beside those of GGUF files.
const WEIGHTS: [&str; 17] = [
    "bf16",
    "f16",
    "f32",
    "int8",
    "nf4",
    "nf4-dq",
    "fp4",
    "awq-int4",
    "gptq-int4",
    "gptq-int8",
    "w4a16",
    "w8a8",
    "fp8",
    "fp8-block",
    "fp8-dynamic",
    "nvfp4",
    "mxfp4",
];
/// Formats of caches.
const KV: [&str; 11] =
    ["f16", "bf16", "f32", "int8", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "fp8", "hqq8"];

/// Writes a page for each command into a directory, or prints that of `vramplan` itself.
pub fn man(folder: Option<&Path>) -> anyhow::Result<Outcome> {
    let Some(folder) = folder else {
        let mut text = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut text)?;
        anstream::stdout().write_all(&text)?;
        return Ok(Outcome::Done);
    };
    fs_err::create_dir_all(folder)?;
    let mut command = Cli::command();
    command.build();
    pages(&command, folder)
}

fn pages(command: &clap::Command, folder: &Path) -> anyhow::Result<Outcome> {
    let page = clap_mangen::Man::new(command.clone());
    let mut text = Vec::new();
    page.render(&mut text)?;
    let path: PathBuf = folder.join(page.get_filename());
    fs_err::write(path, text)?;
    for inner in
        command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help")
    {
        pages(inner, folder)?;
    }
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vramplan_planner::dtype::{KvFormat, WeightFormat};

    #[test]
    fn what_a_shell_offers_is_taken() {
        let catalog = Catalog::built_in();
        for name in catalog.names(Kind::Gpu).unwrap() {
            let offered = name.replace(' ', "-");
            assert_eq!(catalog.gpu(&offered).unwrap().name, name);
        }
        for format in WEIGHTS {
            assert!(format.parse::<WeightFormat>().is_ok(), "{format}");
        }
        for format in KV {
            assert!(format.parse::<KvFormat>().is_ok(), "{format}");
        }
    }
}
