//! The page of a refusal or a failure: what, and what to do.

use super::{Html, Page};
use crate::refusal::Refusal;
use crate::reply::{Reply, plain};
use crate::text::Text;
use askama::Template;
use http::StatusCode;

#[derive(Template)]
#[template(path = "error.html")]
struct Error<'a> {
    status: u16,
    reason: &'a str,
    code: &'a str,
    message: Text,
    /// The general hint of a code; the message of a refused key has its own.
    hint: Option<&'a str>,
    /// A cookie is not sent when another site's link leads here, but with a link of this page.
    unauthorised: bool,
    root: &'a str,
}

/// The page of a refusal.
pub(crate) fn page(root: &'static str, refusal: &Refusal) -> Reply {
    let unauthorised = refusal.status == StatusCode::UNAUTHORIZED;
    let is_clients = refusal.status.is_client_error();
    let error = Error {
        status: refusal.status.as_u16(),
        reason: refusal.status.canonical_reason().unwrap_or("Error"),
        code: refusal.failure.code.as_str(),
        message: Text::lines(&refusal.failure.message),
        hint: (!is_clients).then(|| refusal.failure.code.hint()),
        unauthorised,
        root,
    };
    let framed = Html::of(&error).and_then(|main| {
        let page = Page { title: Text::line(error.reason), section: "", main, settled: true };
        page.framed_error(root, refusal.status)
    });
    framed.unwrap_or_else(|_| plain(refusal.status, &format!("{}\n", refusal.failure)))
}
