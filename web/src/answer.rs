//! Answers requests: checks the host, finds the route, authorises the caller by the route's row, and has its target answer
//! within a deadline. It knows nothing of connections.

use crate::pages;
use crate::refusal::{Refusal, form_of, root_of};
use crate::reply::{Reply, file, json, plain, redirect, secure};
use crate::routes::{Form, Need, ROUTES, Route, Target};
use crate::site::{Site, Visit};
use crate::{api, change, live};
use axum::Router;
use axum::body::Body;
use axum::extract::RawPathParams;
use axum::extract::rejection::RawPathParamsRejection;
use axum::routing::{MethodFilter, on};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, Uri};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tower::ServiceExt;
use windrow_model::Code;

/// How long a request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

impl Site {
    /// The router of all routes, each behind its authorisation.
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        let unknown = async |request: Request<Body>| refuse_path(request.uri().path(), Refusal::not_found());
        let wrong_method = async |request: Request<Body>| {
            let what = "this address does not take requests of this method";
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Code::BadRequest, what);
            refuse_path(request.uri().path(), refusal)
        };
        let router = Router::new().fallback(unknown).method_not_allowed_fallback(wrong_method);
        ROUTES.iter().fold(router, |router, route| {
            let site = self.clone();
            let method = if route.changes { MethodFilter::POST } else { MethodFilter::GET };
            let handler = move |params: Result<RawPathParams, RawPathParamsRejection>, request: Request<Body>| {
                // An id that is not text is the empty one, which names nothing; the caller is authorised first.
                let id = params.ok().and_then(|params| params.iter().next().map(|(_, id)| id.to_string()));
                let id = id.unwrap_or_default();
                let site = site.clone();
                async move { site.authorise_and_answer(*route, id, request).await }
            };
            router.route(route.path, on(method, handler))
        })
    }

    /// Answers a request. Every answer has the headers of [`secure`].
    pub(crate) async fn serve(&self, router: Router, mut request: Request<Body>) -> Reply {
        let twice = [header::HOST, header::ORIGIN].into_iter().find(|name| is_repeated(request.headers(), name));
        // The authority of an absolute URL stands for the host; from here on there is one of them.
        if let Some(authority) = request.uri().authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok()) {
            request.headers_mut().insert(header::HOST, authority);
        }
        let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
        let mut reply = match (twice, host) {
            (Some(name), _) => {
                let what = format!("a request has one `{name}` header");
                let refusal = Refusal::new(StatusCode::BAD_REQUEST, Code::BadRequest, what);
                refuse_path(request.uri().path(), refusal)
            }
            (None, Some(host)) if self.hosts.admits(host) => match self.below_base(request.uri()) {
                Below::Path(uri) => {
                    let path = uri.path().to_string();
                    *request.uri_mut() = uri;
                    match timeout(REQUEST_TIMEOUT, router.oneshot(request)).await {
                        Ok(Ok(reply)) => reply,
                        Ok(Err(never)) => match never {},
                        Err(_) => refuse_path(&path, late()),
                    }
                }
                Below::Redirect => redirect(&format!("{}/", self.base)),
            },
            _ => {
                let what = "this name is not one of the page's: open the URL that the coordinator prints, or add the name with \
                            `--ui-host`";
                refuse(Form::Plain, "./", Refusal::new(StatusCode::MISDIRECTED_REQUEST, Code::BadRequest, what))
            }
        };
        secure(&mut reply);
        reply
    }

    /// A request may come with the base path, or, from a proxy that removes it, without.
    fn below_base(&self, uri: &Uri) -> Below {
        let path = uri.path();
        let below = match path.strip_prefix(&*self.base) {
            Some("") if !self.base.is_empty() => return Below::Redirect,
            Some(below) if below.starts_with('/') => below,
            _ => path,
        };
        let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
        // It was part of a URI, so it is one; otherwise there is no such route.
        Below::Path(format!("{below}{query}").parse().unwrap_or_else(|_| Uri::from_static("/none")))
    }

    async fn authorise_and_answer(self: &Arc<Self>, route: Route, id: String, request: Request<Body>) -> Reply {
        let root = root_of(request.uri().path());
        let answered = self.try_answer(route, id, root, request).await;
        answered.unwrap_or_else(|refusal| refuse(route.form, root, refusal))
    }

    async fn try_answer(
        self: &Arc<Self>,
        route: Route,
        id: String,
        root: &'static str,
        request: Request<Body>,
    ) -> Result<Reply, Refusal> {
        let (head, body) = request.into_parts();
        let caller = match route.need {
            Need::Nothing => None,
            Need::Role(role) => {
                let caller = self.caller(&head.headers).ok_or_else(Refusal::no_key)?;
                if caller.role < role {
                    let what =
                        format!("this needs the role `{}`, and the key has `{}`", role.as_str(), caller.role.as_str());
                    return Err(Refusal::forbidden(&what));
                }
                Some(caller)
            }
        };
        if route.changes {
            let caller = caller.as_ref().ok_or_else(Refusal::no_key)?;
            change::check(caller, &head.headers, &self.hosts, self.tls, body).await?;
        }
        // A code is used up by opening its URL, not by asking about it.
        if route.target == Target::SignIn && head.method == Method::HEAD {
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, Code::BadRequest, "a code is used by GET alone"));
        }
        let query = head.uri.query().unwrap_or_default().to_string();
        let visit = Visit { route, id, root, query, headers: head.headers, caller };
        match route.target {
            Target::Health => Ok(plain(StatusCode::OK, "ok\n")),
            Target::Ready => Ok(match self.is_ready().await {
                true => plain(StatusCode::OK, "ready\n"),
                false => plain(StatusCode::SERVICE_UNAVAILABLE, "the coordinator does not answer\n"),
            }),
            Target::Style => Ok(file("text/css; charset=utf-8", include_str!("../static/style.css"))),
            Target::Script => Ok(file("text/javascript; charset=utf-8", include_str!("../static/live.js"))),
            Target::Icon => Ok(file("image/svg+xml", include_str!("../static/icon.svg"))),
            Target::SignIn => self.sign_in(&visit),
            Target::SignOut => Ok(self.sign_out(&visit)),
            Target::Jobs | Target::Job | Target::Logs | Target::Workers | Target::Datasets | Target::Settings => {
                self.page(visit).await
            }
            Target::CancelJob | Target::DrainWorker => {
                self.steer(&visit).await?;
                Ok(match route.target {
                    Target::CancelJob => redirect(&format!("../{}", pages::job_id(&visit.id)?)),
                    _ => redirect("../../workers"),
                })
            }
            Target::ApiJobs => api::jobs(self, &visit).await,
            Target::ApiJob => api::job(self, &visit).await,
            Target::ApiLogs => api::logs(self, &visit).await,
            Target::ApiWorkers => api::workers(self).await,
            Target::ApiDatasets => api::datasets(self).await,
            Target::ApiCancelJob | Target::ApiDrainWorker => {
                self.steer(&visit).await?;
                Ok(json(StatusCode::ACCEPTED, &serde_json::json!({})))
            }
        }
    }

    /// A page, or the stream of its patches.
    async fn page(self: &Arc<Self>, visit: Visit) -> Result<Reply, Refusal> {
        match visit.route.target.is_live() && live::is_asked(&visit.headers) {
            true => live::stream(self, visit),
            false => pages::page(self, &visit).await?.framed(&visit),
        }
    }

    async fn steer(&self, visit: &Visit) -> Result<(), Refusal> {
        match visit.route.target {
            Target::CancelJob | Target::ApiCancelJob => {
                let id = pages::job_id(&visit.id)?;
                let state = self.ask(self.facts.job(id)).await?.status.state;
                if state.is_final() {
                    let what = format!("the job has ended already, as `{}`: it cannot be cancelled", state.as_str());
                    return Err(Refusal::new(StatusCode::CONFLICT, Code::BadRequest, what));
                }
                self.ask(self.facts.cancel(id)).await?;
            }
            _ => {
                let unknown =
                    |_| Refusal::new(StatusCode::NOT_FOUND, Code::WorkerNotFound, "this is not the id of a worker");
                self.ask(self.facts.drain(visit.id.parse().map_err(unknown)?)).await?;
            }
        }
        Ok(())
    }

    /// Begins a session, and sends the browser to a URL without the code.
    fn sign_in(&self, visit: &Visit) -> Result<Reply, Refusal> {
        let code = form_urlencoded::parse(visit.query.as_bytes()).find(|(key, _)| key == "code");
        let code = code.map(|(_, code)| code.into_owned()).unwrap_or_default();
        let Some(session) = self.keys.begin_session(&code)? else {
            let what = "this code is unknown, has been used, or has expired: `windrow dashboard` prints a fresh URL";
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, Code::Unauthorised, what));
        };
        let mut reply = redirect("./");
        let seconds = crate::sign_in::SESSION_MS / 1000;
        self.set_cookie(&mut reply, session.secret.as_str(), seconds);
        Ok(reply)
    }

    fn sign_out(&self, visit: &Visit) -> Reply {
        self.sessions(&visit.headers).for_each(|session| self.keys.end_session(session));
        let mut reply = redirect("./");
        self.set_cookie(&mut reply, "", 0);
        reply
    }

    fn set_cookie(&self, reply: &mut Reply, value: &str, seconds: u64) {
        let (name, base, secure) = (&self.cookie, &self.base, if self.tls { "; Secure" } else { "" });
        let cookie = format!("{name}={value}; Path={base}/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
        // Names, hex and a checked path: always a value of a header.
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            reply.headers_mut().insert(header::SET_COOKIE, cookie);
        }
    }
}

enum Below {
    Path(Uri),
    Redirect,
}

fn is_repeated(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(name).iter().nth(1).is_some()
}

fn late() -> Refusal {
    Refusal::new(StatusCode::GATEWAY_TIMEOUT, Code::DeadlineExceeded, "the answer takes too long; try again")
}

/// A refusal at a path that has no row in the table, or before its row is known.
fn refuse_path(path: &str, refusal: Refusal) -> Reply {
    refuse(form_of(path), root_of(path), refusal)
}

/// A refusal in the form of its route.
fn refuse(form: Form, root: &'static str, refusal: Refusal) -> Reply {
    let mut reply = match form {
        Form::Html => pages::error::page(root, &refusal),
        Form::Json => {
            let view = windrow_model::view::ErrorView { error: (&refusal.failure).into() };
            json(refusal.status, &view)
        }
        Form::Plain => plain(refusal.status, &format!("{}\n", refusal.failure)),
    };
    if refusal.status == StatusCode::UNAUTHORIZED {
        reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    reply
}
