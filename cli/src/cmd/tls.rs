//! `windrow tls init`: makes an authority, and a certificate for each machine of a cluster.

use crate::args::{TlsInit, TlsVerb};
use crate::exit::Exit;
use crate::output;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use windrow_model::{Code, Escape, Failure};
use windrow_net::{SETTING_BYTES_MAX, read_setting_text};

/// The subject of every authority that is made here. Certificates refer to their authority by it, and by the key.
const AUTHORITY: &str = "Windrow cluster authority";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Certificates are valid from a day ago: clocks of machines differ.
const BACKDATED: Duration = DAY;
const AUTHORITY_DAYS: u32 = 3650;
/// Longest file name that is made from a host's name.
const NAME_BYTES_MAX: usize = 200;

/// One machine, with the names under which others reach it.
struct Host {
    names: Vec<SanType>,
    cert: PathBuf,
    key: PathBuf,
}

pub(crate) fn run(verb: TlsVerb) -> Result<Exit, Failure> {
    let TlsVerb::Init(args) = verb;
    for path in init(&args)? {
        output::put(&path.escaped().to_string())?;
    }
    Ok(Exit::Done)
}

/// Makes the missing files: the authority, and for each host a key and a certificate. Returns the files that were made.
/// Makes nothing if one of the hosts' files exists.
fn init(args: &TlsInit) -> Result<Vec<PathBuf>, Failure> {
    let hosts = args.host.iter().map(|host| Host::of(host, &args.dir)).collect::<Result<Vec<_>, _>>()?;
    if let Some(taken) = hosts.iter().flat_map(|host| [&host.cert, &host.key]).find(|p| p.symlink_metadata().is_ok()) {
        let message = format!("{} exists, and is not replaced: remove it, or name another folder", taken.escaped());
        return Err(Failure::new(Code::BadRequest, message));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&args.dir).map_err(|e| failed("make", &args.dir, &e))?;
    let (cert, key) = (args.dir.join("ca.pem"), args.dir.join("ca.key"));
    let mut made = Vec::new();
    let pair = match (cert.symlink_metadata().is_ok(), key.symlink_metadata().is_ok()) {
        (true, true) => {
            let text = read_setting_text(&key, SETTING_BYTES_MAX).map_err(|e| failed("read", &key, &e))?;
            KeyPair::from_pem(&text)
                .map_err(|e| Failure::new(Code::BadRequest, format!("{} is not a key in PEM: {e}", key.escaped())))?
        }
        (false, false) => {
            let pair = KeyPair::generate().map_err(unmade)?;
            let certificate = authority().self_signed(&pair).map_err(unmade)?;
            write(&key, 0o600, &pair.serialize_pem())?;
            write(&cert, 0o644, &certificate.pem())?;
            made.extend([cert, key]);
            pair
        }
        (has_cert, _) => {
            let (there, gone) = if has_cert { (&cert, &key) } else { (&key, &cert) };
            let message = format!("{} is there without {}", there.escaped(), gone.escaped());
            return Err(Failure::new(Code::BadRequest, message));
        }
    };
    let issuer = Issuer::new(authority(), pair);
    for host in hosts {
        let pair = KeyPair::generate().map_err(unmade)?;
        let certificate = host.params(args.days).signed_by(&pair, &issuer).map_err(unmade)?;
        write(&host.key, 0o600, &pair.serialize_pem())?;
        write(&host.cert, 0o644, &certificate.pem())?;
        made.extend([host.cert, host.key]);
    }
    Ok(made)
}

impl Host {
    /// From `NAME[,NAME…]`; the first name is used for the files.
    fn of(text: &str, dir: &Path) -> Result<Host, Failure> {
        let names = text.split(',').map(|name| san(name.trim())).collect::<Result<Vec<_>, _>>()?;
        let first = text.split(',').next().unwrap_or_default().trim();
        let file = |end: &str| dir.join(format!("{first}.{end}"));
        Ok(Host { names, cert: file("pem"), key: file("key") })
    }

    fn params(&self, days: u32) -> CertificateParams {
        let mut params = valid_for(days);
        params.subject_alt_names = self.names.clone();
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        // The extension holds the names; an empty subject would make it critical.
        params.distinguished_name = named("Windrow server");
        params
    }
}

/// A name in a certificate: an address, or a host's name.
fn san(name: &str) -> Result<SanType, Failure> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let bad =
        || Failure::new(Code::BadRequest, format!("`{}` is neither a host's name nor an address", name.escape_debug()));
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.len() < 64 && label.chars().all(inner) && !label.starts_with('-')
    };
    if name == "ca" || name.len() > NAME_BYTES_MAX || !name.split('.').all(label) {
        return Err(bad());
    }
    name.try_into().map(SanType::DnsName).map_err(|_| bad())
}

fn authority() -> CertificateParams {
    let mut params = valid_for(AUTHORITY_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name = named(AUTHORITY);
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}

fn valid_for(days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + DAY * days).into();
    params
}

/// Writes a new file; an existing one is kept.
fn write(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    let written = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => {
            Failure::new(Code::BadRequest, format!("{} exists, and is not replaced", path.escaped()))
        }
        _ => failed("write", path, &e),
    })
}

fn failed(verb: &str, path: &Path, e: &std::io::Error) -> Failure {
    Failure::new(Code::IoError, format!("cannot {verb} {}: {e}", path.escaped()))
}

fn unmade(e: rcgen::Error) -> Failure {
    Failure::new(Code::Internal, format!("cannot make a certificate: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn args(dir: &Path, hosts: &[&str]) -> TlsInit {
        TlsInit { dir: dir.join("tls"), host: hosts.iter().map(|h| h.to_string()).collect(), days: 825 }
    }

    #[test]
    fn keys_are_private_and_nothing_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let made = init(&args(folder.path(), &["a.example,10.0.0.1", "10.0.0.2"])).unwrap();
        assert_eq!(made.len(), 6);
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&folder.path().join("tls")), 0o700);
        for path in &made {
            let expected = if path.extension().unwrap() == "key" { 0o600 } else { 0o644 & mode(path) };
            assert_eq!(mode(path), expected, "{}", path.escaped());
        }
        let contents = || made.iter().map(|path| fs::read(path).unwrap()).collect::<Vec<_>>();
        let before = contents();
        // One of the two exists: the other one is not made either.
        assert_eq!(init(&args(folder.path(), &["10.0.0.3", "10.0.0.2"])).unwrap_err().code, Code::BadRequest);
        assert!(!folder.path().join("tls/10.0.0.3.pem").exists());
        // A new machine gets its certificate from the same authority.
        assert_eq!(init(&args(folder.path(), &["10.0.0.3"])).unwrap().len(), 2);
        assert_eq!(contents(), before);
    }

    #[test]
    fn authority_without_its_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        init(&args(folder.path(), &["a"])).unwrap();
        fs::remove_file(folder.path().join("tls/ca.key")).unwrap();
        assert_eq!(init(&args(folder.path(), &["b"])).unwrap_err().code, Code::BadRequest);
    }

    #[test]
    fn invalid_names_are_refused() {
        for bad in ["", "a b", "a/b", "..", "-a", "ca", "a,,b", "http://a", "a\nb", "10.0.0.1,*"] {
            let folder = tempfile::tempdir().unwrap();
            assert!(init(&args(folder.path(), &[bad])).is_err(), "{bad:?}");
            assert!(!folder.path().join("tls").exists());
        }
    }
}
