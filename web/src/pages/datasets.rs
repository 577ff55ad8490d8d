//! The page of all datasets: their size, and how whole their copies are.

use super::{Html, Page};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::text::{Text, bytes, number};
use askama::Template;
use windrow_model::DatasetStatus;
use windrow_model::view::dataset_state;

/// Most datasets on a page.
const ROWS_MAX: usize = 500;

struct Row {
    name: Text,
    version: u64,
    framing: Text,
    bytes: Text,
    chunks: Text,
    copies: String,
    state: &'static str,
}

#[derive(Template)]
#[template(path = "datasets.html")]
struct Datasets {
    rows: Vec<Row>,
    notices: Vec<Text>,
    left_off: usize,
}

pub(crate) async fn page(site: &Site) -> Result<Page, Refusal> {
    let (datasets, notices) = site.ask(site.facts.datasets()).await?;
    let page = Datasets {
        rows: datasets.iter().take(ROWS_MAX).map(row).collect(),
        notices: notices.iter().map(Text::line).collect(),
        left_off: datasets.len().saturating_sub(ROWS_MAX),
    };
    Ok(Page { title: Text::line("Datasets"), section: "datasets", main: Html::of(&page)?, settled: false })
}

fn row(dataset: &DatasetStatus) -> Row {
    Row {
        name: Text::line(&dataset.name),
        version: dataset.version,
        framing: Text::line(dataset.framing.to_string()),
        bytes: bytes(dataset.bytes),
        chunks: number(dataset.chunks),
        copies: format!("{} / {}", dataset.copies_min, dataset.replicas),
        state: dataset_state(dataset),
    }
}
