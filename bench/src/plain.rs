//! The same work as a straightforward hand-written program: two threads, the standard library's collections, everything
//! in memory. Not the limit of the machine, but the alternative that a user would write by hand.

use crate::{PATTERN, Result};
use std::collections::HashMap;
use std::hash::Hash;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use windrow::Escape;

/// Runs a row on its inputs; the result is `output/part-00000`.
pub(crate) fn run(row: &str, inputs: &[PathBuf], output: &Path) -> Result<()> {
    let mut files = Vec::new();
    for input in inputs {
        files.push(std::fs::read(input).map_err(|e| format!("{}: {e}", input.escaped()))?);
    }
    let file = || files.first().map(Vec::as_slice).unwrap_or_default();
    std::fs::create_dir_all(output).map_err(|e| e.to_string())?;
    let part = std::fs::File::create(output.join("part-00000")).map_err(|e| e.to_string())?;
    let mut out = BufWriter::with_capacity(1 << 20, part);
    match row {
        "wordcount" => wordcount(file(), &mut out),
        "terasort" => terasort(file(), &mut out),
        "stations" => stations(file(), &mut out),
        "grep" => grep(file(), &mut out),
        "join" => join(file(), files.get(1).map(Vec::as_slice).unwrap_or_default(), &mut out),
        "index" => index(file(), &mut out),
        "pagerank" => pagerank(file(), &mut out),
        "medians" => medians(file(), &mut out),
        "distinct" => wordcount(file(), &mut out),
        "kmers" => kmers(file(), &mut out),
        "jsonl" => jsonl(file(), &mut out),
        other => return Err(format!("there is no row `{other}`")),
    }
    .and_then(|()| out.flush())
    .map_err(|e| e.to_string())
}

type Out = BufWriter<std::fs::File>;

/// The two halves of a text, cut at the end of a line.
fn halves(text: &[u8]) -> [&[u8]; 2] {
    let middle = text.len() / 2;
    let cut = text[middle..].iter().position(|b| *b == b'\n').map_or(text.len(), |at| middle + at + 1);
    [&text[..cut], &text[cut..]]
}

/// Folds both halves concurrently, and the second result into the first.
fn fold<'t, K: Hash + Eq + Send, V: Send>(
    text: &'t [u8],
    one: impl Fn(&'t [u8]) -> HashMap<K, V> + Sync,
    merge: impl Fn(&mut V, V),
) -> HashMap<K, V> {
    let [first, second] = halves(text);
    let (mut all, more) = std::thread::scope(|scope| {
        let other = scope.spawn(|| one(second));
        (one(first), other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    for (key, value) in more {
        match all.entry(key) {
            std::collections::hash_map::Entry::Occupied(mut known) => merge(known.get_mut(), value),
            std::collections::hash_map::Entry::Vacant(new) => drop(new.insert(value)),
        }
    }
    all
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b'\n').filter(|line| !line.is_empty())
}

fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty())
}

fn number(field: &[u8]) -> u64 {
    field.iter().fold(0, |n, b| n * 10 + u64::from(b - b'0'))
}

fn sorted<K: Ord, V>(all: HashMap<K, V>) -> Vec<(K, V)> {
    let mut all: Vec<(K, V)> = all.into_iter().collect();
    all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
    all
}

fn wordcount(text: &[u8], out: &mut Out) -> std::io::Result<()> {
    let count = |half| {
        let mut counts: HashMap<&[u8], u64> = HashMap::new();
        fields(half).for_each(|word| *counts.entry(word).or_default() += 1);
        counts
    };
    for (word, n) in sorted(fold(text, count, |a, b| *a += b)) {
        out.write_all(word)?;
        writeln!(out, "\t{n}")?;
    }
    Ok(())
}

fn terasort(bytes: &[u8], out: &mut Out) -> std::io::Result<()> {
    let mut records: Vec<&[u8]> = bytes.chunks_exact(100).collect();
    let middle = records.len() / 2;
    let (a, b) = records.split_at_mut(middle);
    std::thread::scope(|scope| {
        scope.spawn(|| a.sort_unstable_by_key(|r| &r[..10]));
        b.sort_unstable_by_key(|r| &r[..10]);
    });
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x[..10] <= y[..10] => a.next(),
            (_, Some(_)) => b.next(),
            (_, None) => a.next(),
        };
        match next {
            Some(record) => out.write_all(record)?,
            None => return Ok(()),
        }
    }
}

