//! The context of a running task: its inputs as local files, its folder, its memory, and its position.

use crate::data::datum::Datum;
use crate::error::Error;
use crate::task::culprit::{self, AtKey, AtRead, AtRecord, Culprit, Note, Op, Passed, guarded};
use crate::task::env::TaskEnv;
use crate::task::failure::{TaskError, TaskResult};
use crate::task::publish_pace::PublishPace;
use crate::task::written::{Written, WrittenEdge};
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use windrow_engine::{EdgeSpec, EngineError, InMemoryOutputs, LocalSegment, Partitioning, Share};
use windrow_format::block::Identity;
use windrow_format::codec::Codec;
use windrow_format::crumbs::Slot;
use windrow_format::spool::{Place, Spool};
use windrow_model::counters::names;
use windrow_model::{
    Chunk, Code, Counters, Digest, Failure, FileRange, RecordPlace, Task, TaskInput, TaskOutput, total,
};

/// One attempt, as its code sees it. It lives on the thread that runs the attempt.
pub(crate) struct TaskCx<'t> {
    pub task: &'t Task,
    /// The folder for temporary files.
    pub folder: &'t Path,
    /// Prefix of the names of outputs in it.
    prefix: &'t str,
    /// The segments of each input as local files, if it has any: see [`set_segments`](Self::set_segments).
    segments: Vec<Vec<LocalSegment>>,
    /// The part of the process's memory that the task may hold.
    pub share: Share,
    pub codec: Codec,
    /// The store for outputs that other tasks of this process read.
    in_memory_outputs: Option<Arc<InMemoryOutputs>>,
    /// File of the process that takes small outputs.
    spool: Option<Arc<Spool>>,
    /// What was appended to it. It is given back unless the task is reported.
    spooled: RefCell<Vec<Place>>,
    /// Whether this is a sampling stage: its source reads only windows.
    pub sample: bool,
    pub cancelled: &'t AtomicBool,
    stop: Cell<bool>,
    any_order: Cell<bool>,
    /// The hash of the key whose records are made, if an operation of the task asks for it.
    key_hash: Cell<Option<u64>>,
    /// Whether something is done with each key: its hash is asked for, or some keys are left out.
    watches_keys: Cell<bool>,
    error: RefCell<Option<TaskError>>,
    /// Set when bytes of an input could not be read.
    lost_input: RefCell<Option<Failure>>,
    /// The operation of `error`.
    failed: RefCell<Culprit>,
    /// The operation of a panic that has unwound.
    unwound: RefCell<Culprit>,
    /// The number of the part that the task must find in its file, and how many parts there are, if the plan relies on it.
    expected_part: Cell<Option<(u32, u32)>>,
    /// Number of files that were begun.
    files: Cell<u64>,
    /// The position of this thread, which outlives a crash of the process.
    crumbs: Slot<'static>,
    /// How often the number of records is published.
    pace: PublishPace,
    pub counters: RefCell<Counters>,
}

impl<'t> TaskCx<'t> {
    /// Creates the context of a task with at most `consumers` consumers of memory at a time.
    pub(crate) fn new(task: &'t Task, env: TaskEnv<'t>, consumers: usize, sample: bool) -> Self {
        let TaskEnv { folder, prefix, memory, codec, in_memory_outputs, spool, cancelled } = env;
        TaskCx {
            task,
            folder,
            prefix,
            segments: Vec::new(),
            share: memory.begin(consumers),
            codec,
            in_memory_outputs,
            spool,
            spooled: RefCell::default(),
            sample,
            cancelled,
            stop: Cell::new(false),
            any_order: Cell::new(false),
            key_hash: Cell::new(None),
            watches_keys: Cell::new(!task.skip_keys.is_empty()),
            error: RefCell::new(None),
            lost_input: RefCell::default(),
            failed: RefCell::default(),
            unwound: RefCell::default(),
            expected_part: Cell::new(None),
            files: Cell::new(0),
            pace: PublishPace::default(),
            crumbs: {
                let crumbs = windrow_engine::blame::slot();
                crumbs.begin(&task.attempt);
                crumbs
            },
            counters: RefCell::default(),
        }
    }

