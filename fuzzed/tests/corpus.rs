//! Runs all kept inputs, which reach deep into a parser or once broke one, on the stable compiler.

use std::path::Path;
use windrow_fuzzed::TARGETS;
use windrow_model::Escape;

#[test]
fn every_kept_input_is_accepted() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in TARGETS {
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus.join(name)).unwrap_or_else(|e| panic!("corpus of {name}: {e}")) {
            let path = entry.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            let taken = std::panic::catch_unwind(|| target(&bytes));
            assert!(taken.is_ok(), "{} breaks a promise; its message is above", path.escaped());
            inputs += 1;
        }
        assert!(inputs > 3, "{name} has {inputs} inputs");
    }
}

/// Every prefix, every byte replaced: a little of a fuzzer's work, from each kept input.
#[test]
fn variations_of_kept_inputs_are_accepted() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in TARGETS {
        for entry in std::fs::read_dir(corpus.join(name)).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            let step = bytes.len() / 16 + 1;
            for at in (0..bytes.len()).step_by(step) {
                target(&bytes[..at]);
                for with in [0, 1, 0x7f, 0xff, bytes[at] ^ 0x10] {
                    let mut other = bytes.clone();
                    other[at] = with;
                    target(&other);
                }
            }
        }
    }
}
