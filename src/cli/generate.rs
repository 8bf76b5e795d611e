//! `vramplan completions` and `vramplan man`: both are made from the command line's own description.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, Outcome};

/// Prints a shell's completions.
pub fn completions(shell: Shell) -> anyhow::Result<Outcome> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vramplan", &mut text);
    anstream::stdout().write_all(&text)?;
    Ok(Outcome::Done)
}

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
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
        pages(inner, folder)?;
    }
    Ok(Outcome::Done)
}
