//! Sorts 100-byte records by their first 10 bytes, as the sort benchmark does.
//!
//! `terasort gen N FILE [--seed S]`, `terasort sort INPUT... --output DIR`, `terasort validate DIR`

use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use windrow::Escape;
use windrow::prelude::*;

const RECORD: usize = 100;
const KEY: usize = 10;

/// Sort records by key over all parts.
#[derive(clap::Args, Serialize, Deserialize)]
struct Sort {
    /// Files of 100-byte records
    #[arg(required = true)]
    input: Vec<String>,
    /// Folder to write
    #[arg(long)]
    output: String,
}

impl Job for Sort {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(fixed(&self.input, RECORD as u32))
            .map(|record, out| {
                let (key, value) = record.split_at(KEY);
                out.emit(key, value)
            })
            .sort()
            .write(fixed_sink(&self.output, RECORD))
    }
}

/// Make random records.
#[derive(clap::Args)]
struct Gen {
    /// How many records
    records: u64,
    /// File to write
    file: String,
    /// Another seed gives other records
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Ten random bytes of key, two of filler, the record's number in hexadecimal, and printable filler.
fn generate(args: Gen) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, std::fs::File::create(&args.file)?);
    let mut state = args.seed;
    let mut random = move || {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    for n in 0..args.records {
        let mut record = [b'.'; RECORD];
        record[..8].copy_from_slice(&random().to_be_bytes());
        let more = random();
        record[8..KEY].copy_from_slice(&more.to_be_bytes()[..2]);
        write!(&mut record[12..44], "{n:032x}")?;
        for (i, byte) in record[48..96].iter_mut().enumerate() {
            *byte = b'A' + ((more >> (i / 8)) % 26) as u8;
        }
        out.write_all(&record)?;
    }
    out.into_inner().map_err(|e| e.into_error())?;
    Ok(())
}

/// Check that all parts are there, and in order.
#[derive(clap::Args)]
struct Validate {
    /// Output folder of a sort
    folder: String,
}

/// The parts that `_SUCCESS` lists; without it, the parts that exist, for outputs that were collected by other means.
fn parts_of(folder: &str) -> Result<Vec<PathBuf>> {
    if Path::new(folder).join("_SUCCESS").exists() {
        return windrow::parts(folder);
    }
    let failed = |e: std::io::Error| Error::msg(format!("{folder}: {e}"));
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        parts.extend(path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(b"part-")).then_some(path));
    }
    if parts.is_empty() {
        return Err(Error::msg(format!("{folder}: no `_SUCCESS` file and no parts")));
    }
    eprintln!("{folder}: no `_SUCCESS` file, so parts may be missing");
    parts.sort();
    Ok(parts)
}

fn validate(args: Validate) -> Result<()> {
    let (mut records, mut sum) = (0u64, 0u64);
    let mut last = [0u8; KEY];
    for part in parts_of(&args.folder)? {
        let shown = part.escaped();
        let failed = |e: std::io::Error| Error::msg(format!("{shown}: {e}"));
        let file = std::fs::File::open(&part).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        if length % RECORD as u64 != 0 {
            return Err(Error::msg(format!("{shown} has {length} bytes, not a whole number of records")));
        }
        let mut file = std::io::BufReader::with_capacity(1 << 20, file);
        let mut record = [0u8; RECORD];
        for n in 0..length / RECORD as u64 {
            file.read_exact(&mut record).map_err(failed)?;
            if record[..KEY] < last[..] {
                return Err(Error::msg(format!("record {n} of {shown} is out of order")));
            }
            last.copy_from_slice(&record[..KEY]);
            // An order-independent sum: the same records in any order have the same sum (FNV-1a of each).
            let hash =
                record.iter().fold(0xCBF2_9CE4_8422_2325u64, |h, b| (h ^ *b as u64).wrapping_mul(0x100_0000_01B3));
            sum = sum.wrapping_add(hash);
            records += 1;
        }
    }
    println!("{records} records in order, checksum {sum:016x}");
    Ok(())
}

fn main() -> std::process::ExitCode {
    windrow::Program::new()
        .command::<Gen>("gen", generate)
        .job::<Sort>("sort")
        .command::<Validate>("validate", validate)
        .run()
}
