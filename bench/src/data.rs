//! Generates inputs from a seed: the same bytes on every machine.

use crate::Result;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use windrow::Escape;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: u64) -> u64 {
        self.number() % n
    }
    /// A number below `n`; small numbers are far more frequent than large ones.
    fn skewed(&mut self, n: u64) -> u64 {
        let u = (self.number() >> 11) as f64 / (1u64 << 53) as f64;
        ((n as f64).powf(u) - 1.0) as u64
    }
}

/// The file of this name, created if it does not exist.
pub(crate) fn make(folder: &Path, name: &str, mib: u64) -> Result<PathBuf> {
    let path = folder.join(format!("{name}-{mib}"));
    if path.exists() {
        return Ok(path);
    }
    let failed = |e: std::io::Error| format!("{}: {e}", path.escaped());
    let unfinished = path.with_extension("tmp");
    let mut out =
        Counted { file: BufWriter::with_capacity(1 << 20, File::create(&unfinished).map_err(failed)?), bytes: 0 };
    write(name, mib << 20, &mut out).and_then(|()| out.file.flush()).map_err(failed)?;
    std::fs::rename(&unfinished, &path).map_err(failed)?;
    Ok(path)
}

struct Counted {
    file: BufWriter<File>,
    bytes: u64,
}

impl Counted {
    fn line(&mut self, line: &str) -> std::io::Result<()> {
        self.bytes += line.len() as u64 + 1;
        self.file.write_all(line.as_bytes())?;
        self.file.write_all(b"\n")
    }
}

/// Number of distinct words of the text.
const WORDS: u64 = 2_000_000;

fn word(rank: u64) -> String {
    // Random letters and digits, shorter for frequent words.
    let mut mixed = Random(rank).number();
    let length = 2 + (rank + 2).ilog2() as usize / 2;
    (0..length)
        .map(|_| {
            let digit = (mixed % 36) as u32;
            mixed /= 36;
            char::from_digit(digit, 36).unwrap_or('0')
        })
        .collect()
}

fn words(random: &mut Random, n: u64) -> String {
    let mut line = String::new();
    for i in 0..n {
        if i > 0 {
            line.push(' ');
        }
        line += &word(random.skewed(WORDS));
    }
    line
}

fn write(name: &str, bytes: u64, out: &mut Counted) -> std::io::Result<()> {
    let mut random = Random(42);
    match name {
        "text" => {
            while out.bytes < bytes {
                let n = random.below(20);
                out.line(&words(&mut random, n))?;
            }
        }
        "records" => {
            for _ in 0..bytes / 100 {
                let mut record = [b'.'; 100];
                record[..8].copy_from_slice(&random.number().to_be_bytes());
                record[8..10].copy_from_slice(&(random.number() as u16).to_be_bytes());
                record[90..98].copy_from_slice(&random.number().to_be_bytes());
                out.file.write_all(&record)?;
            }
        }
        "readings" => {
            while out.bytes < bytes {
                let tenths = random.below(1999) as i64 - 999;
                let sign = if tenths < 0 { "-" } else { "" };
                let (whole, rest) = (tenths.abs() / 10, tenths.abs() % 10);
                out.line(&format!("Station {};{sign}{whole}.{rest}", random.below(413)))?;
            }
        }
        "customers" => {
            out.line("customer_id,name,nation,segment")?;
            for id in 0..customers(bytes) {
                let name = word(id);
                out.line(&format!("{id},{name},nation{},segment{}", random.below(25), random.below(5)))?;
            }
        }
        "orders" => {
            out.line("order_id,customer_id,cents,day")?;
            let mut id = 0;
            while out.bytes < bytes {
                let customer = random.below(customers(bytes) * 11 / 10);
                out.line(&format!("{id},{customer},{},{}", random.below(1_000_000), random.below(2500)))?;
                id += 1;
            }
        }
        "documents" => {
            let mut doc = 0;
            while out.bytes < bytes {
                let text = words(&mut random, 40);
                out.line(&format!("{doc}\t{text}"))?;
                doc += 1;
            }
        }
        "edges" => {
            let nodes = (bytes / 140).max(10);
            while out.bytes < bytes {
                out.line(&format!("{} {}", random.below(nodes * 9 / 10), random.below(nodes)))?;
            }
        }
        "numbers" => {
            // Multiplication by an odd number permutes the numbers below a power of two.
            let mut n = 0u64;
            while out.bytes < bytes {
                out.line(&format!("{:x}", n.wrapping_mul(0x9E37_79B9) % (1 << 32)))?;
                n += 1;
            }
        }
        "even" | "skewed" => {
            while out.bytes < bytes {
                let all = (0..10).map(|_| match name == "skewed" && random.below(2) == 0 {
                    true => "theone".to_string(),
                    false => format!("w{:05}", random.below(100_000)),
                });
                out.line(&all.collect::<Vec<_>>().join(" "))?;
            }
        }
        "hits" | "skewed-hits" => {
            let mut time = 1_700_000_000u64;
            while out.bytes < bytes {
                time += random.below(3);
                let user = if name == "skewed-hits" && random.below(2) == 0 { 0 } else { random.below(100_000) };
                out.line(&format!("{time} user{user:05} /page/{}", random.below(1000)))?;
            }
        }
        "reads" => reads(random, bytes, out)?,
        "requests" => requests(random, bytes, out)?,
        other => return Err(std::io::Error::other(format!("there is no input `{other}`"))),
    }
    Ok(())
}

