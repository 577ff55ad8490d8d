//! Builds the plan of a job from its parameters.

use crate::error::{Error, Result};
use crate::plan::captured::Captured;
use crate::plan::flow::{Built, Flow};
use crate::plan::job::AnyJob;
use crate::plan::stored::Datasets;
use crate::run::panics::panic_message;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use windrow_model::Code;

/// Builds the plan of a job that is submitted from here, in the current folder. `datasets` are those that it may read.
///
/// # Errors
/// The error or panic of the job's `plan`, or a plan that is not valid.
pub(crate) fn build(job: &dyn AnyJob, overwrite: bool, datasets: Option<Datasets>) -> Result<Built> {
    let base = std::env::current_dir()
        .map_err(|e| Error::new(Code::IoError, format!("cannot determine the current folder: {e}")))?;
    // A parameter that is not sent (`serde(skip)`) has its default in executors, so it has it here too.
    let elsewhere = job.elsewhere();
    let flow = Flow::new(base, overwrite, None);
    flow.see_datasets(datasets);
    plan(elsewhere.as_deref().unwrap_or(job), flow)
}

/// Builds the plan of a job under test, whose relative paths begin at `base`, and whose sinks keep their records.
///
/// # Errors
/// As for [`build`].
pub(crate) fn build_under_test(job: &dyn AnyJob, base: &Path, captured: &Arc<Captured>) -> Result<Built> {
    let elsewhere = job.elsewhere();
    plan(elsewhere.as_deref().unwrap_or(job), Flow::captured(base.to_path_buf(), captured.clone()))
}

/// Builds the job's plan. A panic in its code is an error like any other.
fn plan(job: &dyn AnyJob, flow: Flow) -> Result<Built> {
    // The flow is dropped after a panic, so its half-built state is never seen.
    let made = catch_unwind(AssertUnwindSafe(|| job.plan(&flow).and_then(|()| flow.build())));
    made.unwrap_or_else(|payload| {
        let message = format!("the job's `plan` {}", panic_message(&*payload));
        Err(Error::new(Code::PlanInvalid, message))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::job::Job;

    /// Does in `plan` what its input says.
    #[derive(clap::Args, serde::Serialize, serde::Deserialize)]
    struct Panics {
        what: String,
    }
    impl Job for Panics {
        fn plan(&self, _: &Flow) -> Result<()> {
            match self.what.as_str() {
                "static" => panic!("no such thing"),
                what => panic!("no {what}"),
            }
        }
    }

    #[test]
    fn panic_in_a_plan_is_an_error_with_its_text() {
        for (what, text) in [("static", "no such thing"), ("plan", "no plan")] {
            let error = build(&Panics { what: what.to_string() }, false, None).err().unwrap();
            assert_eq!(error.code(), Code::PlanInvalid);
            assert_eq!(error.failure().message, format!("the job's `plan` panicked: {text}"));
            assert_eq!(error.code().exit_code(), 1);
        }
    }

    /// Reports its parameters in `plan`.
    #[derive(clap::Args, serde::Serialize, serde::Deserialize)]
    struct Says {
        kept: Option<f64>,
        #[serde(skip)]
        skipped: u8,
    }
    impl Job for Says {
        fn plan(&self, _: &Flow) -> Result<()> {
            Err(Error::msg(format!("{:?} {}", self.kept, self.skipped)))
        }
    }

    #[test]
    fn local_plan_uses_the_parameters_of_executors() {
        let said =
            |kept| build(&Says { kept: Some(kept), skipped: 5 }, false, None).err().unwrap().failure().message.clone();
        assert_eq!(said(0.1), "Some(0.1) 0");
        // Parameters without a round trip are only used in this process.
        assert_eq!(said(f64::NAN), "Some(NaN) 5");
    }
}
