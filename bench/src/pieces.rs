//! Word count in thousands of small chunks and partitions, compared with one in default chunks and partitions: the cost of
//! a task, and of a pair of a task and a partition.

use crate::{Args, Result, data, in_turn, timed};
use std::process::Command;

/// Chunks and partitions of each row.
const CASES: [(u64, u64); 2] = [(1_024, 500), (4_096, 2_000)];

/// Prints a row for each case: seconds in default pieces, in small ones, and their ratio.
pub(crate) fn measure(args: &Args) -> Result<()> {
    println!("{:>7} {:>10} {:>7} {:>10} {:>9} {:>7}", "chunks", "partitions", "MiB", "default s", "pieces s", "ratio");
    let input = data::make(&args.data, "text", args.size)?;
    for (chunks, partitions) in CASES {
        let output = args.data.join("out-windrow");
        let run = |pieces: &[String]| {
            let mut command = Command::new(crate::example("wordcount")?);
            command.arg(&input).arg("--output").arg(&output).args(["--threads", "2"]);
            command.args(pieces).args(&args.job);
            timed(command, &output)
        };
        let chunk = format!("{}B", (args.size << 20).div_ceil(chunks));
        let small = ["--chunk-size".to_string(), chunk, "--partitions".to_string(), partitions.to_string()];
        let (a, b) = in_turn(args.runs, || run(&[]), || run(&small))?;
        println!("{chunks:>7} {partitions:>10} {:>7} {a:>10.2} {b:>9.2} {:>7.2}", args.size, b / a);
    }
    Ok(())
}
