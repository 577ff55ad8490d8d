//! Keys of the page of a coordinator: what they allow, and tokens without their secrets. The page never takes the
//! cluster's token.

use serde::{Deserialize, Serialize};

/// What a session or a token of the page allows. A later one allows what an earlier one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PageRole {
    /// Read everything that the page shows.
    View,
    /// Also cancel jobs and drain workers.
    Steer,
}

impl PageRole {
    /// The name in files, messages and commands.
    pub fn as_str(self) -> &'static str {
        match self {
            PageRole::View => "view",
            PageRole::Steer => "steer",
        }
    }
}

/// A token of the page, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToken {
    /// The id by which it is revoked.
    pub id: String,
    /// What it allows.
    pub role: PageRole,
    /// What it is for.
    pub name: String,
    /// When it expires, in milliseconds since 1970.
    pub expires_unix_ms: u64,
}
