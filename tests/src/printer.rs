//! Jobs whose code prints, fails with texts from its input, has a large side value or keeps names of files; and a driver.

use windrow::prelude::*;

/// Copies lines, and prints while it plans and for each line.
#[derive(clap::Args, Serialize, Deserialize)]
struct Chatty {
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    output: String,
}

impl Job for Chatty {
    fn plan(&self, flow: &Flow) -> Result<()> {
        println!("planning {{");
        flow.read(lines(&self.input))
            .map(|line, out| {
                println!("at {line}");
                out.push(line)
            })
            .write(text(&self.output))
    }
}

/// Writes the length of a side value for each line.
#[derive(clap::Args, Serialize, Deserialize)]
struct SideValue {
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    side_bytes: usize,
    #[arg(long)]
    output: String,
}

impl Job for SideValue {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let side = flow.side(|| std::io::Result::Ok("x".repeat(self.side_bytes)))?;
        flow.read(lines(&self.input))
            .map(move |line, out| out.emit(line, side.get().len() as u64))
            .write(tsv(&self.output))
    }
}

/// Bytes by path.
#[derive(clap::Args, Serialize, Deserialize)]
struct Whole {
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    output: String,
}

impl Job for Whole {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(whole_files(&self.input))
            .map(|(path, content), out| out.emit(path, content.len() as u64))
            .combine(Sum)
            .write(tsv(&self.output).escaped())
    }
}

/// Does what the first word of each line says (panic, error, stderr), with `\n` and `\e` in the rest unescaped; and
/// counts under a name with control characters.
#[derive(clap::Args, Serialize, Deserialize)]
struct Says {
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    output: String,
}

impl Job for Says {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let seen = flow.counter("seen\nFAKE done \u{1b}[31m");
        flow.read(lines(&self.input))
            .map(move |line, out| {
                seen.add(1);
                let (what, text) = line.split_once(' ').unwrap_or((line, ""));
                let text = text.replace("\\n", "\n").replace("\\e", "\u{1b}");
                match what {
                    "panic" => panic!("{text}"),
                    "error" => return Err(Error::msg(text)),
                    "stderr" => eprintln!("{text}"),
                    _ => out.push(line),
                }
                Ok(())
            })
            .write(windrow::sinks::text(&self.output))
    }
}

/// Counts lines in two jobs, and makes a file between them.
#[derive(clap::Args)]
struct Rounds {
    #[arg(required = true)]
    input: Vec<String>,
    /// Outputs begin with this.
    #[arg(long)]
    output: String,
    /// A file that is removed first and made between the jobs.
    #[arg(long)]
    marker: String,
}

fn rounds(args: Rounds, session: &Session) -> Result<()> {
    let round = |n: u32| Chatty { input: args.input.clone(), output: format!("{}.{n}", args.output) };
    session.check_output(&round(0).output)?;
    // A driver that ignores errors still ends here.
    let first = session.run(&round(0));
    println!("one round");
    std::fs::write(&args.marker, "")?;
    session.run(&round(1))?;
    println!("two rounds");
    first.map(drop)
}

fn main() -> std::process::ExitCode {
    let program = windrow::Program::new().job::<Chatty>("chatty").job::<SideValue>("side").job::<Whole>("whole");
    program.job::<Says>("says").driver("rounds", rounds).run()
}
