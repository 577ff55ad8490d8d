//! The expected results of the examples, computed in the simplest way: lines in, sorted output lines out.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// Map and reduce over lines in memory: the pairs of `map`, grouped by key in order, values in input order.
pub fn map_reduce<V>(
    text: &str,
    map: impl Fn(&str) -> Vec<(String, V)>,
    reduce: impl Fn(&str, Vec<V>) -> Vec<String>,
) -> Vec<String> {
    let mut groups: BTreeMap<String, Vec<V>> = BTreeMap::new();
    for (key, value) in text.lines().flat_map(map) {
        groups.entry(key).or_default().push(value);
    }
    let mut lines: Vec<String> = groups.into_iter().flat_map(|(key, values)| reduce(&key, values)).collect();
    lines.sort_unstable();
    lines
}

/// The files of a folder that a job reads, in the bytewise order of their paths.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        match () {
            () if name.starts_with(['_', '.']) => {}
            () if path.is_dir() => found.extend(files(&path)),
            () => found.push(path),
        }
    }
    found.sort_by_key(|path| path.as_os_str().as_encoded_bytes().to_vec());
    found
}

/// All lines of these files; the last line of a file ends with it.
pub fn text_of(files: &[PathBuf]) -> String {
    let mut all = String::new();
    for file in files {
        all += &std::fs::read_to_string(file).expect("text");
        if !all.is_empty() && !all.ends_with('\n') {
            all.push('\n');
        }
    }
    all
}

/// `word<TAB>n`
pub fn wordcount(text: &str) -> Vec<String> {
    map_reduce(
        text,
        |line| line.split_ascii_whitespace().map(|word| (word.to_string(), ())).collect(),
        |word, ones| vec![format!("{word}\t{}", ones.len())],
    )
}

/// `name<TAB>min<TAB>mean<TAB>max`
pub fn stations(text: &str) -> Vec<String> {
    map_reduce(
        text,
        |line| {
            let (name, value) = line.split_once(';').expect("a reading");
            vec![(name.to_string(), value.replace('.', "").parse::<i64>().expect("tenths"))]
        },
        |name, tenths| {
            let (min, max) = (*tenths.iter().min().expect("one"), *tenths.iter().max().expect("one"));
            let mean = tenths.iter().sum::<i64>() as f64 / tenths.len() as f64 / 10.0;
            vec![format!("{name}\t{:.1}\t{mean:.6}\t{:.1}", min as f64 / 10.0, max as f64 / 10.0)]
        },
    )
}

/// `word<TAB>doc,doc,…`
pub fn inverted_index(text: &str) -> Vec<String> {
    map_reduce(
        text,
        |line| {
            let (doc, text) = line.split_once('\t').expect("a document");
            let doc: u64 = doc.parse().expect("a number");
            text.split_ascii_whitespace().map(|word| (word.to_string(), doc)).collect()
        },
        |word, docs| {
            let docs: BTreeSet<u64> = docs.into_iter().collect();
            vec![format!("{word}\t{}", docs.iter().map(u64::to_string).collect::<Vec<_>>().join(","))]
        },
    )
}

/// `nation<TAB>segment<TAB>orders<TAB>cents`, by loops inside of loops.
pub fn join(customers: &str, orders: &str) -> Vec<String> {
    // A quoted name may hold a comma; only the last two columns are needed.
    let segments: Vec<(&str, &str, &str)> = customers
        .lines()
        .skip(1)
        .map(|line| {
            let mut last = line.rsplitn(3, ',');
            let (segment, nation) = (last.next().expect("segment"), last.next().expect("nation"));
            (line.split(',').next().expect("id"), nation, segment)
        })
        .collect();
    let mut sums: BTreeMap<(&str, &str), (u64, i64)> = BTreeMap::new();
    for order in orders.lines().skip(1) {
        let fields: Vec<&str> = order.split(',').collect();
        for (id, nation, segment) in &segments {
            if *id == fields[1] {
                let sum = sums.entry((nation, segment)).or_default();
                sum.0 += 1;
                sum.1 += fields[2].parse::<i64>().expect("cents");
            }
        }
    }
    let mut lines: Vec<String> =
        sums.iter().map(|((n, s), (count, cents))| format!("{n}\t{s}\t{count}\t{cents}")).collect();
    lines.sort_unstable();
    lines
}

/// Rank of every node.
pub fn pagerank(edges: &str, rounds: u32) -> BTreeMap<u64, f64> {
    let edges: Vec<(u64, u64)> = edges
        .lines()
        .map(|line| {
            let (from, to) = line.split_once(' ').expect("an edge");
            (from.parse().expect("a node"), to.parse().expect("a node"))
        })
        .collect();
    let mut degree: HashMap<u64, f64> = HashMap::new();
    let mut ranks: BTreeMap<u64, f64> = BTreeMap::new();
    for (from, to) in &edges {
        *degree.entry(*from).or_default() += 1.0;
        ranks.insert(*from, 1.0);
        ranks.insert(*to, 1.0);
    }
    for _ in 0..rounds {
        let mut sums: BTreeMap<u64, f64> = ranks.keys().map(|node| (*node, 0.0)).collect();
        for (from, to) in &edges {
            *sums.get_mut(to).expect("a node") += ranks[from] / degree[from];
        }
        ranks = sums.into_iter().map(|(node, sum)| (node, 0.15 + 0.85 * sum)).collect();
    }
    ranks
}

/// `user<TAB>start<TAB>seconds<TAB>hits<TAB>first url`
pub fn sessions(text: &str, gap: u64) -> Vec<String> {
    map_reduce(
        text,
        |line| {
            let fields: Vec<&str> = line.splitn(3, ' ').collect();
            vec![(fields[1].to_string(), (fields[0].parse::<u64>().expect("a time"), fields[2].to_string()))]
        },
        |user, mut hits| {
            hits.sort();
            let sessions = hits.chunk_by(|a, b| b.0 - a.0 <= gap);
            sessions
                .map(|s| format!("{user}\t{}\t{}\t{}\t{}", s[0].0, s[s.len() - 1].0 - s[0].0, s.len(), s[0].1))
                .collect()
        },
    )
}

/// `count<TAB>words`, most frequent first.
pub fn ngrams(text: &str, n: usize, top: usize) -> Vec<String> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        for gram in words.windows(n) {
            *counts.entry(gram.join(" ")).or_default() += 1;
        }
    }
    let mut best: Vec<(String, u64)> = counts.into_iter().collect();
    // The sort is stable: grams of the same count stay in the order of their bytes.
    best.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    best.into_iter().take(top).map(|(gram, count)| format!("{count}\t{gram}")).collect()
}
