//! Flags of the dashboard of a daemon, and the verbs that make its keys.

use super::{Client, Span};
use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use std::net::SocketAddr;
use windrow_model::PageRole;

/// Flags of a daemon that serves a dashboard.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Ui {
    /// Address of the dashboard; port 0 picks one [default: 127.0.0.1:8480; any free port for `up`, and if --listen has
    /// port 0]
    #[arg(long, value_name = "ADDR", env = "WINDROW_UI_LISTEN")]
    pub ui_listen: Option<SocketAddr>,
    /// Serve no dashboard
    #[arg(long, conflicts_with_all = ["ui_listen", "ui_base_path", "ui_host"])]
    pub no_ui: bool,
    /// Path of the dashboard behind a proxy, such as /windrow [default: /]
    #[arg(long, value_name = "PATH", env = "WINDROW_UI_BASE_PATH", value_parser = NonEmptyStringValueParser::new())]
    pub ui_base_path: Option<String>,
    /// Another name under which browsers reach the dashboard, such as that of a proxy
    #[arg(long, value_name = "NAME[:PORT]", env = "WINDROW_UI_HOST", value_delimiter = ',')]
    pub ui_host: Vec<String>,
}

/// `windrow dashboard`.
#[derive(clap::Args, Debug)]
pub(crate) struct Dashboard {
    #[command(flatten)]
    pub client: Client,
    /// Let the browser look, but change nothing
    #[arg(long)]
    pub view: bool,
}

/// `windrow token`.
#[derive(clap::Args, Debug)]
pub(crate) struct PageTokens {
    #[command(subcommand)]
    pub verb: PageTokenVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum PageTokenVerb {
    /// Make a token that may look: for programs that read the API
    View(NewPageToken),
    /// Make a token that may also cancel jobs and drain workers
    Steer(NewPageToken),
    /// List the valid tokens, without their secrets
    List {
        #[command(flatten)]
        client: Client,
    },
    /// End a token at once
    Revoke {
        #[command(flatten)]
        client: Client,
        /// The token's id: token-…
        id: String,
    },
}

#[derive(clap::Args, Debug)]
pub(crate) struct NewPageToken {
    #[command(flatten)]
    pub client: Client,
    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub name: String,
    /// How long it is valid, such as 24h; at most 8784h
    #[arg(long, value_name = "TIME", default_value = "720h")]
    pub valid: Span,
}

impl Dashboard {
    /// The role of the browser.
    pub(crate) fn role(&self) -> PageRole {
        if self.view { PageRole::View } else { PageRole::Steer }
    }
}
