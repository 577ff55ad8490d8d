//! Answers to requests that are refused or fail: a status and a failure, as a page, as JSON, or as text.

use crate::routes::Form;
use http::StatusCode;
use windrow_model::{Code, Failure};

/// Why a request is not answered with what it asks for.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub status: StatusCode,
    pub failure: Failure,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: Code, what: impl Into<String>) -> Refusal {
        Refusal { status, failure: Failure::new(code, what) }
    }

    /// No key, or one that is not valid.
    pub(crate) fn no_key() -> Refusal {
        let what = "this page needs a session or a token: `windrow dashboard` prints a URL that signs a browser in, \
                    `windrow token view` a token for programs";
        Refusal::new(StatusCode::UNAUTHORIZED, Code::Unauthorised, what)
    }

    /// A valid key that does not allow this.
    pub(crate) fn forbidden(what: &str) -> Refusal {
        Refusal::new(StatusCode::FORBIDDEN, Code::Unauthorised, what)
    }

    pub(crate) fn not_found() -> Refusal {
        Refusal::new(StatusCode::NOT_FOUND, Code::BadRequest, "there is nothing at this address")
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Refusal {
        let status = match failure.code {
            Code::JobNotFound | Code::WorkerNotFound | Code::DatasetNotFound => StatusCode::NOT_FOUND,
            Code::BadRequest => StatusCode::BAD_REQUEST,
            Code::Unauthorised => StatusCode::FORBIDDEN,
            Code::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Refusal { status, failure }
    }
}

/// The way from a page at this path to the page of all jobs: `./`, `../`. Links are relative, so that a proxy may put
/// the page below any path.
pub(crate) fn root_of(path: &str) -> &'static str {
    match path.matches('/').count() {
        0 | 1 => "./",
        2 => "../",
        3 => "../../",
        4 => "../../../",
        _ => "../../../../",
    }
}

/// The form in which a path that has no route is refused.
pub(crate) fn form_of(path: &str) -> Form {
    if path.starts_with("/api/") { Form::Json } else { Form::Html }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_reached_from_every_depth() {
        for (path, root) in [("/", "./"), ("/workers", "./"), ("/jobs/x", "../"), ("/jobs/x/logs", "../../")] {
            assert_eq!(root_of(path), root);
        }
    }
}
