//! Keys of the page as programs see them.

use crate::page_key::PageToken;
use serde::Serialize;

/// A URL that signs one browser in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SignInView<'a> {
    /// The URL, with a code that works once.
    pub url: &'a str,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageTokenView<'a> {
    /// The id by which it is revoked.
    pub id: &'a str,
    /// `view` or `steer`.
    pub role: &'static str,
    /// What it is for.
    pub name: &'a str,
    /// When it expires, in milliseconds since 1970.
    pub expires_unix_ms: u64,
}

/// A new token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct IssuedTokenView<'a> {
    /// The token itself, for `Authorization: Bearer`.
    pub secret: &'a str,
    /// What is kept of it.
    #[serde(flatten)]
    pub token: PageTokenView<'a>,
}

impl<'a> From<&'a PageToken> for PageTokenView<'a> {
    fn from(token: &'a PageToken) -> Self {
        let PageToken { id, role, name, expires_unix_ms } = token;
        PageTokenView { id, role: role.as_str(), name, expires_unix_ms: *expires_unix_ms }
    }
}
