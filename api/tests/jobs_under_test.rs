//! Whole jobs and drivers on files in memory: several inputs, typed outputs, the text of sinks, parameters, failures.

use windrow::prelude::*;
use windrow::testing::Files;
use windrow::{Code, Compression, JobOptions};

/// Orders with the names of their customers, and lines that are no orders.
#[derive(clap::Args, Serialize, Deserialize)]
struct Named {
    orders: Vec<String>,
    #[arg(long)]
    customers: String,
    #[arg(long, default_value_t = 0)]
    min: u64,
}

impl Job for Named {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let min = self.min;
        let bad = flow.counter("bad lines");
        let orders = flow.read(lines(&self.orders)).map(move |line, out| {
            match line.split_once(' ').map(|(who, cents)| (who, cents.parse::<u64>())) {
                Some((who, Ok(cents))) if cents >= min => out.emit(who, cents),
                Some((_, Ok(_))) => {}
                _ => bad.add(1),
            }
        });
        let customers = flow.read(csv::<(String, String)>(self.customers.as_str()).no_header());
        let customers = customers.map(|row, out| out.emit(&row.0, &row.1));
        let named = orders.join(&customers);
        named.map(|(_, (cents, name)), out| out.emit(name, cents)).combine(Sum).write(tsv("sums"))?;
        named.count().collect("count");
        orders.write(compressed("orders"))
    }
}

/// A compressed output.
fn compressed(path: &str) -> impl windrow::Sink<(String, u64)> {
    windrow::sinks::csv_sink(path).compressed(Compression::Gzip)
}

fn files() -> Files {
    let files = Files::new().lines("new/monday", ["a 3", "b 4", "what"]).lines("new/tuesday", ["a 5", "c 1"]);
    files.file("customers.csv", "a,Ann\nb,Bob\n")
}

fn sums(sums: &[(&str, u64)]) -> Vec<(String, u64)> {
    sums.iter().map(|(name, cents)| (name.to_string(), *cents)).collect()
}

#[test]
fn job_with_several_inputs_gives_typed_outputs() -> Result<()> {
    for (chunk_bytes, threads) in [(None, 1), (Some(1), 3), (Some(7), 2)] {
        let files = files().options(JobOptions { chunk_bytes, ..JobOptions::default() }).threads(threads);
        let done = files.run(&Named { orders: vec!["new".into()], customers: "customers.csv".into(), min: 0 })?;
        assert_eq!(files.records::<(String, u64)>("sums")?, sums(&[("Ann", 8), ("Bob", 4)]));
        assert_eq!(files.text("sums")?, "Ann\t8\nBob\t4\n");
        assert_eq!(done.collected::<u64>("count")?, [3]);
        // The orders are made twice, once for each output.
        assert_eq!(done.counter("bad lines"), 2);
        // The order of the input, however it is cut; the parts are compressed.
        let orders = sums(&[("a", 3), ("b", 4), ("a", 5), ("c", 1)]);
        assert_eq!(files.records::<(String, u64)>("orders")?, orders);
        assert_eq!(files.read(csv::<(String, u64)>("orders").no_header())?.len(), 4);
        assert!(files.parts("orders")?.iter().all(|part| part.starts_with(b"\x1f\x8b")));
    }
    Ok(())
}

#[test]
fn arguments_of_the_command_line_are_parsed() -> Result<()> {
    let files = files();
    files.run_args::<Named>(["new/monday", "new/tuesday", "--customers", "customers.csv", "--min", "4"])?;
    assert_eq!(files.records::<(String, u64)>("sums")?, sums(&[("Ann", 5), ("Bob", 4)]));
    // A second run replaces the outputs of the first.
    files.run_args::<Named>(["new/monday", "--customers", "customers.csv"])?;
    assert_eq!(files.records::<(String, u64)>("sums")?, sums(&[("Ann", 3), ("Bob", 4)]));
    let refused = files.run_args::<Named>(["new", "--minimum", "4"]).unwrap_err();
    assert!(refused.code() == Code::BadRequest && refused.to_string().contains("--minimum"), "{refused}");
    Ok(())
}

