use super::edge_inputs::EdgeInputs;
use super::order::Order;
use super::placed::Tables;
use super::*;
use crate::data::datum::Datum;
use crate::source::lines;
use crate::task::failure::TaskError;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use windrow_engine::{Identity, LocalSegment, open_concat};
use windrow_format::codec::Codec;
use windrow_format::shuffle::{ShuffleWriter, read_index};
use windrow_model::{
    EdgeInput, EdgePort, Epoch, Incarnation, JobId, OutputReport, Plan, Port, StageId, TableVersion, Task, TaskId,
    TaskInput, TaskOutput,
};
use windrow_proto::convert::path_to_bytes;

/// The output that the tests read: the first one of the first stage.
const PORT: Port = Port { stage: StageId(0), output: 0 };
const PARTITIONS: u32 = 3;

fn attempt(stage: u32, index: u32) -> AttemptId {
    let task = TaskId { job: JobId::from_bytes([1; 16]), stage: StageId(stage), index };
    AttemptId { task, number: index % 3, epoch: Epoch(5), incarnation: Incarnation(0) }
}

/// Three stages: the first one makes pairs, the second one counts those of each key, the third one collects the counts.
pub(super) fn program() -> StageTable {
    let flow = Flow::new(PathBuf::from("/"), false, None);
    let pairs = flow.read(lines("in")).map(|l, out| out.emit(l.len() as u64, 1u64));
    let counts = pairs.reduce(|key, values, out| out.emit(values.count() as u64, key));
    counts.reduce(|count, keys, out| out.emit(count, keys.count() as u64)).collect("result");
    let built = flow.build().unwrap();
    StageTable { plan: built.plan, functions: built.functions, counters: built.counters }
}

fn process(folder: &Path) -> Process {
    Process {
        stages: program(),
        memory: Memory::new(64 << 20, 1),
        spool: Some(Arc::new(Spool::new(folder.join("spool-of-process")))),
        tables: Tables::new(64 << 20),
    }
}

/// The image of what a task has written: for each partition a number of records, whose keys are the task.
fn image(attempt: &AttemptId, records: &[u64]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let mut writer = ShuffleWriter::create(&path, Identity::of_output(attempt, PORT.output), Codec::None).unwrap();
    let encoded = |n: u64| {
        let mut bytes = Vec::new();
        u64::encode::<true>(n, &mut bytes);
        bytes
    };
    for (partition, records) in (0u32..).zip(records) {
        for _ in 0..*records {
            writer.push(partition, &encoded(attempt.task.index.into()), &encoded(1)).unwrap();
        }
    }
    writer.finish().unwrap();
    fs::read(path).unwrap()
}

/// Outputs of [`PORT`] on this machine and on others, as the worker describes them.
struct Outputs {
    folder: tempfile::TempDir,
    in_place: v1::OutputsInPlace,
    fetched: Vec<v1::FetchedFile>,
}

