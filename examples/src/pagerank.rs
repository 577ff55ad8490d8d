//! PageRank over an edge list: rank = 0.15 + 0.85 × what comes in, start 1.0; every node with an edge has a rank.
//!
//! `pagerank EDGES... --rounds N --output DIR`, lines `from to` → `node<TAB>rank`. With `--until D` a driver runs rounds
//! (at most `--rounds`) until no rank moves by more than D.

use windrow::prelude::*;

/// Rank the nodes of a graph.
#[derive(clap::Args, Clone, Serialize, Deserialize)]
struct PageRank {
    /// Files, folders or globs with lines `from to`
    #[arg(required = true)]
    edges: Vec<String>,
    /// Rounds
    #[arg(long, default_value_t = 10)]
    rounds: u32,
    /// Folder to write
    #[arg(long)]
    output: String,
}

fn links(flow: &Flow, edges: &[String]) -> Pairs<u64, u64> {
    flow.read(lines(edges)).map(|line, out| {
        let mut fields = line.split_ascii_whitespace();
        let (Some(from), Some(to)) = (fields.next(), fields.next()) else {
            return Err(Error::msg("the line is not `from to`"));
        };
        out.emit(from.parse::<u64>()?, to.parse::<u64>()?);
        Ok(())
    })
}

/// One round: every node gives its rank away along its edges.
fn round(links: &Pairs<u64, u64>, ranks: &Pairs<u64, f64>) -> Pairs<u64, f64> {
    links
        .cogroup(ranks, |node, links, rank, out| {
            let rank = rank.next().unwrap_or(0.0);
            // Nodes that nobody links to stay known.
            out.emit(node, 0.0);
            let targets: Vec<u64> = links.collect();
            for to in &targets {
                out.emit(*to, rank / targets.len() as f64)
            }
        })
        .combine(Sum)
        .map_values(|sum| 0.15 + 0.85 * sum)
}

fn start(links: &Pairs<u64, u64>) -> Pairs<u64, f64> {
    links
        .map(|(from, to), out| {
            out.push(from);
            out.push(to)
        })
        .distinct()
        .map(|node, out| out.emit(node, 1.0))
}

impl Job for PageRank {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let links = links(flow, &self.edges).partition_by(0);
        let mut ranks = start(&links);
        for _ in 0..self.rounds {
            ranks = round(&links, &ranks);
        }
        ranks.write(tsv(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<PageRank>()
}
