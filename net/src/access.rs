//! Authorisation of calls: the table of RPCs, the layer that enforces it, and the source of a caller's token.
//!
//! A cluster has one token, and each holder of it is a member, so the table distinguishes only anyone and members.

use crate::admission::Ticket;
use crate::open_calls::OpenCall;
use crate::small_body::SmallBody;
use crate::state_folder::StateFolder;
use crate::token::Token;
use futures_util::future::Either;
use http::{Request, Response, header};
use std::future::{Future, Ready, ready};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use windrow_model::{Code, Failure};

/// Who may call an RPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Needs no token: calls that must work before a token is known.
    Anyone,
    /// A holder of the cluster's token: a user's tool, a worker, or the coordinator.
    Member,
}

/// All RPCs with their permitted callers. An unlisted RPC is for members only.
pub const TABLE: &[(&str, Caller)] = &[
    ("/grpc.health.v1.Health/Check", Caller::Anyone),
    ("/grpc.health.v1.Health/List", Caller::Anyone),
    ("/grpc.health.v1.Health/Watch", Caller::Anyone),
    ("/windrow.v1.Jobs/Hello", Caller::Anyone),
    ("/windrow.v1.Jobs/MissingArtifacts", Caller::Member),
    ("/windrow.v1.Jobs/PutArtifact", Caller::Member),
    ("/windrow.v1.Jobs/Submit", Caller::Member),
    ("/windrow.v1.Jobs/Watch", Caller::Member),
    ("/windrow.v1.Jobs/Get", Caller::Member),
    ("/windrow.v1.Jobs/List", Caller::Member),
    ("/windrow.v1.Jobs/Cancel", Caller::Member),
    ("/windrow.v1.Jobs/DecideCommit", Caller::Member),
    ("/windrow.v1.Jobs/Collected", Caller::Member),
    ("/windrow.v1.Jobs/Logs", Caller::Member),
    ("/windrow.v1.Jobs/Workers", Caller::Member),
    ("/windrow.v1.Jobs/DrainWorker", Caller::Member),
    ("/windrow.v1.History/Events", Caller::Member),
    ("/windrow.v1.History/Attempts", Caller::Member),
    ("/windrow.v1.History/PastJobs", Caller::Member),
    ("/windrow.v1.Data/Put", Caller::Member),
    ("/windrow.v1.Data/List", Caller::Member),
    ("/windrow.v1.Data/Get", Caller::Member),
    ("/windrow.v1.Data/Remove", Caller::Member),
    ("/windrow.v1.Data/ListOrphans", Caller::Member),
    ("/windrow.v1.Data/Adopt", Caller::Member),
    ("/windrow.v1.Data/ListScrubs", Caller::Member),
    ("/windrow.v1.Data/Backup", Caller::Member),
    ("/windrow.v1.Page/SignInUrl", Caller::Member),
    ("/windrow.v1.Page/IssueToken", Caller::Member),
    ("/windrow.v1.Page/ListTokens", Caller::Member),
    ("/windrow.v1.Page/RevokeToken", Caller::Member),
    ("/windrow.v1.Session/Connect", Caller::Member),
    ("/windrow.v1.Session/GetArtifact", Caller::Member),
    ("/windrow.v1.Transfer/FetchSegments", Caller::Member),
    ("/windrow.v1.Transfer/LocateOutputs", Caller::Member),
    ("/windrow.v1.Transfer/ReadLogs", Caller::Member),
    ("/windrow.v1.Transfer/PutChunk", Caller::Member),
    ("/windrow.v1.Transfer/GetChunk", Caller::Member),
];

/// The permitted caller of the RPC at this path; `None` if the table does not list it.
pub fn caller_of(path: &str) -> Option<Caller> {
    TABLE.iter().find(|(rpc, _)| *rpc == path).map(|(_, caller)| *caller)
}

/// The credentials and trust settings of a client.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Proven on every connection; sent only to a server with a trusted certificate.
    pub token: Option<Token>,
    /// The authority that must have signed the server's certificate; the system's trust store if absent.
    pub ca: Option<PathBuf>,
}