fn stations(text: &[u8], out: &mut Out) -> std::io::Result<()> {
    type Seen = (i64, i64, i64, u64);
    let read = |half| {
        let mut seen: HashMap<&[u8], Seen> = HashMap::new();
        for line in lines(half) {
            let Some(at) = line.iter().position(|b| *b == b';') else { continue };
            let digits = line[at + 1..].iter().filter(|b| b.is_ascii_digit());
            let tenths = digits.fold(0, |n, b| n * 10 + i64::from(b - b'0'));
            let tenths = if line[at + 1] == b'-' { -tenths } else { tenths };
            let (min, max, sum, n) = seen.entry(&line[..at]).or_insert((i64::MAX, i64::MIN, 0, 0));
            (*min, *max, *sum, *n) = ((*min).min(tenths), (*max).max(tenths), *sum + tenths, *n + 1);
        }
        seen
    };
    let merge = |a: &mut Seen, b: Seen| *a = (a.0.min(b.0), a.1.max(b.1), a.2 + b.2, a.3 + b.3);
    for (station, (min, max, sum, n)) in sorted(fold(text, read, merge)) {
        let (min, max, mean) = (min as f64 / 10.0, max as f64 / 10.0, sum as f64 / 10.0 / n as f64);
        out.write_all(station)?;
        writeln!(out, "\t{min:.1}\t{mean:.6}\t{max:.1}")?;
    }
    Ok(())
}

