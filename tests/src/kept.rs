//! Jobs that write and read records, and a driver that keeps some.

use std::time::{Duration, Instant};
use windrow::prelude::*;

/// Sums by word, of lines `WORD NUMBER`, as records.
#[derive(clap::Args, Serialize, Deserialize)]
struct Sums {
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    output: String,
}

impl Job for Sums {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let pairs = flow.read(lines(&self.input)).map(|line, out| {
            let (word, n) = line.split_once(' ').ok_or_else(|| Error::msg("no number"))?;
            out.emit(word, n.parse::<u64>()?);
            Ok(())
        });
        pairs.combine(Sum).write(records_sink(&self.output))
    }
}

/// The sums of both inputs for each word that both have.
#[derive(clap::Args, Serialize, Deserialize)]
struct Joined {
    left: String,
    right: String,
    #[arg(long)]
    output: String,
}

impl Job for Joined {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let [left, right] = [&self.left, &self.right].map(|path| flow.read(records::<(String, u64)>(path)));
        left.join(&right).write(tsv(&self.output))
    }
}

/// Reads records of another type.
#[derive(clap::Args, Serialize, Deserialize)]
struct OtherType {
    input: String,
    #[arg(long)]
    output: String,
}

impl Job for OtherType {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(records::<(String, f64)>(&self.input)).write(tsv(&self.output))
    }
}

/// Keeps sums, prints where, and waits for a file.
#[derive(clap::Args)]
struct Hold {
    input: String,
    until: std::path::PathBuf,
}

fn hold(args: Hold, session: &Session) -> Result<()> {
    let place = session.keep("sums")?;
    session.run(&Sums { input: vec![args.input], output: place.clone() })?;
    println!("kept {place}");
    let began = Instant::now();
    while !args.until.exists() {
        windrow::ensure!(began.elapsed() < Duration::from_secs(120), "{} does not exist", args.until.display());
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn main() -> std::process::ExitCode {
    let program = windrow::Program::new().job::<Sums>("sums").job::<Joined>("joined").job::<OtherType>("other-type");
    program.driver("hold", hold).run()
}
