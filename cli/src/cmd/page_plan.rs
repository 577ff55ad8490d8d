//! Which dashboard a daemon serves, from flags and settings.

use crate::args::Ui;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use windrow_model::{Code, Failure};

/// Where a dashboard listens by default.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8480);

/// The dashboard of a daemon that is about to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct PagePlan {
    pub listen: SocketAddr,
    /// The path under which it is used; empty for the root.
    pub base: String,
    /// Further names under which it is used.
    pub hosts: Vec<String>,
}

/// Settings of a dashboard in a section of a file.
#[derive(Debug, Default)]
pub(crate) struct UiSettings {
    pub listen: Option<SocketAddr>,
    pub none: Option<bool>,
    pub base_path: Option<String>,
    pub hosts: Option<Vec<String>>,
}

/// Merges flags and settings; flags take precedence. `any_port`: the daemon itself takes any free port, so its dashboard does,
/// too, unless it has an address of its own: several of them fit on one machine.
///
/// # Errors
/// `BAD_REQUEST` for settings that exclude each other.
pub(crate) fn page_plan(flags: Ui, settings: UiSettings, any_port: bool) -> Result<Option<PagePlan>, Failure> {
    let flagged = flags.ui_listen.is_some() || flags.ui_base_path.is_some() || !flags.ui_host.is_empty();
    if flags.no_ui || settings.none == Some(true) && !flagged {
        let others = settings.listen.is_some() || settings.base_path.is_some() || settings.hosts.is_some();
        if settings.none == Some(true) && others {
            let what = "`no-ui = true` excludes the other settings of the dashboard";
            return Err(Failure::new(Code::BadRequest, what));
        }
        return Ok(None);
    }
    let mut usual = LISTEN;
    if any_port {
        usual.set_port(0);
    }
    let base = flags.ui_base_path.or(settings.base_path).unwrap_or_default();
    Ok(Some(PagePlan {
        listen: flags.ui_listen.or(settings.listen).unwrap_or(usual),
        base: base.trim_end_matches('/').to_string(),
        hosts: if flags.ui_host.is_empty() { settings.hosts.unwrap_or_default() } else { flags.ui_host },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(flags: Ui, settings: UiSettings, any_port: bool) -> Option<u16> {
        page_plan(flags, settings, any_port).unwrap().map(|plan| plan.listen.port())
    }

    #[test]
    fn dashboard_has_its_port_unless_the_daemon_takes_any() {
        assert_eq!(listen(Ui::default(), UiSettings::default(), false), Some(8480));
        assert_eq!(listen(Ui::default(), UiSettings::default(), true), Some(0));
        let own = || UiSettings { listen: "127.0.0.1:9".parse().ok(), ..UiSettings::default() };
        assert_eq!(listen(Ui::default(), own(), true), Some(9));
        let flags = Ui { ui_listen: "127.0.0.1:7".parse().ok(), ..Ui::default() };
        assert_eq!(listen(flags, own(), true), Some(7));
    }

    #[test]
    fn flags_turn_a_dashboard_off_and_on() {
        let off = || UiSettings { none: Some(true), ..UiSettings::default() };
        assert_eq!(listen(Ui { no_ui: true, ..Ui::default() }, UiSettings::default(), false), None);
        assert_eq!(listen(Ui::default(), off(), false), None);
        let flags = Ui { ui_base_path: Some("/w/".into()), ..Ui::default() };
        assert_eq!(page_plan(flags, off(), false).unwrap().unwrap().base, "/w");
        let both = UiSettings { base_path: Some("/w".into()), ..off() };
        assert!(page_plan(Ui::default(), both, false).is_err());
    }
}
