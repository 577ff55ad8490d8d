//! The trait that a user implements: a job.

use crate::data::json;
use crate::error::{Error, Result};
use crate::plan::flow::Flow;
use serde::Serialize;
use serde::de::DeserializeOwned;
use windrow_model::Code;

/// A job: parameters that are command-line arguments and are sent as data, and a plan that depends on them alone.
///
/// ```no_run
/// use windrow::prelude::*;
///
/// /// Count words.
/// #[derive(clap::Args, Serialize, Deserialize)]
/// struct WordCount {
///     /// Files, folders or globs.
///     #[arg(required = true)]
///     input: Vec<String>,
///     /// Folder to write.
///     #[arg(long)]
///     output: String,
/// }
///
/// impl Job for WordCount {
///     fn plan(&self, flow: &Flow) -> Result<()> {
///         flow.read(lines(&self.input))
///             .map(|line, out| for word in words(line) { out.emit(word, 1u64) })
///             .combine(Sum)
///             .write(tsv(&self.output))
///     }
/// }
///
/// fn main() -> std::process::ExitCode { windrow::main::<WordCount>() }
/// ```
pub trait Job: clap::Args + Serialize + DeserializeOwned + 'static {
    /// Builds the plan. It is called in every process of the job, and must depend only on `self`: not on clocks,
    /// randomness or files (use `Flow::side` for those).
    ///
    /// # Errors
    /// The plan cannot be built; the error fails the submission.
    fn plan(&self, flow: &Flow) -> Result<()>;

    /// Name of the job in the binary's `--help`; the type's name by default.
    fn name() -> &'static str {
        let name = std::any::type_name::<Self>();
        name.rsplit("::").next().unwrap_or(name)
    }
}

/// The parameters as JSON, checked by a round trip, so that every process of the job gets the same ones.
fn parameters<J: Job>(job: &J) -> Result<String> {
    let lost = |why: String| {
        let of = std::any::type_name::<J>();
        Error::new(Code::PlanInvalid, format!("the parameters of `{of}` do not survive a JSON round trip: {why}"))
    };
    let text = |job: &J| {
        let mut text = Vec::new();
        json::write(job, &mut text).map_err(|e| lost(e.to_string()))?;
        String::from_utf8(text).map_err(|e| lost(e.to_string()))
    };
    let sent = text(job)?;
    let back = text(&serde_json::from_str(&sent).map_err(|e| lost(e.to_string()))?)?;
    // Maps and sets may be read back in another order.
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).map_err(|e| lost(e.to_string()));
    match sent == back || value(&sent)? == value(&back)? {
        true => Ok(sent),
        false => Err(lost(format!("`{sent}` becomes `{back}`"))),
    }
}

/// A job whose type is not known statically.
pub(crate) trait AnyJob {
    fn plan(&self, flow: &Flow) -> Result<()>;
    /// Name of the type, which selects one of the binary's jobs.
    fn program(&self) -> &'static str;
    fn params(&self) -> Result<String>;
    /// The job in another process: rebuilt from its parameters; none if they cannot be sent.
    fn elsewhere(&self) -> Option<Box<dyn AnyJob>>;
}

impl<J: Job> AnyJob for J {
    fn plan(&self, flow: &Flow) -> Result<()> {
        Job::plan(self, flow)
    }
    fn program(&self) -> &'static str {
        std::any::type_name::<J>()
    }
    fn params(&self) -> Result<String> {
        parameters(self)
    }
    fn elsewhere(&self) -> Option<Box<dyn AnyJob>> {
        Some(Box::new(serde_json::from_str::<J>(&parameters(self).ok()?).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    #[derive(clap::Args, Default, Serialize, Deserialize)]
    struct Shift {
        by: Option<f64>,
        #[arg(skip)]
        #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
        of: BTreeMap<u32, String>,
        #[arg(skip)]
        #[serde(skip_deserializing)]
        lost: u8,
    }
    impl Job for Shift {
        fn plan(&self, _: &Flow) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn parameters_without_a_json_round_trip_are_refused() {
        let of = BTreeMap::from([(7, "x".to_string())]);
        assert_eq!(parameters(&Shift { by: Some(0.1), of, lost: 0 }).unwrap(), r#"{"by":0.1,"of":{"7":"x"},"lost":0}"#);
        for wrong in [Shift { by: Some(f64::NAN), ..Shift::default() }, Shift { lost: 1, ..Shift::default() }] {
            let error = parameters(&wrong).unwrap_err();
            assert_eq!(error.code(), Code::PlanInvalid);
            assert!(error.failure().message.contains("Shift"), "{error}");
        }
    }
}
