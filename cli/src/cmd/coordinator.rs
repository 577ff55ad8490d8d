//! `windrow coordinator`: runs a coordinator, and records for its user's tools where it is while it takes jobs.

use super::needed;
use super::page_plan::{PagePlan, UiSettings, page_plan};
use crate::args::CoordinatorRun;
use crate::exit::Exit;
use crate::output;
use crate::settings::{CoordinatorSection, Settings};
use crate::signals::Stop;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use windrow_coordinator::{Config, OrphanRule, Retention};
use windrow_model::{Code, Escape, Failure, PageRole};
use windrow_net::serve::url_of;
use windrow_net::{Access, Record, ServerTls, StateFolder, Token, channel, check_listen, hello};
use windrow_web::{Page, PageConfig, Setting};

/// Where a coordinator listens by default.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8470);
/// Interval of the probes whether the coordinator answers yet.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// The file in the data folder that keeps the tokens of the dashboard.
const PAGE_TOKENS: &str = "page_tokens.json";
/// A busy machine's pauses would lose a shorter lease.
const LEASE_MS_MIN: u64 = 500;

/// Settings of a coordinator that is about to run.
pub(crate) struct Plan {
    pub listen: SocketAddr,
    pub data_dir: PathBuf,
    /// Default: in the data folder.
    pub token_file: Option<PathBuf>,
    pub tls: Option<ServerTls>,
    pub insecure: bool,
    /// Silence after which a worker counts as lost.
    pub lease_ms: u64,
    /// Time without an eligible worker after which a job fails.
    pub unschedulable_after_ms: u64,
    /// Bound on calls to the storage of outputs.
    pub storage_timeout: Duration,
    /// Retention of unreferenced chunks.
    pub orphans: OrphanRule,
    /// Retention of histories.
    pub history: Retention,
    /// The data folder is removed at the end.
    pub temporary: bool,
    /// The dashboard, unless there is none.
    pub page: Option<PagePlan>,
}

/// Location of a coordinator that takes jobs.
pub(crate) struct Ready {
    pub url: String,
    pub token_file: PathBuf,
    /// URL that signs a browser in.
    pub dashboard: Option<String>,
}

impl Ready {
    /// Prints where the coordinator is, and then its dashboard: scripts read the first line.
    pub(crate) fn print(&self) -> Result<(), Failure> {
        output::put(&format!("coordinator {}", self.url))?;
        self.dashboard.iter().try_for_each(|url| output::put(&format!("dashboard {url}")))
    }
}

/// Runs a coordinator until SIGINT or SIGTERM.
pub(crate) async fn run(args: CoordinatorRun, settings: Settings) -> Result<Exit, Failure> {
    let plan = plan(args, settings.coordinator)?;
    let mut stop = Stop::catch()?;
    let (ready, started) = oneshot::channel::<Ready>();
    let tell = async {
        if let Ok(ready) = started.await {
            ready.print()?;
        }
        // The select ends with the coordinator; this branch only prints.
        std::future::pending().await
    };
    tokio::select! {
        done = serve(plan, ready, async move { stop.asked().await }) => done.map(|()| Exit::Done),
        said = tell => said,
    }
}

