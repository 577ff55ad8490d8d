//! Converts messages to domain types and back.
//!
//! `TryFrom<wire> for domain` validates: required fields are present, numbers are in range, names are known, lists and
//! texts are within limits. `From<domain> for wire` cannot fail. An invalid message is a `ConvertError`, which becomes
//! a `Failure` with code `BAD_REQUEST`, or `PLAN_INVALID` for a plan whose graph cannot be run.

mod data;
mod edge;
mod failure;
mod ids;
mod job;
mod node;
mod page;
mod plan;
mod task;

pub use edge::{table_from_bytes, table_to_bytes};
pub use ids::{path_from_bytes, path_to_bytes};

use windrow_model::{Code, Failure, PlanError};

/// A message that is not a valid value of the domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// A required field is absent.
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A field has an invalid value.
    #[error("`{field}` {what}")]
    Invalid {
        /// Name of the field.
        field: &'static str,
        /// The rest of a sentence that starts with the field's name.
        what: String,
    },
    /// The plan's fields are valid, but its graph is not.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

impl ConvertError {
    pub(crate) fn invalid(field: &'static str, what: impl Into<String>) -> Self {
        ConvertError::Invalid { field, what: what.into() }
    }

    /// The stable code of this error.
    pub fn code(&self) -> Code {
        match self {
            ConvertError::Plan(e) => e.code(),
            _ => Code::BadRequest,
        }
    }
}

impl From<ConvertError> for Failure {
    fn from(e: ConvertError) -> Failure {
        Failure::new(e.code(), e.to_string())
    }
}

/// Most bytes of names, labels and addresses.
pub(crate) const NAME_BYTES_MAX: usize = 4 << 10;
/// Most bytes of paths, the limit of Linux.
pub(crate) const PATH_BYTES_MAX: usize = 4 << 10;
/// Most bytes of a job's parameters.
pub(crate) const PARAMS_BYTES_MAX: usize = 16 << 20;
/// Most stages, sinks, ports and side values of one plan.
pub(crate) const PLAN_ITEMS_MAX: usize = 10_000;
/// Most segments, chunks and inputs: one per task or file. The message limit is reached before.
pub(crate) const LIST_ITEMS_MAX: usize = 4_000_000;

pub(crate) fn required<T>(value: Option<T>, field: &'static str) -> Result<T, ConvertError> {
    value.ok_or(ConvertError::Missing(field))
}

pub(crate) fn text(value: String, field: &'static str, bytes_max: usize) -> Result<String, ConvertError> {
    if value.len() > bytes_max {
        return Err(ConvertError::invalid(field, format!("has {} bytes, more than {bytes_max}", value.len())));
    }
    Ok(value)
}

/// Converts every item of a list with at most `items_max` items.
pub(crate) fn list<W, D>(values: Vec<W>, field: &'static str, items_max: usize) -> Result<Vec<D>, ConvertError>
where
    D: TryFrom<W, Error = ConvertError>,
{
    if values.len() > items_max {
        return Err(ConvertError::invalid(field, format!("has {} items, more than {items_max}", values.len())));
    }
    values.into_iter().map(D::try_from).collect()
}

pub(crate) fn wire_list<D, W: From<D>>(values: Vec<D>) -> Vec<W> {
    values.into_iter().map(W::from).collect()
}
