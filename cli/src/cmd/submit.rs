//! `windrow submit`: a job binary becomes a job on a cluster.

use super::connect;
use super::job::follow;
use crate::args::{Limit, Submit, Text};
use crate::binary::{self, Described};
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::settings::{Settings, SubmitSection};
use std::time::Duration;
use windrow::InputCompression;
use windrow::client::{Artifact, Cluster};
use windrow::report::{Report, Style};
use windrow_model::view::{ExplainedView, SubmittedView};
use windrow_model::{Code, Failure, JobId, JobOptions, JobSpec, JobState};

/// A detached submit waits at most this long for its inputs to be listed.
const PLANNED_WITHIN: Duration = Duration::from_secs(5);

/// Checks the binary, asks it for its job, uploads what the cluster lacks, submits, and watches.
pub(crate) async fn run(args: Submit, settings: Settings, format: Format) -> Result<Exit, Failure> {
    let file = match binary::read(args.binary.clone()).await {
        Ok(file) => file,
        // A wrong version of the binary is a usage error; a wrong version of the coordinator is not.
        Err(failure) => return Ok(Exit::usage(&failure, format)),
    };
    // The plan is built and the binary hashed while the connection is made.
    let path = file.path.clone();
    let describing = {
        let (path, job_args) = (path.clone(), args.args.clone());
        tokio::task::spawn_blocking(move || binary::describe(&path, &job_args))
    };
    let connecting = connect(args.client.clone(), settings.client);
    let (described, connected) = tokio::join!(describing, connecting);
    let described = described.map_err(|e| Failure::new(Code::Internal, format!("describing ended early: {e}")))?;
    let described = match described {
        Ok(Ok(described)) => described,
        Ok(Err(exit)) => return Ok(exit),
        Err(failure) if failure.code == Code::VersionMismatch => return Ok(Exit::usage(&failure, format)),
        Err(failure) => return Err(failure),
    };
    let (mut spec, sides) = match described {
        Described::Job { spec, sides } => (*spec, sides),
        Described::Explained(plan) => {
            match format {
                Format::Table => output::put(plan.trim_end())?,
                Format::Json => output::put_json(&ExplainedView { explain: &plan })?,
            }
            return Ok(Exit::Done);
        }
    };
    let cluster = connected?;

    let mut artifacts = vec![Artifact::Hashed(path, file.digest().await?)];
    artifacts.extend(sides.into_iter().map(Artifact::Bytes));
    let digests = cluster.upload_all(artifacts).await?;
    spec.binary = digests.first().copied().ok_or_else(|| Failure::new(Code::Internal, "an upload without a digest"))?;
    if digests[1..].iter().ne(spec.plan.sides.iter().map(|side| &side.digest)) {
        return Err(Failure::new(Code::PlanInvalid, "the job's side values are not those of its plan"));
    }
    spec.id = JobId(uuid::Uuid::now_v7());
    settle(&mut spec, &args, settings.submit);

    let id = cluster.submit(spec).await?;
    if args.detach {
        match format {
            Format::Table => output::put(&id.to_string())?,
            Format::Json => output::put_json(&SubmittedView::from(id))?,
        }
        return refused_at_once(&cluster, id).await.map_or(Ok(Exit::Done), Err);
    }
    let mut report = Report::new(Style::detect().with_json(format == Format::Json));
    report.started(id);
    follow(&cluster, id, report, None).await
}

/// The failure of a job before any of its tasks could run, if its inputs and outputs are checked soon.
async fn refused_at_once(cluster: &Cluster, id: JobId) -> Option<Failure> {
    let (tell, planned) = tokio::sync::oneshot::channel();
    let mut tell = Some(tell);
    let watching = cluster.watch(id, |status| {
        if status.state != JobState::Planning
            && let Some(tell) = tell.take()
        {
            let _ = tell.send(());
        }
    });
    tokio::select! {
        biased;
        // An error of this check does not affect the job.
        ended = watching => ended.ok().filter(|status| status.attempts == 0).and_then(|status| status.error),
        _ = planned => None,
        () = tokio::time::sleep(PLANNED_WITHIN) => None,
    }
}

