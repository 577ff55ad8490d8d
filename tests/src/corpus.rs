//! Inputs from a seed: the same bytes on every machine.

use std::fmt::Write;
use std::path::Path;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    /// Less than `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.number() % n
    }
    /// One of some thousand words, a few of them far more frequent than the rest.
    pub fn word(&mut self) -> String {
        let rank = 4000 / (1 + self.below(4000));
        let rank = rank * 17 + self.below(1 + rank.min(13));
        format!("{}{rank}", ["hay", "Rake", "windrow", "x"][(rank % 4) as usize])
    }
}

/// Text of about `bytes` bytes: words between blanks and tabs, empty lines, lines of blanks, LF and CRLF.
pub fn text(seed: u64, bytes: usize) -> String {
    let mut random = Random(seed);
    let mut text = String::new();
    while text.len() < bytes {
        for _ in 0..random.below(12) {
            text += &random.word();
            text += ["  ", " ", "\t", " "][random.below(4) as usize];
        }
        text += if random.below(7) == 0 { "\r\n" } else { "\n" };
    }
    text
}

/// Files with every special case of reading text. Returns the names of those that a run on the folder reads.
pub fn write_folder(folder: &Path, seed: u64) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder can be made");
        std::fs::write(path, text).expect("a file can be written");
    };
    write("a.txt", &text(seed, 20_000));
    write("b/crlf.txt", "one two\r\n\r\ntwo\r\n");
    write("b/no-final-newline.txt", "last\nlast words");
    write("b/only-newlines", "\n\n\n");
    write("c/empty.txt", "");
    write("c/d/long-line.txt", &format!("{}\nend\n", "long ".repeat(20_000)));
    write("c/d/long-word.txt", &"w".repeat(70_000));
    write("z.txt", &text(seed + 1, 5_000));
    // Not read: names that begin with `_` or `.`, and what lies below them.
    write("_hidden", "hidden hidden\n");
    write(".hidden", "hidden hidden\n");
    write("_logs/part-00000", "hidden\n");
    write("c/.git/config", "hidden\n");
}

/// Lines `name;temperature`.
pub fn readings(seed: u64, lines: usize) -> String {
    let mut random = Random(seed);
    let mut text = String::new();
    for _ in 0..lines {
        let tenths = random.below(1999) as i64 - 999;
        let sign = if tenths < 0 { "-" } else { "" };
        let tenths = tenths.abs();
        let _ = writeln!(text, "Station {};{sign}{}.{}", random.below(50), tenths / 10, tenths % 10);
    }
    text
}

/// Lines `doc<TAB>text`.
pub fn documents(seed: u64, lines: usize) -> String {
    let mut random = Random(seed);
    let mut text = String::new();
    for _ in 0..lines {
        let _ = write!(text, "{}\t", random.below(200));
        for _ in 0..random.below(9) {
            let _ = write!(text, "{} ", random.word());
        }
        text.push('\n');
    }
    text
}

/// Customers and orders as CSV with headers.
pub fn shop(seed: u64, customers: u64, orders: u64) -> (String, String) {
    let mut random = Random(seed);
    let mut left = "customer_id,name,nation,segment\n".to_string();
    for id in 0..customers {
        let name = if id % 5 == 0 { format!("\"Hay, {id}\"") } else { format!("n{id}") };
        let _ = writeln!(left, "{id},{name},nation{},segment{}", random.below(5), random.below(3));
    }
    let mut right = "order_id,customer_id,cents,day\n".to_string();
    for id in 0..orders {
        // Some orders have no customer.
        let customer = random.below(customers + customers / 10 + 1);
        let _ = writeln!(right, "{id},{customer},{},{}", random.below(100_000) as i64 - 1000, random.below(365));
    }
    (left, right)
}

/// Lines `from to`; some nodes have no edge out of them.
pub fn edges(seed: u64, nodes: u64, edges: usize) -> String {
    let mut random = Random(seed);
    let mut text = String::new();
    for _ in 0..edges {
        let _ = writeln!(text, "{} {}", random.below(nodes * 9 / 10), random.below(nodes));
    }
    text
}

/// Lines `time user url`, in no order; no user has two hits at the same time.
pub fn hits(seed: u64, lines: u64) -> String {
    let mut random = Random(seed);
    let mut times: Vec<u64> = (0..lines).map(|n| n * 211 + random.below(200)).collect();
    for i in (1..times.len()).rev() {
        times.swap(i, random.below(i as u64 + 1) as usize);
    }
    let mut text = String::new();
    for (n, time) in times.iter().enumerate() {
        let _ = writeln!(text, "{time} user{} /page/{n}", random.below(12));
    }
    text
}
