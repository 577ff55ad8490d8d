//! A driver that repeats a job of two tasks, a map and a reduce, and prints the median time of one in milliseconds.
//! Each job does what a loop of an iterative algorithm would do: a plan, a submission, two tasks, a result.

use std::time::Instant;
use windrow::prelude::*;

/// Counts the lines of a file by their first byte.
#[derive(clap::Args, Clone, Serialize, Deserialize)]
struct CountLines {
    input: String,
}

impl Job for CountLines {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let counts: Pairs<u64, u64> = flow.read(lines(&self.input)).map(|line, out| {
            let first = line.bytes().next().unwrap_or(0);
            out.emit(u64::from(first), 1u64);
        });
        counts.reduce_values(|_, ones| ones.sum::<u64>()).collect("counts");
        Ok(())
    }
}

/// Runs jobs of two tasks, and prints what one takes
#[derive(clap::Args)]
struct Jobs {
    #[command(flatten)]
    job: CountLines,
    /// Number of jobs in a row, after two that do not count
    #[arg(long, default_value_t = 50)]
    jobs: usize,
}

fn drive(args: Jobs, session: &Session) -> Result<()> {
    let mut took = Vec::new();
    for n in 0..args.jobs + 2 {
        let start = Instant::now();
        let done = session.run(&args.job)?;
        if n >= 2 {
            took.push(start.elapsed().as_secs_f64() * 1e3);
        }
        if done.collected::<(u64, u64)>("counts")?.is_empty() {
            return Err(Error::msg("the input is empty"));
        }
    }
    took.sort_by(f64::total_cmp);
    println!("{:.3}", took.get(took.len() / 2).copied().unwrap_or(f64::NAN));
    Ok(())
}

fn main() -> std::process::ExitCode {
    windrow::Program::new().internal_job::<CountLines>().driver("", drive).run()
}
