//! The table of routes: method, path, who may call it, and what answers. The router is made from it, and every route is
//! authorised by its row, so no handler can be reached without that.

use windrow_model::PageRole;

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Anyone who reaches the port.
    Nothing,
    /// A holder of this role, or a higher one.
    Role(PageRole),
}

/// What a route answers with, also when it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A page.
    Html,
    /// JSON.
    Json,
    /// Text for probes, or a file.
    Plain,
}

/// What answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Health,
    Ready,
    Style,
    Script,
    Icon,
    SignIn,
    SignOut,
    Jobs,
    Job,
    Logs,
    Workers,
    Datasets,
    Settings,
    CancelJob,
    DrainWorker,
    ApiJobs,
    ApiJob,
    ApiLogs,
    ApiWorkers,
    ApiDatasets,
    ApiCancelJob,
    ApiDrainWorker,
}

impl Target {
    /// Whether it is a page that changes by itself.
    pub(crate) fn is_live(self) -> bool {
        matches!(self, Target::Jobs | Target::Job | Target::Workers)
    }
}

/// A route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Whether it changes anything: then it is a POST, otherwise a GET.
    pub changes: bool,
    /// The path, with `{id}` for an id.
    pub path: &'static str,
    /// Who may call it.
    pub need: Need,
    /// The form of its answers.
    pub form: Form,
    pub(crate) target: Target,
}

const VIEW: Need = Need::Role(PageRole::View);
const STEER: Need = Need::Role(PageRole::Steer);

const fn read(path: &'static str, need: Need, form: Form, target: Target) -> Route {
    Route { changes: false, path, need, form, target }
}

const fn change(path: &'static str, need: Need, form: Form, target: Target) -> Route {
    Route { changes: true, path, need, form, target }
}

/// All routes.
pub const ROUTES: &[Route] = &[
    read("/healthz", Need::Nothing, Form::Plain, Target::Health),
    read("/readyz", Need::Nothing, Form::Plain, Target::Ready),
    read("/static/style.css", Need::Nothing, Form::Plain, Target::Style),
    read("/static/live.js", Need::Nothing, Form::Plain, Target::Script),
    read("/static/icon.svg", Need::Nothing, Form::Plain, Target::Icon),
    // The code in its URL is the key.
    read("/signin", Need::Nothing, Form::Html, Target::SignIn),
    change("/signout", VIEW, Form::Html, Target::SignOut),
    read("/", VIEW, Form::Html, Target::Jobs),
    read("/jobs/{id}", VIEW, Form::Html, Target::Job),
    read("/jobs/{id}/logs", VIEW, Form::Html, Target::Logs),
    read("/workers", VIEW, Form::Html, Target::Workers),
    read("/datasets", VIEW, Form::Html, Target::Datasets),
    read("/settings", VIEW, Form::Html, Target::Settings),
    change("/jobs/{id}/cancel", STEER, Form::Html, Target::CancelJob),
    change("/workers/{id}/drain", STEER, Form::Html, Target::DrainWorker),
    read("/api/v1/jobs", VIEW, Form::Json, Target::ApiJobs),
    read("/api/v1/jobs/{id}", VIEW, Form::Json, Target::ApiJob),
    read("/api/v1/jobs/{id}/logs", VIEW, Form::Json, Target::ApiLogs),
    read("/api/v1/workers", VIEW, Form::Json, Target::ApiWorkers),
    read("/api/v1/datasets", VIEW, Form::Json, Target::ApiDatasets),
    change("/api/v1/jobs/{id}/cancel", STEER, Form::Json, Target::ApiCancelJob),
    change("/api/v1/workers/{id}/drain", STEER, Form::Json, Target::ApiDrainWorker),
];
