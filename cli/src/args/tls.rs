//! Flags of `windrow tls`.

use clap::Subcommand;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(crate) struct Certify {
    #[command(subcommand)]
    pub verb: TlsVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum TlsVerb {
    /// Make an authority (ca.pem, ca.key) and a certificate for each host (NAME.pem, NAME.key) in a folder
    ///
    /// An authority in the folder signs for the new hosts, too. Existing files are never replaced. Prints the files
    /// that were made.
    Init(TlsInit),
}

#[derive(clap::Args, Debug)]
pub(crate) struct TlsInit {
    /// The folder; made if missing
    pub dir: PathBuf,
    /// A machine: all names and addresses in the URLs under which others reach it. The first one names its files
    #[arg(long, value_name = "NAME[,NAME...]", required = true)]
    pub host: Vec<String>,
    /// How long the hosts' certificates are valid; the authority is for ten years
    #[arg(long, value_name = "N", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub days: u32,
}
