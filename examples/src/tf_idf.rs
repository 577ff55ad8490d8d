//! Scores the words of documents by TF-IDF.

use windrow::prelude::*;

/// Score each word of each document by TF-IDF: how often it is there, times the logarithm of the inverse share of documents
/// that have it. The result is sorted by document and word.
#[derive(clap::Args, Serialize, Deserialize)]
struct TfIdf {
    /// Files, folders or globs with lines `document<TAB>text`, one for each document.
    #[arg(required = true)]
    input: Vec<String>,
    /// Folder to write `document<TAB>word<TAB>score` to.
    #[arg(long)]
    output: String,
}

impl Job for TfIdf {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let documents = flow.read(lines(&self.input)).map(|line, out| out.extend(line.split_once('\t')));
        let counts =
            documents.map(|(id, text), out| out.extend(words(text).map(|word| ((word, id), 1u64)))).combine(Sum);
        let spread = counts.map(|((word, _), _), out| out.emit(word, 1u64)).combine(Sum);
        let total = documents.count().broadcast();
        counts
            .map(|((word, id), n), out| out.emit(word, (id, n)))
            .join(&spread)
            .map(move |(word, ((id, n), documents)), out| {
                out.emit((id, word), n as f64 * (*total.get() as f64 / documents as f64).ln())
            })
            .sort()
            .map(|((id, word), score), out| out.push((id, word, score)))
            .write(tsv(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<TfIdf>()
}
