//! The page of a cluster: jobs, workers and datasets in a browser, and the same facts as JSON.
//!
//! It owns who may look (`keys.rs`), the table of routes (`routes.rs`), how facts are shown (`pages/`, `api.rs`), and the
//! thread that serves them (`server.rs`). It owns no facts: the process that it belongs to answers its questions
//! ([`Facts`]), each with a deadline and few at a time. It never sees the cluster's token.

#![warn(unreachable_pub)]

mod answer;
mod api;
mod change;
mod connections;
mod facts;
mod graph;
mod hosts;
mod keys;
mod live;
mod page;
mod pages;
mod query;
mod refusal;
mod reply;
mod routes;
mod secret;
mod sentence;
mod server;
mod sign_in;
mod site;
mod text;
mod tokens;

pub use facts::{Answer, AttemptLog, Facts, JobFacts, JobsPart, LogFilter, Logs, StageShape, WorkerFacts};
pub use keys::Keys;
pub use page::{Page, PageConfig};
pub use query::{JobsQuery, PAGE_ROWS, ROWS_MAX, STATES, Selected, Sort, Start};
pub use routes::{Form, Need, ROUTES, Route};
pub use secret::Secret;
pub use sentence::sentence;
pub use server::Server;
pub use site::Setting;
