//! Removes texts that are nearly the same as an earlier one, by MinHash with bands (Broder 1997; Leskovec, Rajaraman,
//! Ullman, Mining of Massive Datasets, chapter 3).
//!
//! `near_duplicates INPUT... --output DIR`, lines `id<TAB>text`, ids are numbers → the lines that remain, by id. A text is
//! removed if a text with a smaller id is estimated to share `--similarity` of its sequences of three words.

use windrow::prelude::*;

/// Hash functions of a signature.
const HASHES: usize = 128;
/// Hashes of a band. Texts are compared if they agree in all hashes of a band: for a similarity of 0.8 this
/// happens with probability 0.99999, for 0.3 with 0.23.
const BAND: usize = 4;

/// Remove near-duplicates.
#[derive(clap::Args, Serialize, Deserialize)]
struct NearDuplicates {
    /// Files, folders or globs with lines `id<TAB>text`
    #[arg(required = true)]
    input: Vec<String>,
    /// Share of common sequences of words from which a text is a duplicate
    #[arg(long, default_value_t = 0.8)]
    similarity: f64,
    /// Folder to write
    #[arg(long)]
    output: String,
}

/// FNV-1a of a seed and words.
fn hash(seed: u64, words: &[&str]) -> u64 {
    let bytes = words.iter().flat_map(|word| word.bytes().chain([b' ']));
    bytes.fold(0xCBF2_9CE4_8422_2325 ^ seed, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3))
}

/// The smallest hash of all sequences of three words, for each of the hash functions. A shorter text is one sequence.
fn signature(text: &str) -> [u32; HASHES] {
    let words: Vec<&str> = words(text).collect();
    let mut smallest = [u32::MAX; HASHES];
    for sequence in words.windows(words.len().clamp(1, 3)) {
        let sequence = hash(0, sequence);
        for (n, least) in smallest.iter_mut().enumerate() {
            // Multiply-shift (Dietzfelbinger et al. 1997), with an odd factor for each function.
            let factor = (2 * n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
            *least = (*least).min((sequence.wrapping_mul(factor) >> 32) as u32);
        }
    }
    smallest
}

/// The share of hashes in which two signatures agree: about the share of common sequences.
fn similarity(a: &[u32], b: &[u32]) -> f64 {
    a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / HASHES as f64
}

impl Job for NearDuplicates {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let texts = flow.read(lines(&self.input)).map(|line, out| {
            let (id, text) = line.split_once('\t').ok_or_else(|| Error::msg("the line is not `id<TAB>text`"))?;
            out.emit(id.parse::<u64>()?, text);
            Ok(())
        });
        let least = self.similarity;
        let duplicates = texts
            .map(|(id, text), out| {
                let signature = signature(text);
                for (band, hashes) in signature.chunks(BAND).enumerate() {
                    out.emit(((band as u32, hashes), id), &signature[..]);
                }
            })
            .group(move |_band, texts, out| {
                // The ids ascend, so a text is compared with those that could make it a duplicate.
                let mut earlier: Vec<Vec<u32>> = Vec::new();
                for (id, signature) in texts {
                    match earlier.iter().any(|e| similarity(e, signature) >= least) {
                        true => out.emit(id, ()),
                        false => earlier.push(signature.to_vec()),
                    }
                }
            })
            .distinct();
        texts.anti_join(&duplicates).write(tsv(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<NearDuplicates>()
}
