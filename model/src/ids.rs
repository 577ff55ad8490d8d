//! Identifiers of jobs, stages, tasks, attempts and nodes, each with one text form.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;
use uuid::Uuid;

/// A text that is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {kind}")]
pub struct ParseIdError {
    /// The expected kind of identifier.
    pub kind: &'static str,
    /// The text that was parsed.
    pub text: String,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub Uuid);

        // The order of the bytes, as one comparison of two numbers: the tables of the scheduler are ordered by ids.
        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.0.as_u128().cmp(&other.0.as_u128())
            }
        }
        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }
        impl $name {
            /// Makes an id from the sixteen bytes of its wire form.
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                $name(Uuid::from_bytes(bytes))
            }
            /// The sixteen bytes of the wire form.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(s: &str) -> Result<Self, ParseIdError> {
                s.strip_prefix($prefix)
                    .and_then(|s| Uuid::try_parse(s).ok())
                    .map($name)
                    .ok_or_else(|| ParseIdError { kind: $kind, text: s.to_string() })
            }
        }
        impl TryFrom<String> for $name {
            type Error = ParseIdError;
            fn try_from(s: String) -> Result<Self, ParseIdError> {
                s.parse()
            }
        }
        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

uuid_id! {
    /// One submission. Made by the client (UUID v7, so ids sort by time), which makes a retried submit idempotent.
    JobId, "job-", "job id"
}
uuid_id! {
    /// A worker's data folder: unchanged by a restart of the daemon on that folder.
    WorkerId, "worker-", "worker id"
}
uuid_id! {
    /// A cluster: made once with the journal of its coordinator, and kept in the data folder of every worker that has
    /// joined it.
    ClusterId, "cluster-", "cluster id"
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($t:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $t);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
number_id! {
    /// A stage of a plan: its index in the plan's list.
    StageId(u32)
}
number_id! {
    /// Number of a coordinator's start: grows with every start on the same data folder.
    Epoch(u64)
}
number_id! {
    /// Number of a worker daemon's start: grows with every start on the same data folder.
    Incarnation(u64)
}

/// One output of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Port {
    /// The stage.
    pub stage: StageId,
    /// Index of the output within the stage.
    pub output: u32,
}

/// One stage applied to one chunk or one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The job.
    pub job: JobId,
    /// The stage.
    pub stage: StageId,
    /// Index of the task within its stage.
    pub index: u32,
}
impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.job, self.stage, self.index)
    }
}

/// One execution of a task, which fences late messages. Two attempts are the same only if the epoch of the coordinator
/// and the incarnation of the worker are equal too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The task.
    pub task: TaskId,
    /// Counts from zero over all attempts of this task.
    pub number: u32,
    /// Epoch of the coordinator that started it.
    pub epoch: Epoch,
    /// Incarnation of the worker that runs it.
    pub incarnation: Incarnation,
}
impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.task, self.number)
    }
}

/// BLAKE3 digest of some content: its name in an artifact store, or the identity of a plan.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);
impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// The digest of everything that a reader returns, and its number of bytes.
    ///
    /// # Errors
    /// The reader fails.
    pub fn of_reader(reader: impl Read) -> io::Result<(Self, u64)> {
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(reader)?;
        Ok((Digest(*hasher.finalize().as_bytes()), hasher.count()))
    }
}
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for Digest {
    type Err = ParseIdError;
    fn from_str(s: &str) -> Result<Self, ParseIdError> {
        blake3::Hash::from_hex(s)
            .map(|h| Digest(*h.as_bytes()))
            .map_err(|_| ParseIdError { kind: "digest", text: s.to_string() })
    }
}
impl TryFrom<String> for Digest {
    type Error = ParseIdError;
    fn try_from(s: String) -> Result<Self, ParseIdError> {
        s.parse()
    }
}
impl From<Digest> for String {
    fn from(d: Digest) -> String {
        d.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_text_form() {
        let job = JobId(Uuid::from_u128(7));
        assert_eq!(job.to_string().parse::<JobId>().unwrap(), job);
        assert!("worker-00000000000000000000000000000007".parse::<JobId>().is_err());
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
        assert_eq!(Digest::of_reader(&b"x"[..]).unwrap(), (digest, 1));
    }

    #[test]
    fn ids_have_the_order_of_their_bytes() {
        let one = |at: usize, value: u8| WorkerId::from_bytes(std::array::from_fn(|i| if i == at { value } else { 1 }));
        let ids: Vec<WorkerId> = (0..16).flat_map(|at| [0, 1, 0x7f, 0x80, 0xff].map(|value| one(at, value))).collect();
        for (a, b) in ids.iter().flat_map(|a| ids.iter().map(move |b| (a, b))) {
            assert_eq!(a.cmp(b), a.as_bytes().cmp(b.as_bytes()), "{a} and {b}");
        }
    }
}
