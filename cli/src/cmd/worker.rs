//! `windrow worker`: runs, lists and drains workers.

mod config;

pub(crate) use config::{cores, half_of_memory};

use super::connect;
use super::die_with::die_with;
use crate::args::{WorkerRun, WorkerVerb};
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::settings::Settings;
use crate::signals::Stop;
use rustix::process::Signal;
use tokio::net::TcpListener;
use windrow_model::{Code, Failure};

/// Lists or drains.
pub(crate) async fn manage(verb: WorkerVerb, settings: Settings, format: Format) -> Result<Exit, Failure> {
    match verb {
        WorkerVerb::List { client } => {
            let mut workers = connect(client, settings.client).await?.workers().await?;
            workers.sort_by_key(|worker| worker.id);
            output::workers(&workers, format)?;
        }
        WorkerVerb::Drain { client, id } => {
            connect(client, settings.client).await?.drain(id).await?;
            output::say(&format!("{id} finishes what it runs and gets nothing new"));
        }
    }
    Ok(Exit::Done)
}

/// Runs a worker until SIGINT or SIGTERM, or until its coordinator refuses it.
pub(crate) async fn run(args: WorkerRun, settings: Settings) -> Result<Exit, Failure> {
    if let Some(parent) = args.die_with {
        die_with(parent, Signal::KILL)?;
    }
    let (listen, config) = config::config(args, settings)?;
    if !config.insecure {
        config.access.require_token(&config.coordinator_url)?;
    }
    if let Some(tls) = config.tls.clone() {
        let ca = config.access.ca.clone();
        let checked = tokio::task::spawn_blocking(move || tls.check(ca.as_deref())).await;
        checked.map_err(|e| Failure::new(Code::Internal, e.to_string())).flatten()?;
    }
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|e| Failure::new(Code::IoError, format!("cannot listen on {listen}: {e}")))?;
    let mut stop = Stop::catch()?;
    // A worker that cannot print its line stops: its starter waits for that line.
    let (unheard, silent) = tokio::sync::oneshot::channel();
    let registered = |id| {
        if let Err(failure) = output::put(&format!("worker {id}")) {
            let _ = unheard.send(failure);
        }
    };
    let mut failed = None;
    let shutdown = async {
        tokio::select! {
            () = stop.asked() => {}
            Ok(failure) = silent => failed = Some(failure),
        }
    };
    windrow_worker::run(config, listener, shutdown, registered).await?;
    failed.map_or(Ok(Exit::Done), Err)
}