    /// Sets the segments of each input, before the task's code runs.
    pub(crate) fn set_segments(&mut self, segments: Vec<Vec<LocalSegment>>) {
        self.crumbs.reads(total(segments.iter().flatten().map(|segment| segment.records)));
        self.segments = segments;
    }

    /// Records the first error and makes every loop end soon.
    pub(crate) fn fail(&self, e: impl Into<TaskError>) {
        let mut error = self.error.borrow_mut();
        if error.is_none() {
            *error = Some(e.into());
        }
        self.stop.set(true);
    }

    /// Records the first error of user code, and its operation.
    #[cold]
    pub(crate) fn fail_in(&self, op: &Op, e: impl Into<TaskError>) {
        if self.error.borrow().is_none() {
            culprit::change(&self.failed, op);
        }
        self.fail(e)
    }

    /// Runs a user function so that a panic in it names its operation.
    #[inline(always)]
    pub(crate) fn in_op<X>(&self, op: &Op, f: impl FnOnce() -> X) -> X {
        self.noting(op, f)
    }

    /// Records the first error of user code, of which operation it is, and the record that it works on. The failure names the
    /// record of a file that the task is at.
    #[cold]
    #[inline(never)]
    pub(crate) fn fail_in_on<R: Datum>(&self, op: &Op, r: R::Ref<'_>, e: Error) {
        self.fail_in(op, self.placed(e));
        culprit::change(&self.failed, AtRecord::<R>(&r));
    }

    /// The failure of an error of user code, with the record of a file that the task is at unless it names one.
    #[cold]
    pub(crate) fn placed(&self, e: Error) -> Failure {
        let mut failure = e.into_failure();
        if failure.place.is_none() {
            failure.place = self.place();
        }
        failure
    }

    /// Runs code that works on a key, so that panics and recorded errors of user code in it name the key. A key that the job leaves
    /// out is not worked on.
    #[inline(always)]
    pub(crate) fn working_on_key<K: Datum>(&self, key: &[u8], f: impl FnOnce()) {
        if self.watches_keys.get() && self.watch_key(key) {
            return;
        }
        self.working_on(AtKey::<K>(key, PhantomData), f)
    }

    /// The same for a record without a key, with its bytes.
    #[inline(always)]
    pub(crate) fn working_on_record<R: Datum>(&self, r: &R::Ref<'_>, bytes: &[u8], f: impl FnOnce()) {
        if !self.task.skip_keys.is_empty() && self.leaves_out(bytes) {
            return;
        }
        self.working_on(AtRead::<R>(AtRecord(r), bytes), f)
    }

    /// Keeps the hash of the key if an operation asks for it. True if the job leaves the key out.
    fn watch_key(&self, key: &[u8]) -> bool {
        if self.key_hash.get().is_some() {
            self.key_hash.set(Some(windrow_engine::hash(key)));
        }
        !self.task.skip_keys.is_empty() && self.leaves_out(key)
    }

    fn leaves_out(&self, bytes: &[u8]) -> bool {
        self.task.skip_keys.binary_search(&Digest::of(bytes)).is_ok()
    }

    #[inline(always)]
    fn working_on(&self, at: impl Note, f: impl FnOnce()) {
        self.noting(at, f);
        if self.stopped() {
            culprit::change(&self.failed, at);
        }
    }

    #[inline(always)]
    fn noting<X>(&self, note: impl Note, f: impl FnOnce() -> X) -> X {
        guarded((&self.unwound, note), f)
    }

    /// Adds the operation of the recorded error to a failure of this task.
    pub(crate) fn explained(&self, mut failure: Failure) -> Failure {
        let failed = self.failed.borrow();
        failure.message += &failed.suffix();
        failure.key = failed.key().map(Box::new);
        failure
    }

