//! The frame of every page: head, navigation, and what is in the middle.

use crate::refusal::Refusal;
use crate::reply::{Reply, html};
use crate::site::Visit;
use crate::text::{Text, time};
use askama::Template;
use http::StatusCode;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};
use windrow_model::{Code, Failure};

/// HTML that a template has made, so everything in it is escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Html(String);

impl Html {
    /// Renders a template.
    pub(crate) fn of(template: &impl Template) -> Result<Html, Refusal> {
        let failed = |e: askama::Error| Failure::new(Code::Internal, format!("a page cannot be made: {e}"));
        Ok(Html(template.render().map_err(failed)?))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A page before its frame.
pub(crate) struct Page {
    pub title: Text,
    /// The entry of the navigation that it belongs to.
    pub section: &'static str,
    pub main: Html,
    /// Whether it changes no more.
    pub settled: bool,
}

#[derive(Template)]
#[template(path = "frame.html")]
struct Frame<'a> {
    title: &'a Text,
    section: &'a str,
    root: &'a str,
    main: &'a Html,
    /// The session's key for forms; absent without a session.
    form_key: Option<&'a str>,
    /// Navigation is for callers with a key.
    signed_in: bool,
    live: bool,
    version: &'a str,
    now: Text,
}

impl Page {
    /// Puts the frame around a page.
    pub(crate) fn framed(&self, visit: &Visit) -> Result<Reply, Refusal> {
        let caller = visit.caller.as_ref();
        let frame = Frame {
            title: &self.title,
            section: self.section,
            root: visit.root,
            main: &self.main,
            form_key: caller.and_then(|caller| caller.form_key.as_deref()),
            signed_in: caller.is_some(),
            live: visit.route.target.is_live() && !self.settled,
            version: env!("CARGO_PKG_VERSION"),
            now: now(),
        };
        Ok(html(StatusCode::OK, Html::of(&frame)?.0))
    }

    /// The page of an error, without navigation: its reader may have no key.
    pub(crate) fn framed_error(&self, root: &str, status: StatusCode) -> Result<Reply, Refusal> {
        let frame = Frame {
            title: &self.title,
            section: self.section,
            root,
            main: &self.main,
            form_key: None,
            signed_in: false,
            live: false,
            version: env!("CARGO_PKG_VERSION"),
            now: now(),
        };
        Ok(html(status, Html::of(&frame)?.0))
    }
}

fn now() -> Text {
    time(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}
