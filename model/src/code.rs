//! Stable error codes, each with its class and a hint, in one table.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How the scheduler reacts to a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The attempt is charged and the task runs again, up to the job's limit.
    Charge,
    /// No attempt is charged: the task runs again elsewhere.
    Retry,
    /// Another attempt cannot help: the job fails at once.
    Fatal,
}

macro_rules! codes {
    ($($variant:ident $text:literal $class:ident $hint:literal;)*) => {
        /// The kind of a failure, as scripts and people name it. The text form never changes.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "&'static str")]
        pub enum Code { $(#[doc = concat!("`", $text, "`: ", $hint)] $variant,)* }
        impl Code {
            /// All codes.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];
            /// The text form.
            pub fn as_str(self) -> &'static str { match self { $(Code::$variant => $text,)* } }
            /// The class.
            pub fn class(self) -> Class { match self { $(Code::$variant => Class::$class,)* } }
            /// Advice for the user.
            pub fn hint(self) -> &'static str { match self { $(Code::$variant => $hint,)* } }
        }
    };
}

codes! {
    // Inputs and outputs.
    InputNotFound "INPUT_NOT_FOUND" Fatal "check the path; a glob that matches nothing is an error";
    InputUnreadable "INPUT_UNREADABLE" Charge "give regular files or folders that this user may read";
    InputNotShared "INPUT_NOT_SHARED" Fatal "every worker must see the input at this path: put it on storage that all of them share";
    InputMalformed "INPUT_MALFORMED" Fatal "the file does not have the framing that the job declares";
    InputChanged "INPUT_CHANGED" Fatal "do not change inputs while a job reads them";
    InputCorrupt "INPUT_CORRUPT" Fatal "the file is damaged or cut off: make it again, or take a copy";
    InputUnsupported "INPUT_UNSUPPORTED" Fatal "convert the file to text, gzip, zstd or bzip2 first; --compression none reads it as it is stored";
    DecompressionLimit "DECOMPRESSION_LIMIT" Fatal "give the run or the worker the --memory that the message names, or fewer --threads or --slots";
    OutputExists "OUTPUT_EXISTS" Fatal "choose another folder, or pass --overwrite if the command has it";
    OutputNotOurs "OUTPUT_NOT_OURS" Fatal "--overwrite replaces only an empty folder or one that holds a Windrow output";
    OutputInsideInput "OUTPUT_INSIDE_INPUT" Fatal "write the output outside of the folders that the job reads";
    OutputInUse "OUTPUT_IN_USE" Fatal "another job writes to this folder; wait for it or cancel it";
    OutputNotShared "OUTPUT_NOT_SHARED" Fatal "every worker must see the output folder: put it on storage that all of them share";
    OutputFailed "OUTPUT_FAILED" Charge "look at the folder and the free space of its disk";
    DatasetNotFound "DATASET_NOT_FOUND" Fatal "`windrow data ls` lists the datasets of a cluster; a run in one process has none";
    DatasetExists "DATASET_EXISTS" Fatal "choose another name, or pass --overwrite";
    DatasetFraming "DATASET_FRAMING" Fatal "put the data with the framing that the job's source reads, or with `--framing whole`";
    ChunkUnavailable "CHUNK_UNAVAILABLE" Retry "start the workers that hold the dataset; `windrow data ls` shows how many copies are there";
    // User code and records.
    UserError "USER_ERROR" Charge "the error comes from the job's own code: look there, and at the record if one is named";
    UserPanic "USER_PANIC" Charge "the panic comes from the job's own code: look there, and at the record if one is named";
    RecordMalformed "RECORD_MALFORMED" Charge "the record does not parse as the type that the job declares";
    RecordNotUtf8 "RECORD_NOT_UTF8" Charge "read the input with `bytes_lines`, or convert it to UTF-8";
    RecordTooLarge "RECORD_TOO_LARGE" Charge "keys may have up to 16 MiB and values up to 1 GiB";
    FieldNotRepresentable "FIELD_NOT_REPRESENTABLE" Charge "this format cannot represent the value: emit another one, or use another sink (`tsv(..).escaped()` takes tabs and newlines)";
    NondeterministicTask "NONDETERMINISTIC_TASK" Fatal "a task must produce the same output for the same records: do not use the time, random numbers, the order of a hash map or another system";
    CollectTooLarge "COLLECT_TOO_LARGE" Fatal "write large results to a sink and collect only what the driver needs";
    BroadcastTooLarge "BROADCAST_TOO_LARGE" Fatal "broadcast fewer records: fold or filter them first; for a table of this size, join it";
    // Executors.
    ExecutorCrashed "EXECUTOR_CRASHED" Charge "the job's process crashed in its own code or in a library: look at the record, if one is named, and at its stderr";
    OutOfMemory "OUT_OF_MEMORY" Charge "give the worker more memory, or the job fewer slots";
    TooManyProcesses "TOO_MANY_PROCESSES" Charge "start fewer processes and threads at a time, or raise the workers' --max-processes";
    TaskTimeout "TASK_TIMEOUT" Charge "the task took longer than --task-timeout or --progress-timeout allow: look for an endless loop, at the record if one is named";
    PoisonTask "POISON_TASK" Charge "workers die while they run this task: look at its input and at what the job's code does to other processes; `--skip-bad-records` leaves out a named record";
    ExecutorProtocol "EXECUTOR_PROTOCOL_ERROR" Charge "the job's process sent an invalid message: does it write to file descriptor 3?";
    ExecFailed "EXEC_FAILED" Fatal "the binary does not start on the worker: `ldd` shows missing libraries";
    PlanMismatch "PLAN_MISMATCH" Fatal "the plan must depend on nothing but the job's parameters";
    NotAJob "NOT_A_JOB" Fatal "submit a program whose main calls `windrow::main`";
    NoClient "NO_CLIENT" Fatal "put the program `windrow` (`cargo install --path cli`) beside the binary or on PATH; or give the crate `windrow` the feature `client` and build again";
    BadBinary "BAD_BINARY" Fatal "build the job for the workers' machine: an ELF executable of the same architecture";
    PlanInvalid "PLAN_INVALID" Fatal "the job's plan cannot be run as it is";
    // Cluster.
    WorkerLost "WORKER_LOST" Retry "the worker was killed or cut off; its work runs again elsewhere";
    FetchFailed "FETCH_FAILED" Retry "the worker that holds this data does not answer";
    SegmentCorrupt "SEGMENT_CORRUPT" Retry "shuffle data was found damaged again and again: look at the disks and the memory of the workers that the message names (`windrow worker list` shows those that are excluded), drain them, and submit the job again";
    StaleAttempt "STALE_ATTEMPT" Retry "this attempt was fenced; its result is not used";
    StorageTimeout "STORAGE_TIMEOUT" Charge "the file system that holds this path does not answer: look at its mount and its server";
    NoSpace "NO_SPACE" Charge "make room on the disk that holds this path";
    ScratchQuotaExceeded "SCRATCH_QUOTA_EXCEEDED" Charge "raise --memory to spill less, use more and smaller tasks, or raise the workers' --scratch-quota";
    IoError "IO_ERROR" Charge "look at what the message names: the disk and the permissions of a path, whether an address is free, the limits of this process (`ulimit -a`)";
    ResourceLimit "RESOURCE_LIMIT" Retry "the daemon, or its user, may have no more processes, threads, memory or open files: raise the limit (`ulimit -u`, `ulimit -n`, TasksMax= of a systemd unit, pids of a container)";
    Unschedulable "UNSCHEDULABLE" Fatal "start a worker with `windrow worker`; `windrow coordinator --wait-for-workers` says how long jobs wait for one";
    Cancelled "CANCELLED" Fatal "the job was cancelled";
    DeadlineExceeded "DEADLINE_EXCEEDED" Fatal "the job took longer than its --timeout";
    PlanningCrashed "PLANNING_CRASHED" Fatal "the coordinator died twice while it planned this job: look at its log and at the file systems of the inputs and outputs, then submit again";
    JobExists "JOB_EXISTS" Fatal "this id belongs to another job: submit under a new id";
    JobNotFound "JOB_NOT_FOUND" Fatal "`windrow job list` lists the jobs that the coordinator knows";
    WorkerNotFound "WORKER_NOT_FOUND" Fatal "`windrow worker list` lists the workers";
    // Reaching each other.
    Unreachable "UNREACHABLE" Retry "is the coordinator running? `windrow up` starts one";
    Unauthorised "UNAUTHORISED" Fatal "pass the coordinator's token with --token-file, and look at what listens at its address";
    CertificateNotTrusted "CERTIFICATE_NOT_TRUSTED" Fatal "pass the certificate of the authority that signed the server's with --tls-ca";
    CertificateWrongName "CERTIFICATE_WRONG_NAME" Fatal "use a name that the certificate has in the URL, or make a certificate with this one (`windrow tls init DIR --host NAME`)";
    CertificateExpired "CERTIFICATE_EXPIRED" Fatal "renew the certificate, or set this machine's clock";
    VersionMismatch "VERSION_MISMATCH" Fatal "use binaries of the same Windrow version";
    DataDirInUse "DATA_DIR_IN_USE" Fatal "another process uses this folder; give each its own --data-dir";
    JournalCorrupt "JOURNAL_CORRUPT" Fatal "restore it from a backup with `windrow coordinator restore`; do not start on an empty folder: the chunks on the workers belong to this journal";
    ClusterMismatch "CLUSTER_MISMATCH" Fatal "the worker's data folder holds another cluster's data: start the coordinator on the right --data-dir (is its disk mounted?), or the worker on another folder; nothing was deleted";
    JournalBehind "JOURNAL_BEHIND" Fatal "workers have seen a newer journal: start the coordinator on its newest data folder; only if that is lost, admit this one with `windrow coordinator restore`; nothing was deleted";
    Insecure "INSECURE" Fatal "make certificates with `windrow tls init`, give --tls-cert, --tls-key and --tls-ca; or pass --insecure";
    BadRequest "BAD_REQUEST" Fatal "the request is not possible in this form";
    Interrupted "INTERRUPTED" Fatal "the run was interrupted";
    Internal "INTERNAL" Charge "this is a bug in Windrow: please report it with this message";
}

impl Code {
    /// Returns whether a failure of this kind at a record can be caused by the record itself.
    pub fn may_blame_record(self) -> bool {
        use Code::*;
        let own = [UserError, UserPanic, RecordMalformed, RecordNotUtf8, RecordTooLarge, FieldNotRepresentable];
        own.contains(&self) || matches!(self, ExecutorCrashed | TaskTimeout | PoisonTask)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
impl From<Code> for &'static str {
    fn from(c: Code) -> &'static str {
        c.as_str()
    }
}
impl FromStr for Code {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Code::ALL.iter().copied().find(|c| c.as_str() == s).ok_or_else(|| format!("unknown error code `{s}`"))
    }
}
impl TryFrom<String> for Code {
    type Error = String;
    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_and_has_a_hint() {
        for c in Code::ALL {
            assert_eq!(c.as_str().parse::<Code>().unwrap(), *c);
            assert!(!c.hint().is_empty());
        }
    }
}
