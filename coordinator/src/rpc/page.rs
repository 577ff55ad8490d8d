//! Keys of the page: sign-in URLs, and tokens for programs. Changes of the file of tokens run on blocking threads.

use crate::rpc::refuse;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use windrow_model::{Code, Failure, PageRole};
use windrow_proto::{ConvertError, v1};
use windrow_web::Page as Served;

pub(crate) struct Page {
    /// Absent in a coordinator without a page.
    pub page: Option<Arc<Served>>,
}

type Reply<T> = Result<Response<T>, Status>;

impl Page {
    fn served(&self) -> Result<Arc<Served>, Status> {
        let none =
            || Failure::new(Code::BadRequest, "this coordinator serves no dashboard: it was started with --no-ui");
        self.page.clone().ok_or_else(|| refuse(none()))
    }
}

#[tonic::async_trait]
impl v1::page_server::Page for Page {
    async fn sign_in_url(&self, request: Request<v1::SignInUrlRequest>) -> Reply<v1::SignInUrlReply> {
        let role = role(request.into_inner().role())?;
        let url = self.served()?.sign_in_url(role).map_err(refuse)?;
        Ok(Response::new(v1::SignInUrlReply { url }))
    }

    async fn issue_token(&self, request: Request<v1::IssueTokenRequest>) -> Reply<v1::IssueTokenReply> {
        let request = request.into_inner();
        let (role, page) = (role(request.role())?, self.served()?);
        let (secret, token) = blocking(move || page.keys().issue(role, &request.name, request.valid_ms)).await?;
        let reply = v1::IssueTokenReply { secret: secret.as_str().to_string(), token: Some(token.into()) };
        Ok(Response::new(reply))
    }

    async fn list_tokens(&self, _: Request<v1::ListTokensRequest>) -> Reply<v1::ListTokensReply> {
        let page = self.served()?;
        let tokens = blocking(move || Ok(page.keys().tokens_listed())).await?;
        Ok(Response::new(v1::ListTokensReply { tokens: tokens.into_iter().map(Into::into).collect() }))
    }

    async fn revoke_token(&self, request: Request<v1::RevokeTokenRequest>) -> Reply<v1::RevokeTokenReply> {
        let (id, page) = (request.into_inner().id, self.served()?);
        blocking(move || page.keys().revoke(&id)).await?;
        Ok(Response::new(v1::RevokeTokenReply {}))
    }
}

/// Work that waits for the disk, or for a lock that is held meanwhile.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| Failure::new(Code::Internal, e.to_string())).flatten().map_err(refuse)
}

fn role(role: v1::PageRole) -> Result<PageRole, Status> {
    role.try_into().map_err(|e: ConvertError| refuse(e.into()))
}
