//! Five of twenty fields of JSON lines, a filter, and a group by.
//!
//! `windrow-bench-jsonl INPUT... --output DIR` → `country<TAB>method<TAB>requests<TAB>bytes<TAB>slowest` of all requests with
//! status 200 that took less than 500 ms

use windrow::prelude::*;

/// Requests, bytes and slowest request by country and method
#[derive(clap::Args, Serialize, Deserialize)]
struct Requests {
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    output: String,
}

#[derive(Serialize, Deserialize)]
struct Request {
    country: String,
    method: String,
    status: u16,
    bytes: u64,
    ms: u32,
}

impl Job for Requests {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(jsonl::<Request>(&self.input))
            .map(|r, out| {
                if r.status == 200 && r.ms < 500 {
                    out.emit((r.country.as_str(), r.method.as_str()), (r.bytes, r.ms))
                }
            })
            .combine((Count, Sum.of(|(bytes, _): (u64, u32)| bytes), Max.of(|(_, ms): (u64, u32)| ms)))
            .write(tsv(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<Requests>()
}
