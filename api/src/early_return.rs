//! Macros that return an error made from a text.

/// Returns an [`Error`](crate::Error) with this message from a record function, or any function with
/// [`Result`](crate::Result). The arguments are those of `format!`.
///
/// ```
/// use windrow::{Result, bail};
/// fn port(text: &str) -> Result<u16> {
///     let Some((_, port)) = text.split_once(':') else { bail!("no port in `{text}`") };
///     Ok(port.parse()?)
/// }
/// assert!(port("host").unwrap_err().to_string().contains("no port in `host`"));
/// ```
#[macro_export]
macro_rules! bail {
    ($($message:tt)+) => {
        return ::core::result::Result::Err($crate::Error::msg(::core::format_args!($($message)+)))
    };
}

/// Returns an [`Error`](crate::Error) as [`bail!`](crate::bail) does if the condition is false. Without a message it
/// names the condition.
///
/// ```
/// use windrow::prelude::*;
/// use windrow::ensure;
/// fn priced(lines: Records<String>) -> Records<u64> {
///     lines.map(|line, out| {
///         let cents: i64 = line.parse()?;
///         ensure!(cents >= 0, "a price of {cents}");
///         out.push(cents as u64);
///         Ok(())
///     })
/// }
/// assert_eq!(windrow::testing::run(["5"], priced).unwrap(), [5]);
/// let error = windrow::testing::run(["-5"], priced).unwrap_err();
/// assert!(error.to_string().contains("a price of -5"), "{error}");
/// ```
#[macro_export]
macro_rules! ensure {
    ($condition:expr $(,)?) => {
        $crate::ensure!($condition, "`{}` does not hold", ::core::stringify!($condition))
    };
    ($condition:expr, $($message:tt)+) => {{
        let holds: bool = $condition;
        if !holds {
            $crate::bail!($($message)+)
        }
    }};
}
