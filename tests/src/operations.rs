//! A job for each group of operations, so that runs of it can be compared.

use windrow::prelude::*;

/// Applies the operations of a group to lines `WORD NUMBER`.
#[derive(clap::Args, Serialize, Deserialize)]
struct Operations {
    /// whole, joins, folds, places, sketches or broadcasts
    group: String,
    /// Files with lines `WORD NUMBER`
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    output: String,
    /// A folder that all workers see: a task of each kind fails at its first attempt, and leaves a file there
    #[arg(long)]
    fail_once: Option<String>,
}

/// Panics once in a job for each name.
fn fail_once(folder: Option<&str>, name: &str) {
    let Some(folder) = folder else { return };
    let mark = std::path::Path::new(folder).join(name);
    assert!(std::fs::File::create_new(mark).is_err(), "the first attempt at {name}");
}

/// Records of any type as lines with their name.
fn named<R: windrow::Datum>(
    name: &'static str,
    records: &Records<R>,
    text: impl Fn(R::Ref<'_>) -> String + Send + Sync + 'static,
) -> Records<String> {
    records.map(move |r, out| out.push(format!("{name}: {}", text(r))))
}

/// Operations on all records together.
fn whole(pairs: &Pairs<String, u64>) -> Vec<Records<String>> {
    fn text((word, n): (&str, u64)) -> String {
        format!("{word} {n}")
    }
    vec![
        named("count", &pairs.count(), |n| n.to_string()),
        named("combine_all", &pairs.values().combine_all((Sum, Max)), |(sum, max)| format!("{sum} {max}")),
        named("top", &pairs.top(5), text),
        named("top_by", &pairs.top_by(5, |(_, n)| Reverse(n)), text),
        named("take", &pairs.take(70), text),
        named("take of sums", &pairs.combine(Sum).take(30), text),
        named("first", &pairs.sort().first(), text),
        named(
            "flatten",
            &pairs.map(|(_, n), out| out.push((n % 7 == 0).then_some(n))).flatten().inspect(|_| {}),
            |n| n.to_string(),
        ),
    ]
}

/// Joins that keep or leave out what has no partner.
fn joins(pairs: &Pairs<String, u64>) -> Vec<Records<String>> {
    let (left, right) = (pairs.filter(|(_, n)| n % 3 == 0), pairs.filter(|(_, n)| n % 5 == 1));
    vec![
        named("semi_join", &left.semi_join(&right), |(word, n)| format!("{word} {n}")),
        named("anti_join", &left.anti_join(&right), |(word, n)| format!("{word} {n}")),
        named("full_join", &left.combine(Sum).full_join(&right.combine(Sum)), |(word, sides)| {
            format!("{word} {sides:?}")
        }),
    ]
}

/// A key that is an enum.
#[derive(Datum)]
#[datum(derive(Debug))]
enum Size {
    Short(String),
    Long { length: u64 },
}

/// Folds by functions and by field.
fn folds(pairs: &Pairs<String, u64>) -> Vec<Records<String>> {
    let merge =
        |a: &mut (u64, String), b: (u64, String)| *a = (a.0 + b.0, std::cmp::max(std::mem::take(&mut a.1), b.1));
    let sizes = pairs.map(|(word, n), out| {
        let size = if word.len() > 4 { SizeRef::Long { length: word.len() as u64 } } else { SizeRef::Short(word) };
        out.emit(size, n)
    });
    let lists = pairs.map(|(word, n), out| out.emit(word.split_inclusive('a').collect::<Vec<_>>(), n));
    let by_word = pairs.map(|(word, n), out| out.emit(word.len(), (n, word)));
    vec![
        named("reduce_by", &pairs.reduce_by(|a, b| a ^ b), |(word, n)| format!("{word} {n}")),
        named("combine_by", &pairs.combine_by(|n| (n, format!("{n}")), merge), |(word, both)| {
            format!("{word} {both:?}")
        }),
        named("each", &by_word.combine(Each((Sum, Count))), |(length, both)| format!("{length} {both:?}")),
        named("of", &by_word.combine((Sum.of(|v: (u64, &str)| v.0), Count)), |(length, both)| {
            format!("{length} {both:?}")
        }),
        named("lists", &lists.combine(Sum), |(list, n)| format!("{:?} {n}", list.iter().collect::<Vec<_>>())),
        named("derived", &sizes.combine(Sum), |(size, n)| format!("{size:?} {n}")),
        named("distinct_by", &pairs.distinct_by(|(word, _)| word.len()), |(word, n)| format!("{word} {n}")),
    ]
}

/// Operations that depend on where a record lies.
fn places(pairs: &Pairs<String, u64>) -> Vec<Records<String>> {
    let keyed = pairs.map(|(word, n), out| out.emit((word, n), ()));
    vec![
        named("zip_with_index", &pairs.zip_with_index(), |((word, n), i)| format!("{i} {word} {n}")),
        named("zip_with_index of sums", &pairs.combine(Sum).zip_with_index(), |((word, n), i)| {
            format!("{i} {word} {n}")
        }),
        named("repartition", &pairs.repartition(4), |(word, n)| format!("{word} {n}")),
        named("partition_with", &pairs.partition_with(3, |word| word.len() as u32 % 3), |(word, n)| {
            format!("{word} {n}")
        }),
        named("sample", &pairs.sample(0.2, 5), |(word, n)| format!("{word} {n}")),
        named("sample of sums", &pairs.combine(Sum).sample(0.2, 5), |(word, n)| format!("{word} {n}")),
        named("window", &keyed.window(|word, [(a, ()), (b, ())], out| out.emit(word, b - a)), |(word, n)| {
            format!("{word} {n}")
        }),
        named(
            "map_partitions",
            &pairs.partition_by(2).map_partitions(|| Ok(0), |sum, (_, n), _| *sum += n, |sum, out| out.push(sum)),
            |n| n.to_string(),
        ),
    ]
}

/// Statistics by sketches, of few and of many values.
fn sketches(pairs: &Pairs<String, u64>) -> Vec<Records<String>> {
    let many = pairs.map(|(word, n), out| (0..40).for_each(|i| out.emit(word.len() % 3, n * i)));
    vec![
        named("quantiles", &pairs.combine(Quantiles([0.1, 0.5])), |(word, q)| format!("{word} {q:?}")),
        named("quantiles of many", &many.combine(Quantiles([0.1, 0.5])), |(key, q)| format!("{key} {q:?}")),
        named("histogram", &many.combine(Histogram::new([10.0, 100.0])), |(key, counts)| format!("{key} {counts:?}")),
        named("approx_distinct", &many.combine(ApproxDistinct), |(key, n)| format!("{key} {n}")),
        named("approx_distinct of all", &many.approx_distinct(), |n| n.to_string()),
    ]
}

/// Values that functions of later stages read, and joins with a side that is small, or is not.
fn broadcasts(pairs: &Pairs<String, u64>) -> Vec<Records<String>> {
    let sums = pairs.combine(Sum);
    let lengths = pairs.map(|(word, _), out| out.emit(word.len(), word));
    let (large, few) = (pairs.filter(|(_, n)| n % 5 == 1), pairs.filter(|(_, n)| n % 97 == 1));
    let by_length = |(length, ((n, word), w)): (u64, ((u64, &str), u64))| (length, n + w + word.len() as u64);
    let lengths_with = |words: &Pairs<String, u64>, limit: u64| {
        let words = words.map(|(word, n), out| out.emit(word.len(), n));
        let left = pairs.map(|(word, n), out| out.emit(word.len(), (n, word)));
        left.join(words.small().up_to(limit)).map(move |r, out| out.push(by_length(r))).combine(Sum)
    };
    let (folded, shuffled) = (lengths_with(&few, 1 << 20), lengths_with(&few, 0));
    let in_order = large.left_join(few.small());
    let total = pairs.values().combine_all(Sum).broadcast();
    let words = sums.top_by(3, |(_, n)| n).broadcast();
    let first =
        pairs.combine(Min).broadcast_as(|pairs| pairs.into_iter().collect::<std::collections::BTreeMap<_, _>>());
    let (of_sums, of_words) = (total.clone(), words.clone());
    vec![
        named("shares", &sums.map_values(move |n| n as f64 / *of_sums.get() as f64), |(word, share)| {
            format!("{word} {share}")
        }),
        named(
            "of the largest",
            &pairs.filter(move |(word, _)| of_words.all().iter().any(|(w, _)| w == word)),
            |(word, n)| format!("{word} {n}"),
        ),
        named(
            "in both halves",
            &lengths.combine(Max.of(move |word: &str| first.get().get(word).copied().unwrap_or(0))),
            |(length, n)| format!("{length} {n}"),
        ),
        named(
            "after a sort",
            &pairs.union(&large).sort().reduce(move |word, values, out| {
                out.emit(word, values.sum::<u64>() + *total.get() + words.all().len() as u64)
            }),
            |(word, n)| format!("{word} {n}"),
        ),
        named("by broadcast", &folded, |(length, n)| format!("{length} {n}")),
        named("by shuffle", &shuffled, |(length, n)| format!("{length} {n}")),
        named("in order", &in_order, |(word, sides)| format!("{word} {sides:?}")),
    ]
}

impl Job for Operations {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let folder = self.fail_once.clone();
        let pairs = flow.read(lines(&self.input)).map(move |line, out| {
            if line.ends_with('7') {
                fail_once(folder.as_deref(), "read");
            }
            let (word, number) = line.split_once(' ').ok_or_else(|| Error::msg("the line is not `WORD NUMBER`"))?;
            out.emit(word, number.parse::<u64>()?);
            Ok(())
        });
        let results = match self.group.as_str() {
            "whole" => whole(&pairs),
            "joins" => joins(&pairs),
            "folds" => folds(&pairs),
            "places" => places(&pairs),
            "sketches" => sketches(&pairs),
            "broadcasts" => broadcasts(&pairs),
            other => return Err(Error::msg(format!("there is no group {other}"))),
        };
        results.iter().enumerate().try_for_each(|(i, result)| {
            let folder = self.fail_once.clone();
            let result = result.inspect(move |_| fail_once(folder.as_deref(), &format!("result-{i}")));
            result.write(text(format!("{}/{i}", self.output)))
        })
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<Operations>()
}
