//! Checks what an executor reports: its messages come from the job's own code and may be anything.

use windrow_model::{AttemptId, Code, Digest, Failure};
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
