//! The segments of a task's inputs: what is read in place, and what was fetched.

use super::bad;
use super::fetched::Fetched;
use super::placed::{PlacedOutputs, Tables};
use crate::error::Result;
use crate::task::failure::TaskResult;
use std::sync::Arc;
use windrow_engine::LocalSegment;
use windrow_model::{EdgePort, JobId, Port, Task, TaskInput};
use windrow_proto::v1;

/// All inputs of a task that are edges. A frame that leaves out an output is refused, so that no reader misses it.
#[derive(Debug)]
pub(super) struct EdgeInputs {
    job: JobId,
    partition: u32,
    /// By input; none for an input that is no edge.
    inputs: Vec<Vec<PortSegments>>,
}

/// The task's partition of one port.
#[derive(Debug)]
struct PortSegments {
    port: Port,
    placed: Option<Arc<PlacedOutputs>>,
    fetched: Fetched,
}

impl EdgeInputs {
    /// Reads what the frame of a task says of its ports.
    ///
    /// # Errors
    /// A port is missing or comes twice, its outputs in place are not those in `tables`, or a task has two segments.
    pub(super) fn new(task: &Task, frame: Vec<v1::PortFiles>, tables: &Tables) -> Result<EdgeInputs> {
        let attempt = &task.attempt;
        let mut given: Vec<Vec<Option<v1::PortFiles>>> =
            task.inputs.iter().map(|input| vec![None; ports(input).len()]).collect();
        for files in frame {
            let (input, port) = (files.input, files.port);
            let place = given.get_mut(input as usize).and_then(|ports| ports.get_mut(port as usize));
            let place = place.ok_or_else(|| bad(format!("input {input} of {attempt} has no port {port}")))?;
            if place.replace(files).is_some() {
                return Err(bad(format!("port {port} of input {input} of {attempt} comes twice")));
            }
        }
        let partition = attempt.task.index;
        let of_port = |(port, files): (&EdgePort, Option<v1::PortFiles>)| {
            let what = |e| bad(format!("output {} of stage {} for {attempt}: {e}", port.port.output, port.port.stage));
            let files = files.ok_or_else(|| what("its files are missing".to_string()))?;
            PortSegments::new(port, partition, files, tables).map_err(|e| what(e.to_string()))
        };
        let of_input = |(input, files): (&TaskInput, Vec<_>)| ports(input).iter().zip(files).map(of_port).collect();
        let inputs: Result<_> = task.inputs.iter().zip(given).map(of_input).collect();
        Ok(EdgeInputs { job: attempt.task.job, partition, inputs: inputs? })
    }

    /// The segments of each input: port by port, and in each by ascending task. Linear in their number, once the indexes of
    /// the outputs in place have been read.
    ///
    /// # Errors
    /// An output in place cannot be read; the error names it.
    pub(super) fn locate(&self, tables: &Tables) -> TaskResult<Vec<Vec<LocalSegment>>> {
        let of_input = |ports: &Vec<PortSegments>| {
            let mut all = Vec::new();
            ports.iter().try_for_each(|port| port.locate(self.job, self.partition, tables, &mut all))?;
            Ok(all)
        };
        self.inputs.iter().map(of_input).collect()
    }
}

fn ports(input: &TaskInput) -> &[EdgePort] {
    match input {
        TaskInput::Edge(edge) => &edge.ports,
        TaskInput::Chunk(_) | TaskInput::Inline(_) => &[],
    }
}

impl PortSegments {
    fn new(port: &EdgePort, partition: u32, files: v1::PortFiles, tables: &Tables) -> Result<PortSegments> {
        if partition >= port.partitions {
            return Err(bad(format!("it has {} partitions", port.partitions)));
        }
        let placed = tables.get(port, files.in_place)?;
        let fetched = Fetched::new(partition, files.fetched)?;
        match placed.as_ref().and_then(|placed| fetched.tasks().find(|task| placed.holds(*task))) {
            Some(task) => Err(bad(format!("task {task} is in place and fetched"))),
            None => Ok(PortSegments { port: port.port, placed, fetched }),
        }
    }

    fn locate(&self, job: JobId, partition: u32, tables: &Tables, all: &mut Vec<LocalSegment>) -> TaskResult<()> {
        let mut fetched = self.fetched.local(job, self.port).peekable();
        let placed = match &self.placed {
            Some(placed) => tables.segments(placed, job, partition)?,
            None => Vec::new(),
        };
        all.reserve(placed.len() + fetched.len());
        for segment in placed {
            while let Some(before) = fetched.next_if(|fetched| fetched.identity.task < segment.identity.task) {
                all.push(before);
            }
            all.push(segment);
        }
        all.extend(fetched);
        Ok(())
    }
}
