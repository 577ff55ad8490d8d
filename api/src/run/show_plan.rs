//! Prints a plan, for `--explain`.

use crate::error::Result;
use crate::plan::flow::Built;
use crate::run::end;
use crate::run::flags::OutputFormat;
use crate::stdout;

/// Prints a plan as text, or as JSON that contains the text.
pub(crate) fn explain(built: &Built, format: OutputFormat) -> Result<()> {
    let text = crate::plan::explain::explain(&built.plan);
    match format {
        OutputFormat::Table => Ok(stdout::put(text.as_bytes()).map(drop)?),
        OutputFormat::Json => Ok(end::print_json(&serde_json::json!({ "explain": text }))?),
    }
}