/// A limit in milliseconds; zero means none.
fn limit(flag: Option<Limit>, setting: Option<Text<Limit>>, own: Option<u64>) -> Option<u64> {
    flag.or(setting.map(|t| t.0)).map_or(own, |said| said.ms)
}

/// Flags take precedence over settings, settings over the job's own arguments.
fn settle(spec: &mut JobSpec, args: &Submit, settings: SubmitSection) {
    if let Some(name) = &args.name {
        spec.name = name.clone();
    }
    let own = spec.options.clone();
    spec.options = JobOptions {
        partitions: args.partitions.or(own.partitions).or(settings.partitions.map(|n| n.0)),
        chunk_bytes: args.chunk_size.map(|s| s.0).or(own.chunk_bytes).or(settings.chunk_size.map(|s| s.0.0)),
        priority: args.priority.or(settings.priority).unwrap_or(own.priority),
        slots_max: args.max_slots.or(settings.max_slots.map(|n| n.0)).or(own.slots_max),
        attempts_max: own.attempts_max,
        timeout_ms: args.timeout.or(settings.timeout.map(|t| t.0)).map(|span| span.ms).or(own.timeout_ms),
        task_timeout_ms: limit(args.task_timeout, settings.task_timeout, own.task_timeout_ms),
        progress_timeout_ms: limit(args.progress_timeout, settings.progress_timeout, own.progress_timeout_ms),
        // The job's own arguments count as an explicit choice.
        skip_bad_records: match (args.skip_bad_records, own.skip_bad_records) {
            (Some(said), _) => said,
            (None, 0) => settings.skip_bad_records.unwrap_or(0),
            (None, own) => own,
        },
        // So does `none` in the job's own arguments.
        decompress: match (args.compression, own.decompress) {
            (Some(said), _) => said == InputCompression::Auto,
            (None, true) => settings.compression.is_none_or(|kind| kind == InputCompression::Auto),
            (None, false) => false,
        },
        // Any source may turn backups off.
        backup_attempts: !args.no_backup_attempts && own.backup_attempts && settings.backup_attempts.unwrap_or(true),
    };
    if args.overwrite {
        spec.plan.sinks.iter_mut().for_each(|sink| sink.overwrite = true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Verb};
    use clap::Parser;
    use windrow_model::{Digest, Plan};

    /// Whether a job whose own arguments say `own` decompresses its inputs.
    fn decompresses(flags: &[&str], own: bool, setting: &str) -> bool {
        let args = ["windrow", "submit"].iter().chain(flags).chain(&["./bin"]);
        let Verb::Submit(submit) = Args::try_parse_from(args).unwrap().verb else { panic!("not submit") };
        let settings: Settings = toml::from_str(setting).unwrap();
        let plan = Plan {
            stages: Vec::new(),
            sinks: Vec::new(),
            collects: Vec::new(),
            sides: Vec::new(),
            fingerprint: Digest([0; 32]),
        };
        let mut spec = JobSpec {
            id: JobId::from_bytes([1; 16]),
            name: String::new(),
            program: String::new(),
            params: String::new(),
            plan,
            binary: Digest([0; 32]),
            options: JobOptions { decompress: own, ..JobOptions::default() },
        };
        settle(&mut spec, &submit, settings.submit);
        spec.options.decompress
    }

    #[test]
    fn compression_comes_from_flag_job_setting_or_default() {
        let none = "[submit]\ncompression = 'none'\n";
        assert!(decompresses(&[], true, ""));
        assert!(!decompresses(&[], true, none));
        assert!(decompresses(&["--compression", "auto"], true, none));
        assert!(!decompresses(&["--compression", "none"], true, "[submit]\ncompression = 'auto'\n"));
        assert!(!decompresses(&[], false, "[submit]\ncompression = 'auto'\n"), "the job's own arguments said `none`");
        assert!(toml::from_str::<Settings>("[submit]\ncompression = 'gzip'\n").is_err());
    }
}
