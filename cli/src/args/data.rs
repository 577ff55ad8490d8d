//! Flags of `windrow data`.

use super::Client;
use clap::Subcommand;
use clap::builder::NonEmptyStringValueParser;
use std::path::PathBuf;
use windrow_model::{ByteSize, Framing, WorkerId};

#[derive(clap::Args, Debug)]
pub(crate) struct Data {
    #[command(subcommand)]
    pub verb: DataVerb,
}

#[derive(Subcommand, Debug)]
pub(crate) enum DataVerb {
    /// Copy files into the cluster under a name; jobs read them as windrow://NAME
    #[command(
        override_usage = "windrow data put [OPTIONS] <FILES>... <NAME>",
        after_help = "\
Files are cut into chunks at record boundaries; each chunk is stored on several workers and is on disk when this ends.
Compressed text (gzip, zstd, bzip2) is decompressed, other records and whole files are stored as they are. The name appears when everything is stored, or not at all.

  windrow data put 'logs/*.log' logs                   lines of text
  windrow data put records.bin sorted --framing fixed:100"
    )]
    Put {
        #[command(flatten)]
        client: Client,
        /// Where records begin: lines, delimiter:BYTE, fixed:BYTES, or whole (a file is never cut)
        #[arg(long, value_name = "KIND", default_value = "lines")]
        framing: Framing,
        /// Approximate bytes of a chunk, which is the input of one task
        #[arg(long, value_name = "SIZE", default_value = "32MiB")]
        chunk_size: ByteSize,
        /// Copies of each chunk [default: 2, or 1 with one worker]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        replicas: Option<u32>,
        /// Replace a dataset of this name; jobs that read the old one keep it until they end
        #[arg(long)]
        overwrite: bool,
        /// Handling of compressed text: decompress it, or store it as it is
        #[arg(long, value_name = "KIND", value_enum, default_value_t = windrow::InputCompression::Auto)]
        compression: windrow::InputCompression,
        /// Files, folders or globs, and the name of the dataset as the last argument
        #[arg(required = true, num_args = 2.., value_name = "FILES... NAME", value_parser = NonEmptyStringValueParser::new())]
        files_and_name: Vec<String>,
    },
    /// List all datasets; COPIES are those of the scarcest chunk
    Ls {
        #[command(flatten)]
        client: Client,
        /// List unreferenced chunks instead, and workers whose folders wait to join
        #[arg(long)]
        orphans: bool,
    },
    /// Make a dataset of unreferenced chunks, or let a worker's data folder join the cluster
    #[command(
        override_usage = "windrow data adopt [OPTIONS] <NAME> <CHUNKS>...\n       windrow data adopt [OPTIONS] --worker <ID>",
        after_help = "\
The dataset has the chunks in the given order. Examples:

  windrow data ls --orphans                      the unreferenced chunks
  windrow data adopt found 4bf5122f… 084fed08…   makes the dataset `found` of two of them
  windrow data adopt --worker worker-…           lets a folder of an earlier release join"
    )]
    Adopt {
        #[command(flatten)]
        client: Client,
        /// A worker whose data folder has joined no cluster
        #[arg(
            long,
            value_name = "ID",
            conflicts_with = "name_and_chunks",
            required_unless_present = "name_and_chunks"
        )]
        worker: Option<WorkerId>,
        /// Where records begin in the chunks
        #[arg(long, value_name = "KIND", default_value = "lines")]
        framing: Framing,
        /// The new dataset's name, and digests of its chunks in order
        #[arg(num_args = 2.., value_name = "NAME CHUNKS...")]
        name_and_chunks: Vec<String>,
    },
    /// Show the progress of each worker's scrub, which compares chunks with their digests
    Scrub {
        #[command(flatten)]
        client: Client,
    },
    /// Copy a dataset into a new file (`-`: stdout), or a dataset of whole files into a new folder
    Get {
        #[command(flatten)]
        client: Client,
        /// The name of the dataset
        name: String,
        /// The file or folder to make, which must not exist; `-`: stdout
        #[arg(value_name = "FILE")]
        to: PathBuf,
    },
    /// Remove a dataset
    Rm {
        #[command(flatten)]
        client: Client,
        /// The name of the dataset
        name: String,
    },
}
