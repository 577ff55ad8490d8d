//! Connected components of a graph: every node gets the smallest node that it is connected with.
//!
//! `components EDGES... --output DIR`, lines `a b` → `node<TAB>component`. A driver runs rounds, in which each node takes the
//! smallest label of its neighbours, until no label changes: as many as the longest of all shortest paths has edges.

use windrow::prelude::*;

/// Find the connected components of a graph.
#[derive(clap::Args)]
struct Components {
    /// Files, folders or globs with lines `a b`
    #[arg(required = true)]
    edges: Vec<String>,
    /// Folder to write
    #[arg(long)]
    output: String,
}

/// Writes what the rounds read: the neighbours of each node, and the first labels.
#[derive(clap::Args, Serialize, Deserialize)]
struct Start {
    edges: Vec<String>,
    #[arg(long)]
    neighbours: String,
    #[arg(long)]
    labels: String,
}

impl Job for Start {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let both_ways: Pairs<u64, u64> = flow.read(lines(&self.edges)).map(|line, out| {
            let (a, b) = line.split_once(' ').ok_or_else(|| Error::msg("the line is not `a b`"))?;
            let (a, b) = (a.parse::<u64>()?, b.trim_start().parse::<u64>()?);
            out.emit(a, b);
            out.emit(b, a);
            Ok(())
        });
        both_ways.map(|(a, b), out| out.emit(a, a.min(b))).combine(Min).write(records_sink(&self.labels))?;
        both_ways.reduce_values(|_, nodes| nodes.collect::<Vec<u64>>()).write(records_sink(&self.neighbours))
    }
}

/// One round. Neighbours and labels lie by node already, so they are joined where they are.
#[derive(clap::Args, Serialize, Deserialize)]
struct Round {
    neighbours: String,
    labels: String,
    next: String,
}

impl Job for Round {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let neighbours = flow.read(records::<(u64, Vec<u64>)>(&self.neighbours));
        let labels = flow.read(records::<(u64, u64)>(&self.labels));
        let spread = neighbours.join(&labels).map(|(node, (neighbours, label)), out| {
            out.emit(node, label);
            for neighbour in neighbours {
                out.emit(*neighbour, label);
            }
        });
        let next = spread.combine(Min).share();
        next.join(&labels).filter(|(_, (now, before))| now != before).count().collect("changed");
        next.write(records_sink(&self.next))
    }
}

/// Writes the last labels to the user's output.
#[derive(clap::Args, Serialize, Deserialize)]
struct Finish {
    labels: String,
    #[arg(long)]
    output: String,
}

impl Job for Finish {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(records::<(u64, u64)>(&self.labels)).write(tsv(&self.output))
    }
}

fn components(args: Components, session: &Session) -> Result<()> {
    session.check_output(&args.output)?;
    let (neighbours, mut labels) = (session.keep("neighbours")?, session.keep("labels")?);
    session.run(&Start { edges: args.edges, neighbours: neighbours.clone(), labels: labels.clone() })?;
    loop {
        let next = session.keep("labels")?;
        let done = session.run(&Round { neighbours: neighbours.clone(), labels, next: next.clone() })?;
        labels = next;
        if done.collected::<u64>("changed")?.iter().sum::<u64>() == 0 {
            break;
        }
    }
    session.run(&Finish { labels, output: args.output })?;
    Ok(())
}

fn main() -> std::process::ExitCode {
    let program = windrow::Program::new().internal_job::<Start>().internal_job::<Round>().internal_job::<Finish>();
    program.driver("", components).run()
}
