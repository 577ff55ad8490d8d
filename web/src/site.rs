//! The site: its facts, keys and names, its questions to the facts, and the callers behind requests. It answers nothing
//! by itself.

use crate::facts::{Answer, Facts};
use crate::hosts::Hosts;
use crate::keys::{Caller, Keys};
use crate::routes::Route;
use http::header::{self, HeaderMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout};
use windrow_model::{Code, Failure, PageRole};

/// Most streams of patches at a time. A page without one can be reloaded.
pub(crate) const STREAMS_MAX: usize = 32;
/// Questions to the facts at a time, over all requests: the process behind them has other work.
const QUESTIONS_MAX: usize = 4;
/// How long a question may take, with its wait for others.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Most cookies of a session's name that are tried.
const SESSION_COOKIES_MAX: usize = 16;
/// How long an answer about readiness is reused, since anyone may ask.
const READY_KEPT: Duration = Duration::from_secs(1);

/// A setting in effect, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The flag's name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// What a site is made of.
pub(crate) struct Parts {
    /// The source of facts.
    pub facts: Arc<dyn Facts>,
    /// Who may use it.
    pub keys: Arc<Keys>,
    /// The names under which it is used.
    pub hosts: Hosts,
    /// The path under which it is used, such as `/windrow`; empty for the root of the host.
    pub base: String,
    /// Part of the cookie's name: cookies are not separated by port.
    pub port: u16,
    /// Whether it is served with TLS.
    pub tls: bool,
    /// The settings that are shown.
    pub settings: Vec<Setting>,
}

/// The site.
pub(crate) struct Site {
    pub(crate) facts: Arc<dyn Facts>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) settings: Vec<Setting>,
    pub(crate) hosts: Hosts,
    pub(crate) base: String,
    /// The name of the cookie of its sessions.
    pub(crate) cookie: String,
    pub(crate) tls: bool,
    questions: Semaphore,
    /// Room for streams of patches.
    pub(crate) streams: Arc<Semaphore>,
    ready: Mutex<Option<(Instant, bool)>>,
}

/// A request that is authorised.
pub(crate) struct Visit {
    pub route: Route,
    /// The `{id}` of the path.
    pub id: String,
    /// The way to the root.
    pub root: &'static str,
    pub query: String,
    pub headers: HeaderMap,
    /// Absent on routes that need nothing.
    pub caller: Option<Caller>,
}

impl Visit {
    /// Whether the caller may change things.
    pub(crate) fn may_steer(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.role >= PageRole::Steer)
    }
}

impl Site {
    /// Makes a site.
    ///
    /// # Errors
    /// `BAD_REQUEST` if the base path is not one.
    pub(crate) fn new(parts: Parts) -> Result<Arc<Site>, Failure> {
        let Parts { facts, keys, hosts, base, port, tls, settings } = parts;
        check_base(&base)?;
        let base = base.trim_end_matches('/').to_string();
        let (questions, ready) = (Semaphore::new(QUESTIONS_MAX), Mutex::default());
        let cookie = format!("windrow-{port}");
        let streams = Arc::new(Semaphore::new(STREAMS_MAX));
        Ok(Arc::new(Site { facts, keys, settings, hosts, base, cookie, tls, questions, streams, ready }))
    }

    /// The caller by its token, or by its session. A wrong token is not made good by a session.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Option<Caller> {
        if let Some(given) = headers.get(header::AUTHORIZATION) {
            let (scheme, token) = given.to_str().ok()?.split_once(' ')?;
            return if scheme.eq_ignore_ascii_case("bearer") { self.keys.of_token(token.trim()) } else { None };
        }
        self.sessions(headers).find_map(|session| self.keys.of_session(session))
    }

    /// The values of all cookies of a session's name: another program of this host may have set one for another path, and
    /// a browser sends both.
    pub(crate) fn sessions<'h>(&'h self, headers: &'h HeaderMap) -> impl Iterator<Item = &'h str> {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(name, _)| *name == self.cookie).map(|(_, value)| value).take(SESSION_COOKIES_MAX)
    }

    /// Waits for an answer: few questions are asked at a time, and none is waited for longer than the timeout.
    pub(crate) async fn ask<T>(&self, answer: Answer<T>) -> Result<T, Failure> {
        let asked = async {
            // The semaphore is never closed.
            let _permit = self.questions.acquire().await;
            answer.await
        };
        let late = |_| Failure::new(Code::DeadlineExceeded, "the coordinator is too busy to answer; try again");
        timeout(QUESTION_TIMEOUT, asked).await.map_err(late)?
    }

    pub(crate) async fn is_ready(&self) -> bool {
        let mut last = self.ready.lock().await;
        if let Some((at, ready)) = *last
            && at.elapsed() < READY_KEPT
        {
            return ready;
        }
        let ready = self.ask(self.facts.workers()).await.is_ok();
        *last = Some((Instant::now(), ready));
        ready
    }
}

/// Checks a base path: it becomes part of cookies and links.
pub(crate) fn check_base(base: &str) -> Result<(), Failure> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    if (base.is_empty() || base.starts_with('/')) && !base.contains("//") && base.bytes().all(fits) {
        return Ok(());
    }
    let what = "the base path of the dashboard begins with `/`, and has letters, digits and `-._~/` only";
    Err(Failure::new(Code::BadRequest, what))
}