    /// Adds the operation of the panic to a failure of this task.
    pub(crate) fn explained_panic(&self, mut failure: Failure) -> Failure {
        let unwound = self.unwound.borrow();
        failure.message += &unwound.suffix();
        failure.key = unwound.key().map(Box::new);
        failure
    }

    /// Whether loops must end. They check it once per record.
    #[inline]
    pub(crate) fn stopped(&self) -> bool {
        self.stop.get()
    }

    /// Makes every loop end soon, without an error: the records that came suffice. Loops of the engine end with the code of a
    /// revoked attempt then.
    pub(crate) fn end_early(&self) {
        self.stop.set(true);
    }

    /// Checks whether the attempt was revoked, once per block or group. It also records progress of the task.
    pub(crate) fn check_cancelled(&self) {
        self.crumbs.step();
        if self.cancelled.load(Ordering::Relaxed) {
            self.fail(Failure::new(Code::StaleAttempt, "the attempt was revoked"));
        }
    }

    /// Returns the recorded error, if any.
    pub(crate) fn outcome(&self) -> TaskResult<()> {
        match self.error.borrow_mut().take() {
            Some(e) => Err(e),
            None => Ok(()),
        }
    }

    /// Notes that bytes of an input could not be read. Takes precedence over any other outcome of the task.
    pub(crate) fn lost_input(&self, failure: Failure) {
        self.lost_input.borrow_mut().get_or_insert(failure);
    }

    /// Returns the failure of an input that could not be read. Call it after the input is closed.
    pub(crate) fn read_whole(&self) -> TaskResult<()> {
        match self.lost_input.borrow_mut().take() {
            Some(failure) => Err(failure.into()),
            None => Ok(()),
        }
    }

    /// Sets the file of the records that follow.
    pub(crate) fn at_file(&self, range: &FileRange) {
        self.files.set(self.files.get() + 1);
        self.crumbs.file(range.file(), range.identity.length);
    }
    /// Sets the offset of the current record. It costs one store.
    #[inline]
    pub(crate) fn at_record(&self, offset: u64) {
        self.crumbs.record(offset);
    }
    /// Publishes the number of records that were read from files.
    pub(crate) fn has_read(&self, records: u64) {
        self.crumbs.has_read(records);
    }
    /// The same, and returns the number of records until the next time.
    pub(crate) fn has_read_some(&self, records: u64) -> u64 {
        self.has_read(records);
        self.pace.published()
    }
    /// The number of records until their number is published again.
    pub(crate) fn publish_every(&self) -> u64 {
        self.pace.every()
    }
    /// Counts one more record that was read from other tasks.
    #[inline]
    pub(crate) fn has_read_one(&self) {
        self.crumbs.has_read_one();
    }
    /// Returns how many files were begun, and the offset of the current record in the last one.
    #[inline]
    pub(crate) fn at(&self) -> (u64, u64) {
        (self.files.get(), self.crumbs.offset())
    }
    pub(crate) fn after_records(&self) {
        self.crumbs.no_record();
    }

    /// Returns the position of the current record, with its first bytes if they can be read.
    pub(crate) fn place(&self) -> Option<RecordPlace> {
        self.crumbs.place().map(|place| windrow_store::record_place(place.file, place.offset))
    }

    /// Asks for the hash of the key whose records are made; it is `first` until there is one.
    pub(crate) fn want_key_hash(&self, first: u64) {
        self.key_hash.set(Some(first));
        self.watches_keys.set(true);
    }
    /// The hash of the key whose records are made, if it was asked for.
    pub(crate) fn key_hash(&self) -> Option<u64> {
        self.key_hash.get()
    }