/// A FASTQ file: reads of 150 bases from a genome that it covers about twelve times, with one wrong base in 200.
fn reads(mut random: Random, bytes: u64, out: &mut Counted) -> std::io::Result<()> {
    const READ: usize = 150;
    const BASES: &[u8; 4] = b"ACGT";
    let genome: Vec<u8> = (0..bytes / 26 + READ as u64).map(|_| BASES[random.below(4) as usize]).collect();
    let mut n = 0;
    while out.bytes < bytes {
        let start = random.below((genome.len() - READ) as u64 + 1) as usize;
        let mut read = genome[start..start + READ].to_vec();
        read.iter_mut().for_each(|base| {
            if random.below(200) == 0 {
                *base = BASES[random.below(4) as usize];
            }
        });
        let quality: String = (0..READ).map(|_| char::from(b'#' + random.below(40) as u8)).collect();
        out.line(&format!("@read{n} length={READ}"))?;
        out.line(&String::from_utf8_lossy(&read))?;
        out.line("+")?;
        out.line(&quality)?;
        n += 1;
    }
    Ok(())
}

/// Lines of JSON with twenty fields.
fn requests(mut random: Random, bytes: u64, out: &mut Counted) -> std::io::Result<()> {
    const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "HEAD"];
    const STATUS: [u16; 8] = [200, 200, 200, 200, 204, 301, 404, 500];
    let mut n = 0;
    while out.bytes < bytes {
        let [time, user, size, ms] = [10, 1_000_000, 100_000, 1_000].map(|most| random.below(most));
        let country = format!("c{:02}", random.below(60));
        let (method, status) = (METHODS[random.below(5) as usize], STATUS[random.below(8) as usize]);
        let [host, city, page, version] = [50, 3_000, 20_000, 30].map(|most| random.below(most));
        let (session, price) = (random.number(), random.below(100_000) as f64 / 100.0);
        out.line(&format!(
            "{{\"id\":{n},\"time\":\"2026-01-01T00:00:0{time}Z\",\"user\":{user},\"session\":\"{session:016x}\",\
             \"country\":\"{country}\",\"city\":\"city{city}\",\"host\":\"web{host}\",\"method\":\"{method}\",\
             \"path\":\"/shop/page/{page}\",\"query\":\"sort=price&page={version}\",\"status\":{status},\
             \"bytes\":{size},\"ms\":{ms},\"cached\":{},\"referrer\":\"https://example.org/{page}\",\
             \"browser\":\"Browser/{version}.0\",\"os\":\"os{}\",\"mobile\":{},\"price\":{price:.2},\
             \"tags\":[\"a{}\",\"b\"]}}",
            page % 2 == 0,
            user % 5,
            user % 3 == 0,
            city % 7,
        ))?;
        n += 1;
    }
    Ok(())
}

/// An order takes about 27 bytes, and a customer has ten orders.
fn customers(bytes: u64) -> u64 {
    (bytes / 270).max(10)
}
