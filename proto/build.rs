//! Generates messages, clients and servers from `windrow/v1/*.proto`, without an installed `protoc`.

use std::error::Error;

const FILES: [&str; 8] = [
    "windrow/v1/common.proto",
    "windrow/v1/plan.proto",
    "windrow/v1/job.proto",
    "windrow/v1/session.proto",
    "windrow/v1/transfer.proto",
    "windrow/v1/executor.proto",
    "windrow/v1/data.proto",
    "windrow/v1/journal.proto",
];

/// Messages with bulk data: their bytes become `Bytes`, which avoids a copy.
const BULK: [&str; 4] =
    [".windrow.v1.Piece", ".windrow.v1.SegmentPiece", ".windrow.v1.ArtifactPiece", ".windrow.v1.ChunkPiece"];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    let descriptors = protox::compile(FILES, ["."])?;
    // `windrow-net` makes the channels; the generated `connect` would also collide with the call `Session.Connect`.
    let mut builder = tonic_prost_build::configure().build_transport(false);
    for message in BULK {
        builder = builder.bytes(message);
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}