impl Access {
    /// The access settings for the coordinator at `url`: the token in `token_file` if given, else the one in the
    /// coordinator's record.
    ///
    /// # Errors
    /// The token file cannot be read.
    pub fn resolve(url: &str, token_file: Option<&Path>, ca: Option<&Path>) -> Result<Access, Failure> {
        let record = StateFolder::of_user().ok().and_then(|folder| folder.by_url(url));
        let ca = ca.map(Path::to_path_buf).or_else(|| record.as_ref().and_then(|r| r.ca.clone()));
        let token = match (token_file, record) {
            (Some(path), _) => Some(Token::read(path)?),
            // A stale record whose token file is gone counts as no record.
            (None, Some(record)) if record.token_file.exists() => Some(Token::read(&record.token_file)?),
            _ => None,
        };
        Ok(Access { token, ca })
    }

    /// Requires a token. Without one, a program that has taken over the coordinator's port could not be distinguished
    /// from the coordinator, would be sent jobs, or could give a worker tasks.
    ///
    /// # Errors
    /// `UNAUTHORISED` if there is no token.
    pub fn require_token(&self, url: &str) -> Result<(), Failure> {
        if self.token.is_some() {
            return Ok(());
        }
        let message = format!("no token is known for the coordinator at {url}, so its identity cannot be verified");
        Err(Failure::new(Code::Unauthorised, message))
    }

    /// The URL of a coordinator: the given one, else the latest that this user started.
    ///
    /// # Errors
    /// `UNREACHABLE` if no URL is given and no coordinator is recorded.
    pub fn url(given: Option<&str>) -> Result<String, Failure> {
        if let Some(url) = given {
            return Ok(crate::state_folder::with_scheme(url));
        }
        StateFolder::of_user()?
            .latest()
            .map(|r| r.url)
            .ok_or_else(|| Failure::new(Code::Unreachable, "no coordinator is given, and this user has started none"))
    }
}

/// A tower layer that admits a call if the table allows anyone, if the call's connection has proven the token, or if
/// the call carries the token on a server that accepts it. It decides by headers: the body of a refused call is not
/// read, and that of a call for anyone only up to [`crate::UNPROVEN_BYTES_MAX`] bytes.
#[derive(Clone, Debug)]
pub struct RequireToken {
    token: Option<Token>,
    takes_bearer: bool,
}

impl RequireToken {
    /// Requires callers to have this token, if there is one. A token in a header is accepted only with `takes_bearer`:
    /// where the connection is encrypted, or where the operator has declared the network trusted.
    pub fn new(token: Option<Token>, takes_bearer: bool) -> Self {
        RequireToken { token, takes_bearer }
    }

    /// Decides whether the caller is a member.
    fn judge<B>(&self, request: &Request<B>, ticket: Option<&Ticket>) -> Result<(), Failure> {
        let Some(token) = &self.token else { return Ok(()) };
        if ticket.is_some_and(Ticket::is_proven) {
            return Ok(());
        }
        let given = request.headers().get(header::AUTHORIZATION).map(|v| v.as_bytes());
        match given.and_then(|v| v.strip_prefix(b"Bearer ")) {
            Some(_) if !self.takes_bearer => Err(Failure::new(
                Code::VersionMismatch,
                "the caller sends its token in the clear, as an older release does; this one proves it instead",
            )),
            Some(given) if token.matches(given) => {
                if let Some(ticket) = ticket {
                    ticket.prove();
                }
                Ok(())
            }
            Some(_) => Err(Failure::new(Code::Unauthorised, "the token is not this cluster's")),
            None => Err(Failure::new(Code::Unauthorised, "the caller does not prove that it has the cluster's token")),
        }
    }
}

impl<S> tower::Layer<S> for RequireToken {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { inner, guard: self.clone() }
    }
}

/// A service behind [`RequireToken`].
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    guard: RequireToken,
}

