//! The operation `read`: records of files.

use crate::plan::chain::Branch;
use crate::plan::flow::{Flow, place};
use crate::plan::records::Records;
use crate::source::{Source, SourceChain};
use crate::task::culprit::Op;
use std::panic::Location;
use std::sync::Arc;
use windrow_model::{Input, SourceSpec};

impl Flow {
    /// Reads records from files: `flow.read(lines(&self.input))`.
    #[track_caller]
    pub fn read<S: Source>(&self, source: S) -> Records<S::Item> {
        let spec = SourceSpec {
            inputs: self.inputs(source.inputs()),
            framing: source.framing(),
            header: source.has_header(),
            sample: false,
            as_is: !source.is_text(),
        };
        let label = source.name();
        let op = Op::here("read");
        self.fingerprint(&["read", &label, std::any::type_name::<S>(), &place(Location::caller())]);
        let branch = Branch {
            inputs: vec![Input::Source(spec)],
            chain: Arc::new(SourceChain { source: Arc::new(source), op }),
            label,
            partitions: None,
            deterministic: true,
            direct: None,
            has_places: true,
            demands: Vec::new(),
        };
        Records::new(self, vec![branch], None)
    }

    fn inputs(&self, inputs: Vec<String>) -> Vec<String> {
        self.fingerprint(&inputs.iter().map(String::as_str).collect::<Vec<_>>());
        inputs.into_iter().map(|i| self.absolute(&i)).collect()
    }
}
