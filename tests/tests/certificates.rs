//! Runs the TLS recipe of docs/OPERATIONS.md as it stands there, and checks the error for each mistake with
//! certificates.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use windrow_model::Escape;
use windrow_tests::program::{Daemon, Ended, binary, command, run};

/// The commands of the section `On several machines`: one each, without comments.
fn recipe() -> Vec<String> {
    let document = windrow_tests::repository().join("docs/OPERATIONS.md");
    let text = std::fs::read_to_string(document).unwrap();
    let section = text.split("## On several machines").nth(1).expect("the section");
    let block = section.split("```").nth(1).expect("a block of commands").trim_start_matches("sh\n");
    let lines = block.replace("\\\n", " ");
    lines.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).map(str::to_string).collect()
}

/// Two machines of the document, on loopback addresses of this one.
struct Machines {
    folder: TempDir,
    commands: Vec<String>,
}

fn free_port(address: &str) -> String {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port().to_string()
}

impl Machines {
    fn new() -> Machines {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("words"), "to be or not to be\n").unwrap();
        let place = |command: String| {
            let path = |name: &str| folder.path().join(name).escaped().to_string();
            command
                .replace("/var/lib/windrow", &path("coordinator"))
                .replace("/ssd/windrow", &path("worker"))
                .replace("10.0.0.1", "127.0.0.1")
                .replace("10.0.0.2", "127.0.0.2")
                .replace("127.0.0.2:8471", &format!("127.0.0.2:{}", free_port("127.0.0.2")))
                .replace("./job", &binary("wordcount").escaped().to_string())
                .replace("./driver", &binary("pagerank").escaped().to_string())
        };
        let port = free_port("127.0.0.1");
        let commands = recipe().into_iter().map(|c| place(c).replace(":8470", &format!(":{port}"))).collect();
        Machines { folder, commands }
    }

    /// The only command of the recipe with this beginning, with other arguments for `ARGS`.
    fn command(&self, begins: &str, args: &str) -> Command {
        let binary = |name: &str| binary(name).escaped().to_string();
        let begins = begins.replace("./driver", &binary("pagerank"));
        let found: Vec<_> = self.commands.iter().filter(|c| c.starts_with(&begins)).collect();
        assert_eq!(found.len(), 1, "{begins} in {:?}", self.commands);
        let line = found[0].replace("windrow ", &format!("{} ", binary("windrow"))).replace("ARGS", args);
        let mut command = Command::new("sh");
        command
            .process_group(0)
            .args(["-c", &format!("exec {line}")])
            .current_dir(self.folder.path())
            .env("WINDROW_LOG", "error");
        // Commands share no state folder, as on machines of their own, so each needs its own arguments.
        let home = self.folder.path().join("homes").join(begins.replace(['/', ' '], "-"));
        command.env("WINDROW_HOME", &home).env("XDG_CONFIG_HOME", &home);
        command
    }

    fn run(&self, begins: &str, args: &str) -> Ended {
        run(&mut self.command(begins, args))
    }
}

#[test]
fn recipe_of_the_document_makes_a_cluster() {
    let machines = Machines::new();
    machines.run("windrow tls init", "").ok();
    let mut coordinator = Daemon::start(&mut machines.command("windrow coordinator", ""));
    let url = coordinator.read_line("coordinator ");
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    machines.run("cp ", "").ok();
    let mut worker = Daemon::start(&mut machines.command("windrow worker", ""));
    worker.read_line("worker ");
    machines.run("windrow submit", "words --output out").ok();
    let part = std::fs::read_to_string(machines.folder.path().join("out/part-00000")).unwrap();
    assert_eq!(part, "be\t2\nnot\t1\nor\t1\nto\t2\n");
    std::fs::write(machines.folder.path().join("edges"), "1 2\n2 1\n").unwrap();
    machines.run("./driver", "edges --rounds 2 --output ranks").ok();
    assert_eq!(std::fs::read_to_string(machines.folder.path().join("ranks/part-00000")).unwrap().lines().count(), 2);
    // A driver takes the same settings from the environment.
    let mut driver = command("pagerank", &machines.folder.path().join("stranger"));
    driver.args(["edges", "--rounds", "2", "--output", "ranks-2", "--cluster", &url]);
    driver.env("WINDROW_TOKEN_FILE", "token").env("WINDROW_TLS_CA", "tls/ca.pem");
    run(driver.current_dir(machines.folder.path())).ok();
    // Mistakes, each with its own error.
    let list_with = |token: &str, url: &str, more: &[&str], roots: Option<&Path>| {
        let mut command = command("windrow", &machines.folder.path().join("stranger"));
        command.args(["job", "list", "--coordinator", url, "--token-file", token]).args(more);
        if let Some(roots) = roots {
            command.env("SSL_CERT_FILE", roots);
        }
        run(command.current_dir(machines.folder.path()))
    };
    let list = |url: &str, more: &[&str], roots: Option<&Path>| list_with("token", url, more, roots);
    let own = ["--tls-ca", "tls/ca.pem"];
    list(&url, &own, None).ok();
    run(Command::new(binary("windrow"))
        .current_dir(machines.folder.path())
        .args(["tls", "init", "other", "--host", "x"]))
    .ok();
    list(&url, &["--tls-ca", "other/ca.pem"], None).with(3).shows_error("CERTIFICATE_NOT_TRUSTED", &["--tls-ca"]);
    let by_name = url.replace("127.0.0.1", "localhost");
    list(&by_name, &own, None).with(3).shows_error("CERTIFICATE_WRONG_NAME", &["localhost", "127.0.0.1"]);
    list(&url.replace("https", "http"), &[], None).with(2).shows_error("BAD_REQUEST", &["https://"]);
    // Without --tls-ca the machine's trust store counts.
    let [ours, others] = ["tls/ca.pem", "other/ca.pem"].map(|ca| machines.folder.path().join(ca));
    list(&url, &[], Some(&ours)).ok();
    list(&url, &[], Some(&others)).with(3).shows_error("CERTIFICATE_NOT_TRUSTED", &[]);
    let wrong = machines.folder.path().join("wrong");
    std::fs::write(&wrong, "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(&wrong, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    list_with("wrong", &url, &own, None).with(3).shows_error("UNAUTHORISED", &["token"]);
    assert_eq!(worker.stop(), Some(0));
    assert_eq!(coordinator.stop(), Some(0));
    list(&url, &own, None).with(3).shows_error("UNREACHABLE", &[]);
}

/// A coordinator with an unusable authority ends with the reason instead of waiting for its own first call.
#[test]
fn unusable_authority_ends_a_daemon_before_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    run(Command::new(binary("windrow")).current_dir(folder.path()).args(["tls", "init", ".", "--host", "127.0.0.1"]))
        .ok();
    std::fs::write(path("empty.pem"), "").unwrap();
    let start = |ca: &str| {
        let mut command = command("windrow", &path("home"));
        command.args(["coordinator", "--listen", "127.0.0.1:0", "--data-dir", "data", "--tls-ca", ca]);
        command.args(["--tls-cert", "127.0.0.1.pem", "--tls-key", "127.0.0.1.key"]).current_dir(folder.path());
        run(&mut command)
    };
    start("empty.pem").with(2).shows_error("BAD_REQUEST", &["no certificate in PEM in empty.pem"]);
    start("missing.pem").with(1).shows_error("IO_ERROR", &["missing.pem"]);
    assert!(!path("data/journal.redb").exists(), "an epoch of the journal began");
}
