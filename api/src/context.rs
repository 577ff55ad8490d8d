//! What a running task can see and touch: its inputs as local files, its folder, its memory, and where it stands.

use crate::culprit::{self, AtKey, AtRecord, Culprit, Note, Op, OpAtRecord, Passing};
use crate::datum::Datum;
use crate::error::Error;
use crate::task_run::TaskEnv;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use windrow_engine::{EdgeSpec, EngineError, InMemoryOutputs, LocalSegment, Partitioning, Share};
use windrow_format::block::Identity;
use windrow_format::codec::Codec;
use windrow_format::crumbs::Slot;
use windrow_model::counters::names;
use windrow_model::{Chunk, Code, Counters, Failure, FileRange, RecordPlace, Task, TaskInput, TaskOutput};

/// Why an attempt ended without a result.
#[derive(Debug)]
pub struct TaskError {
    pub failure: Box<Failure>,
    /// The input segment that could not be read: (input, position).
    pub segment: Option<(usize, usize)>,
}

impl From<Failure> for TaskError {
    fn from(failure: Failure) -> Self {
        TaskError { failure: Box::new(failure), segment: None }
    }
}
impl From<Error> for TaskError {
    fn from(e: Error) -> Self {
        e.into_failure().into()
    }
}
impl From<EngineError> for TaskError {
    fn from(e: EngineError) -> Self {
        Failure::from(e).into()
    }
}

pub(crate) type TaskResult<T> = Result<T, TaskError>;

/// One attempt, from the inside. Lives on the thread that runs it.
pub(crate) struct TaskCx<'t> {
    pub task: &'t Task,
    /// For outputs and temporary files; belongs to this attempt alone.
    pub folder: &'t Path,
    /// For each input: its segments as local files, if it has any.
    pub segments: Vec<Vec<LocalSegment>>,
    /// What of the process's memory the task may hold.
    pub share: Share,
    pub codec: Codec,
    /// Where outputs for other tasks of this process may be kept.
    in_memory_outputs: Option<Arc<InMemoryOutputs>>,
    /// Whether this is a sampling stage: its source reads windows only.
    pub sample: bool,
    pub cancelled: &'t AtomicBool,
    stop: Cell<bool>,
    any_order: Cell<bool>,
    error: RefCell<Option<TaskError>>,
    /// Of that error, and of a panic that has passed.
    failed: RefCell<Culprit>,
    unwound: RefCell<Culprit>,
    /// Files that were begun.
    files: Cell<u64>,
    /// Where this thread is: seen from outside when the process dies.
    crumbs: Slot<'static>,
    pub counters: RefCell<Counters>,
}

impl<'t> TaskCx<'t> {
    /// For a task with at most so many consumers of memory at a time.
    pub fn new(task: &'t Task, setting: TaskEnv<'t>, consumers: usize, sample: bool) -> Self {
        let TaskEnv { folder, segments, memory, codec, in_memory_outputs, cancelled } = setting;
        TaskCx {
            task,
            folder,
            segments,
            share: memory.begin(consumers),
            codec,
            in_memory_outputs,
            sample,
            cancelled,
            stop: Cell::new(false),
            any_order: Cell::new(false),
            error: RefCell::new(None),
            failed: RefCell::default(),
            unwound: RefCell::default(),
            files: Cell::new(0),
            crumbs: {
                let crumbs = windrow_engine::blame::slot();
                crumbs.begin(&task.attempt);
                crumbs
            },
            counters: RefCell::default(),
        }
    }

    /// Records the first error and makes every loop end soon.
    pub fn fail(&self, e: impl Into<TaskError>) {
        let mut error = self.error.borrow_mut();
        if error.is_none() {
            *error = Some(e.into());
        }
        self.stop.set(true);
    }

    /// Records the first error of user code, and of which operation.
    #[cold]
    pub fn fail_in(&self, op: &Op, e: impl Into<TaskError>) {
        if self.error.borrow().is_none() {
            culprit::change(&self.failed, op);
        }
        self.fail(e)
    }

    /// Runs a function of the user, so that a panic of it names its operation.
    #[inline(always)]
    pub fn in_op<X>(&self, op: &Op, f: impl FnOnce() -> X) -> X {
        self.noting(op, f)
    }

