//! How a cluster is started: every test begins with `Cluster::start` or a [`Setup`].

use super::{Cluster, Links, coordinator};
use crate::proxy::{Proxy, own_address};

/// The processes to start and their settings. The default is a coordinator without workers.
#[derive(Clone, Copy, Default)]
pub struct Setup<'a> {
    /// Workers that have registered when `start` returns.
    pub workers: usize,
    /// Slots of each worker.
    pub slots: u32,
    /// Workers use each other's files in place, as on one machine. Otherwise they fetch.
    pub in_place: bool,
    /// Further arguments of the coordinator.
    pub coordinator_args: &'a [&'a str],
    /// Failpoints of the coordinator's first process.
    pub coordinator_failpoints: &'a str,
    /// Workers reach the coordinator and each other through links that the test may break.
    pub links: Option<Timeouts<'a>>,
}

/// Timeouts of a cluster with links, as arguments.
#[derive(Clone, Copy)]
pub struct Timeouts<'a> {
    pub lease: &'a str,
    /// Workers give a silent peer up after this time.
    pub fetch: &'a str,
}

impl Setup<'_> {
    /// Starts the cluster.
    pub fn start(self) -> Cluster {
        let mut args: Vec<String> = self.coordinator_args.iter().map(|arg| arg.to_string()).collect();
        if let Some(timeouts) = self.links {
            args.extend(["--lease".to_string(), timeouts.lease.to_string()]);
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (coordinator, url) = coordinator(folder.path(), "127.0.0.1:0", self.coordinator_failpoints, &args);
        let mut cluster = Cluster {
            url,
            coordinator_args: args,
            links: Vec::new(),
            worker_memory: "256MiB".into(),
            in_place: self.in_place,
            worker_args: Vec::new(),
            hidden: None,
            worker_failpoints: String::new(),
            folder,
            coordinator: Some(coordinator),
            workers: Vec::new(),
            slots: Vec::new(),
            ids: Vec::new(),
        };
        if let Some(timeouts) = self.links {
            cluster.worker_args = ["--fetch-timeout", timeouts.fetch].map(str::to_string).to_vec();
        }
        for _ in 0..self.workers {
            if self.links.is_some() {
                let address = cluster.url.trim_start_matches("http://").parse().expect("an address");
                let listens = own_address();
                cluster.links.push(Links { session: Proxy::to(address), transfer: Proxy::to(listens), listens });
            }
            cluster.add_worker(self.slots);
        }
        cluster
    }
}