impl Outputs {
    fn new() -> Outputs {
        let in_place =
            v1::OutputsInPlace { table_epoch: 5, reopened: 1, partitions: PARTITIONS, ..v1::OutputsInPlace::default() };
        Outputs { folder: tempfile::tempdir().unwrap(), in_place, fetched: Vec::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Appends the image of a task to a file that other images share, or that is its own.
    fn place(&mut self, task: u32, records: &[u64], name: &str) {
        let path = self.path(name);
        let mut bytes = fs::read(&path).unwrap_or_default();
        let image = image(&attempt(0, task), records);
        self.place_at(task, &path, bytes.len() as u64, image.len() as u64);
        bytes.extend_from_slice(&image);
        fs::write(path, bytes).unwrap();
    }

    fn place_at(&mut self, task: u32, path: &Path, base: u64, length: u64) {
        let of = &mut self.in_place;
        let path = path_to_bytes(path);
        let file = of.files.iter().position(|known| *known == path).unwrap_or_else(|| {
            of.files.push(path);
            of.files.len() - 1
        });
        of.task.push(task);
        of.number.push(attempt(0, task).number);
        of.epoch.push(5);
        of.file.push(file as u32);
        of.base.push(base);
        of.length.push(length);
    }

    /// Appends a partition of what a task has written to a fetched file.
    fn fetch(&mut self, task: u32, records: &[u64], partition: u32, name: &str) {
        let image = image(&attempt(0, task), records);
        let segments = read_index(&image, &Identity::of_output(&attempt(0, task), 0)).unwrap();
        let Some(segment) = segments.iter().find(|s| s.partition == partition) else { return };
        let path = self.path(name);
        let mut bytes = fs::read(&path).unwrap_or_default();
        bytes.extend_from_slice(&image[segment.offset as usize..(segment.offset + segment.length) as usize]);
        fs::write(&path, bytes).unwrap();
        let path = path_to_bytes(&path);
        let at = self.fetched.iter().position(|file| file.path == path).unwrap_or_else(|| {
            self.fetched.push(v1::FetchedFile { path, ..v1::FetchedFile::default() });
            self.fetched.len() - 1
        });
        let file = &mut self.fetched[at];
        file.task.push(task);
        file.number.push(attempt(0, task).number);
        file.epoch.push(5);
        file.length.push(segment.length);
        file.records.push(segment.records);
        file.raw_length.push(segment.raw_length);
    }

    fn port_files(&self) -> v1::PortFiles {
        let in_place = self.in_place.task.len() as u32;
        v1::PortFiles { input: 0, port: 0, in_place, fetched: self.fetched.clone() }
    }
}

fn edge_port() -> EdgePort {
    let version = TableVersion { epoch: Epoch(5), reopened: 1 };
    EdgePort { port: PORT, partitions: PARTITIONS, version, digest: 9 }
}

/// A task of the second stage.
fn reader(partition: u32, ports: Vec<EdgePort>) -> Task {
    Task {
        attempt: attempt(1, partition),
        inputs: vec![TaskInput::Edge(EdgeInput { ports, bytes: 0 })],
        outputs: vec![TaskOutput::Edge { partitions: 2 }],
        job_input_bytes: 0,
        skip_keys: Vec::new(),
    }
}

fn located(tables: &Tables, task: &Task, ports: Vec<v1::PortFiles>) -> Vec<LocalSegment> {
    let mut inputs = EdgeInputs::new(task, ports, tables).unwrap().locate(tables).unwrap();
    assert_eq!(inputs.len(), 1);
    inputs.remove(0)
}

/// The keys of all records in the order of a reader.
fn keys(segments: Vec<LocalSegment>) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let each = |key: &[u8], _: &[u8]| {
        keys.push(key.to_vec());
        Ok(())
    };
    open_concat(segments).unwrap().for_each(&|| Ok(()), each).unwrap();
    keys
}

#[derive(Clone, Copy, Debug)]
enum Lies {
    InSpool,
    InOwnFile,
    Elsewhere(u32),
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]
    #[test]
    fn every_segment_of_a_reader_comes_once_by_task(
        tasks in prop::collection::vec(
            prop::option::of((
                prop::array::uniform3(0u64..3),
                prop_oneof![Just(Lies::InSpool), Just(Lies::InOwnFile), (0u32..3).prop_map(Lies::Elsewhere)],
            )),
            0..12,
        ),
    ) {
        let mut outputs: Vec<Outputs> = (0..PARTITIONS).map(|_| Outputs::new()).collect();
        for (task, output) in (0u32..).zip(&tasks) {
            let Some((records, lies)) = output else { continue };
            for (partition, outputs) in (0u32..).zip(&mut outputs) {
                match lies {
                    Lies::InSpool => outputs.place(task, records, "spool"),
                    Lies::InOwnFile => outputs.place(task, records, &format!("own-{task}")),
                    Lies::Elsewhere(holder) => outputs.fetch(task, records, partition, &format!("from-{holder}")),
                }
            }
        }
        for (partition, outputs) in (0u32..).zip(&outputs) {
            let tables = Tables::new(1 << 20);
            tables.put(outputs.in_place.clone(), &program().plan).unwrap();
            let segments = located(&tables, &reader(partition, vec![edge_port()]), vec![outputs.port_files()]);
            let of = (0u32..).zip(&tasks).filter_map(|(task, output)| Some((task, output.as_ref()?.0[partition as usize])));
            let of: Vec<(u32, u64)> = of.filter(|(_, records)| *records > 0).collect();
            let found: Vec<_> = segments.iter().map(|s| (s.identity.task, s.records)).collect();
            prop_assert_eq!(&found, &of);
            let identity = |s: &LocalSegment| s.identity;
            let expected = |task| Identity { partition, ..Identity::of_output(&attempt(0, task), 0) };
            prop_assert!(segments.iter().map(identity).eq(of.iter().map(|(task, _)| expected(*task))));
            let total: u64 = of.iter().map(|(_, records)| records).sum();
            let keys = keys(segments);
            prop_assert!(keys.is_sorted() && keys.len() as u64 == total);
        }
    }
}

