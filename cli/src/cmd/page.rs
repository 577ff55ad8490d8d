//! `windrow dashboard` and `windrow token`: keys of the page of a coordinator.

use super::connect;
use crate::args::{Dashboard, NewPageToken, PageTokenVerb, PageTokens};
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::settings::Settings;
use windrow_model::view::{IssuedTokenView, SignInView};
use windrow_model::{Failure, PageRole, utc};

/// Prints a URL that signs one browser in.
pub(crate) async fn sign_in(args: Dashboard, settings: Settings, format: Format) -> Result<Exit, Failure> {
    let role = args.role();
    let url = connect(args.client, settings.client).await?.sign_in_url(role).await?;
    match format {
        Format::Table => output::put(&url)?,
        Format::Json => output::put_json(&SignInView { url: &url })?,
    }
    Ok(Exit::Done)
}

/// Makes, lists or ends tokens.
pub(crate) async fn tokens(args: PageTokens, settings: Settings, format: Format) -> Result<Exit, Failure> {
    match args.verb {
        PageTokenVerb::View(new) => issue(PageRole::View, new, settings, format).await,
        PageTokenVerb::Steer(new) => issue(PageRole::Steer, new, settings, format).await,
        PageTokenVerb::List { client } => {
            let tokens = connect(client, settings.client).await?.page_tokens().await?;
            output::page_tokens(&tokens, format)?;
            Ok(Exit::Done)
        }
        PageTokenVerb::Revoke { client, id } => {
            connect(client, settings.client).await?.revoke_page_token(&id).await?;
            output::say(&format!("{id} is revoked"));
            Ok(Exit::Done)
        }
    }
}

/// The secret alone on stdout, so that it can go into a file.
async fn issue(role: PageRole, new: NewPageToken, settings: Settings, format: Format) -> Result<Exit, Failure> {
    let cluster = connect(new.client, settings.client).await?;
    let (secret, token) = cluster.issue_page_token(role, &new.name, new.valid.ms).await?;
    match format {
        Format::Table => {
            output::put(&secret)?;
            let until = utc(token.expires_unix_ms);
            output::say(&format!("{} may {} until {until}; `windrow token revoke` ends it", token.id, role.as_str()));
        }
        Format::Json => output::put_json(&IssuedTokenView { secret: &secret, token: (&token).into() })?,
    }
    Ok(Exit::Done)
}
