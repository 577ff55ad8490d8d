//! The rules of a valid plan: checked where a plan is built, and again where it is submitted.

use super::{Input, Output, Partitioner, Partitions, Plan};
use crate::code::Code;
use crate::ids::{Port, StageId};
use std::path::{Component, Path, PathBuf};

/// Most stages of a plan. Their status is part of every answer about the job.
const STAGES_MAX: usize = 10_000;
/// Most bytes of a stage's label or place.
const LABEL_BYTES_MAX: usize = 64 << 10;

/// A plan that cannot be run; the place is the user's source line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nothing is written or collected.
    #[error("the plan has no output: write or collect something")]
    NoOutput,
    /// An input path is empty.
    #[error("stage {stage} ({place}): an input path is empty: was a variable not set?")]
    EmptyInput {
        /// The stage that reads it.
        stage: StageId,
        /// The source line of the stage.
        place: String,
    },
    /// An output path is empty.
    #[error("an output path is empty: was a variable not set?")]
    EmptyOutput,
    /// A stage is invalid.
    #[error("stage {stage} ({place}): {what}")]
    Stage {
        /// The stage.
        stage: StageId,
        /// The source line of the stage.
        place: String,
        /// What is wrong with it.
        what: String,
    },
    /// The plan as a whole is invalid.
    #[error("{0}")]
    Other(String),
}

impl PlanError {
    /// An empty path is a mistake on the command line; everything else is a mistake in the job's code.
    pub fn code(&self) -> Code {
        match self {
            PlanError::EmptyInput { .. } | PlanError::EmptyOutput => Code::BadRequest,
            _ => Code::PlanInvalid,
        }
    }
}

