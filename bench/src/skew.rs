//! One key with half of all pairs, compared with the same number of pairs without it: with a combiner (word count), and
//! without (sessions, where all hits of a user are grouped).

use crate::{Args, Result, data, in_turn, timed};
use std::process::Command;

/// Row, example, and its inputs without and with a key that has half of the pairs.
const CASES: [(&str, &str, &str, &str); 2] =
    [("skew, combined", "wordcount", "even", "skewed"), ("skew, grouped", "sessions", "hits", "skewed-hits")];
/// Number of the job's partitions.
const PARTITIONS: &str = "16";

/// Prints a row for each case: seconds without skew, with skew, and their ratio.
pub(crate) fn measure(args: &Args) -> Result<()> {
    println!("{:<16} {:>8} {:>9} {:>9} {:>7}", "row", "MiB", "even s", "skewed s", "ratio");
    for (row, example, even, skewed) in CASES {
        let output = args.data.join("out-windrow");
        let run = |name: &str| {
            let input = data::make(&args.data, name, args.size)?;
            let mut command = Command::new(crate::example(example)?);
            command.arg(input).arg("--output").arg(&output).args(["--threads", "2", "--partitions", PARTITIONS]);
            command.args(&args.job);
            timed(command, &output)
        };
        let (a, b) = in_turn(args.runs, || run(even), || run(skewed))?;
        println!("{row:<16} {:>8} {a:>9.2} {b:>9.2} {:>7.2}", args.size, b / a);
    }
    Ok(())
}
