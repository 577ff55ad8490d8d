//! Live pages: the same URL, asked for as a stream of events, sends the changing part of the page whenever it differs
//! from what was sent last, at most once a second. A page without a script is complete, too; it changes by reload.

use crate::pages::{self, Html};
use crate::refusal::Refusal;
use crate::reply::{Reply, reply};
use crate::site::{STREAMS_MAX, Site, Visit};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::{self, HeaderMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};
use windrow_model::PageRole;
use windrow_model::{Code, Failure};

/// Time between two patches of a page.
const INTERVAL: Duration = Duration::from_secs(1);
/// Intervals without a change after which an event shows that the page is as it is now. The script of the page calls it
/// not live after 10 seconds without any.
const QUIET_MAX: u32 = 4;

/// Whether a stream is asked for.
pub(crate) fn is_asked(headers: &HeaderMap) -> bool {
    let accepts = headers.get(header::ACCEPT).and_then(|accepts| accepts.to_str().ok());
    accepts.is_some_and(|accepts| accepts.starts_with("text/event-stream"))
}

struct Stream {
    site: Arc<Site>,
    visit: Visit,
    sent: Option<Html>,
    ticks: Interval,
    quiet: u32,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

/// Answers with the stream of a page.
pub(crate) fn stream(site: &Arc<Site>, visit: Visit) -> Result<Reply, Refusal> {
    let Ok(permit) = site.streams.clone().try_acquire_owned() else {
        let what = format!("{STREAMS_MAX} pages have live updates, which is the most: close some, or reload this one");
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Code::BadRequest, what));
    };
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let first = Stream { site: site.clone(), visit, sent: None, ticks, quiet: 0, over: false, _permit: permit };
    let events = stream::unfold(first, |mut stream| async move {
        let event = stream.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(event)), stream))
    });
    Ok(reply(StatusCode::OK, "text/event-stream", Body::from_stream(events)))
}

impl Stream {
    /// The next event. `None` after the last one.
    async fn next(&mut self) -> Option<String> {
        if self.over {
            return None;
        }
        loop {
            self.ticks.tick().await;
            // The session may have ended meanwhile.
            if self.site.caller(&self.visit.headers).is_none_or(|caller| caller.role < PageRole::View) {
                self.over = true;
                return Some(event("end", "the session has ended"));
            }
            match pages::page(&self.site, &self.visit).await {
                Ok(page) if self.sent.as_ref() != Some(&page.main) => {
                    self.quiet = 0;
                    self.over = page.settled;
                    let mut events = event("patch", page.main.as_str());
                    if page.settled {
                        events.push_str(&event("end", ""));
                    }
                    self.sent = Some(page.main);
                    return Some(events);
                }
                Ok(_) => self.quiet += 1,
                // Of a busy coordinator: the page stays as it is, and is not called the present one; a comment finds out
                // whether its reader is still there. Anything else does not get better.
                Err(Refusal { failure: Failure { code: Code::DeadlineExceeded, .. }, .. }) => {
                    return Some(":\n\n".into());
                }
                Err(refusal) => {
                    self.over = true;
                    return Some(event("end", refusal.failure.code.as_str()));
                }
            }
            if self.quiet >= QUIET_MAX {
                self.quiet = 0;
                return Some(event("alive", ""));
            }
        }
    }
}

/// An event with this text. A line break of the text begins a new line of data, which cannot begin another field.
fn event(name: &str, text: &str) -> String {
    let mut event = format!("event: {name}\n");
    for line in text.split(['\n', '\r']) {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_an_event_stays_in_its_data() {
        assert_eq!(
            event("patch", "a\nevent: x\r\rid: 1"),
            "event: patch\ndata: a\ndata: event: x\ndata: \ndata: id: 1\n\n"
        );
    }
}
