//! PageRank over an edge list: rank = 0.15 + 0.85 × incoming, start 1.0; every node with an edge has a rank.
//!
//! `pagerank EDGES... --rounds N --output DIR`, lines `from to` → `node<TAB>rank`. With `--until D` a driver runs
//! rounds (at most `--rounds`) until no rank moves by more than D, and keeps links and ranks between them.

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

/// Every node with outgoing edges, with its targets. Read in every round, so it is computed once.
fn links(flow: &Flow, edges: &[String]) -> Pairs<u64, Vec<u64>> {
    let edges: Pairs<u64, u64> = flow.read(lines(edges)).map(|line, out| {
        let mut fields = line.split_ascii_whitespace();
        let (Some(from), Some(to)) = (fields.next(), fields.next()) else {
            return Err(Error::msg("the line is not `from to`"));
        };
        out.emit(from.parse::<u64>()?, to.parse::<u64>()?);
        Ok(())
    });
    edges.reduce_values(|_, targets| targets.collect::<Vec<u64>>()).partition_by(0)
}

/// One round: every node distributes its rank along its edges.
fn round(links: &Pairs<u64, Vec<u64>>, ranks: &Pairs<u64, f64>) -> Pairs<u64, f64> {
    links
        .join(ranks)
        .map(|(node, (targets, rank)), out| {
            // Keeps nodes without incoming edges.
            out.emit(node, 0.0);
            for to in targets {
                out.emit(*to, rank / targets.len() as f64)
            }
        })
        .combine(Sum)
        .map_values(|sum| 0.15 + 0.85 * sum)
}

fn start(links: &Pairs<u64, Vec<u64>>) -> Pairs<u64, f64> {
    links
        .map(|(from, targets), out| {
            out.emit(from, 1.0);
            for to in targets {
                out.emit(*to, 1.0)
            }
        })
        .combine(Max)
}

impl Job for PageRank {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let links = links(flow, &self.edges);
        let mut ranks = start(&links);
        for _ in 0..self.rounds {
            ranks = round(&links, &ranks);
        }
        ranks.write(tsv(&self.output))
    }
}

/// Writes what the rounds read: the links, and the ranks before the first round.
#[derive(clap::Args, Serialize, Deserialize)]
struct Start {
    edges: Vec<String>,
    #[arg(long)]
    links: String,
    #[arg(long)]
    ranks: String,
}

impl Job for Start {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let links = links(flow, &self.edges);
        start(&links).write(records_sink(&self.ranks))?;
        links.write(records_sink(&self.links))
    }
}

/// One round as a job of its own. Links and ranks lie by node already, so they are joined where they are.
#[derive(clap::Args, Serialize, Deserialize)]
struct Round {
    links: String,
    ranks: String,
    next: String,
}

impl Job for Round {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let links = flow.read(records::<(u64, Vec<u64>)>(&self.links));
        let ranks = flow.read(records::<(u64, f64)>(&self.ranks));
        let next = round(&links, &ranks).share();
        next.join(&ranks)
            .map(|(_, (now, before)), out| out.push((now - before).abs()))
            .combine_all(Max)
            .collect("moved");
        next.write(records_sink(&self.next))
    }
}

/// Writes the last round's ranks to the user's output.
#[derive(clap::Args, Serialize, Deserialize)]
struct Finish {
    ranks: String,
    #[arg(long)]
    output: String,
}

impl Job for Finish {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(records::<(u64, f64)>(&self.ranks)).write(tsv(&self.output))
    }
}

/// Rank the nodes of a graph until no rank moves any more.
#[derive(clap::Args)]
struct Until {
    #[command(flatten)]
    job: PageRank,
    /// Stop when no rank moves by more than this
    #[arg(long)]
    until: f64,
}

/// Runs rounds as jobs, and checks after each how far ranks have moved.
fn until(args: Until, session: &Session) -> Result<()> {
    let PageRank { edges, rounds, output } = args.job;
    // Fail before the first round, not after the last.
    session.check_output(&output)?;
    let (links, mut ranks) = (session.keep("links")?, session.keep("ranks")?);
    session.run(&Start { edges, links: links.clone(), ranks: ranks.clone() })?;
    for n in 0..rounds {
        let next = session.keep("ranks")?;
        let done = session.run(&Round { links: links.clone(), ranks, next: next.clone() })?;
        ranks = next;
        let moved = done.collected::<f64>("moved")?.into_iter().fold(0.0, f64::max);
        eprintln!("round {n}: ranks moved by at most {moved}");
        if moved <= args.until {
            break;
        }
    }
    session.run(&Finish { ranks, output })?;
    Ok(())
}

fn main() -> std::process::ExitCode {
    let program = windrow::Program::new().internal_job::<Start>().internal_job::<Round>().internal_job::<Finish>();
    if std::env::args().any(|arg| arg.starts_with("--until")) {
        program.driver("", until).run()
    } else {
        program.job::<PageRank>("").run()
    }
}
