//! The page of the settings in effect.

use super::{Html, Page};
use crate::refusal::Refusal;
use crate::site::Site;
use crate::text::Text;
use askama::Template;

#[derive(Template)]
#[template(path = "settings.html")]
struct Settings {
    rows: Vec<(Text, Text)>,
}

pub(crate) fn page(site: &Site) -> Result<Page, Refusal> {
    let rows = site.settings.iter().map(|setting| (Text::line(&setting.name), Text::line(&setting.value)));
    let page = Settings { rows: rows.collect() };
    Ok(Page { title: Text::line("Settings"), section: "settings", main: Html::of(&page)?, settled: false })
}