    /// The task's chunk, if it reads files.
    pub(crate) fn chunk(&self) -> Option<&'t Chunk> {
        self.task.inputs.iter().find_map(|i| match i {
            TaskInput::Chunk(c) => Some(c),
            _ => None,
        })
    }

    /// Declares that the task's file must be this part, and of how many. Called before the file is read.
    pub(crate) fn expect_part(&self, part: u32, parts: u32) {
        self.expected_part.set(Some((part, parts)));
    }
    /// The part that the task's file must be, and how many there are, if it matters.
    pub(crate) fn expected_part(&self) -> Option<(u32, u32)> {
        self.expected_part.get()
    }

    /// The partition that the task reads from edges, and how many there are; for a task that reads files, its own number, of
    /// an unknown number.
    pub(crate) fn partition(&self) -> (u32, u32) {
        let index = self.task.attempt.task.index;
        let of_edge = self.task.inputs.iter().find_map(|input| match input {
            TaskInput::Edge(edge) => edge.ports.first().map(|port| port.partitions),
            TaskInput::Chunk(_) | TaskInput::Inline(_) => None,
        });
        (index, of_edge.unwrap_or(0).max(index.saturating_add(1)))
    }

    /// The inline blobs of a broadcast input.
    pub(crate) fn inline(&self, input: usize) -> &'t [Vec<u8>] {
        match &self.task.inputs[input] {
            TaskInput::Inline(blobs) => blobs,
            _ => &[],
        }
    }

    /// The local segments of an input.
    pub(crate) fn input_segments(&self, input: usize) -> &[LocalSegment] {
        self.segments.get(input).map_or(&[], Vec::as_slice)
    }

    /// Returns the error of a segment that changed while a reader used it, if the reader stopped early and so returned
    /// no error. Called after all readers are dropped.
    pub(crate) fn changed_segment(&self) -> TaskResult<()> {
        for (input, segments) in self.segments.iter().enumerate() {
            if let Some(e) = segments.iter().enumerate().find_map(|(index, s)| s.changed_error(index)) {
                return Err(self.input_error(input, e));
            }
        }
        Ok(())
    }

    /// The error of a reader of an input, with the output that it could not read if it names a segment.
    #[cold]
    pub(crate) fn input_error(&self, input: usize, e: EngineError) -> TaskError {
        TaskError::of_input(e, self.input_segments(input))
    }

    /// The number of records of the largest segment of an input, as its writer made it.
    pub(crate) fn largest_segment(&self, input: usize) -> u64 {
        // Pieces of one segment are neighbours.
        let segments = self.input_segments(input).chunk_by(|a, b| a.identity == b.identity);
        segments.map(|pieces| total(pieces.iter().map(|s| s.records))).max().unwrap_or(0)
    }

    /// Declares that the consumer of the task's records does not depend on their order. Called before the records are
    /// made.
    pub(crate) fn take_any_order(&self) {
        self.any_order.set(true);
    }

    /// Declares that an operation of the task depends on the order of its records, whatever their consumer needs. Called
    /// before the records are made.
    pub(crate) fn keep_order(&self) {
        self.any_order.set(false);
    }

    /// Whether records may come in any order.
    pub(crate) fn any_order(&self) -> bool {
        self.any_order.get()
    }

    /// Returns an error if a loop within the engine must end.
    pub(crate) fn alive(&self) -> Result<(), EngineError> {
        self.check_cancelled();
        match self.stopped() {
            true => Err(Failure::new(Code::StaleAttempt, "the task was stopped").into()),
            false => Ok(()),
        }
    }

    /// The path of an output of this attempt.
    pub(crate) fn output_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}{name}", self.prefix))
    }

    /// Returns the specification of an edge output.
    pub(crate) fn edge(&self, output: usize, partitioning: impl FnOnce(u32) -> Partitioning) -> EdgeSpec {
        let partitions = match self.task.outputs[output] {
            TaskOutput::Edge { partitions } => partitions,
            _ => 1,
        };
        EdgeSpec {
            folder: self.folder.to_path_buf(),
            file: self.output_file(&windrow_format::names::edge_file(output as u32)),
            identity: Identity::of_output(&self.task.attempt, output as u32),
            partitioning: partitioning(partitions),
            codec: self.codec,
            share: self.share.clone(),
            // The records of a file always come in the order of the file.
            any_order: self.any_order() && self.chunk().is_none(),
            in_memory_outputs: self.in_memory_outputs.clone(),
            spool: self.spool.clone(),
        }
    }

    /// Counts the runs that sorting or folding an input has written, and their bytes.
    pub(crate) fn count_spilled(&self, (runs, bytes): (u64, u64)) {
        self.count(names::RUNS_SPILLED, runs);
        self.count(names::BYTES_SPILLED, bytes);
    }

    pub(crate) fn count(&self, name: &str, n: u64) {
        if n > 0 {
            self.counters.borrow_mut().add(name, n);
        }
    }

    /// Counts what the task has emitted into an edge, and returns what it has written.
    pub(crate) fn emitted(&self, records: u64, edge: windrow_engine::EdgeResult) -> Written {
        self.count(names::RECORDS_EMITTED, records);
        self.count(names::RECORDS_SHUFFLED, total(edge.segments.iter().map(|s| s.records)));
        self.count(names::BYTES_SHUFFLED, total(edge.segments.iter().map(|s| s.length)));
        self.count_spilled((edge.runs, edge.spilled_bytes));
        self.spooled.borrow_mut().extend(edge.place);
        Written::Edge(WrittenEdge { segments: edge.segments, place: edge.place, has_file: edge.has_file })
    }

    /// Keeps what the task has appended to the spool, because its report names it.
    pub(crate) fn keep_spooled(&self) {
        self.spooled.borrow_mut().clear();
    }
}

