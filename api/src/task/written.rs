//! What a task has written, before it is reported.

use windrow_format::spool::Place;
use windrow_model::{EdgeReport, OutputReport, PartReport, Segment, TaskOutput};

/// What a task has written to one of its outputs.
pub(crate) enum Written {
    /// Records for other tasks.
    Edge(WrittenEdge),
    /// The inline output.
    Broadcast(Vec<u8>),
    /// The part file of a sink.
    Part(PartReport),
}

/// The image of an edge. Its segments stay on this machine: readers find them in its index.
pub(crate) struct WrittenEdge {
    /// The segments, by ascending partition.
    pub segments: Vec<Segment>,
    /// Where the image is in the spool of the process, if it is there.
    pub place: Option<Place>,
    /// Whether the image has a file of its own. Neither is the case if it is kept in memory, or if there are no records.
    pub has_file: bool,
}

impl Written {
    /// The report of this output of a task, for the scheduler. Linear in the number of segments.
    pub(crate) fn report(self, output: &TaskOutput) -> OutputReport {
        match self {
            Written::Edge(edge) => {
                let partitions = match output {
                    TaskOutput::Edge { partitions } => *partitions,
                    _ => 1,
                };
                OutputReport::Edge(EdgeReport::of(&edge.segments, partitions))
            }
            Written::Broadcast(bytes) => OutputReport::Broadcast(bytes),
            Written::Part(part) => OutputReport::Sink(part),
        }
    }

    /// Whether it is an edge in a file of its own.
    pub(crate) fn has_file(&self) -> bool {
        matches!(self, Written::Edge(edge) if edge.has_file)
    }

    /// Where it is in the spool of the process, if it is there.
    pub(crate) fn place(&self) -> Option<Place> {
        match self {
            Written::Edge(edge) => edge.place,
            _ => None,
        }
    }
}
