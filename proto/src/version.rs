//! Protocol versions: which ones this program speaks, and whether a peer speaks one of them.

use crate::v1::ProtocolRange;
use windrow_model::{Code, Failure};

/// The oldest protocol version that this program speaks.
pub const PROTOCOL_MIN: u32 = 3;
/// The newest protocol version that this program speaks.
pub const PROTOCOL_MAX: u32 = 3;

/// The release of this program, for messages only.
pub fn release() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The protocol range that this program sends in its first message.
pub fn own_range() -> ProtocolRange {
    ProtocolRange { min: PROTOCOL_MIN, max: PROTOCOL_MAX, release: release().to_string() }
}

/// Checks that the ranges of both peers overlap.
///
/// # Errors
/// `VERSION_MISMATCH` with both ranges and releases, or `BAD_REQUEST` without a range.
pub fn check_range(theirs: Option<&ProtocolRange>) -> Result<(), Failure> {
    let Some(theirs) = theirs else {
        return Err(Failure::new(Code::BadRequest, "the first message does not name a protocol range"));
    };
    if theirs.min <= PROTOCOL_MAX && theirs.max >= PROTOCOL_MIN {
        return Ok(());
    }
    let name = if theirs.release.is_empty() { "of unknown release" } else { &theirs.release };
    Err(Failure::new(
        Code::VersionMismatch,
        format!(
            "this side (release {}) speaks protocol {}, the other (release {name}) speaks protocol {}",
            release(),
            span(PROTOCOL_MIN, PROTOCOL_MAX),
            span(theirs.min, theirs.max),
        ),
    ))
}

fn span(min: u32, max: u32) -> String {
    if min == max { min.to_string() } else { format!("{min} to {max}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mismatch_names_both_protocol_ranges() {
        assert!(check_range(Some(&own_range())).is_ok());
        assert!(check_range(Some(&ProtocolRange { min: 0, max: 9, release: String::new() })).is_ok());
        let failure = check_range(Some(&ProtocolRange { min: 7, max: 9, release: "3.1.0".into() })).unwrap_err();
        assert_eq!(failure.code, Code::VersionMismatch);
        for part in ["protocol 3,", "7 to 9", "3.1.0", release()] {
            assert!(failure.message.contains(part), "{part}: {}", failure.message);
        }
        assert_eq!(check_range(None).unwrap_err().code, Code::BadRequest);
    }
}
