//! The plan under construction, which `Job::plan` receives.

use crate::data::datum::Datum;
use crate::data::wire::Forms;
use crate::error::{Error, Result};
use crate::plan::broadcast::{BROADCASTS_MAX, Bound};
use crate::plan::captured::{Capture, Captured};
use crate::plan::chain::Branch;
use crate::plan::counter::Counter;
use crate::plan::demand::Shuffled;
use crate::plan::side::{Side, SideSlot};
use crate::plan::stored::Datasets;
use crate::task::broadcasts::with_broadcasts;
use crate::task::context::{StageFn, TaskCx};
use crate::task::failure::TaskResult;
use crate::task::written::Written;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::Location;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use windrow_format::regular_file;
use windrow_model::{
    Code, Collect, Digest, Escape, Framing, Input, Output, Partitions, Plan, Port, SinkSpec, Stage, StageId,
};

/// A graph of stages under construction. Every process of a job builds the same graph from the same parameters.
///
/// Handles made from it (`Records`, `Pairs`) are deliberately not `Send`, so capturing one in a record function does
/// not compile.
#[derive(Clone)]
pub struct Flow(pub(crate) Rc<Draft>);

#[derive(Default)]
pub(crate) struct Draft {
    stages: RefCell<Vec<Stage>>,
    functions: RefCell<Vec<StageFn>>,
    sinks: RefCell<Vec<SinkSpec>>,
    collects: RefCell<Vec<Collect>>,
    /// Source locations of the names of collects.
    collect_places: RefCell<BTreeMap<String, String>>,
    /// The first mistake in a call that cannot return an error.
    mistake: RefCell<Option<Error>>,
    counters: RefCell<Vec<String>>,
    sides: RefCell<Vec<SideSlot>>,
    /// The broadcasts so far whose handles record functions may have captured.
    broadcasts: RefCell<Vec<Bound>>,
    /// Files of the side values, if they were made elsewhere (in an executor).
    given_sides: Option<Vec<PathBuf>>,
    hasher: RefCell<blake3::Hasher>,
    /// Existing edges: the same records shuffled in the same way are shuffled once.
    edges: RefCell<BTreeMap<(u64, String), Shuffled>>,
    next_node: Cell<u64>,
    /// What is known of datasets where the plan is built.
    datasets: RefCell<Option<Datasets>>,
    /// Numbers of partitions that lie in files of records.
    files_of: RefCell<Vec<Partitions>>,
    /// Base folder of relative paths.
    base: PathBuf,
    overwrite: bool,
    /// Where the records of sinks are kept, in a run under test.
    captured: Option<Arc<Captured>>,
}

/// A finished plan with the functions of its stages.
pub(crate) struct Built {
    pub plan: Plan,
    pub functions: Vec<StageFn>,
    /// Names of the user's counters by index.
    pub counters: Vec<String>,
    /// Encoded side values, if they were made here.
    pub sides: Vec<Vec<u8>>,
}

/// Name prefix of the engine's counters.
const ENGINE_COUNTER_PREFIX: &str = "windrow.";

/// Source location of an operation in the user's program.
pub(crate) fn place(at: &Location<'_>) -> String {
    format!("{}:{}", at.file(), at.line())
}

impl Flow {
    pub(crate) fn new(base: PathBuf, overwrite: bool, given_sides: Option<Vec<PathBuf>>) -> Self {
        Flow(Rc::new(Draft { base, overwrite, given_sides, ..Draft::default() }))
    }

    /// The flow of a run under test, whose sinks keep their records.
    pub(crate) fn captured(base: PathBuf, captured: Arc<Captured>) -> Self {
        Flow(Rc::new(Draft { base, overwrite: true, captured: Some(captured), ..Draft::default() }))
    }

    /// Where the records of a sink with this path are kept; none unless the run is under test.
    pub(crate) fn capture<R: Datum>(&self, path: &str) -> Option<Capture> {
        Some(self.0.captured.as_ref()?.begin::<R>(self.absolute(path)))
    }

    /// Lets the plan see how records lie in datasets.
    pub(crate) fn see_datasets(&self, datasets: Option<Datasets>) {
        *self.0.datasets.borrow_mut() = datasets;
    }

    pub(crate) fn datasets(&self) -> Option<Datasets> {
        self.0.datasets.borrow().clone()
    }

    /// A counter of the job: `let bad = flow.counter("bad lines")`, then `bad.add(1)` in record functions. Calls with
    /// the same name return the same counter. Names that begin with `windrow.` are reserved for the engine and make the
    /// plan invalid.
    pub fn counter(&self, name: &str) -> Counter {
        if name.starts_with(ENGINE_COUNTER_PREFIX) {
            let message = format!(
                "invalid counter name `{name}`: names that begin with `{ENGINE_COUNTER_PREFIX}` are reserved for the engine"
            );
            self.mistaken(Error::new(Code::PlanInvalid, message));
        }
        let mut counters = self.0.counters.borrow_mut();
        let index = counters.iter().position(|n| n == name).unwrap_or_else(|| {
            counters.push(name.to_string());
            counters.len() - 1
        });
        Counter::new(index)
    }