/// Searches [`PATTERN`] without a pattern engine: a `q`, then letters from a to f, then a 7.
fn grep(text: &[u8], out: &mut Out) -> std::io::Result<()> {
    debug_assert_eq!(PATTERN, "q[a-f]+7");
    let matches = |line: &[u8]| {
        line.iter().enumerate().filter(|(_, b)| **b == b'q').any(|(i, _)| {
            let rest = &line[i + 1..];
            let letters = rest.iter().take_while(|b| (b'a'..=b'f').contains(*b)).count();
            letters > 0 && rest.get(letters) == Some(&b'7')
        })
    };
    let [first, second] = halves(text);
    let find = |half| lines(half).filter(|line| matches(line)).collect::<Vec<_>>();
    let (a, b) = std::thread::scope(|scope| {
        let other = scope.spawn(|| find(second));
        (find(first), other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    for line in a.into_iter().chain(b) {
        out.write_all(line)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

/// Nation and segment.
type Group<'t> = (&'t [u8], &'t [u8]);

fn join(customers: &[u8], orders: &[u8], out: &mut Out) -> std::io::Result<()> {
    let mut of_customer: HashMap<u64, Group<'_>> = HashMap::new();
    for line in lines(customers).skip(1) {
        let mut columns = line.split(|b| *b == b',');
        if let (Some(id), Some(_), Some(nation), Some(segment)) =
            (columns.next(), columns.next(), columns.next(), columns.next())
        {
            of_customer.insert(number(id), (nation, segment));
        }
    }
    let body = orders.iter().position(|b| *b == b'\n').map_or(orders, |at| &orders[at + 1..]);
    let add = |half| {
        let mut totals: HashMap<Group<'_>, (u64, u64)> = HashMap::new();
        for line in lines(half) {
            let mut columns = line.split(|b| *b == b',').skip(1);
            let (Some(customer), Some(cents)) = (columns.next(), columns.next()) else { continue };
            if let Some(group) = of_customer.get(&number(customer)) {
                let total = totals.entry(*group).or_default();
                (total.0, total.1) = (total.0 + 1, total.1 + number(cents));
            }
        }
        totals
    };
    let merge = |a: &mut (u64, u64), b: (u64, u64)| (a.0, a.1) = (a.0 + b.0, a.1 + b.1);
    for ((nation, segment), (n, cents)) in sorted(fold(body, add, merge)) {
        out.write_all(nation)?;
        out.write_all(b"\t")?;
        out.write_all(segment)?;
        writeln!(out, "\t{n}\t{cents}")?;
    }
    Ok(())
}

fn index(text: &[u8], out: &mut Out) -> std::io::Result<()> {
    let read = |half| {
        let mut lists: HashMap<&[u8], Vec<u64>> = HashMap::new();
        for line in lines(half) {
            let mut words = fields(line);
            let Some(doc) = words.next().map(number) else { continue };
            for word in words {
                let list = lists.entry(word).or_default();
                if list.last() != Some(&doc) {
                    list.push(doc);
                }
            }
        }
        lists
    };
    for (word, mut docs) in sorted(fold(text, read, |a, b| a.extend(b))) {
        docs.sort_unstable();
        docs.dedup();
        let docs: Vec<String> = docs.iter().map(u64::to_string).collect();
        out.write_all(word)?;
        writeln!(out, "\t{}", docs.join(","))?;
    }
    Ok(())
}

/// For lines with two numbers: all second numbers of each first number.
fn lists(text: &[u8]) -> HashMap<u64, Vec<u64>> {
    let read = |half| {
        let mut lists: HashMap<u64, Vec<u64>> = HashMap::new();
        for line in lines(half) {
            let mut fields = fields(line).map(number);
            if let (Some(key), Some(value)) = (fields.next(), fields.next()) {
                lists.entry(key).or_default().push(value);
            }
        }
        lists
    };
    fold(text, read, |a, b| a.extend(b))
}

fn pagerank(text: &[u8], out: &mut Out) -> std::io::Result<()> {
    let links = lists(text);
    let mut ranks: HashMap<u64, f64> =
        links.iter().flat_map(|(f, to)| to.iter().chain([f])).map(|n| (*n, 1.0)).collect();
    for _ in 0..10 {
        let mut sums: HashMap<u64, f64> = ranks.keys().map(|node| (*node, 0.0)).collect();
        for (node, targets) in &links {
            let share = ranks.get(node).copied().unwrap_or(0.0) / targets.len() as f64;
            targets.iter().for_each(|to| *sums.entry(*to).or_default() += share);
        }
        ranks = sums.into_iter().map(|(node, sum)| (node, 0.15 + 0.85 * sum)).collect();
    }
    for (node, rank) in sorted(ranks) {
        writeln!(out, "{node}\t{rank}")?;
    }
    Ok(())
}

fn kmers(text: &[u8], out: &mut Out) -> std::io::Result<()> {
    const K: usize = 21;
    let count = |half| {
        let mut counts: HashMap<&[u8], u64> = HashMap::new();
        for line in lines(half).filter(|line| line.iter().all(|base| b"ACGTN".contains(base))) {
            line.windows(K).for_each(|bases| *counts.entry(bases).or_default() += 1);
        }
        counts
    };
    let mut all: Vec<(&[u8], u64)> = fold(text, count, |a, b| *a += b).into_iter().collect();
    all.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    for (bases, n) in all.into_iter().take(20) {
        out.write_all(bases)?;
        writeln!(out, "\t{n}")?;
    }
    Ok(())
}

/// The text of a field of a line of JSON whose strings have no escapes, without quotes.
fn json_field<'l>(line: &'l str, name: &str) -> &'l str {
    let value = line.split_once(&format!("\"{name}\":")).map_or("", |(_, rest)| rest);
    let value = value.strip_prefix('"').unwrap_or(value);
    value.split(['"', ',', '}']).next().unwrap_or_default()
}

fn jsonl(text: &[u8], out: &mut Out) -> std::io::Result<()> {
    type Sums = (u64, u64, u64);
    let read = |half| {
        let mut sums: HashMap<(&str, &str), Sums> = HashMap::new();
        for line in lines(half).filter_map(|line| std::str::from_utf8(line).ok()) {
            let number = |name| number(json_field(line, name).as_bytes());
            if number("status") == 200 && number("ms") < 500 {
                let key = (json_field(line, "country"), json_field(line, "method"));
                let (n, bytes, slowest) = sums.entry(key).or_default();
                (*n, *bytes, *slowest) = (*n + 1, *bytes + number("bytes"), number("ms").max(*slowest));
            }
        }
        sums
    };
    let merge = |a: &mut Sums, b: Sums| *a = (a.0 + b.0, a.1 + b.1, a.2.max(b.2));
    for ((country, method), (n, bytes, slowest)) in sorted(fold(text, read, merge)) {
        writeln!(out, "{country}\t{method}\t{n}\t{bytes}\t{slowest}")?;
    }
    Ok(())
}

fn medians(text: &[u8], out: &mut Out) -> std::io::Result<()> {
    for (key, mut values) in sorted(lists(text)) {
        let count = values.len();
        let (_, median, _) = values.select_nth_unstable((count - 1) / 2);
        writeln!(out, "{key}\t{count}\t{median}")?;
    }
    Ok(())
}
