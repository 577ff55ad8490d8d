//! Simulated machines: network namespaces joined by a bridge in a namespace of its own, so that the host's network is
//! untouched. Links go down like a pulled cable, or silently lose one direction between two machines.
//!
//! Needs root and `ip` (iproute2). Names hold the process id, so that leftovers of killed tests are removed by the next
//! one.

use std::process::{Command, Output};

/// Namespaces `0..machines`, each with the address `10.77.0.1+n`; dropping it removes them.
pub struct Namespaces {
    machines: usize,
}

fn ip(args: &[&str]) -> Result<Output, String> {
    let output = Command::new("ip").args(args).output().map_err(|e| format!("ip: {e}"))?;
    match output.status.success() {
        true => Ok(output),
        false => Err(format!("ip {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr).trim())),
    }
}

fn bridge() -> String {
    format!("windrow-{}-bridge", std::process::id())
}

impl Namespaces {
    /// Returns the reason where namespaces cannot be made.
    pub fn new(machines: usize) -> Result<Namespaces, String> {
        sweep();
        let made = Namespaces { machines };
        let bridge = bridge();
        ip(&["netns", "add", &bridge])?;
        ip(&["-n", &bridge, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &bridge, "link", "set", "bridge", "up"])?;
        for n in 0..machines {
            let (name, port) = (made.name(n), format!("port{n}"));
            ip(&["netns", "add", &name])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            ip(&["link", "add", "eth0", "netns", &name, "type", "veth", "peer", "name", &port, "netns", &bridge])?;
            ip(&["-n", &name, "addr", "add", &format!("{}/24", made.address(n)), "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &bridge, "link", "set", &port, "master", "bridge"])?;
            ip(&["-n", &bridge, "link", "set", &port, "up"])?;
        }
        Ok(made)
    }

    fn name(&self, n: usize) -> String {
        format!("windrow-{}-{n}", std::process::id())
    }

    pub fn address(&self, n: usize) -> String {
        format!("10.77.0.{}", n + 1)
    }

    /// The command, run on machine `n`.
    pub fn on(&self, n: usize, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.name(n)]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        std::os::unix::process::CommandExt::process_group(&mut inside, 0);
        inside
    }

    /// Pulls machine `n`'s cable, or puts it back.
    pub fn link(&self, n: usize, up: bool) {
        ip(&["-n", &bridge(), "link", "set", &format!("port{n}"), if up { "up" } else { "down" }]).expect("a port");
    }

    /// Drops packets from machine `from` to machine `to`, or stops doing so; the other direction is unaffected.
    pub fn lose(&self, from: usize, to: usize, lost: bool) {
        let (name, address) = (self.name(from), self.address(to));
        // No machine has this hardware address, so the bridge floods the packets and all machines ignore them.
        let unused = ["lladdr", "02:00:00:00:00:fe", "nud", "permanent"];
        let mut args = vec!["-n", &name, "neigh", if lost { "replace" } else { "del" }, &address, "dev", "eth0"];
        args.extend(unused.iter().take(if lost { 4 } else { 0 }));
        ip(&args).expect("a neighbour");
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        // Their ends of the links go with them.
        for name in (0..self.machines).map(|n| self.name(n)).chain([bridge()]) {
            let _ = ip(&["netns", "del", &name]);
        }
    }
}

/// Removes namespaces of dead tests.
fn sweep() {
    let Ok(list) = ip(&["netns", "list"]) else { return };
    for name in String::from_utf8_lossy(&list.stdout).lines().filter_map(|line| line.split(' ').next()) {
        let pid = name.strip_prefix("windrow-").and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| !std::path::Path::new("/proc").join(pid).exists()) {
            let _ = ip(&["netns", "del", name]);
        }
    }
}
