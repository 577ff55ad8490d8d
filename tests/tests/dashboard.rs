//! The dashboard of a real cluster, used by a plain HTTP client: the printed lines, signing in, watching a job run, fail
//! and be cancelled, tokens, and restarts. What browsers do with its pages is not tested here.

use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use windrow_tests::gated::Gated;
use windrow_tests::program::{Daemon, binary, command, eventually, run};

/// A plain client with the cookie of its session.
struct Browser {
    /// `http://127.0.0.1:PORT`.
    origin: String,
    cookie: String,
}

struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Browser {
    /// Opens the URL of a sign-in.
    fn sign_in(url: &str) -> Browser {
        let (origin, path) = split(url);
        let mut browser = Browser { origin, cookie: String::new() };
        let reply = browser.request("GET", &path, "");
        assert_eq!(reply.status, 303, "{}", reply.body);
        let cookie = reply.head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
        browser.cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
        browser
    }

    fn get(&self, path: &str) -> Reply {
        self.request("GET", path, "")
    }

    /// Sends the form with this action that is on a page.
    fn submit(&self, page: &str, action: &str, to: &str) -> Reply {
        let body = self.get(page).body;
        let (_, form) = body.split_once(&format!("action=\"{action}\"")).unwrap_or_else(|| panic!("no form in {body}"));
        let key = form.split("value=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        self.request("POST", to, &format!("key={key}"))
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Reply {
        let headers = format!("{}Origin: {}\r\n", self.cookie, self.origin);
        request(&self.origin, method, path, &headers, body)
    }
}

/// The origin and the path of a URL.
fn split(url: &str) -> (String, String) {
    let mut parts = url.splitn(4, '/');
    let (scheme, host) = (parts.next().unwrap(), parts.nth(1).unwrap());
    (format!("{scheme}//{host}"), format!("/{}", parts.next().unwrap_or_default()))
}

fn request(origin: &str, method: &str, path: &str, headers: &str, body: &str) -> Reply {
    let host = origin.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}{headers}\r\n{body}").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply { status, head: head.to_string(), body: body.to_string() }
}

fn windrow(home: &TempDir) -> Command {
    command("windrow", home.path())
}

/// Submits a job without waiting for it; its id.
fn submit(home: &TempDir, folder: &Path, name: &str, args: &[String]) -> String {
    let mut submit = windrow(home);
    submit.current_dir(folder).args(["submit", "--detach", "-o", "json"]).arg(binary(name)).arg("--").args(args);
    run(&mut submit).ok().json()["id"].as_str().unwrap().to_string()
}

fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| arg.to_string()).collect()
}

#[test]
fn browser_signs_in_watches_jobs_and_cancels_one() {
    let (home, gated) = (tempfile::tempdir().unwrap(), Gated::new());
    let mut up = Daemon::start(windrow(&home).args(["up", "--workers", "1", "--slots", "3", "--memory", "256MiB"]));
    let coordinator = up.read_line("coordinator ");
    let dashboard = up.read_line("dashboard ");
    assert_ne!(split(&coordinator).0, split(&dashboard).0);
    let browser = Browser::sign_in(&dashboard);
    assert!(browser.get("/").body.contains("No job has been submitted"));
    assert!(browser.get("/workers").body.contains("1 of 1 worker live; 0 of 3 slots busy"));
    // The code was used up; the same user gets another one, which may only look.
    let (origin, path) = split(&dashboard);
    assert_eq!(request(&origin, "GET", &path, "", "").status, 401);
    let fresh = run(windrow(&home).args(["dashboard", "--view"])).ok().stdout;
    let viewer = Browser::sign_in(fresh.trim());

    // A job runs, and the page says so; then it is cancelled.
    let id = submit(&home, gated.path(), "hostile", &gated.args("out"));
    gated.wait_for(3);
    let page = format!("/jobs/{id}");
    eventually("the page shows running tasks", || {
        let body = browser.get(&page).body;
        body.contains("<span class=\"state running\">running</span>") && body.contains("Stage 0 ")
    });
    assert!(browser.get("/?state=running").body.contains(&id));
    assert!(browser.get(&page).body.contains("<svg class=\"plan\""));
    let cancel = format!("{page}/cancel");
    assert!(!viewer.get(&page).body.contains("/cancel"));
    assert_eq!(viewer.request("POST", &cancel, "").status, 403);
    let done = browser.submit(&page, &format!("{id}/cancel"), &cancel);
    assert_eq!(done.status, 303, "{}", done.body);
    eventually("the job is cancelled", || browser.get(&page).body.contains("The job was cancelled after "));
    assert!(!browser.get(&page).body.contains("Cancel the job"));

    // A job that fails has the cause on its page, and what its task wrote behind a link.
    std::fs::write(gated.path().join("bad"), "a\nBOOM\nb\n").unwrap();
    let id = submit(&home, gated.path(), "hostile", &strings(&["bad", "panic", "bad", "--output", "out2"]));
    let page = format!("/jobs/{id}");
    eventually("the job fails", || browser.get(&page).body.contains("The job failed with USER_PANIC"));
    let body = browser.get(&page).body;
    assert!(body.contains("the mapper does not like this line") && body.contains("at byte 2"), "{body}");
    assert!(browser.get("/?state=failed").body.contains("USER_PANIC"));
    let logs = browser.get(&format!("{page}/logs?stage=0&task=0")).body;
    assert!(logs.contains("Stage 0 task 0"), "{logs}");
    assert_eq!(up.stop(), Some(0));
}

