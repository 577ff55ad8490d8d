//! The simulation as a command: it runs one seed after the other until it has simulated a number of hours, has made a number of runs,
//! or has run for a number of minutes. It names each seed that fails; `--seed S --trace` prints what happened in it.

#![warn(unreachable_pub)]

mod throughput;

use clap::Parser;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use windrow_sim::{Kinds, Outcome, Setup, Trace, run};

/// Run the scheduler on simulated clusters with faults of every kind.
#[derive(Parser)]
struct Args {
    /// Stop after this number of hours of the clusters' clocks.
    #[arg(long, conflicts_with = "trace")]
    hours: Option<f64>,
    /// Stop after this number of runs.
    #[arg(long, conflicts_with = "trace")]
    runs: Option<u64>,
    /// Stop after this number of minutes of this machine's clock.
    #[arg(long, conflicts_with = "trace")]
    minutes: Option<f64>,
    /// Workers of a cluster: a number, or a range, of which small ones are tried most.
    #[arg(long, default_value = "3..10", value_parser = sizes)]
    workers: RangeInclusive<u32>,
    /// The first seed; the next runs have the seeds after it.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Measure events per second instead, for 100 to 10,000 workers and up to 1,000,000 tasks, without random faults.
    #[arg(long, conflicts_with = "trace")]
    throughput: bool,
    /// Run this seed alone, and print all that happens.
    #[arg(long)]
    trace: bool,
}

fn sizes(text: &str) -> Result<RangeInclusive<u32>, String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let number = |text: &str| text.parse::<u32>().map_err(|e| format!("`{text}`: {e}"));
    let (from, to) = (number(from)?, number(to)?);
    if from < 1 || to < from || to > 100_000 { Err("from 1 to 100000 workers".into()) } else { Ok(from..=to) }
}

/// The number of workers of a seed. The cost of a run grows with it, so most runs are small and a few have the maximum.
fn size(workers: &RangeInclusive<u32>, seed: u64) -> u32 {
    let (from, to) = (f64::from(*workers.start()), f64::from(*workers.end()));
    // The seed's number between 0 and 1 (Weyl's sequence of the golden ratio), to its eighth power.
    let even = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) as f64 / u64::MAX as f64;
    (from * (to / from).powf(even.powi(8))).round() as u32
}

fn setup(args: &Args, seed: u64) -> Setup {
    let trace = if args.trace { Trace::Printed } else { Trace::Off };
    let kinds = Kinds { fickle: seed.is_multiple_of(4), ..Kinds::ALL };
    Setup { seed, user_errors: seed % 2 == 1, kinds, workers: Some(size(&args.workers, seed)), trace }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.throughput {
        let _ = print_throughput(&mut io::stdout().lock());
        return ExitCode::SUCCESS;
    }
    if args.trace {
        run(&setup(&args, args.seed));
        return ExitCode::SUCCESS;
    }
    let mut sums = Sums::default();
    let started = Instant::now();
    let mut printed = started;
    let hours = args.hours.or((args.runs.is_none() && args.minutes.is_none()).then_some(1.0));
    let mut seed = args.seed;
    loop {
        let setup = setup(&args, seed);
        match catch_unwind(AssertUnwindSafe(|| run(&setup))) {
            Ok(outcome) => sums.add(&setup, outcome),
            Err(_) => {
                sums.failures.push(seed);
                eprintln!("seed {seed} fails: {} workers", setup.workers.unwrap_or_default());
            }
        }
        seed = seed.wrapping_add(1);
        if printed.elapsed() > Duration::from_secs(30) {
            printed = Instant::now();
            eprintln!("{} runs, {:.1} hours", sums.runs, sums.hours());
        }
        let over = hours.is_some_and(|h| sums.hours() >= h)
            || args.runs.is_some_and(|n| sums.runs + sums.failures.len() as u64 >= n)
            || args.minutes.is_some_and(|m| started.elapsed().as_secs_f64() >= m * 60.0);
        // If every run fails, no simulated hour is added: end after 100 failures.
        if over || sums.failures.len() >= 100 {
            break;
        }
    }
    let _ = sums.print(started.elapsed(), &mut io::stdout().lock());
    if sums.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print_throughput(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{:>8} {:>8} {:>8}  events per second, and seconds", "workers", "maps", "reduces")?;
    let few = [100, 1_000, 10_000]
        .into_iter()
        .flat_map(|workers| [1_000, 10_000, 100_000].map(|tasks| (workers, tasks - tasks / 100, tasks / 100, 3)));
    // Every map writes to every partition.
    let full = [(1_000, 100_000, 10_000, u32::MAX), (1_000, 980_000, 20_000, u32::MAX)];
    for (workers, maps, reduces, writes) in few.chain(full) {
        write!(out, "{workers:>8} {maps:>8} {reduces:>8}")?;
        for phase in throughput::run(workers, maps, reduces, writes) {
            let seconds = phase.took.as_secs_f64().max(1e-9);
            write!(out, "  {} {:.0} {seconds:.2}", phase.name, phase.events as f64 / seconds)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Totals over all runs.
#[derive(Default)]
struct Sums {
    runs: u64,
    ms: u64,
    events: u64,
    jobs: u64,
    ended_otherwise: u64,
    backups: u64,
    ahead: u64,
    puts: u64,
    copies: u64,
    deletions: u64,
    workers_max: u32,
    faults: BTreeMap<&'static str, u64>,
    failures: Vec<u64>,
}

impl Sums {
    fn add(&mut self, setup: &Setup, outcome: Outcome) {
        self.runs += 1;
        self.ms += outcome.ms;
        self.events += outcome.events;
        self.jobs += outcome.jobs;
        self.ended_otherwise += outcome.ended_otherwise;
        self.backups += outcome.backups;
        self.ahead += outcome.ahead;
        self.puts += outcome.puts;
        self.copies += outcome.copies;
        self.deletions += outcome.deletions;
        self.workers_max = self.workers_max.max(setup.workers.unwrap_or_default());
        for (kind, n) in outcome.faults {
            *self.faults.entry(kind).or_default() += n;
        }
    }

    fn hours(&self) -> f64 {
        self.ms as f64 / 3_600_000.0
    }

    fn print(&self, took: Duration, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "simulated hours   {:.1} (in {:.0} s)", self.hours(), took.as_secs_f64())?;
        writeln!(out, "runs              {}, with up to {} workers", self.runs, self.workers_max)?;
        let per_second = self.events as f64 / took.as_secs_f64();
        writeln!(out, "events            {} ({per_second:.0}/s)", self.events)?;
        writeln!(
            out,
            "jobs              {}, of which {} failed as they should or were cancelled",
            self.jobs, self.ended_otherwise
        )?;
        writeln!(out, "backup attempts   {}", self.backups)?;
        writeln!(out, "ahead of slots    {}", self.ahead)?;
        writeln!(
            out,
            "datasets          {}, with {} copies and {} deletions of chunks",
            self.puts, self.copies, self.deletions
        )?;
        writeln!(out, "faults            {}", self.faults.values().sum::<u64>())?;
        for (kind, n) in &self.faults {
            writeln!(out, "  {n:>12}  {kind}")?;
        }
        writeln!(out, "failed runs       {}", self.failures.len())?;
        if !self.failures.is_empty() {
            writeln!(out, "their seeds       {:?}", self.failures)?;
        }
        Ok(())
    }
}
