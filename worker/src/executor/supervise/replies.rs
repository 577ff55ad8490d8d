//! Checks what an executor reports: its messages come from the job's own code and may be anything.

use std::collections::HashSet;
use windrow_model::{AttemptId, Code, Digest, Failure, OutputReport, TaskReport};
use windrow_proto::{ConvertError, v1};

/// The executor sent what the protocol does not allow.
pub(super) fn protocol(what: &str) -> Failure {
    Failure::new(Code::ExecutorProtocol, format!("the job's process broke the agreed protocol: {what}"))
}

pub(super) fn attempt_of(wire: Option<v1::AttemptId>) -> Result<AttemptId, Failure> {
    let wire = wire.ok_or_else(|| protocol("it reports without naming the attempt"))?;
    wire.try_into().map_err(|e: ConvertError| protocol(&e.to_string()))
}

pub(super) fn failure_of(wire: Option<v1::Failure>) -> Failure {
    match wire.map(Failure::try_from) {
        Some(Ok(failure)) => failure,
        Some(Err(e)) => protocol(&e.to_string()),
        None => protocol("it reports a failure without saying which"),
    }
}

/// Checks that places in the spool are of edges of the report, one for each at most, and that files can have them.
pub(super) fn check_spooled(report: &TaskReport, spooled: &[v1::Spooled]) -> Result<(), Failure> {
    let mut seen = HashSet::new();
    for v1::Spooled { output, offset, length } in spooled {
        let is_edge = matches!(report.outputs.get(*output as usize), Some(OutputReport::Edge(_)));
        let fits = offset.checked_add(*length).is_some_and(|end| end <= i64::MAX as u64);
        if !is_edge || !fits || *length == 0 || !seen.insert(*output) {
            let what = format!("it reports {length} bytes at {offset} of its spool as output {output}");
            return Err(protocol(&what));
        }
    }
    Ok(())
}

/// Checks the protocol and the plan of an executor that is ready.
pub(super) fn check_ready(ready: v1::ExecutorReady, expected: Digest) -> Result<(), Failure> {
    let range = windrow_proto::PROTOCOL_MIN..=windrow_proto::PROTOCOL_MAX;
    if !range.contains(&ready.protocol) {
        let message = format!(
            "the job's binary speaks protocol {}, this worker {} to {}",
            ready.protocol,
            range.start(),
            range.end()
        );
        return Err(Failure::new(Code::VersionMismatch, message));
    }
    let wire = ready.fingerprint.ok_or_else(|| protocol("it is ready without a fingerprint"))?;
    let found = Digest::try_from(wire).map_err(|e| protocol(&e.to_string()))?;
    if found != expected {
        let message = format!("the job's process made another plan ({found}) than the one submitted ({expected})");
        return Err(Failure::new(Code::PlanMismatch, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::{Counters, EdgeReport};

    #[test]
    fn impossible_places_in_a_spool_are_refused() {
        let edge = || OutputReport::Edge(EdgeReport { bytes: 5, records: 1, ..EdgeReport::default() });
        let outputs = vec![edge(), OutputReport::Broadcast(Vec::new()), edge()];
        let report = TaskReport { outputs, counters: Counters::default(), run_ms: 1, inputs: 0 };
        let check = |places: &[(u32, u64, u64)]| {
            let place = |&(output, offset, length): &(u32, u64, u64)| v1::Spooled { output, offset, length };
            check_spooled(&report, &places.iter().map(place).collect::<Vec<_>>()).map_err(|failure| failure.code)
        };
        for fine in [&[][..], &[(2, 9, 9), (0, 0, 9)], &[(0, 0, i64::MAX as u64)]] {
            assert_eq!(check(fine), Ok(()));
        }
        for bad in [(1, 0, 9), (3, 0, 9), (0, 0, 0), (0, u64::MAX, 1), (0, 1, i64::MAX as u64)] {
            assert_eq!(check(&[(2, 0, 9), bad]), Err(Code::ExecutorProtocol), "{bad:?}");
        }
        assert_eq!(check(&[(0, 0, 9), (0, 9, 9)]), Err(Code::ExecutorProtocol));
    }
}