impl Plan {
    /// Checks the properties that other code relies on: stages are in topological order; ports exist and fit their
    /// readers; a stage has either one source with inputs (none of them empty) or edges with equal partition counts;
    /// every sink is fed exactly once, and no two sinks share a path. It has at most 10,000 stages, with labels and places of
    /// at most 64 KiB.
    ///
    /// # Errors
    /// The first rule that is broken, with the stage.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.stages.len() > STAGES_MAX {
            let what = format!("the plan has {} stages, more than {STAGES_MAX}", self.stages.len());
            return Err(PlanError::Other(what));
        }
        if let Some(i) = self.stages.iter().position(|s| s.label.len().max(s.place.len()) > LABEL_BYTES_MAX) {
            let what = format!("the label or the place of stage {i} has more than {LABEL_BYTES_MAX} bytes");
            return Err(PlanError::Other(what));
        }
        let mut fed = vec![0u32; self.sinks.len()];
        for (i, stage) in self.stages.iter().enumerate() {
            let wrong = |what: String| PlanError::Stage { stage: StageId(i as u32), place: stage.place.clone(), what };
            let mut sources = 0;
            let mut partitions: Vec<Partitions> = Vec::new();
            for input in &stage.inputs {
                match input {
                    Input::Source(source) if source.inputs.is_empty() => {
                        return Err(wrong("it reads nothing: name at least one file, folder or glob".into()));
                    }
                    Input::Source(source) if source.framing.has_empty_records() => {
                        return Err(wrong("it reads records of 0 bytes: give them a length of at least 1".into()));
                    }
                    Input::Source(source) if source.inputs.iter().any(String::is_empty) => {
                        return Err(PlanError::EmptyInput { stage: StageId(i as u32), place: stage.place.clone() });
                    }
                    Input::Source(_) => sources += 1,
                    Input::Edge { from } => {
                        if from.is_empty() {
                            return Err(wrong("an edge without producers".into()));
                        }
                        for port in from {
                            match self.port(i, *port).map_err(wrong)? {
                                Output::Edge { partitions: p, .. } => partitions.push(*p),
                                _ => return Err(wrong("an edge input reads an output that is not an edge".into())),
                            }
                        }
                    }
                    Input::Broadcast { from } => match self.port(i, *from).map_err(wrong)? {
                        Output::Broadcast => {}
                        _ => return Err(wrong("a broadcast input reads an output that is not a broadcast".into())),
                    },
                }
            }
            if sources > 1 || (sources == 1) != partitions.is_empty() {
                return Err(wrong("a stage reads either one source or edges".into()));
            }
            if partitions.windows(2).any(|w| w[0] != w[1]) {
                return Err(wrong("its inputs have different numbers of partitions".into()));
            }
            if partitions.iter().any(|p| matches!(p, Partitions::Count(n) if !(1..=Partitions::MAX).contains(n))) {
                return Err(wrong(format!("the number of partitions must be from 1 to {}", Partitions::MAX)));
            }
            for output in &stage.outputs {
                if let Output::Sink { sink } = output {
                    if sources == 1 {
                        return Err(wrong("a sink is fed by a stage that reads edges".into()));
                    }
                    *fed.get_mut(*sink as usize).ok_or_else(|| wrong(format!("no sink {sink}")))? += 1;
                    if self.sinks[*sink as usize].framing.has_empty_records() {
                        return Err(wrong("it writes records of a length that is not from 1 to 4,294,967,295".into()));
                    }
                }
                if let Output::Edge { partitioner: Partitioner::InputPart | Partitioner::InputFile, .. } = output
                    && sources == 0
                {
                    return Err(wrong("only a source stage has input parts".into()));
                }
            }
        }
        if self.sinks.is_empty() && self.collects.is_empty() {
            return Err(PlanError::NoOutput);
        }
        if let Some(i) = fed.iter().position(|n| *n != 1) {
            return Err(PlanError::Other(format!("sink {i} ({}) is fed by {} outputs", self.sinks[i].path, fed[i])));
        }
        if self.sinks.iter().any(|sink| sink.path.is_empty()) {
            return Err(PlanError::EmptyOutput);
        }
        self.check_sinks_apart()?;
        for c in &self.collects {
            match self.port(self.stages.len(), c.from).map_err(PlanError::Other)? {
                Output::Broadcast => {}
                _ => return Err(PlanError::Other(format!("`{}` does not collect a broadcast", c.name))),
            }
        }
        Ok(())
    }

    /// Compares paths as text. Paths that are equal only through links are found when the outputs are staged.
    fn check_sinks_apart(&self) -> Result<(), PlanError> {
        let mut paths: Vec<(PathBuf, &str)> = self.sinks.iter().map(|s| (plain(&s.path), s.path.as_str())).collect();
        // In this order a folder comes right before its contents.
        paths.sort_unstable();
        for pair in paths.windows(2) {
            let [(outer, outer_path), (inner, inner_path)] = pair else { continue };
            let what = if inner == outer {
                format!("two outputs have the same path: {inner_path}")
            } else if inner.starts_with(outer) {
                format!("the output {inner_path} lies inside the output {outer_path}")
            } else {
                continue;
            };
            return Err(PlanError::Other(format!("{what}; give each a folder of its own")));
        }
        Ok(())
    }

    fn port(&self, before: usize, port: Port) -> Result<&Output, String> {
        if port.stage.0 as usize >= before {
            return Err(format!("it reads stage {}, which does not come before it", port.stage));
        }
        self.stages[port.stage.0 as usize]
            .outputs
            .get(port.output as usize)
            .ok_or_else(|| format!("stage {} has no output {}", port.stage, port.output))
    }
}

