//! The shuffle between workers: `serve.rs` on one side, `fetch.rs`, `find_places.rs` and `staging.rs` on the other.

mod chunks;
mod fetching;
mod inputs;
mod lying_peers;
mod places;
mod scripted;

use crate::chunks::Chunks;
use crate::fetch::Fetcher;
use crate::find_places::FindPlaces;
use crate::logs::Logs;
use crate::made_files::{MadeFiles, NewFile};
use crate::membership::Membership;
use crate::neighbours::{Neighbours, Whereabouts};
use crate::outputs::{Held, Outputs, Spooled};
use crate::replicas::Replicas;
use crate::scratch::Scratch;
use crate::serve::TransferService;
use crate::staging::Staging;
use crate::wanted::WantedOutputs;
use std::collections::HashMap;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;
use windrow_format::block::{HEADER_BYTES, Header, Identity};
use windrow_format::codec::Codec;
use windrow_format::shuffle::Segments;
use windrow_format::spool::Spool;
use windrow_format::stage_index::OutputImage;
use windrow_model::{AttemptId, Counters, EdgeReport, OutputReport, TaskReport, WorkerId};
use windrow_net::{Access, Role, Server, channel, clients, serve::serve};
use windrow_proto::v1;

/// A worker's service on a port of its own, with its stores.
pub(crate) struct Peer {
    _folder: tempfile::TempDir,
    scratch: Arc<Scratch>,
    pub(crate) service: TransferService,
    pub(crate) outputs: Outputs,
    chunks: Chunks,
    logs: Logs,
    url: String,
    /// Calls so far.
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Peer {
    pub(crate) async fn start() -> Peer {
        Peer::start_that_locates(None).await
    }

    /// A worker that answers calls for the places of outputs with `lie`, if there is one.
    async fn start_that_locates(lie: Option<v1::LocateOutputsReply>) -> Peer {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Arc::new(Scratch::open(folder.path()).unwrap());
        let (outputs, logs) = (Outputs::default(), Logs::default());
        let chunks = Chunks::new(scratch.clone());
        let service = TransferService {
            worker: scratch.worker(),
            root: scratch.root().to_path_buf(),
            outputs: outputs.clone(),
            lists: Arc::default(),
            logs: logs.clone(),
            chunks: chunks.clone(),
            membership: Arc::new(Membership::open(&scratch).unwrap()),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let counted =
            InterceptedService::new(scripted::Locating::new(service.clone().into_server(), lie), move |request| {
                count.fetch_add(1, Ordering::Relaxed);
                Ok(request)
            });
        let routes = tonic::service::Routes::new(counted);
        let task = tokio::spawn(async move {
            serve(listener, routes, Server::new(Role::Worker, None, None), std::future::pending()).await.unwrap();
        });
        Peer { _folder: folder, scratch, service, outputs, chunks, logs, url, asked, task }
    }

    /// A finished attempt whose first output has these segments, in a file of its own.
    pub(crate) fn finished(&self, id: AttemptId, segments: &[(u32, &[u8])]) {
        let files = self.scratch.attempt(&id);
        fs::create_dir_all(files.folder()).unwrap();
        fs::write(files.edge(0), image(id, segments)).unwrap();
        self.outputs.insert(id, Held::new(files, &report(), Vec::new()));
    }

    /// The same in a spool.
    pub(crate) fn spooled(&self, id: AttemptId, segments: &[(u32, &[u8])], spool: &Spool) {
        let place = spool.append(&[&image(id, segments)]).unwrap().unwrap();
        let image = OutputImage { file: spool.path().clone(), base: place.offset, length: place.length };
        let spooled = vec![Spooled { output: 0, image }];
        self.outputs.insert(id, Held::new(self.scratch.attempt(&id), &report(), spooled));
    }

    /// A spool in the data folder.
    pub(crate) fn spool(&self, id: AttemptId) -> Spool {
        Spool::new(Scratch::spool_in(&self.scratch.job(id.incarnation, id.task.job), 1))
    }

    /// The first output of these attempts, of three partitions, as readers want it from this worker.
    pub(crate) fn wanted(&self, attempts: impl IntoIterator<Item = AttemptId>) -> WantedOutputs {
        WantedOutputs::new(self.scratch.worker(), 0, 3, attempts.into_iter().collect())
    }

    /// A file that is not there yet.
    fn target(&self, name: &str) -> NewFile {
        NewFile { path: self.scratch.root().join(name), made: made() }
    }

    /// As a peer on another machine is known.
    fn known_by_address(&self) -> HashMap<WorkerId, Whereabouts> {
        HashMap::from([(self.scratch.worker(), Whereabouts { address: self.url.clone(), home: None })])
    }

    /// As a neighbour is known.
    fn known_with_home(&self) -> HashMap<WorkerId, Whereabouts> {
        let home = Neighbours::here().home(self.scratch.root().to_path_buf());
        HashMap::from([(self.scratch.worker(), Whereabouts { address: self.url.clone(), home })])
    }

    fn staging(&self) -> Staging {
        let fetcher = Arc::new(fetcher());
        Staging {
            scratch: self.scratch.clone(),
            find: FindPlaces {
                worker: self.scratch.worker(),
                outputs: self.outputs.clone(),
                neighbours: Arc::new(Neighbours::here()),
                fetcher: fetcher.clone(),
            },
            fetcher,
            replicas: Replicas {
                chunks: Chunks::new(self.scratch.clone()),
                access: Access::default(),
                progress_deadline: Duration::from_secs(5),
            },
            seen: Arc::default(),
            storage: Default::default(),
        }
    }

    async fn client(&self) -> windrow_proto::v1::transfer_client::TransferClient<windrow_net::Connection> {
        clients::transfer(channel(&self.url, &Access::default()).await.unwrap())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The image of the first output of an attempt with these segments, by ascending partition. Each is at least as long as the
/// header of a block; the shuffle does not look into blocks.
fn image(of: AttemptId, segments: &[(u32, &[u8])]) -> Vec<u8> {
    let (mut index, mut bytes) = (Segments::default(), Vec::new());
    for (partition, content) in segments {
        let (codec, stored_length) = (Codec::None, (content.len() - HEADER_BYTES) as u32);
        let header = Header { codec, raw_length: stored_length, stored_length, records: 1, sorted: false, digest: 0 };
        index.add(*partition, &header);
        bytes.extend_from_slice(content);
    }
    bytes.extend(index.tail(&Identity::of_output(&of, 0)));
    bytes
}

/// A report on one output for other tasks that is not empty.
fn report() -> TaskReport {
    let edge = EdgeReport { bytes: 1, records: 1, ..EdgeReport::default() };
    TaskReport { outputs: vec![OutputReport::Edge(edge)], counters: Counters::default(), run_ms: 1, inputs: 0 }
}

/// Bytes of a short segment.
fn text(what: &str) -> Vec<u8> {
    format!("{what:.<32}").into_bytes()
}

/// No files, and no spare ones.
fn made() -> Arc<MadeFiles> {
    Arc::new(MadeFiles::new(Arc::default()))
}

fn fetcher() -> Fetcher {
    Fetcher::new(Access::default(), Duration::from_secs(5))
}

pub(crate) fn noise(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
}

/// A port without a listener.
async fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// The bytes of a file in a message.
fn contents(path: &[u8]) -> Vec<u8> {
    fs::read(windrow_proto::convert::path_from_bytes(path.to_vec(), "path").unwrap()).unwrap()
}
