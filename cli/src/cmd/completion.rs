//! `windrow completion`: a script that a shell sources.

use crate::args::Args;
use crate::exit::Exit;
use crate::output;
use clap::CommandFactory;
use clap_complete::Shell;

/// Prints the script.
pub fn run(shell: Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "windrow", &mut script);
    output::put_bytes(&script);
    Exit::Done
}