#[test]
fn ports_of_an_input_follow_one_another() {
    let mut outputs = Outputs::new();
    outputs.place(1, &[1, 0, 0], "spool");
    outputs.fetch(0, &[2, 0, 0], 0, "from-0");
    let tables = Tables::new(1 << 20);
    tables.put(outputs.in_place.clone(), &program().plan).unwrap();
    let other = Port { stage: StageId(1), output: 0 };
    let ports = vec![EdgePort { port: other, ..edge_port() }, edge_port()];
    let fetched =
        vec![v1::FetchedFile { task: vec![7], number: vec![0], epoch: vec![5], ..outputs.fetched[0].clone() }];
    // In any order in the frame.
    let files = vec![
        v1::PortFiles { port: 1, ..outputs.port_files() },
        v1::PortFiles { port: 0, in_place: 0, fetched, ..outputs.port_files() },
    ];
    let segments = located(&tables, &reader(0, ports), files);
    let found: Vec<_> = segments.iter().map(|s| (s.identity.stage, s.identity.task)).collect();
    assert_eq!(found, [(1, 7), (0, 0), (0, 1)]);
}

/// A change of a frame that makes it invalid.
type Change<'c, F> = &'c dyn Fn(&mut F);

#[test]
fn frames_of_outputs_in_place_are_checked() {
    let mut outputs = Outputs::new();
    outputs.place(0, &[1, 1, 1], "spool");
    outputs.place(4, &[1, 1, 1], "spool");
    let plan: Plan = program().plan;
    let tables = Tables::new(1 << 20);
    assert!(tables.put(outputs.in_place.clone(), &plan).is_ok());
    let changes: [Change<'_, v1::OutputsInPlace>; 13] = [
        &|f| f.stage = 9,
        // A broadcast.
        &|f| f.stage = 2,
        &|f| f.output = u32::MAX,
        &|f| f.partitions = 0,
        &|f| f.partitions = u32::MAX,
        &|f| f.task = vec![4, 0],
        &|f| f.task = vec![4, 4],
        &|f| f.number.clear(),
        &|f| f.epoch.push(1),
        &|f| f.length.truncate(1),
        &|f| f.file = vec![0, 1],
        &|f| f.files.clear(),
        &|f| f.base[1] = u64::MAX - f.length[1] + 1,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut frame = outputs.in_place.clone();
        change(&mut frame);
        let error = tables.put(frame, &plan).expect_err(&at.to_string());
        assert_eq!(error.code(), Code::ExecutorProtocol, "{at}: {error}");
    }
    let known = tables.get(&edge_port(), 2).unwrap();
    assert!(known.is_some(), "a refused frame changes nothing");
}

#[test]
fn frames_that_miss_or_repeat_outputs_are_refused() {
    let mut outputs = Outputs::new();
    outputs.place(0, &[1, 1, 1], "spool");
    // It has nothing in the partition, and is in place nevertheless.
    outputs.place(4, &[0, 0, 1], "spool");
    outputs.fetch(1, &[1, 1, 1], 1, "from-0");
    outputs.fetch(3, &[1, 1, 1], 1, "from-0");
    outputs.fetch(2, &[1, 1, 1], 1, "from-1");
    let tables = Tables::new(1 << 20);
    tables.put(outputs.in_place.clone(), &program().plan).unwrap();
    let valid = v1::RunTask {
        task: Some(reader(1, vec![edge_port()]).into()),
        folder: path_to_bytes(&outputs.path("out")),
        ports: vec![outputs.port_files()],
        ..v1::RunTask::default()
    };
    assert!(Order::new(valid.clone(), &tables).is_ok());
    let with = |port: EdgePort| Some(reader(1, vec![port]).into());
    let edge = edge_port();
    let changes: [Change<'_, v1::RunTask>; 19] = [
        &|f| f.ports.clear(),
        &|f| f.ports.push(f.ports[0].clone()),
        &|f| f.ports[0].input = 1,
        &|f| f.ports[0].port = u32::MAX,
        &|f| f.ports[0].in_place = 1,
        &|f| f.ports[0].in_place = 3,
        &|f| f.ports[0].in_place = 0,
        &|f| f.task = with(EdgePort { version: TableVersion { epoch: Epoch(5), reopened: 2 }, ..edge }),
        &|f| f.task = with(EdgePort { partitions: 4, ..edge }),
        // No partition of the task's index.
        &|f| f.task = with(EdgePort { partitions: 1, ..edge }),
        &|f| f.ports[0].fetched[0].task[1] = 4,
        &|f| f.ports[0].fetched[0].task[1] = 2,
        &|f| f.ports[0].fetched[0].task = vec![3, 1],
        &|f| f.ports[0].fetched[0].task = vec![1, 1],
        &|f| f.ports[0].fetched[0].records.clear(),
        &|f| f.ports[0].fetched[0].raw_length.push(1),
        &|f| f.ports[0].fetched[0].length[0] = 0,
        &|f| f.ports[0].fetched[0].length[1] = u64::MAX,
        &|f| f.task = None,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut frame = valid.clone();
        change(&mut frame);
        let error = Order::new(frame, &tables).map(drop).expect_err(&at.to_string());
        assert_eq!(error.code(), Code::ExecutorProtocol, "{at}: {error}");
    }
}

