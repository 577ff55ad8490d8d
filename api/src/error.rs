//! The error that users see and return: a code, a message, and a place.

use std::fmt;
use windrow_model::{Code, Failure};

/// The error of a job or of a function in it. `?` converts any `std::error::Error` into it, so functions of a job
/// return `windrow::Result<()>` and use `?` freely.
///
/// ```
/// fn parse(field: &str) -> windrow::Result<u32> {
///     Ok(field.parse::<u32>()?)
/// }
/// assert_eq!(parse("x").unwrap_err().code().as_str(), "USER_ERROR");
/// ```
pub struct Error(Box<Failure>);

/// `Result` with Windrow's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of the user's code with this message. It makes errors of what is no `std::error::Error`, too: of a text, or of
    /// a boxed error. There is no `From<String>`, which would conflict with the conversion of every `std::error::Error`, so
    /// `?` does not convert a text; [`bail!`](crate::bail) and [`ensure!`](crate::ensure) return one.
    ///
    /// ```
    /// use windrow::{Error, Result};
    /// fn port(text: &str) -> Result<u16> {
    ///     let (_, port) = text.split_once(':').ok_or("no port").map_err(Error::msg)?;
    ///     let checked: std::result::Result<u16, Box<dyn std::error::Error>> = port.parse().map_err(Into::into);
    ///     checked.map_err(Error::msg)
    /// }
    /// assert_eq!(port("host:80").unwrap(), 80);
    /// assert!(port("host").unwrap_err().to_string().contains("no port"));
    /// ```
    pub fn msg(message: impl fmt::Display) -> Self {
        Error::new(Code::UserError, message.to_string())
    }
    /// An error with this code and message.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error(Box::new(Failure::new(code, message)))
    }
    /// The stable code.
    pub fn code(&self) -> Code {
        self.0.code
    }
    /// The failure: code, message and place.
    pub fn failure(&self) -> &Failure {
        &self.0
    }
    /// Converts into the failure.
    pub fn into_failure(self) -> Failure {
        *self.0
    }
    pub(crate) fn from_failure(failure: Failure) -> Self {
        Error(Box::new(failure))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<E: std::error::Error + 'static> From<E> for Error {
    fn from(e: E) -> Self {
        let any: &(dyn std::error::Error + 'static) = &e;
        if let Some(failure) = any.downcast_ref::<Failure>() {
            return Error::from_failure(failure.clone());
        }
        let mut message = e.to_string();
        let mut source = e.source();
        while let Some(s) = source {
            message = format!("{message}: {s}");
            source = s.source();
        }
        Error::new(Code::UserError, message)
    }
}

/// The return type of a record function: nothing, or a result whose error fails the record.
#[diagnostic::on_unimplemented(
    message = "a record function must return `()` or `windrow::Result<()>`, not `{Self}`",
    note = "did you mean to `out.push(..)` the value?"
)]
pub trait Outcome {
    /// Converts into a result.
    ///
    /// # Errors
    /// The error of the record function.
    fn into_result(self) -> Result<()>;
}
impl Outcome for () {
    #[inline]
    fn into_result(self) -> Result<()> {
        Ok(())
    }
}
// Only one concrete error type, so that `?` and a bare `Ok(())` are inferred inside closures.
impl Outcome for Result<()> {
    #[inline]
    fn into_result(self) -> Result<()> {
        self
    }
}
