//! Failures that leave user code by unwinding.

use windrow_model::Failure;

/// A failure that unwinds from where no error can be returned: from functions that user code calls. It is caught where
/// panics are, and the panic hook does not report it.
pub(crate) struct Unwinding {
    pub failure: Failure,
    /// Whether the current record is to blame.
    pub of_record: bool,
}

impl Unwinding {
    #[cold]
    pub(crate) fn start(self) -> ! {
        std::panic::resume_unwind(Box::new(self))
    }
}