/// An answer under way.
type Answering<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> tower::Service<Request<Body>> for Guarded<S>
where
    S: tower::Service<Request<Body>, Response = Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<S::Response, S::Error>>, Answering<S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let ticket = request.extensions().get::<Arc<Ticket>>().cloned();
        if let Some(ticket) = &ticket {
            ticket.activity().note_call();
        }
        match self.guard.judge(&request, ticket.as_deref()) {
            Ok(()) => Either::Right(answer(ticket, self.inner.call(request))),
            Err(_) if caller_of(request.uri().path()) == Some(Caller::Anyone) => {
                let small = request.map(|body| Body::new(SmallBody::new(body)));
                Either::Right(answer(ticket, self.inner.call(small)))
            }
            Err(failure) => {
                if let Some(ticket) = &ticket {
                    ticket.refuse(&failure);
                }
                Either::Left(ready(Ok(crate::status::to_status(&failure).into_http())))
            }
        }
    }
}

/// The call is open from here on, until its answer is sent.
fn answer<E>(
    ticket: Option<Arc<Ticket>>,
    call: impl Future<Output = Result<Response<Body>, E>> + Send + 'static,
) -> Answering<E> {
    let open = ticket.map(|ticket| OpenCall::begin(ticket.activity().clone()));
    Box::pin(async move {
        let response = call.await?;
        Ok(match open {
            Some(open) => response.map(|body| open.until_sent(body)),
            None => response,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::{Admission, Limits};

    /// The paths of all RPCs in the protocol's source files.
    fn rpcs() -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto/windrow/v1");
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let mut service = "";
            for line in text.lines().map(str::trim) {
                if let Some(rest) = line.strip_prefix("service ") {
                    service = rest.split([' ', '{']).next().unwrap();
                } else if let Some(rest) = line.strip_prefix("rpc ") {
                    found.push(format!("/windrow.v1.{service}/{}", rest.split('(').next().unwrap().trim()));
                }
            }
        }
        found
    }

    #[test]
    fn access_table_lists_exactly_the_rpcs_of_the_protocol() {
        let rpcs = rpcs();
        assert!(rpcs.len() > 10);
        for rpc in &rpcs {
            assert!(caller_of(rpc).is_some(), "{rpc} is not in the table");
        }
        for (row, _) in TABLE.iter().filter(|(row, _)| row.starts_with("/windrow.")) {
            assert!(rpcs.iter().any(|rpc| rpc == row), "{row} is not an RPC");
        }
    }

    #[test]
    fn only_health_and_hello_need_no_token() {
        let unlisted = ("/windrow.v1.Jobs/NotYetMade", Caller::Member);
        for (path, caller) in TABLE.iter().copied().chain([unlisted]) {
            let open = path.starts_with("/grpc.health.v1.Health/") || path == "/windrow.v1.Jobs/Hello";
            assert_eq!(caller == Caller::Anyone, open, "{path}");
        }
    }

    fn judged(takes_bearer: bool, header: Option<&str>, ticket: Option<&Ticket>) -> Option<Code> {
        let guard = RequireToken::new(Token::parse("0123456789abcdef"), takes_bearer);
        let mut request = Request::builder().uri("/windrow.v1.Jobs/List");
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        guard.judge(&request.body(()).unwrap(), ticket).err().map(|failure| failure.code)
    }

    #[test]
    fn token_in_a_header_counts_only_when_encrypted() {
        let good = Some("Bearer 0123456789abcdef");
        assert_eq!(judged(true, good, None), None);
        assert_eq!(judged(false, good, None), Some(Code::VersionMismatch));
        for bad in [None, Some("Bearer "), Some("Bearer 0123456789abcdeg"), Some("0123456789abcdef")] {
            assert_eq!(judged(true, bad, None), Some(Code::Unauthorised), "{bad:?}");
            assert!(judged(false, bad, None).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn proof_of_a_connection_holds_for_its_calls() {
        let ticket = Admission::new(Limits::default()).admit([127, 0, 0, 1].into());
        assert_eq!(judged(false, None, Some(&ticket)), Some(Code::Unauthorised));
        assert_eq!(judged(true, Some("Bearer 0123456789abcdef"), Some(&ticket)), None);
        assert_eq!(judged(false, None, Some(&ticket)), None);
    }
}
