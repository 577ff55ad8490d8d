//! A page that is about to be served: its listener, its names, its keys and its URL.

use crate::facts::Facts;
use crate::hosts::Hosts;
use crate::keys::Keys;
use crate::server::{Server, serve};
use crate::site::{Parts, Setting, Site, check_base};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use windrow_format::regular_file;
use windrow_model::PageRole;
use windrow_model::{Code, Failure};
use windrow_net::serve::url_of;
use windrow_net::{ServerTls, check_listen};

/// Where and how a page is served.
#[derive(Clone, Debug)]
pub struct PageConfig {
    /// The address to listen on; port 0 picks one.
    pub listen: SocketAddr,
    /// The certificate.
    pub tls: Option<ServerTls>,
    /// Whether it may be reached from other machines without a certificate.
    pub insecure: bool,
    /// The path under which it is used, such as `/windrow`; empty for the root of the host.
    pub base: String,
    /// Further names under which it is used, such as that of a proxy.
    pub hosts: Vec<String>,
    /// The file that keeps its tokens.
    pub tokens: PathBuf,
    /// The settings that it shows.
    pub settings: Vec<Setting>,
}

/// A page whose address is bound.
#[derive(Debug)]
pub struct Page {
    listener: TcpListener,
    addr: SocketAddr,
    hosts: Hosts,
    keys: Arc<Keys>,
    config: PageConfig,
}

impl Page {
    /// Binds the address, and reads the tokens. Blocks.
    ///
    /// # Errors
    /// `IO_ERROR` if the address is in use; `INSECURE` if other machines reach it and there is no certificate;
    /// `BAD_REQUEST` for a wrong base path or host.
    pub fn bind(config: PageConfig) -> Result<Page, Failure> {
        check_base(&config.base)?;
        // Its callers always need a key.
        check_listen(config.listen, config.tls.is_some(), true, config.insecure)?;
        let in_use = |e: io::Error| {
            let what = format!(
                "cannot listen on {} for the dashboard: {e}; give it another address with --ui-listen, or none with --no-ui",
                config.listen
            );
            Failure::new(Code::IoError, what)
        };
        let listener = TcpListener::bind(config.listen).map_err(in_use)?;
        let addr = listener.local_addr().map_err(in_use)?;
        let machine = addr.ip().is_unspecified().then(|| regular_file::read_note("/proc/sys/kernel/hostname"));
        let machine = machine.and_then(Result::ok).map(|name| name.trim().to_string());
        let hosts = Hosts::new(addr, machine, &config.hosts)?;
        let keys = Arc::new(Keys::open(config.tokens.clone())?);
        Ok(Page { listener, addr, hosts, keys, config })
    }

    /// Its URL, without a code.
    pub fn url(&self) -> String {
        format!("{}{}/", url_of(self.addr, self.config.tls.is_some()), self.config.base.trim_end_matches('/'))
    }

    /// A URL that signs one browser in with this role.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn sign_in_url(&self, role: PageRole) -> Result<String, Failure> {
        Ok(format!("{}signin?code={}", self.url(), self.keys.new_code(role)?.as_str()))
    }

    /// Its keys.
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Serves it until the result is dropped. Reads the certificate: blocks.
    ///
    /// # Errors
    /// The certificate files cannot be used, or the system gives no thread.
    pub fn serve(&self, facts: Arc<dyn Facts>) -> Result<Server, Failure> {
        let site = Site::new(Parts {
            facts,
            keys: self.keys.clone(),
            hosts: self.hosts.clone(),
            base: self.config.base.clone(),
            port: self.addr.port(),
            tls: self.config.tls.is_some(),
            settings: self.config.settings.clone(),
        })?;
        let listener = self.listener.try_clone();
        let listener = listener.map_err(|e| Failure::new(Code::IoError, format!("cannot serve the dashboard: {e}")))?;
        serve(listener, self.config.tls.as_ref(), site)
    }
}