#[test]
fn token_reads_the_api_until_it_is_revoked() {
    let (home, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let start = || {
        let mut command = windrow(&home);
        command.args(["coordinator", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path());
        let mut coordinator = Daemon::start(&mut command);
        coordinator.read_line("coordinator ");
        let dashboard = coordinator.read_line("dashboard ");
        (coordinator, split(&dashboard).0)
    };
    let (coordinator, origin) = start();
    let token = run(windrow(&home).args(["token", "view", "--name", "scraper", "-o", "json"])).ok().json();
    let bearer = format!("Authorization: Bearer {}\r\n", token["secret"].as_str().unwrap());
    let jobs = request(&origin, "GET", "/api/v1/jobs", &bearer, "");
    let jobs: Value = serde_json::from_str(&jobs.body).unwrap();
    assert_eq!(jobs, serde_json::json!({ "jobs": [], "total": 0, "cursor": null }));
    // The token of the cluster is worth nothing here.
    let secret = std::fs::read_to_string(data.path().join("token")).unwrap();
    let cluster = format!("Authorization: Bearer {}\r\n", secret.trim());
    assert_eq!(request(&origin, "GET", "/api/v1/jobs", &cluster, "").status, 401);
    assert_eq!(coordinator.stop(), Some(0));

    // It outlives the coordinator, and ends when it is revoked.
    let (coordinator, origin) = start();
    assert_eq!(request(&origin, "GET", "/api/v1/jobs", &bearer, "").status, 200);
    let listed = run(windrow(&home).args(["token", "list", "-o", "json"])).ok().json();
    assert_eq!((&listed[0]["name"], listed.as_array().unwrap().len()), (&"scraper".into(), 1));
    let keys: BTreeSet<&str> = listed[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["expires_unix_ms", "id", "name", "role"].into());
    run(windrow(&home).args(["token", "revoke", token["id"].as_str().unwrap()])).ok();
    assert_eq!(request(&origin, "GET", "/api/v1/jobs", &bearer, "").status, 401);
    assert_eq!(coordinator.stop(), Some(0));
}

#[test]
fn dashboard_can_be_left_out_and_its_port_be_taken() {
    let (home, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let start = |args: &[&str]| {
        let mut command = windrow(&home);
        command.args(["coordinator", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data.path()).args(args);
        command
    };
    let refused = run(&mut start(&["--ui-listen", &addr])).with(1);
    assert!(refused.stdout.is_empty());
    refused.shows_error("IO_ERROR", &[&addr, "--ui-listen", "--no-ui"]);
    let open = run(&mut start(&["--ui-listen", "0.0.0.0:0"])).with(2);
    open.shows_error("INSECURE", &["0.0.0.0"]);
    let mut without = Daemon::start(&mut start(&["--no-ui"]));
    without.read_line("coordinator ");
    run(windrow(&home).args(["dashboard"])).with(2).shows_error("BAD_REQUEST", &["--no-ui"]);
    assert_eq!(without.stop(), Some(0));
}
