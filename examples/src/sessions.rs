//! Log lines into sessions: hits of one user with less than half an hour between them.
//!
//! `sessions INPUT... --output DIR`, lines `time user url` (time in seconds) →
//! `user<TAB>start<TAB>seconds<TAB>hits<TAB>first url`

use windrow::prelude::*;

/// Find the sessions of every user.
#[derive(clap::Args, Serialize, Deserialize)]
struct Sessions {
    /// Files, folders or globs
    #[arg(required = true)]
    input: Vec<String>,
    /// Folder to write
    #[arg(long)]
    output: String,
    /// Seconds without a hit that end a session
    #[arg(long, default_value_t = 1800)]
    gap: u64,
}

impl Job for Sessions {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let bad = flow.counter("lines that are not a hit");
        let gap = self.gap;
        flow.read(lines(&self.input))
            .map(move |line, out| {
                let mut fields = line.splitn(3, ' ');
                match (fields.next().and_then(|t| t.parse::<u64>().ok()), fields.next(), fields.next()) {
                    (Some(time), Some(user), Some(url)) => out.emit((user, time), url),
                    _ => bad.add(1),
                }
            })
            .group(move |user, hits, out| {
                let mut session: Option<(u64, u64, u64, &str)> = None;
                for (time, url) in hits {
                    session = Some(match session {
                        Some((start, last, hits, first)) if time - last <= gap => (start, time, hits + 1, first),
                        before => {
                            if let Some((start, last, hits, first)) = before {
                                out.emit(user, (start, last - start, hits, first))
                            }
                            (time, time, 1, url)
                        }
                    })
                }
                if let Some((start, last, hits, first)) = session {
                    out.emit(user, (start, last - start, hits, first))
                }
            })
            .write(tsv(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<Sessions>()
}
