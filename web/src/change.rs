//! Checks of a request that changes something. A browser sends its cookie with a form of any port of this host, and so
//! with one that another program's page has made. So a form must also come from this page by its `Origin`, and carry the
//! session's key. A token in a header is sent by no browser on its own: it needs neither.

use crate::hosts::Hosts;
use crate::keys::Caller;
use crate::refusal::Refusal;
use axum::body::{Body, to_bytes};
use http::StatusCode;
use http::header::{self, HeaderMap};
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::time::timeout;
use windrow_model::Code;

/// Most bytes of a form.
const FORM_BYTES_MAX: usize = 4096;
/// How long the body of a form may take after its head.
const FORM_MAX: Duration = Duration::from_secs(2);

/// Reads the body, and checks it against the caller.
pub(crate) async fn check(
    caller: &Caller,
    headers: &HeaderMap,
    hosts: &Hosts,
    tls: bool,
    body: Body,
) -> Result<(), Refusal> {
    let too_large = || {
        let what = format!("a form has at most {FORM_BYTES_MAX} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, Code::BadRequest, what)
    };
    let late = |_| {
        let what = format!("a form comes within {} seconds after its head", FORM_MAX.as_secs());
        Refusal::new(StatusCode::REQUEST_TIMEOUT, Code::BadRequest, what)
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let length = text(header::CONTENT_LENGTH.as_str()).and_then(|length| length.parse::<u64>().ok());
    if length.is_some_and(|length| length > FORM_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let form = timeout(FORM_MAX, to_bytes(body, FORM_BYTES_MAX)).await.map_err(late)?.map_err(|_| too_large())?;
    let Some(expected) = &caller.form_key else { return Ok(()) };
    let own_page = match headers.get(header::ORIGIN) {
        // An origin that is not text is of no page.
        Some(origin) => {
            let host = text(header::HOST.as_str()).unwrap_or_default();
            origin.to_str().is_ok_and(|origin| hosts.admits_origin(origin, host, tls))
        }
        // A browser that sends no origin says where the form is from in this header.
        None => text("sec-fetch-site") == Some("same-origin"),
    };
    if !own_page {
        return Err(Refusal::forbidden("this form does not come from the page itself"));
    }
    let given = form_urlencoded::parse(&form).find(|(key, _)| key == "key");
    let fits = given.is_some_and(|(_, given)| bool::from(given.as_bytes().ct_eq(expected.as_bytes())));
    match fits {
        true => Ok(()),
        false => Err(Refusal::forbidden("this form is of another session: load the page again")),
    }
}
