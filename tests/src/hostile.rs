//! Jobs for tests: some misbehave, one waits for the test, one has several outputs.

use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use windrow::prelude::*;

/// Counts words, and does something bad at the word `BOOM`.
#[derive(clap::Args, Serialize, Deserialize)]
struct Bad {
    /// panic, abort, segfault, recursion, exit, parent (kills its worker), hang, stdout, hoard, truncate, children:SECONDS, bomb:SECONDS or forks:SECONDS
    what: String,
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    output: String,
}

impl Job for Bad {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let what = self.what.clone();
        flow.read(lines(&self.input))
            .map(move |line, out| {
                for word in line.split_ascii_whitespace() {
                    if word == "BOOM" {
                        misbehave(&what)
                    }
                    if let Some(file) = word.strip_prefix("TRUNCATE:") {
                        std::fs::File::options().write(true).open(file)?.set_len(5000)?;
                    }
                    if let Some(depth) = word.strip_prefix("NEST:").and_then(|depth| depth.parse().ok()) {
                        nest(depth)?;
                    }
                    out.emit(word, 1u64)
                }
                Ok(())
            })
            .combine(Sum)
            .write(tsv(&self.output))
    }
}

/// Makes folders in each other where the process works, too deep for any path.
fn nest(depth: u32) -> std::io::Result<()> {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let open = |at: &dyn std::os::fd::AsFd, name: &str| openat(at.as_fd(), name, OFlags::DIRECTORY, Mode::empty());
    let mut at = open(&CWD, ".")?;
    for _ in 0..depth {
        mkdirat(&at, "d", Mode::RWXU)?;
        at = open(&at, "d")?;
    }
    Ok(())
}

/// Needs more stack than there is.
fn recurse(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 512]);
    if depth == u64::MAX { 0 } else { recurse(depth + 1) + frame[511] }
}

/// Starts processes that outlive this one, in its session and outside of it. A test finds them by the duration of their
/// sleep.
fn escape(seconds: &str) {
    for how in ["exec sleep", "setsid sleep", "env -i sleep"] {
        let background = if how == "exec sleep" { "" } else { " &" };
        let mut command = std::process::Command::new("sh");
        drop(command.args(["-c", &format!("{how} {seconds}{background}")]).spawn());
    }
}

fn misbehave(what: &str) {
    match what {
        "panic" => panic!("the mapper does not like this line"),
        "abort" => std::process::abort(),
        "segfault" => {
            let nowhere = std::ptr::without_provenance::<u8>(64);
            // SAFETY: unsound on purpose: nothing is mapped in the first page, so this faults.
            let byte = unsafe { nowhere.read_volatile() };
            unreachable!("{byte} is in the first page")
        }
        "recursion" => drop(std::hint::black_box(recurse(0))),
        "exit" => std::process::exit(0),
        "parent" => {
            let parent = rustix::process::getppid().expect("it was started by a worker");
            rustix::process::kill_process(parent, rustix::process::Signal::KILL).expect("the worker is there");
            std::thread::sleep(Duration::from_secs(60))
        }
        "hang" => loop {
            std::hint::spin_loop()
        },
        "stdout" => {
            for n in 0..20_000 {
                println!("line {n} of a job that prints far too much to its stdout, and to its stderr");
                eprintln!("line {n} of a job that prints far too much to its stderr, and to its stdout");
            }
        }
        "hoard" => {
            let mut hoard = Vec::new();
            // A bound for a machine without limits.
            while hoard.len() < 4_000 {
                hoard.push(std::hint::black_box(vec![1u8; 1 << 20]));
            }
        }
        other => match other.split_once(':') {
            Some(("children", seconds)) => escape(seconds),
            Some(("bomb", seconds)) => {
                (0..150).for_each(|_| escape(seconds));
                loop {
                    std::thread::sleep(Duration::from_secs(1))
                }
            }
            // Each starts two of its kind and one that sleeps.
            Some(("forks", seconds)) => {
                let bomb = format!("f() {{ setsid env -i sleep {seconds} & f & f & wait; }}; f");
                let _ = std::process::Command::new("sh").args(["-c", &bomb]).status();
                loop {
                    std::thread::sleep(Duration::from_secs(1))
                }
            }
            _ => panic!("no such misdeed: {other}"),
        },
    }
}

/// A job without a plan.
#[derive(clap::Args, Serialize, Deserialize)]
struct Unplanned {
    /// panic or abort
    what: String,
}