    /// The same for a function that works on one record, so that a panic or an error of it names the record, too.
    #[inline(always)]
    pub fn in_op_on<'r, R: Datum, X>(&self, op: &'r Op, r: R::Ref<'r>, f: impl FnOnce() -> X) -> X {
        self.noting(OpAtRecord::<R> { op, record: AtRecord(r) }, f)
    }

    /// Records the first error of user code, of which operation it is, and its record.
    #[cold]
    pub fn fail_in_on<R: Datum>(&self, op: &Op, r: R::Ref<'_>, e: impl Into<TaskError>) {
        self.fail_in(op, e);
        culprit::change(&self.failed, AtRecord::<R>(r));
    }

    /// Runs what works on a key, so that panics and recorded errors of user code in it name the key.
    #[inline(always)]
    pub fn working_on_key<K: Datum, X>(&self, key: &[u8], f: impl FnOnce() -> X) -> X {
        self.working_on(AtKey::<K>(key, PhantomData), f)
    }

    /// The same for a record.
    #[inline(always)]
    pub fn working_on_record<R: Datum, X>(&self, r: R::Ref<'_>, f: impl FnOnce() -> X) -> X {
        self.working_on(AtRecord::<R>(r), f)
    }

    #[inline(always)]
    fn working_on<X>(&self, at: impl Note, f: impl FnOnce() -> X) -> X {
        let result = self.noting(at, f);
        if self.stopped() {
            culprit::change(&self.failed, at);
        }
        result
    }

    #[inline(always)]
    fn noting<X>(&self, note: impl Note, f: impl FnOnce() -> X) -> X {
        let passing = Passing::new(&self.unwound, note);
        let result = f();
        passing.keep();
        result
    }

    /// A failure of this task, with what is known of the operation that it is of.
    pub fn explained(&self, mut failure: Failure) -> Failure {
        failure.message += &self.failed.borrow().suffix();
        failure
    }

    /// The same for a panic.
    pub fn explained_panic(&self, mut failure: Failure) -> Failure {
        failure.message += &self.unwound.borrow().suffix();
        failure
    }

    /// Loops ask this once per record.
    #[inline]
    pub fn stopped(&self) -> bool {
        self.stop.get()
    }

    /// Asked once per block or group: has the attempt been revoked? It also shows that the task gets on.
    pub fn check_cancelled(&self) {
        self.crumbs.step();
        if self.cancelled.load(Ordering::Relaxed) {
            self.fail(Failure::new(Code::StaleAttempt, "the attempt was revoked"));
        }
    }

    /// The error that was recorded, if any.
    pub fn outcome(&self) -> TaskResult<()> {
        match self.error.borrow_mut().take() {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    /// Says which file the records are of that follow.
    pub fn at_file(&self, range: &FileRange) {
        self.files.set(self.files.get() + 1);
        self.crumbs.file(range.file(), range.identity.length);
    }
    /// Says which record is being worked on: one store.
    #[inline]
    pub fn at_record(&self, offset: u64) {
        self.crumbs.record(offset);
    }
    /// How many files were begun, and which record of the last one is being worked on.
    #[inline]
    pub fn at(&self) -> (u64, u64) {
        (self.files.get(), self.crumbs.offset())
    }
    pub fn after_records(&self) {
        self.crumbs.no_record();
    }

    /// Where the current record lies, with its first bytes if they can be read.
    pub fn place(&self) -> Option<RecordPlace> {
        self.crumbs.place().map(|place| windrow_store::record_place(place.file, place.offset))
    }

    pub fn chunk(&self) -> Option<&'t Chunk> {
        self.task.inputs.iter().find_map(|i| match i {
            TaskInput::Chunk(c) => Some(c),
            _ => None,
        })
    }

    /// Inline blobs of a broadcast input.
    pub fn inline(&self, input: usize) -> &'t [Vec<u8>] {
        match &self.task.inputs[input] {
            TaskInput::Inline(blobs) => blobs,
            _ => &[],
        }
    }

    pub fn input_segments(&self, input: usize) -> &[LocalSegment] {
        self.segments.get(input).map_or(&[], Vec::as_slice)
    }

    /// The error of a segment that changed while a reader used it, which returned none because it had stopped early. Asked when all
    /// readers are gone.
    pub fn changed_segment(&self) -> TaskResult<()> {
        for (input, segments) in self.segments.iter().enumerate() {
            if let Some(e) = segments.iter().enumerate().find_map(|(index, s)| s.changed_error(index)) {
                return Err(crate::edge_in::of_input(e, input));
            }
        }
        Ok(())
    }

    /// Records of the largest segment of an input.
    pub fn largest_segment(&self, input: usize) -> u64 {
        match self.task.inputs.get(input) {
            Some(TaskInput::Segments(segments)) => segments.iter().map(|s| s.segment.records).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Whoever takes the task's records does not care about their order: said before they are made.
    pub fn take_any_order(&self) {
        self.any_order.set(true);
    }

    /// Whether records may come in any order.
    pub fn any_order(&self) -> bool {
        self.any_order.get()
    }

    /// For loops inside the engine: whether to go on.
    pub fn alive(&self) -> Result<(), EngineError> {
        self.check_cancelled();
        match self.stopped() {
            true => Err(Failure::new(Code::StaleAttempt, "the task was stopped").into()),
            false => Ok(()),
        }
    }

    /// What an edge output needs to be written.
    pub fn edge(&self, output: usize, partitioning: impl FnOnce(u32) -> Partitioning) -> EdgeSpec {
        let partitions = match self.task.outputs[output] {
            TaskOutput::Edge { partitions } => partitions,
            _ => 1,
        };
        EdgeSpec {
            folder: self.folder.to_path_buf(),
            file: self.folder.join(windrow_format::names::edge_file(output as u32)),
            identity: output_identity(&self.task.attempt, output as u32),
            partitioning: partitioning(partitions),
            codec: self.codec,
            share: self.share.clone(),
            // Records of files come in the order of the file whoever reads them.
            any_order: self.any_order() && self.chunk().is_none(),
            in_memory_outputs: self.in_memory_outputs.clone(),
        }
    }

    /// Runs that an input's sorting or folding has written, and their bytes.
    pub fn count_spilled(&self, (runs, bytes): (u64, u64)) {
        self.count(names::RUNS_SPILLED, runs);
        self.count(names::BYTES_SPILLED, bytes);
    }

    pub fn count(&self, name: &str, n: u64) {
        if n > 0 {
            self.counters.borrow_mut().add(name, n);
        }
    }

    pub fn count_edge(&self, result: &windrow_engine::EdgeResult) {
        self.count(names::RECORDS_SHUFFLED, result.segments.iter().map(|s| s.records).sum());
        self.count(names::BYTES_SHUFFLED, result.segments.iter().map(|s| s.length).sum());
        self.count_spilled((result.runs, result.spilled_bytes));
    }
}

impl Drop for TaskCx<'_> {
    fn drop(&mut self) {
        self.crumbs.end();
    }
}