    /// A value that is made once, at submission, and is available to every task.
    ///
    /// # Errors
    /// The error of `make`, or `PLAN_INVALID` if the value cannot be encoded. They fail the submission.
    pub fn side<T, E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<Side<T>>
    where
        T: serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
        Error: From<E>,
    {
        let bytes = self.side_bytes(std::any::type_name::<T>(), || {
            let mut bytes = Vec::new();
            crate::data::wire::encode(&make()?, &mut bytes)
                .map_err(|e| Error::new(Code::PlanInvalid, format!("a side value cannot be encoded: {e}")))?;
            Ok(bytes)
        })?;
        Ok(Side::new(bytes))
    }

    /// The bytes of a value that is made once, at submission.
    pub(crate) fn side_bytes(&self, what: &str, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Arc<[u8]>> {
        let index = self.0.sides.borrow().len();
        let slot = match &self.0.given_sides {
            Some(files) => {
                let file = files.get(index).ok_or_else(|| {
                    Error::new(Code::PlanMismatch, format!("side value {index} did not exist at submit"))
                })?;
                let bytes = regular_file::read(file, u64::MAX)
                    .map_err(|e| Error::new(Code::IoError, format!("side value {}: {e}", file.escaped())))?;
                SideSlot::of(bytes)
            }
            None => SideSlot::of(make()?),
        };
        let bytes = slot.bytes.clone();
        self.fingerprint(&["side", what, &slot.digest.to_string()]);
        self.0.sides.borrow_mut().push(slot);
        Ok(bytes)
    }

    /// Notes that the plan reads files that are the partitions of pairs by key, and how many there are.
    pub(crate) fn note_files_of(&self, partitions: Partitions) {
        self.0.files_of.borrow_mut().push(partitions);
    }

    /// Whether the plan reads files that are as many partitions of pairs by key.
    pub(crate) fn reads_files_of(&self, partitions: Partitions) -> bool {
        self.0.files_of.borrow().contains(&partitions)
    }

    pub(crate) fn node(&self) -> u64 {
        let node = self.0.next_node.get();
        self.0.next_node.set(node + 1);
        node
    }

    pub(crate) fn fingerprint(&self, parts: &[&str]) {
        let mut hasher = self.0.hasher.borrow_mut();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }

    /// An empty path stays empty, so that the plan's check refuses it: it must not become the current folder.
    pub(crate) fn absolute(&self, path: &str) -> String {
        let Some(relative) = windrow_model::Location::of(path).path().filter(|_| !path.is_empty()) else {
            return path.to_string();
        };
        self.0.base.join(relative).into_os_string().into_string().unwrap_or_else(|joined| {
            let message = format!("{}: the current folder is not UTF-8: give absolute paths", joined.escaped());
            self.mistaken(Error::new(Code::BadRequest, message));
            path.to_string()
        })
    }

    /// The existing edge of the same records and layout, or a new one from `make`.
    pub(crate) fn shared_edge(&self, node: u64, how: String, make: impl FnOnce() -> Shuffled) -> Shuffled {
        let key = (node, how);
        let known = self.0.edges.borrow().get(&key).cloned();
        known.unwrap_or_else(|| {
            let edge = make();
            self.0.edges.borrow_mut().insert(key, edge.clone());
            edge
        })
    }

    /// Adds a broadcast, for the functions of all later operations.
    pub(crate) fn add_broadcast(&self, broadcast: Bound) {
        self.0.broadcasts.borrow_mut().push(broadcast);
    }

    /// Makes a branch that calls this code of the user depend on every broadcast that the code may have captured: on all
    /// that exist, unless it captures nothing. A closure does not show what it captures, only how large it is.
    pub(crate) fn calling<R: Datum, F: ?Sized>(&self, code: &F, mut branch: Branch<R>) -> Branch<R> {
        if size_of_val(code) > 0 {
            self.0.broadcasts.borrow().iter().for_each(|broadcast| branch.read(broadcast));
        }
        branch
    }

    /// Ends a branch: adds the stage that runs it into these outputs. It reads the branch's inputs, then `more_inputs`, then
    /// the branch's broadcasts.
    pub(crate) fn add_stage<R: Datum>(
        &self,
        branch: &Branch<R>,
        op: &str,
        at: &Location<'_>,
        more_inputs: Vec<Input>,
        outputs: Vec<Output>,
        run: impl Fn(&TaskCx<'_>) -> TaskResult<Vec<Written>> + Send + Sync + 'static,
    ) -> StageId {
        let mut stages = self.0.stages.borrow_mut();
        let broadcasts = branch.broadcasts.clone();
        if broadcasts.len() > BROADCASTS_MAX {
            let message = format!(
                "{op} at {}: the stage depends on {} broadcasts, more than {BROADCASTS_MAX}: make one of several values",
                place(at),
                broadcasts.len()
            );
            self.mistaken(Error::new(Code::PlanInvalid, message));
        }
        let first = branch.inputs.len() + more_inputs.len();
        let read = broadcasts.iter().map(|broadcast| Input::Broadcast { from: broadcast.port });
        let stage = Stage {
            label: format!("{} → {op}", branch.label),
            place: place(at),
            inputs: branch.inputs.iter().cloned().chain(more_inputs).chain(read).collect(),
            outputs,
            deterministic: branch.deterministic,
        };
        let reads: Vec<Port> = stage.reads().collect();
        let shape = format!("{reads:?} {:?} {}", stage.outputs, std::any::type_name::<R>());
        self.fingerprint(&[&stage.label, &stage.place, &shape]);
        let mut forms = Forms::default();
        R::forms(&mut forms);
        forms.named.iter().for_each(|(name, form)| self.fingerprint(&["form", name, form]));
        if let Some((name, why)) = forms.broken {
            let message =
                format!("{op} at {}: values of type `{name}` do not survive a serde round trip: one {why}", place(at));
            self.mistaken(Error::new(Code::PlanInvalid, message));
        }
        stages.push(stage);
        self.0.functions.borrow_mut().push(StageFn(match broadcasts.is_empty() {
            true => Arc::new(run),
            false => Arc::new(move |cx| {
                let read = broadcasts.iter().enumerate().map(|(i, broadcast)| broadcast.seen(cx.inline(first + i)));
                with_broadcasts(read.collect(), || run(cx))
            }),
        }));
        StageId(stages.len() as u32 - 1)
    }

    pub(crate) fn add_sink(&self, path: &str, format: &str, suffix: &str, framing: Framing) -> u32 {
        self.fingerprint(&["sink", path, format, suffix]);
        let mut sinks = self.0.sinks.borrow_mut();
        sinks.push(SinkSpec {
            path: self.absolute(path),
            format: format.to_string(),
            suffix: suffix.to_string(),
            framing,
            overwrite: self.0.overwrite,
        });
        sinks.len() as u32 - 1
    }

    /// Registers the name of a collect.
    pub(crate) fn name_collect(&self, name: &str, at: &Location<'_>) {
        let known = self.0.collect_places.borrow_mut().insert(name.to_string(), place(at));
        if let Some(known) = known {
            let message = format!("two results are collected under the name `{name}`: at {known} and at {}", place(at));
            self.mistaken(Error::new(Code::PlanInvalid, message));
        }
    }

    /// Records a mistake, which fails the plan when it is complete; the first one counts.
    pub(crate) fn mistaken(&self, mistake: Error) {
        self.0.mistake.borrow_mut().get_or_insert(mistake);
    }

    pub(crate) fn add_collect(&self, name: &str, from: Port) {
        self.fingerprint(&["collect", name]);
        self.0.collects.borrow_mut().push(Collect { name: name.to_string(), from });
    }

    /// Checks and finishes the plan.
    pub(crate) fn build(self) -> Result<Built> {
        let draft = &self.0;
        if let Some(mistake) = draft.mistake.take() {
            return Err(mistake);
        }
        let digest = Digest(*draft.hasher.borrow().finalize().as_bytes());
        let plan = Plan {
            stages: draft.stages.take(),
            sinks: draft.sinks.take(),
            collects: draft.collects.take(),
            sides: draft
                .sides
                .borrow()
                .iter()
                .map(|s| windrow_model::Side { digest: s.digest, length: s.bytes.len() as u64 })
                .collect(),
            fingerprint: digest,
        };
        plan.check().map_err(|e| Error::new(e.code(), e.to_string()))?;
        let sides = draft.sides.take().into_iter().map(|s| s.bytes.to_vec()).collect();
        draft.edges.take();
        Ok(Built { plan, functions: draft.functions.take(), counters: draft.counters.take(), sides })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn side_value_without_a_round_trip_is_refused_with_its_type() {
        let flow = Flow::new(PathBuf::from("/"), false, None);
        let side = flow.side(|| std::io::Result::Ok((Some(None::<u8>), serde_json::json!([1, null])))).unwrap();
        assert_eq!(*side.get(), (Some(None), serde_json::json!([1, null])));
        #[derive(serde::Serialize, serde::Deserialize)]
        struct Lost {
            #[serde(skip_serializing)]
            #[allow(dead_code, reason = "it is never read back")]
            gone: u8,
        }
        let error = flow.side(|| std::io::Result::Ok(Lost { gone: 1 })).err().unwrap();
        assert_eq!(error.code(), Code::PlanInvalid);
        assert!(error.failure().message.contains("Lost"), "{error}");
    }

    #[test]
    fn counter_name_of_the_engine_makes_the_plan_invalid() {
        let flow = Flow::new(PathBuf::from("/"), false, None);
        flow.counter("windrows of hay");
        flow.counter("windrow.records_read");
        let error = flow.build().err().unwrap();
        assert_eq!(error.code(), Code::PlanInvalid);
        assert!(error.failure().message.contains("`windrow.records_read`"), "{error}");
    }
}
