//! Why a connection could not be opened, within the errors of transports.

use std::error::Error;
use std::fmt;
use windrow_model::Failure;

/// The cause of a missing connection, as the source of a transport error.
#[derive(Clone, Debug)]
pub(crate) struct DialError(pub Failure);

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl Error for DialError {}

/// The dialer's failure, if it is a cause of this error.
pub(crate) fn dial_failure(error: &(dyn Error + 'static)) -> Option<Failure> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(DialError(failure)) = error.downcast_ref() {
            return Some(failure.clone());
        }
        cause = error.source();
    }
    None
}
