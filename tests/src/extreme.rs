//! Jobs over data that strains a memory budget: each line of the input stands for many pairs.

use windrow::prelude::*;
use windrow::{Combiner, DecodeError};

/// Counts the numbers of lines `FROM TO`, in the way that `shape` names.
#[derive(clap::Args, Serialize, Deserialize)]
struct Extreme {
    /// one-key, distinct, long-values, growing, sorted or matches
    shape: String,
    /// Files with lines `FROM TO`
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    output: String,
}

/// Lists of numbers: accumulators that grow with every value.
struct All;

impl Combiner<u64> for All {
    type Acc = Vec<u64>;
    type Out = u64;
    fn create(&self, value: u64) -> Vec<u64> {
        vec![value]
    }
    fn merge(&self, into: &mut Vec<u64>, other: Vec<u64>) {
        into.extend(other);
    }
    fn finish(&self, acc: Vec<u64>) -> u64 {
        acc.len() as u64
    }
    fn encode(&self, acc: &Vec<u64>, out: &mut Vec<u8>) {
        out.extend(acc.iter().flat_map(|n| n.to_le_bytes()));
    }
    fn decode(&self, bytes: &[u8]) -> std::result::Result<Vec<u64>, DecodeError> {
        Ok(bytes.as_chunks::<8>().0.iter().map(|n| u64::from_le_bytes(*n)).collect())
    }
    fn heap_bytes(&self, acc: &Vec<u64>) -> usize {
        acc.capacity() * 8
    }
}

/// A permutation of the numbers that spreads them.
fn mixed(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29)
}

impl Job for Extreme {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let numbers: Records<u64> = flow.read(lines(&self.input)).map(|line, out| {
            let (from, to) = line.split_once(' ').ok_or_else(|| Error::msg("the line is not `FROM TO`"))?;
            out.extend(from.parse::<u64>()?..to.parse::<u64>()?);
            Ok(())
        });
        // Each shape counts the numbers by the path that it strains.
        let counts: Records<u64> = match self.shape.as_str() {
            "one-key" => {
                let pairs = numbers.map(|n, out| out.emit("the only key", format!("value number {n:020}")));
                pairs.reduce(|_, values, out| out.push(values.count() as u64))
            }
            "distinct" => numbers.map(|n, out| out.emit(mixed(n), 1u64)).combine(Sum).map(|(_, n), out| out.push(n)),
            "long-values" => {
                let pairs = numbers.map(|n, out| out.emit(n % 7, vec![n as u8; 1 << 20]));
                pairs.reduce(|_, values, out| out.push(values.count() as u64))
            }
            "growing" => numbers.map(|n, out| out.emit(n % 1000, n)).combine(All).map(|(_, n), out| out.push(n)),
            "sorted" => {
                let pairs = numbers.map(|n, out| out.emit(mixed(n), "a value of some bytes")).sort();
                pairs.map(|_, out| out.push(1u64))
            }
            "matches" => {
                let left = numbers.map(|n, out| out.emit(mixed(n), n));
                let right = numbers.map(|n, out| out.emit(mixed(n), "what the number is joined with"));
                left.join(&right).map(|_, out| out.push(1u64))
            }
            other => return Err(Error::msg(format!("there is no shape {other}"))),
        };
        counts.map(|n, out| out.emit("numbers", n)).combine(Sum).write(tsv(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<Extreme>()
}