#[test]
fn any_lengths_of_a_frame_are_an_error_and_no_panic() {
    let mut outputs = Outputs::new();
    outputs.place(0, &[1, 1, 1], "spool");
    let spool = outputs.path("spool");
    for (base, length) in [(1, 20), (0, u64::MAX), (u64::MAX, 0), (1 << 40, 1 << 40), (5, 1)] {
        let mut outputs = Outputs::new();
        outputs.place_at(0, &spool, base, length);
        let tables = Tables::new(1 << 20);
        tables.put(outputs.in_place.clone(), &program().plan).unwrap();
        let inputs = EdgeInputs::new(&reader(0, vec![edge_port()]), vec![outputs.port_files()], &tables).unwrap();
        match inputs.locate(&tables) {
            Ok(segments) => assert!(length == 0 && segments[0].is_empty(), "nothing was written"),
            Err(e) => assert!(e.lost.is_some() && length > 0, "{}", e.failure),
        }
    }
    let mut outputs = Outputs::new();
    outputs.fetch(0, &[1, 1, 1], 0, "from-0");
    outputs.fetched[0].length[0] = u64::MAX;
    outputs.fetched[0].records[0] = u64::MAX;
    outputs.fetched[0].raw_length[0] = u64::MAX;
    let tables = Tables::new(1 << 20);
    let segments = located(&tables, &reader(0, vec![edge_port()]), vec![outputs.port_files()]);
    let error = TaskError::of_input(open_concat(segments.clone()).map(drop).unwrap_err(), &segments);
    assert_eq!(error.lost.map(|lost| lost.attempt), Some(attempt(0, 0)));
}

fn execute(process: &Process, outputs: &Outputs, task: Task) -> from_executor::Message {
    let run = v1::RunTask {
        folder: path_to_bytes(&outputs.path("out")),
        ports: vec![outputs.port_files()],
        task: Some(task.into()),
        compress: false,
    };
    Order::new(run, &process.tables).unwrap().execute(process, &AtomicBool::new(false))
}

fn done(message: from_executor::Message) -> v1::TaskDone {
    match message {
        from_executor::Message::Done(done) => done,
        other => panic!("{other:?}"),
    }
}

#[test]
fn spooled_output_of_a_task_is_read_in_place() {
    let mut outputs = Outputs::new();
    outputs.place(0, &[2, 0, 0], "spool");
    outputs.fetch(1, &[3, 0, 0], 0, "from-0");
    outputs.place(2, &[2, 0, 0], "own-2");
    let process = process(outputs.folder.path());
    process.tables.put(outputs.in_place.clone(), &process.stages.plan).unwrap();
    let task = reader(0, vec![edge_port()]);
    let answer = done(execute(&process, &outputs, task.clone()));
    let report: windrow_model::TaskReport = answer.report.unwrap().try_into().unwrap();
    let [OutputReport::Edge(edge)] = &report.outputs[..] else { panic!("{:?}", report.outputs) };
    assert_eq!((edge.records, edge.sizes.fit(2), report.inputs), (3, true, windrow_model::input_digest(&task.inputs)));
    let [spooled] = &answer.spooled[..] else { panic!("{:?}", answer.spooled) };
    assert!(!outputs.path("out").exists(), "the attempt has no folder");
    // The next stage reads all of it, partition by partition.
    let port = Port { stage: StageId(1), output: 0 };
    let mut next = Outputs::new();
    next.place_at(0, &outputs.path("spool-of-process"), spooled.offset, spooled.length);
    next.in_place.stage = 1;
    next.in_place.partitions = 2;
    process.tables.put(next.in_place.clone(), &process.stages.plan).unwrap();
    let read = |partition: u32| {
        let edge = EdgePort { port, partitions: 2, ..edge_port() };
        let task = Task {
            attempt: attempt(2, partition),
            outputs: vec![TaskOutput::Broadcast],
            ..reader(partition, vec![edge])
        };
        let report: windrow_model::TaskReport =
            done(execute(&process, &next, task)).report.unwrap().try_into().unwrap();
        match &report.outputs[..] {
            [OutputReport::Broadcast(bytes)] => bytes.clone(),
            other => panic!("{other:?}"),
        }
    };
    // Two keys with two records, one with three; each pair comes in one of the partitions.
    let mut pairs: Vec<(u64, u64)> = Vec::new();
    for partition in 0..2 {
        let blob = read(partition);
        for record in crate::plan::op::records_of(&blob) {
            let arena = crate::data::arena::Arena::new();
            pairs.push(<(u64, u64)>::decode::<true>(&mut crate::data::datum::Reader::new(record, &arena)).unwrap());
        }
    }
    pairs.sort_unstable();
    assert_eq!(pairs, [(2, 2), (3, 1)]);
}

