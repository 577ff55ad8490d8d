//! Records and keys that fail are left out, up to the number that the job allows.

use windrow::prelude::*;
use windrow::testing::{Files, run_with};
use windrow::{Code, JobOptions};

fn skipping(n: u64) -> JobOptions {
    JobOptions { skip_bad_records: n, partitions: Some(2), ..JobOptions::default() }
}

/// Runs on these lines, and leaves out up to `n` records or keys.
fn run<R: windrow::Datum + Ord>(n: u64, make: impl FnOnce(Records<String>) -> Records<R>) -> Result<Vec<R>> {
    let mut records = run_with(["a", "b", "b", "c"], skipping(n), 2, 64 << 20, make)?;
    records.sort();
    Ok(records)
}

fn boom_on(bad: bool) {
    assert!(!bad, "boom");
}

fn ones(lines: &Records<String>) -> Pairs<String, u64> {
    lines.map(|line, out| out.emit(line, 1u64))
}

type Make = fn(Records<String>) -> Records<String>;

#[test]
fn failing_key_is_left_out_of_its_task() {
    let jobs: [(&str, Make); 7] = [
        ("reduce", |lines| {
            ones(&lines).reduce(|key, _, out| {
                boom_on(key == "b");
                out.push(key)
            })
        }),
        ("an error in reduce", |lines| {
            ones(&lines).reduce(|key, _, out| {
                if key == "b" {
                    return Err(Error::msg("boom"));
                }
                out.push(key);
                Ok(())
            })
        }),
        ("group", |lines| {
            lines.map(|line, out| out.emit((line, 1u8), 1u8)).group(|key, _, out| {
                boom_on(key == "b");
                out.push(key)
            })
        }),
        ("cogroup", |lines| {
            ones(&lines).cogroup(&ones(&lines), |key, _, _, out| {
                boom_on(key == "b");
                out.push(key)
            })
        }),
        ("a map after combine", |lines| {
            ones(&lines).combine(Sum).map(|(key, _), out| {
                boom_on(key == "b");
                out.push(key)
            })
        }),
        ("a filter after sort", |lines| {
            let kept = ones(&lines).sort().filter(|(key, _)| {
                boom_on(key == "b");
                true
            });
            kept.keys()
        }),
        ("a map after repartition", |lines| {
            lines.distinct().repartition(2).map(|line, out| {
                boom_on(line == "b");
                out.push(line)
            })
        }),
    ];
    for (what, make) in jobs {
        assert_eq!(run(1, make).unwrap(), ["a", "c"], "{what}");
        let failed = run(0, make).unwrap_err();
        assert!(failed.failure().message.contains("boom"), "{what}: {failed}");
    }
}

#[test]
fn sampled_keys_do_not_change_when_one_is_left_out() {
    let sampled = |fails: bool| {
        move |lines: Records<String>| {
            let reduced = ones(&lines).reduce(move |key, _, out| {
                boom_on(fails && key == "b");
                out.push(key)
            });
            reduced.sample(0.5, 7)
        }
    };
    let mut all = run(1, sampled(false)).unwrap();
    all.retain(|key| key != "b");
    assert_eq!(run(1, sampled(true)).unwrap(), all);
}

/// Writes lines that a sink refuses, of a file or of a shuffle.
#[derive(clap::Args, Serialize, Deserialize)]
struct Written {
    shuffles: bool,
}

impl Job for Written {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let pairs = flow.read(lines("in")).map(|line, out| out.emit(line.replace('_', "\t"), 1u64));
        match self.shuffles {
            true => pairs.combine(Sum).write(tsv("out")),
            false => pairs.write(tsv("out")),
        }
    }
}

#[test]
fn record_that_a_sink_refuses_is_left_out_with_its_place() -> Result<()> {
    for shuffles in [false, true] {
        let files = || Files::new().lines("in", ["a", "b_c", "d"]);
        let failed = files().run(&Written { shuffles }).unwrap_err();
        assert_eq!(failed.code(), Code::FieldNotRepresentable);
        let offset = failed.failure().place.as_ref().map(|place| place.offset);
        assert_eq!(offset, (!shuffles).then_some(2));
        let files = files().options(skipping(1));
        let done = files.run(&Written { shuffles })?;
        let mut written = files.records::<(String, u64)>("out")?;
        written.sort();
        assert_eq!(written, [("a".to_string(), 1), ("d".to_string(), 1)]);
        assert_eq!(done.counter("windrow.records_skipped"), 1);
        let listed = std::fs::read_to_string(files.path("out/_bad_records.jsonl")?)?;
        let bad: serde_json::Value = serde_json::from_str(&listed)?;
        match shuffles {
            false => assert_eq!((bad["offset"].as_u64(), bad["record"].as_str()), (Some(2), Some("b_c")), "{bad}"),
            true => assert_eq!((bad["file"].is_null(), bad["key"].as_str()), (true, Some("\"b\\tc\"")), "{bad}"),
        }
    }
    Ok(())
}

#[test]
fn more_failing_keys_than_allowed_fail_the_job() {
    let job: Make = |lines| {
        ones(&lines).reduce(|key, _, out| {
            boom_on(key > "a");
            out.push(key)
        })
    };
    let failed = run(1, job).unwrap_err();
    assert!(failed.code() == Code::UserPanic && failed.to_string().contains("more than 1 bad records"), "{failed}");
    assert_eq!(run(2, job).unwrap(), ["a"]);
}
