//! `src/generated` is what the generators make of `windrow/v1/*.proto`, without an installed `protoc`.
//!
//! After a change of a `.proto` file: `WINDROW_GENERATE=1 cargo test -p windrow-proto --test generated_code`.

use std::fs;
use std::path::{Path, PathBuf};

const FILES: [&str; 10] = [
    "windrow/v1/common.proto",
    "windrow/v1/plan.proto",
    "windrow/v1/job.proto",
    "windrow/v1/session.proto",
    "windrow/v1/transfer.proto",
    "windrow/v1/executor.proto",
    "windrow/v1/data.proto",
    "windrow/v1/journal.proto",
    "windrow/v1/history.proto",
    "windrow/v1/page.proto",
];

/// Messages whose bytes are bulk data: `Bytes`, so that they are not copied on their way.
const BULK: [&str; 5] = [
    ".windrow.v1.Piece",
    ".windrow.v1.SegmentPiece",
    ".windrow.v1.ArtifactPiece",
    ".windrow.v1.ChunkPiece",
    ".windrow.v1.Assign",
];

const GENERATED: &str = "windrow.v1.rs";

/// Generates into `folder`.
fn generate(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let descriptors = protox::compile(FILES.map(|file| root.join(file)), [root]).unwrap();
    // Channels come from `windrow-net`; and the generated `connect` would collide with the call `Session.Connect`.
    let mut builder = tonic_prost_build::configure()
        .build_transport(false)
        .client_mod_attribute(".", "#[cfg(feature = \"services\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"services\")]")
        .emit_rerun_if_changed(false)
        .out_dir(folder);
    for message in BULK {
        builder = builder.bytes(message);
    }
    builder.compile_fds(descriptors).unwrap();
}

#[test]
fn generated_code_follows_from_the_proto_files() {
    let kept = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/generated").join(GENERATED);
    let folder = tempfile::tempdir().unwrap();
    generate(folder.path());
    let generated = fs::read_to_string(folder.path().join(GENERATED)).unwrap();
    if std::env::var_os("WINDROW_GENERATE").is_some() {
        fs::write(&kept, &generated).unwrap();
    }
    // Not `assert_eq!`: both are thousands of lines.
    assert!(
        fs::read_to_string(&kept).is_ok_and(|kept| kept == generated),
        "{} is not up to date: WINDROW_GENERATE=1 cargo test -p windrow-proto --test generated_code",
        kept.display()
    );
}