/// A path without `.`, and with `..` resolved lexically. (This also works for `windrow://NAME`, because a dataset name
/// has no slash.)
fn plain(path: &str) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framing::Framing;
    use crate::ids::Digest;
    use crate::plan::{Order, SinkSpec, SourceSpec, Stage};

    /// A plan that reads `inputs` and writes each of these paths.
    fn plan(inputs: &[&str], outputs: &[&str]) -> Plan {
        let inputs = inputs.iter().map(|i| i.to_string()).collect();
        let source = SourceSpec { inputs, framing: Framing::Whole, header: false, sample: false, as_is: false };
        let stage = |inputs, outputs| Stage {
            label: "stage".into(),
            place: "job.rs:1".into(),
            inputs,
            outputs,
            deterministic: true,
        };
        let edge = Output::Edge {
            partitions: Partitions::Auto,
            partitioner: Partitioner::Hash,
            order: Order::Key,
            combined: false,
        };
        let from = vec![Port { stage: StageId(0), output: 0 }];
        let sink = |path: &&str| SinkSpec {
            path: path.to_string(),
            format: "text".into(),
            suffix: String::new(),
            framing: Framing::Whole,
            overwrite: false,
        };
        Plan {
            stages: vec![
                stage(vec![Input::Source(source)], vec![edge]),
                stage(
                    vec![Input::Edge { from }],
                    (0..outputs.len() as u32).map(|sink| Output::Sink { sink }).collect(),
                ),
            ],
            sinks: outputs.iter().map(sink).collect(),
            collects: Vec::new(),
            sides: Vec::new(),
            fingerprint: Digest([0; 32]),
        }
    }

    #[test]
    fn source_without_inputs_is_refused_with_its_line() {
        assert_eq!(plan(&["/in"], &["/out"]).check(), Ok(()));
        let wrong = plan(&[], &["/out"]).check().unwrap_err().to_string();
        assert!(wrong.contains("job.rs:1") && wrong.contains("reads nothing"), "{wrong}");
    }

    #[test]
    fn plan_with_too_many_stages_or_long_labels_is_refused() {
        let mut many = plan(&["/in"], &["/out"]);
        many.stages.resize(STAGES_MAX + 1, many.stages[0].clone());
        let wrong = many.check().unwrap_err().to_string();
        assert!(wrong.contains("10001 stages"), "{wrong}");
        many.stages.pop();
        assert_eq!(many.check(), Ok(()));
        for change in [|s: &mut Stage, text| s.label = text, |s: &mut Stage, text| s.place = text] {
            let mut long = plan(&["/in"], &["/out"]);
            change(&mut long.stages[1], "x".repeat(LABEL_BYTES_MAX));
            assert_eq!(long.check(), Ok(()));
            change(&mut long.stages[1], "x".repeat(LABEL_BYTES_MAX + 1));
            assert!(long.check().unwrap_err().to_string().contains("stage 1"));
        }
    }

    #[test]
    fn records_of_no_bytes_are_refused_with_their_line() {
        let mut reads = plan(&["/in"], &["/out"]);
        let Input::Source(source) = &mut reads.stages[0].inputs[0] else { panic!("no source") };
        source.framing = Framing::Fixed(0);
        let mut writes = plan(&["/in"], &["/out"]);
        writes.sinks[0].framing = Framing::Fixed(0);
        for (plan, what) in [(reads, "it reads records of 0 bytes"), (writes, "it writes records of a length")] {
            let wrong = plan.check().unwrap_err().to_string();
            assert!(wrong.contains("job.rs:1") && wrong.contains(what), "{wrong}");
        }
    }

    #[test]
    fn outputs_must_not_overlap() {
        for apart in
            [["/q", "/q2"], ["/q/a", "/q/b"], ["/a/../b", "/a"], ["windrow://a", "windrow://b"], ["windrow://a", "/a"]]
        {
            assert_eq!(plan(&["/in"], &apart).check(), Ok(()), "{apart:?}");
        }
        for [one, other] in
            [["/q", "/q"], ["/q", "/q/"], ["/q", "/a/../q/."], ["/q", "//q"], ["windrow://a", "windrow://a"]]
        {
            let wrong = plan(&["/in"], &[one, "/else", other]).check().unwrap_err().to_string();
            assert!(wrong.contains("two outputs have the same path"), "{wrong}");
        }
        for (inner, outer) in [("/q/x", "/q"), ("/q/./x/y", "/q/x"), ("/q/z/../x", "/q")] {
            for both in [[inner, outer], [outer, inner]] {
                let wrong = plan(&["/in"], &both).check().unwrap_err().to_string();
                assert_eq!(
                    wrong,
                    format!("the output {inner} lies inside the output {outer}; give each a folder of its own")
                );
            }
        }
    }
}
