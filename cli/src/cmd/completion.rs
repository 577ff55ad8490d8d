//! `windrow completion`: a script that a shell sources.

use crate::args::Args;
use crate::exit::Exit;
use crate::output;
use clap::CommandFactory;
use clap_complete::Shell;
use windrow_model::Failure;

/// Prints the script.
pub(crate) fn run(shell: Shell) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "windrow", &mut script);
    output::put_bytes(&script)?;
    Ok(Exit::Done)
}
