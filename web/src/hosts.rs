//! Which names a request may be for. A page of another site can make a browser resolve the site's own name to this
//! machine's address (DNS rebinding), and then read answers; the `Host` of such a request is the site's name.

use std::net::{IpAddr, SocketAddr};
use windrow_model::{Code, Escape, Failure};

/// The names and ports under which the page is used.
#[derive(Clone, Debug)]
pub(crate) struct Hosts {
    port: u16,
    /// The address that it listens on, and this machine's own addresses if that is one of them.
    addresses: Vec<IpAddr>,
    names: Vec<String>,
    /// Given by the operator: exactly as in `Host`, lower case.
    given: Vec<String>,
}

impl Hosts {
    /// The hosts of a page that listens on `addr`. `machine`: the machine's host name, if the page listens on all addresses.
    /// `given`: further names, `NAME` or `NAME:PORT`, such as that of a proxy.
    ///
    /// # Errors
    /// `BAD_REQUEST` for a name that cannot be in a URL.
    pub(crate) fn new(addr: SocketAddr, machine: Option<String>, given: &[String]) -> Result<Hosts, Failure> {
        for host in given {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte);
            if host.is_empty() || !host.bytes().all(fits) {
                let what = format!("`{}` is not a host name: give NAME or NAME:PORT", host.escaped());
                return Err(Failure::new(Code::BadRequest, what));
            }
        }
        let names = std::iter::once("localhost".to_string()).chain(machine).map(|name| name.to_ascii_lowercase());
        Ok(Hosts {
            port: addr.port(),
            addresses: vec![addr.ip(), [127, 0, 0, 1].into(), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])],
            names: names.collect(),
            given: given.iter().map(|host| host.to_ascii_lowercase()).collect(),
        })
    }

    /// Whether requests for this `Host` are answered. A name of the operator's without a port also stands for the default
    /// ports.
    pub(crate) fn admits(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        if self.is_given(&host) {
            return true;
        }
        if let Ok(addr) = host.parse::<SocketAddr>() {
            return addr.port() == self.port && self.has(addr.ip());
        }
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Ok(ip) = bracketed.unwrap_or(&host).parse::<IpAddr>() {
            return matches!(self.port, 80 | 443) && self.has(ip);
        }
        match host.rsplit_once(':') {
            Some((name, port)) => port.parse() == Ok(self.port) && self.names.iter().any(|known| known == name),
            None => matches!(self.port, 80 | 443) && self.names.contains(&host),
        }
    }

    /// Whether a form of this `Origin` may change something, in a request for `host` with or without TLS. Its page has the
    /// scheme and the host of the request itself. Only a name of the operator's may differ: a proxy may change both.
    pub(crate) fn admits_origin(&self, origin: &str, host: &str, tls: bool) -> bool {
        let origin = origin.to_ascii_lowercase();
        let Some((scheme, from)) = origin.split_once("://").filter(|(scheme, _)| matches!(*scheme, "http" | "https"))
        else {
            return false;
        };
        let (own_scheme, default) = if tls { ("https", ":443") } else { ("http", ":80") };
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix(default).unwrap_or(&host);
        let is_own = scheme == own_scheme && from.strip_suffix(default).unwrap_or(from) == host;
        // The host of the request was admitted before.
        is_own || self.is_given(from)
    }

    /// Whether the operator gave this name, in lower case.
    fn is_given(&self, host: &str) -> bool {
        let without_default = host.strip_suffix(":80").or_else(|| host.strip_suffix(":443")).unwrap_or(host);
        self.given.iter().any(|given| given == host || given == without_default)
    }

    /// Any address stands for all of them: an address cannot be rebound, it is the name in the browser's bar.
    fn has(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|own| *own == ip || own.is_unspecified())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_and_the_own_port_are_answered() {
        let hosts = Hosts::new("127.0.0.1:8480".parse().unwrap(), None, &[]).unwrap();
        for good in ["127.0.0.1:8480", "localhost:8480", "LOCALHOST:8480", "[::1]:8480"] {
            assert!(hosts.admits(good), "{good}");
        }
        for bad in [
            "127.0.0.1",
            "127.0.0.1:8481",
            "evil.example:8480",
            "10.0.0.1:8480",
            "localhost",
            "",
            "localhost:",
            ":8480",
        ] {
            assert!(!hosts.admits(bad), "{bad}");
        }
        let admits = |origin: &str| hosts.admits_origin(origin, "localhost:8480", false);
        assert!(admits("http://localhost:8480") && admits("http://LOCALHOST:8480"));
        for other in ["null", "", "http://localhost:8481", "http://evil.example", "https://localhost:8480"] {
            assert!(!admits(other), "{other}");
        }
        assert!(!admits("http://127.0.0.1:8480"), "another host of this page, but not that of the request");
        assert!(hosts.admits_origin("https://localhost:8480", "localhost:8480", true));
        assert!(hosts.admits_origin("http://localhost", "localhost:80", false));
    }

    #[test]
    fn operator_adds_the_name_of_a_proxy() {
        let hosts = Hosts::new("0.0.0.0:8480".parse().unwrap(), Some("node-1".into()), &["Dash.example.com".into()]);
        let hosts = hosts.unwrap();
        for good in ["dash.example.com", "dash.example.com:443", "node-1:8480", "10.1.2.3:8480"] {
            assert!(hosts.admits(good), "{good}");
        }
        assert!(!hosts.admits("dash.example.com:8480") && !hosts.admits("example.com"));
        for host in ["dash.example.com", "127.0.0.1:8480"] {
            assert!(hosts.admits_origin("https://dash.example.com", host, false), "{host}");
            assert!(!hosts.admits_origin("http://10.1.2.3:8480", host, false), "{host}");
        }
        assert!(Hosts::new("0.0.0.0:1".parse().unwrap(), None, &["a/b".into()]).is_err());
    }
}
