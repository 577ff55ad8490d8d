//! The operation `read`: records of files.

use crate::data::datum::Datum;
use crate::data::part_form::PartForm;
use crate::error::{Error, Result};
use crate::plan::chain::Branch;
use crate::plan::flow::{Flow, place};
use crate::plan::records::Records;
use crate::plan::stored::{Datasets, Layout, stored_at};
use crate::source::{Expected, Source, SourceChain};
use crate::task::culprit::Op;
use std::panic::Location;
use std::sync::Arc;
use windrow_model::{Failure, Input, Partitions, SourceSpec};

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
        let is_in_blocks = matches!(source.form(), PartForm::Blocks { .. });
        let layout = is_in_blocks.then(|| self.layout_of::<S::Item>(&spec.inputs, op.at)).flatten();
        let keyed = layout.filter(|layout| layout.keyed).map(|layout| Partitions::Count(layout.parts));
        self.fingerprint(&["read", &label, std::any::type_name::<S>(), &place(Location::caller())]);
        let branch = Branch {
            inputs: vec![Input::Source(spec)],
            chain: Arc::new(SourceChain { source: Arc::new(source), op }),
            label,
            partitions: None,
            files: layout.map(|layout| layout.parts),
            deterministic: true,
            direct: None,
            has_places: true,
            demands: Vec::new(),
            broadcasts: Vec::new(),
            is_alternative: false,
        };
        keyed.inspect(|partitions| self.note_files_of(*partitions));
        let records = Records::new(self, vec![branch], keyed);
        match layout {
            Some(layout) if layout.sorted => records.in_order_of_keys(),
            _ => records,
        }
    }

    /// How records lie in these inputs, if that helps the plan and can be seen from where the job is started. All processes of
    /// the job get what that one has seen. Records of another type make the plan invalid.
    fn layout_of<R: Datum>(&self, inputs: &[String], at: &Location<'_>) -> Option<Layout> {
        let seen =
            self.side_bytes("layout of records", || Ok(serde_json::to_vec(&seen::<R>(inputs, self.datasets())?)?));
        let layout = seen.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
        layout.unwrap_or_else(|e| {
            let Failure { code, message, .. } = e.into_failure();
            self.mistaken(Error::new(code, format!("{message} (in `read` at {})", place(at))));
            None
        })
    }

    fn inputs(&self, inputs: Vec<String>) -> Vec<String> {
        self.fingerprint(&inputs.iter().map(String::as_str).collect::<Vec<_>>());
        inputs.into_iter().map(|i| self.absolute(&i)).collect()
    }
}

/// Compares the type of the records with those of the inputs, and returns how they lie in the only input.
fn seen<R: Datum>(inputs: &[String], datasets: Option<Datasets>) -> Result<Option<Layout>> {
    let expected = Expected::of::<R>();
    let mut layout = None;
    for input in inputs {
        if let Some(stored) = stored_at(input, datasets.as_ref())? {
            expected.check(&stored.description, &stored.path)?;
            layout = stored.layout;
        }
    }
    Ok(layout.filter(|_| inputs.len() == 1))
}