/// Doubles numbers, writes them, and fails at one of them.
#[derive(clap::Args, Serialize, Deserialize)]
struct Doubled {
    input: String,
    output: String,
    fails_at: u64,
}

impl Job for Doubled {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let fails_at = self.fails_at;
        let numbers = flow.read(lines(self.input.as_str())).map(|line, out| {
            out.push(line.parse::<u64>()?);
            Ok(())
        });
        let doubled = numbers.map(move |n, out| {
            assert!(n != fails_at, "no double");
            out.push(n * 2)
        });
        doubled.combine_all(Max).collect("max");
        doubled.union(&numbers).write(tsv(&self.output))
    }
}

fn doubled(input: &str, output: &str, fails_at: u64) -> Doubled {
    Doubled { input: input.to_string(), output: output.to_string(), fails_at }
}

/// Doubles until the largest number is at least 20.
fn drive(session: &Session) -> Result<String> {
    session.check_output("round-9")?;
    let mut input = "in".to_string();
    for round in 0..9 {
        let output = format!("round-{round}");
        let done = session.run(&doubled(&input, &output, 1_000))?;
        input = output;
        if done.collected::<u64>("max")?.iter().any(|max| *max >= 20) {
            break;
        }
    }
    Ok(input)
}

#[test]
fn driver_runs_its_jobs_on_the_same_files() -> Result<()> {
    let files =
        Files::new().lines("in", ["5", "1"]).options(JobOptions { chunk_bytes: Some(1), ..JobOptions::default() });
    let last = drive(&files.session()?)?;
    assert_eq!(last, "round-1");
    assert_eq!(files.records::<u64>(&last)?, [20, 4, 10, 2, 10, 2, 5, 1]);
    assert_eq!(files.read(lines("round-0"))?, ["10", "2", "5", "1"]);
    Ok(())
}

#[test]
fn failed_job_names_its_record_and_leaves_no_output() -> Result<()> {
    let files = Files::new().lines("in", ["1", "7", "2"]);
    let failed = files.run(&doubled("in", "out", 7)).unwrap_err();
    assert_eq!(failed.code(), Code::UserPanic);
    assert_eq!(failed.failure().place.as_ref().map(|place| place.offset), Some(2));
    assert_eq!(files.records::<u64>("out").unwrap_err().code(), Code::OutputFailed);
    // With leave to skip it, the captured records are those of the output.
    let files = files.options(JobOptions { skip_bad_records: 1, ..JobOptions::default() });
    files.run(&doubled("in", "out", 7))?;
    assert_eq!(files.records::<u64>("out")?, [2, 4, 1, 7, 2]);
    assert_eq!(files.text("out")?, "2\n4\n1\n7\n2\n");
    Ok(())
}

#[test]
fn mistakes_of_a_test_are_errors() {
    let files = || Files::new().lines("in", ["1"]);
    let refused = |files: Files| files.run(&doubled("in", "out", 0)).unwrap_err();
    for name in ["", "/in", "../in", "a/../b"] {
        let error = refused(files().file(name, "x"));
        assert!(error.code() == Code::BadRequest && error.to_string().contains("below the folder"), "{error}");
    }
    let twice = refused(files().file("in", "x"));
    assert!(twice.to_string().contains("/in"), "{twice}");
    let files = files();
    files.run(&doubled("in", "out", 0)).unwrap();
    let other = files.records::<i64>("out").unwrap_err();
    assert!(other.code() == Code::BadRequest && other.to_string().contains("`u64`"), "{other}");
    assert_eq!(files.text("in").unwrap_err().code(), Code::OutputFailed);
    let folder = files.path("in").unwrap();
    drop(files);
    assert!(!folder.exists());
}
