//! Answers of HTTP: their kinds, and the headers that all of them have.

use axum::body::Body;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

/// An answer.
pub(crate) type Reply = Response<Body>;

pub(crate) fn plain(status: StatusCode, text: &str) -> Reply {
    reply(status, "text/plain; charset=utf-8", text.to_string())
}

pub(crate) fn html(status: StatusCode, text: String) -> Reply {
    reply(status, "text/html; charset=utf-8", text)
}

pub(crate) fn json(status: StatusCode, view: &impl serde::Serialize) -> Reply {
    match serde_json::to_string(view) {
        Ok(text) => reply(status, "application/json", text),
        Err(e) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("the answer cannot be encoded: {e}\n")),
    }
}

pub(crate) fn file(kind: &'static str, text: &'static str) -> Reply {
    let mut reply = reply(StatusCode::OK, kind, text.to_string());
    reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    reply
}

/// To a path relative to the present one.
pub(crate) fn redirect(to: &str) -> Reply {
    let mut reply = plain(StatusCode::SEE_OTHER, "");
    if let Ok(to) = HeaderValue::from_str(to) {
        reply.headers_mut().insert(header::LOCATION, to);
    }
    reply
}

pub(crate) fn reply(status: StatusCode, kind: &'static str, text: impl Into<Body>) -> Reply {
    let mut reply = Response::new(text.into());
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}

/// Headers that bound what a browser does with an answer. The referrer policy is not `no-referrer`, because browsers
/// then send `Origin: null` with forms of the page itself; other sites get no referrer either way. There is no HSTS: it
/// would hold for every port of the host.
pub(crate) fn secure(reply: &mut Reply) {
    const HEADERS: [(&str, &str); 6] = [
        (
            "content-security-policy",
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("x-frame-options", "DENY"),
    ];
    for (name, value) in HEADERS {
        reply.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    let kept = reply.headers().contains_key(header::CACHE_CONTROL);
    if !kept {
        reply.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}
