//! Keys of the page that a coordinator serves.

use super::{Cluster, answered, asking};
use windrow_model::{Code, Failure, PageRole, PageToken};
use windrow_net::clients;
use windrow_proto::v1::{self, page_client::PageClient};

impl Cluster {
    /// A URL with a one-time code, which signs one browser in with this role.
    ///
    /// # Errors
    /// `BAD_REQUEST` if the coordinator serves no page; `UNREACHABLE`.
    pub async fn sign_in_url(&self, role: PageRole) -> Result<String, Failure> {
        let role = v1::PageRole::from(role).into();
        Ok(answered(self.page().sign_in_url(asking(v1::SignInUrlRequest { role })).await)?.url)
    }

    /// Makes a token for programs, and returns its secret with what is kept of it.
    ///
    /// # Errors
    /// `BAD_REQUEST` beyond the limits of tokens, or if the coordinator serves no page; `UNREACHABLE`.
    pub async fn issue_page_token(
        &self,
        role: PageRole,
        name: &str,
        valid_ms: u64,
    ) -> Result<(String, PageToken), Failure> {
        let (role, name) = (v1::PageRole::from(role).into(), name.to_string());
        let request = asking(v1::IssueTokenRequest { role, name, valid_ms });
        let reply = answered(self.page().issue_token(request).await)?;
        let token = reply.token.ok_or_else(|| Failure::new(Code::BadRequest, "an answer without a token"))?;
        Ok((reply.secret, token.try_into()?))
    }

    /// The valid tokens.
    ///
    /// # Errors
    /// As [`Cluster::sign_in_url`].
    pub async fn page_tokens(&self) -> Result<Vec<PageToken>, Failure> {
        let reply = answered(self.page().list_tokens(asking(v1::ListTokensRequest {})).await)?;
        let tokens = reply.tokens.into_iter().map(PageToken::try_from);
        Ok(tokens.collect::<Result<_, _>>()?)
    }

    /// Ends a token.
    ///
    /// # Errors
    /// `BAD_REQUEST` if no valid token has this id; as [`Cluster::sign_in_url`].
    pub async fn revoke_page_token(&self, id: &str) -> Result<(), Failure> {
        answered(self.page().revoke_token(asking(v1::RevokeTokenRequest { id: id.to_string() })).await)?;
        Ok(())
    }

    fn page(&self) -> PageClient<windrow_net::Connection> {
        clients::page(self.connection.clone())
    }
}
