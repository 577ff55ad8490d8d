//! The operation `read`: records of files.

use crate::data::datum::Datum;
use crate::data::part_form::PartForm;
use crate::error::Error;
use crate::plan::chain::Branch;
use crate::plan::flow::{Flow, place};
use crate::plan::records::Records;
use crate::plan::stored::stored_at;
use crate::source::{Expected, Source, SourceChain};
use crate::task::culprit::Op;
use std::panic::Location;
use std::sync::Arc;
use windrow_model::{Failure, Input, SourceSpec};

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
        if matches!(source.form(), PartForm::Blocks { .. }) {
            self.check_types::<S::Item>(&spec.inputs, op.at);
        }
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

    /// Compares the types of the records that are read with those of the files, if they can be seen from where the job
    /// is started. Every task does so again.
    fn check_types<R: Datum>(&self, inputs: &[String], at: &Location<'_>) {
        if !self.is_first() {
            return;
        }
        let expected = Expected::of::<R>();
        let found = inputs.iter().filter_map(|input| stored_at(input));
        if let Some(e) = found.filter_map(|stored| expected.check(&stored.description, &stored.path).err()).next() {
            let Failure { code, message, .. } = e.into_failure();
            self.mistaken(Error::new(code, format!("{message} (in `read` at {})", place(at))));
        }
    }

    fn inputs(&self, inputs: Vec<String>) -> Vec<String> {
        self.fingerprint(&inputs.iter().map(String::as_str).collect::<Vec<_>>());
        inputs.into_iter().map(|i| self.absolute(&i)).collect()
    }
}