/// Merges flags and settings; flags take precedence.
fn plan(args: CoordinatorRun, section: CoordinatorSection) -> Result<Plan, Failure> {
    let tls = ServerTls::from_flags(
        args.tls.tls_cert.or(section.tls_cert),
        args.tls.tls_key.or(section.tls_key),
        args.tls_ca.or(section.tls_ca),
    )?;
    let listen = args.listen.or(section.listen).unwrap_or(LISTEN);
    let ui = UiSettings {
        listen: section.ui_listen,
        none: section.no_ui,
        base_path: section.ui_base_path,
        hosts: section.ui_host,
    };
    let plan = Plan {
        listen,
        page: page_plan(args.ui, ui, listen.port() == 0)?,
        data_dir: needed(args.data_dir.or(section.data_dir), "--data-dir")?,
        token_file: args.token_file.or(section.token_file),
        tls,
        insecure: args.insecure || section.insecure.unwrap_or(false),
        lease_ms: args.lease.or(section.lease.map(|t| t.0)).map_or(Config::LEASE_MS, |t| t.ms),
        unschedulable_after_ms: args
            .wait_for_workers
            .or(section.wait_for_workers.map(|t| t.0))
            .map_or(Config::UNSCHEDULABLE_AFTER_MS, |t| t.ms),
        storage_timeout: args
            .storage_timeout
            .or(section.storage_timeout.map(|t| t.0))
            .map_or(Config::STORAGE_TIMEOUT, |t| Duration::from_millis(t.ms)),
        orphans: OrphanRule {
            kept_ms: args
                .orphans_kept
                .or(section.orphans_kept.map(|t| t.0))
                .map_or(OrphanRule::default().kept_ms, |t| t.ms),
            per_hour: args
                .orphans_per_hour
                .or(section.orphans_per_hour.map(|n| n.0))
                .unwrap_or(OrphanRule::default().per_hour),
        },
        history: Retention {
            keep: args
                .history_keep
                .or(section.history_keep.map(|t| t.0))
                .map_or(Retention::default().keep, |limit| Duration::from_millis(limit.ms.unwrap_or(0))),
            bytes_max: args
                .history_bytes
                .or(section.history_bytes.map(|t| t.0))
                .map_or(Retention::default().bytes_max, |size| size.0),
        },
        temporary: false,
    };
    if plan.lease_ms < LEASE_MS_MIN {
        let message = format!("--lease is {} ms; workers cannot keep to less than {LEASE_MS_MIN} ms", plan.lease_ms);
        return Err(Failure::new(Code::BadRequest, message));
    }
    Ok(plan)
}

/// The settings in effect, as the dashboard shows them.
fn shown_settings(plan: &Plan) -> Vec<Setting> {
    let time = |ms: u64| match ms {
        1.. if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        1.. if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    };
    let tls = plan.tls.as_ref().map_or("none".to_string(), |tls| tls.cert.escaped().to_string());
    let rows = [
        ("version", env!("CARGO_PKG_VERSION").to_string()),
        ("--listen", plan.listen.to_string()),
        ("--data-dir", plan.data_dir.escaped().to_string()),
        ("--tls-cert", tls),
        ("--insecure", plan.insecure.to_string()),
        ("--lease", time(plan.lease_ms)),
        ("--wait-for-workers", time(plan.unschedulable_after_ms)),
        ("--storage-timeout", time(plan.storage_timeout.as_millis() as u64)),
        ("--orphans-kept", time(plan.orphans.kept_ms)),
        ("--orphans-per-hour", plan.orphans.per_hour.to_string()),
        ("--history-keep", time(plan.history.keep.as_millis() as u64)),
        ("--history-bytes", format!("{}B", plan.history.bytes_max)),
    ];
    let page = plan.page.iter().flat_map(|page| {
        let base = if page.base.is_empty() { "/" } else { &page.base };
        let hosts = if page.hosts.is_empty() { "none".to_string() } else { page.hosts.join(", ") };
        [("--ui-listen", page.listen.to_string()), ("--ui-base-path", base.to_string()), ("--ui-host", hosts)]
    });
    rows.into_iter().chain(page).map(|(name, value)| Setting { name: name.to_string(), value }).collect()
}