impl Job for Unplanned {
    fn plan(&self, _: &Flow) -> Result<()> {
        match self.what.as_str() {
            "abort" => std::process::abort(),
            what => panic!("no plan for {what}"),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Visit {
    user: String,
    seconds: u64,
}

/// Seconds by user, from JSON lines.
#[derive(clap::Args, Serialize, Deserialize)]
struct Json {
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    output: String,
}

impl Job for Json {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(jsonl::<Visit>(&self.input))
            .map(|visit, out| out.emit(visit.user.as_str(), visit.seconds))
            .combine(Sum)
            .write(tsv(&self.output))
    }
}

/// Counts words; at a word that begins with `gate` it writes a file into the gate's folder and waits there for a file
/// `open`.
#[derive(clap::Args, Serialize, Deserialize)]
struct Gate {
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    output: String,
    #[arg(long)]
    gate: String,
    /// Reduces wait instead of maps, while their input is sorted.
    #[arg(long)]
    in_reduce: bool,
}

impl Job for Gate {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let gate = self.gate.clone();
        if self.in_reduce {
            return flow
                .read(lines(&self.input))
                .map(|line, out| line.split_ascii_whitespace().for_each(|word| out.emit(word, 1u64)))
                .reduce(move |word, ones, out| {
                    if word.starts_with("gate") {
                        pass(Path::new(&gate), word)?
                    }
                    out.emit(word, ones.sum::<u64>());
                    Ok(())
                })
                .write(tsv(&self.output));
        }
        flow.read(lines(&self.input))
            .map(move |line, out| {
                for word in line.split_ascii_whitespace() {
                    if word.starts_with("gate") {
                        pass(Path::new(&gate), word)?
                    }
                    out.emit(word, 1u64)
                }
                Ok(())
            })
            .combine(Sum)
            .write(tsv(&self.output))
    }
}

/// Writes the lines with a word, counts the words of the others, and counts those again by their number.
#[derive(clap::Args, Serialize, Deserialize)]
struct Several {
    word: String,
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    found: String,
    #[arg(long)]
    output: String,
    #[arg(long)]
    numbers: String,
}

impl Job for Several {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let all = flow.read(lines(&self.input));
        let word = self.word.clone();
        let has = move |line: &str| line.split_ascii_whitespace().any(|w| w == word);
        all.filter(has.clone()).write(text(&self.found))?;
        let words = all
            .filter(move |line| !has(line))
            .map(|line, out| line.split_ascii_whitespace().for_each(|word| out.emit(word, 1u64)))
            .combine(Sum);
        words.write(tsv(&self.output))?;
        words.map(|(_, n), out| out.emit(n, 1u64)).combine(Sum).write(tsv(&self.numbers))
    }
}

/// Gives each word a random number; the reduce of a word that begins with `gate` waits there. Jobs must not do that.
#[derive(clap::Args, Serialize, Deserialize)]
struct Random {
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    output: String,
    #[arg(long)]
    gate: String,
    /// The edge whose pairs are random.
    #[arg(long, value_enum, default_value = "values")]
    edge: RandomEdge,
}

#[derive(Clone, Copy, clap::ValueEnum, Serialize, Deserialize)]
enum RandomEdge {
    /// Keeps every pair, and follows a stage that reads files.
    Values,
    /// Combines pairs of equal keys.
    Combined,
    /// Follows a stage that reads shuffled data.
    Shuffled,
    /// The same, with a reader that takes its records in any order.
    Joined,
}

fn at_random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

impl Job for Random {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let gate = self.gate.clone();
        let wait = move |word: &str| match word.starts_with("gate") {
            true => pass(Path::new(&gate), word),
            false => Ok(()),
        };
        let words = flow.read(lines(&self.input));
        match self.edge {
            RandomEdge::Joined => {
                let once = words
                    .map(|line, out| line.split_ascii_whitespace().for_each(|word| out.emit(word, 1u64)))
                    .combine(Sum);
                let random = once.map(|(word, _), out| out.emit(word, at_random()));
                random
                    .join(&once)
                    .map(|(word, (number, n)), out| out.emit(word, number.wrapping_mul(n)))
                    .combine(Sum)
                    .map(move |(word, n), out| {
                        wait(word)?;
                        out.emit(word, n);
                        Ok(())
                    })
                    .write(tsv(&self.output))
            }
            RandomEdge::Values => words
                .map(|line, out| line.split_ascii_whitespace().for_each(|word| out.emit(word, at_random())))
                .reduce(move |word, numbers, out| {
                    wait(word)?;
                    out.emit(word, numbers.fold(0u64, u64::wrapping_add));
                    Ok(())
                })
                .write(tsv(&self.output)),
            RandomEdge::Combined => words
                .map(|line, out| {
                    for word in line.split_ascii_whitespace() {
                        match word.starts_with("gate") {
                            true => out.emit(word, 1u64),
                            false => out.emit(&*format!("{word}{}", at_random() % 8), 1u64),
                        }
                    }
                })
                .combine(Sum)
                .map(move |(word, n), out| {
                    wait(word)?;
                    out.emit(word, n);
                    Ok(())
                })
                .write(tsv(&self.output)),
            RandomEdge::Shuffled => words
                .map(|line, out| line.split_ascii_whitespace().for_each(|word| out.emit(word, 1u64)))
                .reduce(|word, _, out| out.emit(word, at_random()))
                // Shuffled once more: every reader reads from every task.
                .map(|(word, number), out| out.emit(word, number))
                .reduce(move |word, numbers, out| {
                    wait(word)?;
                    out.emit(word, numbers.fold(0u64, u64::wrapping_add));
                    Ok(())
                })
                .write(tsv(&self.output)),
        }
    }
}

fn pass(gate: &Path, word: &str) -> Result<()> {
    // In one write: output is attributed to the attempt that was started last before it.
    std::io::stderr().write_all(format!("at {word}\n").as_bytes())?;
    std::fs::write(gate.join(format!("{word}.{}", std::process::id())), "")?;
    while !gate.join("open").exists() {
        std::thread::sleep(Duration::from_millis(5))
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    let program = windrow::Program::new().job::<Bad>("bad").job::<Json>("json").job::<Gate>("gate");
    program.job::<Random>("random").job::<Several>("several").job::<Unplanned>("unplanned").run()
}