impl Drop for TaskCx<'_> {
    fn drop(&mut self) {
        // The last one first: it may be at the end of the file.
        for place in self.spooled.get_mut().drain(..).rev() {
            self.spool.iter().for_each(|spool| spool.give_back(place));
        }
        self.crumbs.end();
    }
}

/// An operation of a task, for loops that call user code once per record. It is a field of what receives the records, so that the
/// guard of such a call is that receiver's own address, which is in a register anyway.
pub(crate) struct OpInTask<'o, 't> {
    pub op: Op,
    pub cx: &'o TaskCx<'t>,
}

impl OpInTask<'_, '_> {
    /// [`TaskCx::in_op`] for this operation.
    #[inline(always)]
    pub(crate) fn call<X>(&self, f: impl FnOnce() -> X) -> X {
        guarded(self, f)
    }

    /// The same for a function that works on one record, so that a panic of it names the record, too.
    #[inline(always)]
    pub(crate) fn call_on<R: Datum, X>(&self, r: &R::Ref<'_>, f: impl FnOnce() -> X) -> X {
        guarded(OnRecord::<R> { op: self, record: AtRecord(r) }, f)
    }
}

/// A record that an operation works on.
struct OnRecord<'a, 'r, 't, R: Datum> {
    op: &'a OpInTask<'a, 't>,
    record: AtRecord<'a, 'r, R>,
}

impl<R: Datum> Clone for OnRecord<'_, '_, '_, R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R: Datum> Copy for OnRecord<'_, '_, '_, R> {}

impl<R: Datum> Passed for OnRecord<'_, '_, '_, R> {
    #[cold]
    #[inline(never)]
    fn passed(self) {
        self.op.passed();
        culprit::change(&self.op.cx.unwound, self.record)
    }
}

impl Passed for &OpInTask<'_, '_> {
    #[cold]
    #[inline(never)]
    fn passed(self) {
        culprit::change(&self.cx.unwound, &self.op)
    }
}

/// Identity of one partition of an edge, for all tasks that write to it: the task and its attempt are zero.
pub(crate) fn edge_identity(job: windrow_model::JobId, port: windrow_model::Port, partition: u32) -> Identity {
    let (stage, output) = (port.stage.0, port.output);
    Identity { job: *job.as_bytes(), stage, output, partition, ..Identity::default() }
}

/// The function of a stage, which all of its tasks in one process share.
#[derive(Clone)]
pub(crate) struct StageFn(pub Arc<RunStage>);

/// Runs one task of a stage and returns its outputs.
pub(crate) type RunStage = dyn Fn(&TaskCx<'_>) -> TaskResult<Vec<Written>> + Send + Sync;
