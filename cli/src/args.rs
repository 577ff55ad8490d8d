//! Every verb and flag, by family of commands. Each is defined once; help, completion and the environment variables come
//! from here.
//!
//! A flag that may also be in a settings file is an `Option`; its verb applies the default after the file was read.
//! `settings.rs` lists the same keys by section.

mod daemons;
mod data;
mod jobs;
mod page;
mod settings_values;
mod times;
mod tls;

pub(crate) use daemons::{Coordinator, CoordinatorRun, CoordinatorVerb, Up, Worker, WorkerRun, WorkerVerb};
pub(crate) use data::{Data, DataVerb};
pub(crate) use jobs::{Job, JobVerb, Submit, Tasks};
pub(crate) use page::{Dashboard, NewPageToken, PageTokenVerb, PageTokens, Ui};
pub(crate) use settings_values::{Count, Text};
pub(crate) use times::{Limit, Span};
pub(crate) use tls::{Certify, TlsInit, TlsVerb};

use crate::output::Format;
use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Distributed map/reduce: submit jobs, watch them, and run clusters.
#[derive(Parser, Debug)]
#[command(
    name = "windrow",
    version,
    arg_required_else_help = true,
    after_help = "\
Exit codes: 0 done; 1 job failed; 2 usage; 3 unreachable or not authorised; 4 cancelled; 5 timed out; 130 interrupted.
Settings: flag, then WINDROW_* environment, then --config FILE, then $XDG_CONFIG_HOME/windrow/config.toml, then default.

  windrow up --workers 4                              a cluster on this machine, until Ctrl-C
  windrow submit ./wordcount -- books/ --output out   run a job on it"
)]
pub(crate) struct Args {
    /// Settings file (TOML: sections client, submit, coordinator, worker, up; keys named like the flags)
    #[arg(long, global = true, value_name = "FILE", env = "WINDROW_CONFIG")]
    pub config: Option<PathBuf>,
    /// Read no settings file, not even this user's
    #[arg(long, global = true, conflicts_with = "config")]
    pub no_config: bool,
    /// Format of results on stdout [default: table]
    #[arg(short = 'o', long, global = true, value_name = "FORMAT", env = "WINDROW_FORMAT", value_enum)]
    pub format: Option<Format>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Make a crate with a job, a test and a README in a new folder
    New(New),
    /// Run a job binary on a cluster, and watch it
    Submit(Submit),
    /// List, inspect, wait for and cancel jobs
    Job(Job),
    /// Run a worker; or list and drain workers
    Worker(Worker),
    /// Put data into a cluster; list, get and remove it
    Data(Data),
    /// Run a coordinator; or back one up and restore it
    Coordinator(Coordinator),
    /// Run a cluster on this machine: a coordinator and worker processes, until Ctrl-C
    Up(Up),
    /// Print a URL that signs a browser in to the dashboard of a coordinator, once
    Dashboard(Dashboard),
    /// Make, list and revoke tokens of the dashboard, for programs
    Token(PageTokens),
    /// Make certificates for the machines of a cluster
    Tls(Certify),
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[derive(clap::Args, Debug)]
pub(crate) struct New {
    /// The name of the crate and of its folder
    pub name: String,
    /// A checkout of Windrow that the crate depends on [default: the one that this program was built from, else a release]
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
}

/// How to find and trust a coordinator.
#[derive(clap::Args, Debug, Clone, Default)]
pub(crate) struct Client {
    /// URL of the coordinator [default: the latest that this user started]
    #[arg(long, value_name = "URL", env = "WINDROW_COORDINATOR", value_parser = NonEmptyStringValueParser::new())]
    pub coordinator: Option<String>,
    /// File with the cluster's token [default: found by URL in this user's state folder]
    #[arg(long, value_name = "FILE", env = "WINDROW_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificate (PEM) of the authority that signed the coordinator's certificate
    #[arg(long, value_name = "FILE", env = "WINDROW_TLS_CA")]
    pub tls_ca: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use std::collections::BTreeSet;
    use windrow_model::ByteSize;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_and_argument_has_a_help_text() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            for arg in command.get_arguments() {
                assert!(arg.get_help().is_some_and(|help| !help.to_string().is_empty()), "{name}: {}", arg.get_id());
            }
            command.get_subcommands().for_each(check);
        }
        let mut command = Args::command();
        command.build();
        check(&command);
    }

    #[test]
    fn submit_describes_flags_as_job_binaries_do() {
        let of_job = <windrow::RunFlags as clap::Args>::augment_args(clap::Command::new("job"));
        let command = Args::command();
        let submit = command.find_subcommand("submit").unwrap();
        let mut compared = BTreeSet::new();
        // The default values of these differ: job binaries read no settings.
        let differ = ["token-file", "tls-ca", "format"];
        for flag in of_job.get_arguments().filter(|flag| !flag.get_long().is_some_and(|long| differ.contains(&long))) {
            let text = |arg: &clap::Arg| {
                let help = arg.get_help().unwrap().to_string();
                help.split(" [default").next().unwrap().to_string()
            };
            if let Some(same) = submit.get_arguments().find(|arg| arg.get_long() == flag.get_long()) {
                assert_eq!(text(same), text(flag), "{:?}", flag.get_long());
                compared.insert(flag.get_long().unwrap());
            }
        }
        assert!(compared.contains("skip-bad-records") && compared.len() >= 6, "{compared:?}");
    }

    #[test]
    fn arguments_after_dashes_belong_to_the_job() {
        let args = Args::try_parse_from(["windrow", "submit", "--name", "n", "./bin", "--", "in", "--output", "-o"]);
        let Verb::Submit(submit) = args.unwrap().verb else { panic!("not submit") };
        assert_eq!(submit.args, ["in", "--output", "-o"]);
        assert_eq!(submit.name.as_deref(), Some("n"));
        assert!(Args::try_parse_from(["windrow", "submit", "./bin", "in"]).is_err());
    }

    #[test]
    fn worker_runs_tasks_unless_only_managing() {
        let parse = |args: &[&str]| {
            let args = Args::try_parse_from(["windrow", "worker"].iter().chain(args)).unwrap();
            let Verb::Worker(worker) = args.verb else { panic!("not worker") };
            worker
        };
        let run = parse(&["--coordinator", "http://x:1", "--data-dir", "d", "--slots", "2", "--memory", "1GiB"]);
        assert!(run.verb.is_none());
        assert_eq!(run.run.memory, Some(ByteSize(1 << 30)));
        assert!(matches!(parse(&["list"]).verb, Some(WorkerVerb::List { .. })));
    }

    /// Flags about one start, and those that the settings of `client` replace.
    const WITHOUT_KEY: [&str; 8] =
        ["help", "config", "no-config", "format", "coordinator", "token-file", "tls-ca", "die-with"];

    #[test]
    fn every_flag_of_a_daemon_has_a_settings_key() {
        let mut command = Args::command();
        command.build();
        for (section, keys) in crate::settings::SECTIONS.iter().filter(|(s, _)| !["client", "submit"].contains(s)) {
            let daemon = command.find_subcommand(section).unwrap();
            let long = daemon.get_arguments().filter_map(|a| a.get_long());
            let flags: BTreeSet<&str> = long.filter(|flag| !WITHOUT_KEY.contains(flag)).collect();
            let keys: BTreeSet<String> = keys.iter().map(|key| key.replace('_', "-")).collect();
            let keys: BTreeSet<&str> = keys.iter().map(String::as_str).filter(|k| !WITHOUT_KEY.contains(k)).collect();
            assert_eq!(flags, keys, "{section}");
        }
    }

    /// Flags of `submit` in the guide's table, and the settings in the table.
    fn guide() -> (BTreeSet<String>, BTreeSet<String>) {
        let guide = include_str!("../../docs/GUIDE.md");
        let table = guide.split("\n## Flags\n").nth(1).expect("the guide has a section `Flags`");
        let rows = table.lines().skip_while(|l| !l.starts_with("| `--")).take_while(|l| l.starts_with('|'));
        let (mut flags, mut settings) = (BTreeSet::new(), BTreeSet::new());
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            let flag = cells[0].split('`').nth(1).expect("a flag").trim_start_matches("--");
            if cells[5] == "yes" {
                flags.insert(flag.to_string());
            } else {
                assert_eq!(cells[5], "–", "{row}");
            }
            settings.extend(cells[6].split('`').nth(1).map(str::to_string));
        }
        (flags, settings)
    }

    #[test]
    fn the_guide_has_every_flag_and_setting_of_submit() {
        let mut command = Args::command();
        command.build();
        let submit = command.find_subcommand("submit").unwrap();
        let long = submit.get_arguments().filter_map(|a| a.get_long()).filter(|long| *long != "help");
        let flags: BTreeSet<String> = long.map(str::to_string).collect();
        let mut settings = BTreeSet::new();
        for (section, keys) in crate::settings::SECTIONS.iter().filter(|(name, _)| ["client", "submit"].contains(name))
        {
            settings.extend(keys.iter().map(|key| format!("{section}.{}", key.replace('_', "-"))));
        }
        let (table_flags, table_settings) = guide();
        assert_eq!(table_flags, flags, "the table in docs/GUIDE.md");
        assert_eq!(table_settings, settings, "the table in docs/GUIDE.md");
    }
}