fn flip(path: &Path, offset: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

#[test]
fn failed_task_names_the_output_that_it_lost() {
    let mut outputs = Outputs::new();
    outputs.place(0, &[1, 2, 0], "spool");
    outputs.place(1, &[1, 2, 0], "spool");
    outputs.place(2, &[1, 2, 0], "own-2");
    outputs.fetch(3, &[1, 2, 0], 1, "from-0");
    let end = |at: usize| outputs.in_place.base[at] + outputs.in_place.length[at];
    let bytes: Vec<(&str, Vec<u8>)> =
        ["spool", "own-2", "from-0"].map(|name| (name, fs::read(outputs.path(name)).unwrap())).to_vec();
    let (index, block) = (end(1) - 30, end(0) + 60);
    let damages: [(u32, &dyn Fn()); 5] = [
        (1, &|| flip(&outputs.path("spool"), index)),
        (1, &|| flip(&outputs.path("spool"), block)),
        (2, &|| fs::remove_file(outputs.path("own-2")).unwrap()),
        (3, &|| fs::remove_file(outputs.path("from-0")).unwrap()),
        (3, &|| flip(&outputs.path("from-0"), 40)),
    ];
    for (at, (task, damage)) in damages.into_iter().enumerate() {
        bytes.iter().for_each(|(name, bytes)| fs::write(outputs.path(name), bytes).unwrap());
        damage();
        let process = process(outputs.folder.path());
        process.tables.put(outputs.in_place.clone(), &process.stages.plan).unwrap();
        let message = execute(&process, &outputs, reader(1, vec![edge_port()]));
        let from_executor::Message::Failed(failed) = message else { panic!("{at}: {message:?}") };
        let failure: Failure = failed.failure.unwrap().try_into().unwrap();
        assert_eq!(failure.code, Code::SegmentCorrupt, "{at}: {failure}");
        let lost = v1::LostOutput { attempt: Some(attempt(0, task).into()), output: 0 };
        assert_eq!(failed.lost, Some(lost), "{at}: {failure}");
    }
}

#[test]
fn output_that_can_be_read_again_is_read() {
    let mut outputs = Outputs::new();
    outputs.place(0, &[1, 2, 0], "own-0");
    let process = process(outputs.folder.path());
    process.tables.put(outputs.in_place.clone(), &process.stages.plan).unwrap();
    let (own, away) = (outputs.path("own-0"), outputs.path("away"));
    fs::rename(&own, &away).unwrap();
    let task = || reader(1, vec![edge_port()]);
    assert!(matches!(execute(&process, &outputs, task()), from_executor::Message::Failed(_)));
    fs::rename(&away, &own).unwrap();
    assert!(matches!(execute(&process, &outputs, task()), from_executor::Message::Done(_)));
}

#[test]
fn later_table_replaces_the_one_before() {
    let mut outputs = Outputs::new();
    outputs.place(0, &[1, 1, 1], "own-0");
    let plan = program().plan;
    let tables = Tables::new(1 << 20);
    tables.put(outputs.in_place.clone(), &plan).unwrap();
    let before = EdgeInputs::new(&reader(0, vec![edge_port()]), vec![outputs.port_files()], &tables).unwrap();
    let later = EdgePort { version: TableVersion { epoch: Epoch(6), reopened: 0 }, ..edge_port() };
    tables.put(v1::OutputsInPlace { table_epoch: 6, reopened: 0, ..outputs.in_place.clone() }, &plan).unwrap();
    assert!(tables.get(&edge_port(), 1).is_err() && tables.get(&later, 1).unwrap().is_some());
    assert!(tables.get(&edge_port(), 0).unwrap().is_none(), "nothing is in place for the earlier version");
    assert_eq!(before.locate(&tables).unwrap()[0].len(), 1, "a task that has begun reads what it was given");
}
