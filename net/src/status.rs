//! Converts `Failure` to `tonic::Status` and back: the only mapping between Windrow's codes and gRPC's.
//!
//! The whole failure is sent as JSON in the status' details, so a client prints everything that the coordinator knew.
//! Long texts are cut (of stderr the last lines are kept), because details are sent in HTTP trailers, which have a size
//! limit.

use serde::{Deserialize, Serialize};
use std::error::Error;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use tonic::{Code as Grpc, Status};
use windrow_model::{Code, Failure, RecordPlace};

/// Most bytes of each text; fewer if it has characters that take more bytes as JSON.
const MESSAGE_BYTES: usize = 4 << 10;
const EXCERPT_BYTES: usize = 1 << 10;
const STDERR_BYTES: usize = 8 << 10;
/// Most bytes of all texts together, as JSON. As base64 they fit into the header limit beside the summary.
const DETAILS_BYTES_MAX: usize = 40 << 10;
/// The start of what rustls says of a connection that ends without an orderly close.
const NO_CLOSE_NOTIFY: &str = "peer closed connection without sending TLS close_notify";
/// The words of the gRPC library about an answer without a status, and the HTTP status that follows them.
const HTTP_STATUS: &str = "grpc-status header missing, mapped from HTTP status code ";
/// Its words about an answer of HTTP status 200.
const HTTP_OK: &str = "protocol error: missing grpc-status trailer";
/// Most bytes of gRPC's own message, for tools that do not read details.
const SUMMARY_BYTES: usize = 512;

/// A failure in the form of a status' details. Paths are bytes, because a file name need not be UTF-8.
#[derive(Serialize, Deserialize)]
struct Details {
    code: String,
    message: String,
    place: Option<Place>,
    stderr_tail: String,
}

#[derive(Serialize, Deserialize)]
struct Place {
    file: Vec<u8>,
    offset: u64,
    excerpt: String,
}

/// The status that carries this failure.
pub fn to_status(failure: &Failure) -> Status {
    // A crashed program may leave any bytes, and a zero byte takes six as JSON: if the details are too long, the texts
    // are cut to half.
    let json = (0..8).map(|halvings| details(failure, halvings)).find(|json| json.len() <= DETAILS_BYTES_MAX);
    let json = json.unwrap_or_default();
    let summary = format!("{}: {}", failure.code, head(&failure.message, SUMMARY_BYTES));
    Status::with_details(grpc_code(failure.code), summary, json.into())
}

/// The details as JSON, with texts cut to their limit halved `halvings` times.
fn details(failure: &Failure, halvings: u32) -> Vec<u8> {
    let details = Details {
        code: failure.code.as_str().to_string(),
        message: head(&failure.message, MESSAGE_BYTES >> halvings).to_string(),
        place: failure.place.as_ref().map(|p| Place {
            file: p.file.as_os_str().as_bytes().to_vec(),
            offset: p.offset,
            excerpt: head(&p.excerpt, EXCERPT_BYTES >> halvings).to_string(),
        }),
        stderr_tail: tail(&failure.stderr_tail, STDERR_BYTES >> halvings).to_string(),
    };
    serde_json::to_vec(&details).unwrap_or_default()
}

/// The failure of a status. A status that no Windrow program made is described by its gRPC code.
pub fn from_status(status: &Status) -> Failure {
    if let Ok(details) = serde_json::from_slice::<Details>(status.details()) {
        return Failure {
            // A code of a newer peer that this release does not know; the message still explains it.
            code: details.code.parse().unwrap_or(Code::Internal),
            message: details.message,
            place: details.place.map(|p| RecordPlace {
                file: OsString::from_vec(p.file).into(),
                offset: p.offset,
                excerpt: p.excerpt,
            }),
            stderr_tail: details.stderr_tail.into(),
            key: None,
        };
    }
    if let Some(failure) = status.source().and_then(crate::dial_error::dial_failure) {
        return failure;
    }
    if let Some(number) = http_status(status) {
        let what = format!(
            "the server answers with the HTTP status {number} and not with gRPC: it is another program, or a proxy that does not \
             pass gRPC on"
        );
        let refused = matches!(number, 401 | 403);
        return Failure::new(if refused { Code::Unauthorised } else { Code::Unreachable }, what);
    }
    let code = match status.code() {
        _ if broke(status) => Code::Unreachable,
        Grpc::Unavailable | Grpc::Cancelled | Grpc::DeadlineExceeded => Code::Unreachable,
        Grpc::Unauthenticated | Grpc::PermissionDenied => Code::Unauthorised,
        Grpc::Unimplemented => Code::VersionMismatch,
        Grpc::InvalidArgument | Grpc::OutOfRange => Code::BadRequest,
        _ => Code::Internal,
    };
    let said = if status.message().is_empty() { status.code().description() } else { status.message() };
    Failure::new(code, with_causes(said, status.source()))
}

/// The HTTP status of an answer that is none of gRPC.
pub(crate) fn http_status(status: &Status) -> Option<u16> {
    match status.message().strip_prefix(HTTP_STATUS) {
        Some(number) => number.parse().ok(),
        None => status.message().starts_with(HTTP_OK).then_some(200),
    }
}

