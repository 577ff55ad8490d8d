//! PageRank over an edge list: rank = 0.15 + 0.85 × incoming, start 1.0; every node with an edge has a rank.
//!
//! `pagerank EDGES... --rounds N --output DIR`, lines `from to` → `node<TAB>rank`. With `--until D` a driver runs
//! rounds (at most `--rounds`) until no rank moves by more than D.

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
            out.push(from);
            out.extend(targets)
        })
        .distinct()
        .map(|node, out| out.emit(node, 1.0))
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

/// One round as a job of its own: reads the ranks of the previous round, if there is one.
#[derive(clap::Args, Serialize, Deserialize)]
struct Round {
    edges: Vec<String>,
    #[arg(long)]
    before: Option<String>,
    #[arg(long)]
    output: String,
}

impl Job for Round {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let links = links(flow, &self.edges);
        let ranks = match &self.before {
            None => start(&links),
            Some(folder) => flow.read(lines(folder)).map(|line, out| {
                let (node, rank) =
                    line.split_once('\t').ok_or_else(|| Error::msg("the line is not `node<TAB>rank`"))?;
                out.emit(node.parse::<u64>()?, rank.parse::<f64>()?);
                Ok(())
            }),
        };
        let next = round(&links, &ranks).share();
        next.join(&ranks)
            .map(|(_, (now, before)), out| out.emit((), (now - before).abs()))
            .combine(Max)
            .collect("moved");
        next.write(tsv(&self.output))
    }
}

/// Copies the last round's ranks unchanged to the user's output.
#[derive(clap::Args, Serialize, Deserialize)]
struct Keep {
    ranks: String,
    #[arg(long)]
    output: String,
}

impl Job for Keep {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(bytes_lines(&self.ranks)).write(text(&self.output))
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
    let scratch = format!("{output}.rounds");
    let mut before = None;
    for n in 0..rounds.max(1) {
        let folder = format!("{scratch}/{n}");
        let done = session.run(&Round { edges: edges.clone(), before: before.clone(), output: folder.clone() })?;
        before = Some(folder);
        let moved = done.collected::<((), f64)>("moved")?.into_iter().map(|(_, m)| m).fold(0.0, f64::max);
        eprintln!("round {n}: ranks moved by at most {moved}");
        if moved <= args.until {
            break;
        }
    }
    if let Some(ranks) = before {
        session.run(&Keep { ranks, output })?;
    }
    std::fs::remove_dir_all(scratch)?;
    Ok(())
}

fn main() -> std::process::ExitCode {
    let program = windrow::Program::new().internal_job::<Round>().internal_job::<Keep>();
    if std::env::args().any(|arg| arg.starts_with("--until")) {
        program.driver("", until).run()
    } else {
        program.job::<PageRank>("").run()
    }
}