/// What the blocks of an attempt's output are checked against; the partition is filled in segment by segment.
pub(crate) fn output_identity(attempt: &windrow_model::AttemptId, output: u32) -> Identity {
    Identity {
        job: *attempt.task.job.as_bytes(),
        stage: attempt.task.stage.0,
        task: attempt.task.index,
        attempt: attempt.number,
        epoch: attempt.epoch.0,
        output,
        partition: 0,
    }
}

/// A failure on its way from where no error can be returned: inside of functions that user code calls. It is taken where panics
/// are, and no hook tells of it.
pub(crate) struct Unwinding {
    pub failure: Failure,
    /// The record that is worked on is to blame.
    pub of_record: bool,
}

impl Unwinding {
    #[cold]
    pub fn start(self) -> ! {
        std::panic::resume_unwind(Box::new(self))
    }
}

thread_local! {
    static USER_COUNTERS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with fresh user counters and returns what it counted. Nests, because a pool thread that waits inside one task
/// may run another.
pub(crate) fn with_user_counters<X>(f: impl FnOnce() -> X) -> (X, Vec<u64>) {
    let outer = USER_COUNTERS.with_borrow_mut(std::mem::take);
    let result = f();
    let counted = USER_COUNTERS.with_borrow_mut(|c| std::mem::replace(c, outer));
    (result, counted)
}

pub(crate) fn add_user_counter(index: usize, n: u64) {
    USER_COUNTERS.with_borrow_mut(|c| {
        if c.len() <= index {
            c.resize(index + 1, 0);
        }
        c[index] = c[index].saturating_add(n);
    })
}

/// What every task of a job shares in one process.
#[derive(Clone)]
pub(crate) struct StageFn(pub Arc<RunStage>);

/// Runs one task of a stage into its outputs.
pub(crate) type RunStage = dyn Fn(&TaskCx<'_>) -> TaskResult<Vec<windrow_model::OutputReport>> + Send + Sync;