/// Returns whether the connection broke during the call: there was no answer of the server, so the call may be tried
/// again.
pub(crate) fn broke(status: &Status) -> bool {
    status.details().is_empty() && (status.code() == Grpc::Unavailable || status.source().is_some())
}

/// `said` followed by its chain of causes, without repetitions.
pub(crate) fn with_causes(said: &str, mut cause: Option<&(dyn Error + 'static)>) -> String {
    let mut text = said.to_string();
    while let Some(error) = cause {
        let more = error.to_string();
        // A process that dies closes its connections this way; the library's message suggests an attack.
        let more = match more.find(NO_CLOSE_NOTIFY) {
            Some(at) => format!("{}the other side closed the connection", &more[..at]),
            None => more,
        };
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn grpc_code(code: Code) -> Grpc {
    match code {
        Code::Unauthorised => Grpc::Unauthenticated,
        Code::CertificateNotTrusted | Code::CertificateWrongName | Code::CertificateExpired => Grpc::Unavailable,
        Code::JobNotFound | Code::WorkerNotFound | Code::InputNotFound | Code::DatasetNotFound => Grpc::NotFound,
        Code::OutputExists | Code::DatasetExists => Grpc::AlreadyExists,
        Code::BadRequest | Code::PlanInvalid | Code::NotAJob | Code::BadBinary => Grpc::InvalidArgument,
        Code::VersionMismatch | Code::PlanMismatch | Code::StaleAttempt | Code::OutputInUse => Grpc::FailedPrecondition,
        Code::Cancelled | Code::Interrupted => Grpc::Cancelled,
        Code::DeadlineExceeded => Grpc::DeadlineExceeded,
        Code::Unreachable => Grpc::Unavailable,
        Code::NoSpace | Code::OutOfMemory | Code::TooManyProcesses | Code::ResourceLimit | Code::Unschedulable => {
            Grpc::ResourceExhausted
        }
        Code::SegmentCorrupt | Code::JournalCorrupt => Grpc::DataLoss,
        Code::Internal => Grpc::Internal,
        _ => Grpc::Aborted,
    }
}

fn head(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

fn tail(text: &str, bytes: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(bytes))..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_arrives_unchanged() {
        for code in Code::ALL {
            let mut failure = Failure::new(*code, "stage 1, task 7: no room").at(RecordPlace {
                file: OsString::from_vec(b"/data/\xff\xfe".to_vec()).into(),
                offset: 1 << 40,
                excerpt: "naïve \"line\"\t".into(),
            });
            failure.stderr_tail = "thread panicked\nat src/main.rs".into();
            let status = to_status(&failure);
            assert_eq!(from_status(&status), failure);
            assert!(!broke(&status), "{code} was answered by a server");
        }
    }

    #[test]
    fn long_stderr_arrives_as_its_tail() {
        let mut failure = Failure::new(Code::UserPanic, "é".repeat(100_000));
        failure.stderr_tail = format!("{}the end", "ü".repeat(100_000)).into();
        let status = to_status(&failure);
        assert!(status.details().len() < 20_000);
        let arrived = from_status(&status);
        assert!(arrived.message.starts_with("éé"));
        assert!(arrived.stderr_tail.ends_with("the end"));
    }

    #[test]
    fn failure_of_any_bytes_fits_into_the_trailers() {
        for text in ["\0", "\u{1b}", "\"", "\\", "é", "\u{fffd}", "x"] {
            let mut failure = Failure::new(Code::ExecutorCrashed, text.repeat(100_000)).at(RecordPlace {
                file: OsString::from_vec(vec![b'\xff'; 4096]).into(),
                offset: u64::MAX,
                excerpt: text.repeat(100_000),
            });
            failure.stderr_tail = text.repeat(100_000).into();
            let headers = to_status(&failure).into_http::<()>();
            let bytes: usize = headers.headers().iter().map(|(k, v)| k.as_str().len() + v.len() + 32).sum();
            assert!(bytes < crate::HEADER_BYTES_MAX as usize, "{text:?}: {bytes}");
            let arrived = from_status(&to_status(&failure));
            assert_eq!((arrived.code, arrived.place.unwrap().offset), (Code::ExecutorCrashed, u64::MAX));
            assert!(arrived.stderr_tail.len() > 500 && arrived.message.len() > 500, "{text:?}");
        }
    }

    #[test]
    fn foreign_status_is_named_by_its_grpc_code() {
        let code = |grpc| from_status(&Status::new(grpc, "x")).code;
        assert_eq!(code(Grpc::Unavailable), Code::Unreachable);
        assert_eq!(code(Grpc::Unauthenticated), Code::Unauthorised);
        assert_eq!(code(Grpc::Unimplemented), Code::VersionMismatch);
        assert_eq!(code(Grpc::Internal), Code::Internal);
    }

    #[test]
    fn closed_connection_is_described_in_plain_words() {
        let text = format!("{NO_CLOSE_NOTIFY}: https://docs.rs/rustls");
        let cause = std::io::Error::new(std::io::ErrorKind::UnexpectedEof, text);
        assert_eq!(with_causes("the call broke", Some(&cause)), "the call broke: the other side closed the connection");
    }
}
