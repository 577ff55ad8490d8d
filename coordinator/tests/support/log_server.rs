//! A worker's transfer service that has only logs.

use super::{TOKEN, listen};
use tonic::{Status, Streaming};
use windrow_net::{Role, Server, Token};
use windrow_proto::v1;

/// Serves a worker's transfer service, with the same log for every job. Returns its address.
pub async fn serve_logs(text: &'static [u8]) -> String {
    let (listener, url) = listen().await;
    let routes = tonic::service::Routes::new(v1::transfer_server::TransferServer::new(Logs(text)));
    let server = Server::new(Role::Worker, Token::parse(TOKEN), None);
    tokio::spawn(windrow_net::serve(listener, routes, server, std::future::pending()));
    url
}

struct Logs(&'static [u8]);

type Reply<T> = Result<tonic::Response<T>, Status>;
type OneAnswer<T> = tokio_stream::Once<Result<T, Status>>;

#[tonic::async_trait]
impl v1::transfer_server::Transfer for Logs {
    type FetchSegmentsStream = OneAnswer<v1::SegmentPiece>;
    type ReadLogsStream = OneAnswer<v1::LogChunk>;
    type GetChunkStream = OneAnswer<v1::Piece>;
    async fn read_logs(&self, _: tonic::Request<v1::ReadLogsRequest>) -> Reply<Self::ReadLogsStream> {
        let chunk = v1::LogChunk { attempt: None, data: self.0.to_vec() };
        Ok(tonic::Response::new(tokio_stream::once(Ok(chunk))))
    }
    async fn fetch_segments(&self, _: tonic::Request<v1::FetchSegmentsRequest>) -> Reply<Self::FetchSegmentsStream> {
        Err(Status::unimplemented("only logs"))
    }
    async fn locate_outputs(&self, _: tonic::Request<v1::LocateOutputsRequest>) -> Reply<v1::LocateOutputsReply> {
        Err(Status::unimplemented("only logs"))
    }
    async fn put_chunk(&self, _: tonic::Request<Streaming<v1::ChunkPiece>>) -> Reply<v1::PutChunkReply> {
        Err(Status::unimplemented("only logs"))
    }
    async fn get_chunk(&self, _: tonic::Request<v1::GetChunkRequest>) -> Reply<Self::GetChunkStream> {
        Err(Status::unimplemented("only logs"))
    }
}