/// Runs a coordinator until `shutdown`. Sends on `ready` when it takes jobs, and keeps its record until it ends.
pub(crate) async fn serve(
    plan: Plan,
    ready: oneshot::Sender<Ready>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let shown = shown_settings(&plan);
    // Every coordinator has a token: it is made here if missing.
    check_listen(plan.listen, plan.tls.is_some(), true, plan.insecure)?;
    let data_dir = windrow_coordinator::prepare(&plan.data_dir).map_err(Failure::from)?;
    let token_file = plan.token_file.unwrap_or_else(|| data_dir.join("token"));
    let token_file = std::path::absolute(&token_file).unwrap_or(token_file);
    let mut shutdown = pin!(shutdown);
    let (named, tls) = (token_file.clone(), plan.tls.clone());
    // Before the journal changes. The storage may not answer, so a signal ends the wait.
    let reading = tokio::task::spawn_blocking(move || {
        tls.map_or(Ok(()), |tls| tls.check(tls.ca.as_deref()))?;
        Token::read_or_make(&named)
    });
    let token = tokio::select! {
        read = reading => read.map_err(|e| Failure::new(Code::Internal, e.to_string())).flatten()?,
        () = &mut shutdown => return Ok(()),
    };
    let page = match plan.page {
        None => None,
        Some(page) => {
            let config = PageConfig {
                listen: page.listen,
                tls: plan.tls.clone(),
                insecure: plan.insecure,
                base: page.base,
                hosts: page.hosts,
                tokens: data_dir.join(PAGE_TOKENS),
                settings: shown,
            };
            let bound = tokio::task::spawn_blocking(move || Page::bind(config)).await;
            Some(Arc::new(bound.map_err(|e| Failure::new(Code::Internal, e.to_string())).flatten()?))
        }
    };
    let in_use = |e: std::io::Error| Failure::new(Code::IoError, format!("cannot listen on {}: {e}", plan.listen));
    let listener = TcpListener::bind(plan.listen).await.map_err(in_use)?;
    let addr = listener.local_addr().map_err(in_use)?;
    let url = url_of(addr, plan.tls.is_some());
    let ca = plan.tls.as_ref().and_then(|tls| tls.ca.clone()).map(|ca| std::path::absolute(&ca).unwrap_or(ca));
    let record = Record::of_this_process(url.clone(), token_file.clone(), ca.clone());

    let access = Access { token: Some(token.clone()), ca };
    let answers = answers(addr, plan.tls.is_some(), access);
    let config = Config {
        token: Some(token),
        tls: plan.tls,
        insecure: plan.insecure,
        page: page.clone(),
        temporary: plan.temporary,
        orphans: plan.orphans,
        history: plan.history,
        lease_ms: plan.lease_ms,
        unschedulable_after_ms: plan.unschedulable_after_ms,
        storage_timeout: plan.storage_timeout,
        ..Config::new(data_dir)
    };
    let mut running = pin!(windrow_coordinator::run(config, listener, shutdown));
    tokio::select! {
        ended = &mut running => return ended.map_err(Failure::from),
        answered = answers => answered?,
    }
    // Without a state folder, tools need `--coordinator`, but the cluster works.
    let folder = StateFolder::of_user().and_then(|folder| folder.add(&record).map(|()| folder));
    if let Err(failure) = &folder {
        output::say(&format!("warning: tools will not find this coordinator by themselves: {failure}"));
    }
    // The caller may be gone; the coordinator runs all the same.
    let dashboard = page.map(|page| page.sign_in_url(PageRole::Steer)).transpose()?;
    let _ = ready.send(Ready { url, token_file, dashboard });
    let ended = running.await.map_err(Failure::from);
    if let Ok(folder) = folder {
        folder.remove(&record);
    }
    ended
}

/// Completes when the server at `addr` answers. The socket is bound before the journal is read, so a connection alone
/// proves nothing.
///
/// # Errors
/// No worker or tool can use this coordinator: its certificate is not valid now, or the file of the authority is unusable.
async fn answers(addr: SocketAddr, tls: bool, access: Access) -> Result<(), Failure> {
    let own = match addr.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    let url = url_of(SocketAddr::new(own, addr.port()), tls);
    loop {
        let answer = match channel(&url, &access).await {
            Ok(connection) => hello(&url, &connection).await.map(|_| ()),
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(()) => return Ok(()),
            // The certificate need not fit this address: that it was shown is the answer.
            Err(Failure { code: Code::CertificateWrongName | Code::CertificateNotTrusted, .. }) if tls => return Ok(()),
            Err(failure @ Failure { code: Code::CertificateExpired | Code::IoError | Code::BadRequest, .. }) if tls => {
                return Err(failure);
            }
            Err(_) => tokio::time::sleep(PROBE_INTERVAL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Span, Text, Verb};
    use clap::Parser;

    fn storage_timeout(flags: &[&str], setting: Option<u64>) -> Duration {
        let args = ["windrow", "coordinator", "--data-dir", "d"].iter().chain(flags);
        let Verb::Coordinator(coordinator) = Args::try_parse_from(args).unwrap().verb else {
            panic!("not coordinator")
        };
        let setting = setting.map(|ms| Text(Span { ms }));
        let section = CoordinatorSection { storage_timeout: setting, ..CoordinatorSection::default() };
        plan(coordinator.run, section).unwrap().storage_timeout
    }

    #[test]
    fn storage_timeout_comes_from_flag_setting_or_default() {
        assert_eq!(storage_timeout(&["--storage-timeout", "250ms"], Some(70_000)), Duration::from_millis(250));
        assert_eq!(storage_timeout(&[], Some(70_000)), Duration::from_secs(70));
        assert_eq!(storage_timeout(&[], None), Config::STORAGE_TIMEOUT);
    }
}
