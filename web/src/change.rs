//! Checks of a request that changes something. A browser sends its cookie with a form of any port of this host, and so
//! with one that another program's page has made. So a form must also come from this page by its `Origin`, and carry the
//! session's key. A token in a header is sent by no browser on its own: it needs neither.

use crate::hosts::Hosts;
use crate::keys::Caller;
use crate::refusal::Refusal;
use axum::body::{Body, to_bytes};
use http::StatusCode;
use http::header::{self, HeaderMap};
use subtle::ConstantTimeEq;
use windrow_model::Code;

/// Most bytes of a form.
const FORM_BYTES_MAX: usize = 4096;

/// Reads the body, and checks it against the caller.
pub(crate) async fn check(caller: &Caller, headers: &HeaderMap, hosts: &Hosts, body: Body) -> Result<(), Refusal> {
    let too_large = |_| {
        let what = format!("a form has at most {FORM_BYTES_MAX} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, Code::BadRequest, what)
    };
    let form = to_bytes(body, FORM_BYTES_MAX).await.map_err(too_large)?;
    let Some(expected) = &caller.form_key else { return Ok(()) };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let own_page = match header(header::ORIGIN.as_str()) {
        Some(origin) => hosts.admits_origin(origin),
        // A browser that sends no origin says where the form is from in this header.
        None => header("sec-fetch-site") == Some("same-origin"),
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
