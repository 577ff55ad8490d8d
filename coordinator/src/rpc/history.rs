//! The service for histories: logs, attempts and past jobs, read on threads of their own.
//!
//! A log may have many megabytes, and its reader may be slow: at most [`READERS_MAX`] calls read at a time, others wait. A call
//! that follows a log holds no thread while it waits for events.

use super::{Answers, field, give, refuse};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use windrow_history::{AttemptQuery, AttemptState, Cursor, JobFiles, Listing, Reading, Sort};
use windrow_model::{Code, Failure, JobFilter, JobId};
use windrow_proto::v1;

/// Calls that read files at a time.
const READERS_MAX: usize = 4;
/// Calls that follow logs at a time.
const FOLLOWERS_MAX: usize = 256;
/// Bytes of the lines in one message.
const LINES_BYTES: usize = 256 << 10;
/// Messages that wait for a slow client.
const WAITING_MAX: usize = 4;
/// Time between two looks for new events.
const LOOK: Duration = Duration::from_millis(500);
/// How long a call waits for events on their way to the disk; then it answers without them.
const FLUSH_MAX: Duration = Duration::from_secs(2);
/// Bytes of the attempts in one answer.
const ROWS_BYTES_MAX: usize = 16 << 20;
/// Jobs of one answer, and summaries that it reads.
const PAST_MAX: u32 = 1_000;
const SUMMARIES_MAX: usize = 5_000;

#[derive(Clone)]
pub(crate) struct History {
    reading: Reading,
    readers: Arc<Semaphore>,
    followers: Arc<Semaphore>,
}

type Reply<T> = Result<Response<T>, Status>;

impl History {
    pub(crate) fn new(reading: Reading) -> History {
        let (readers, followers) = (Semaphore::new(READERS_MAX), Semaphore::new(FOLLOWERS_MAX));
        History { reading, readers: Arc::new(readers), followers: Arc::new(followers) }
    }

    /// The status of a job that the coordinator has forgotten, if its history has a summary.
    pub(crate) async fn forgotten(&self, job: JobId) -> Option<windrow_model::JobStatus> {
        let files = self.reading.folder().job(job);
        let summary = self.read(move || files.read_summary()).await.ok()??;
        summary.status(job)
    }

    /// Runs this on a thread when there are few enough readers.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Failure> {
        let permit = self.permit().await?;
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        let unreadable = |e: std::io::Error| Failure::new(Code::IoError, format!("the history cannot be read: {e}"));
        done.await.map_err(std::io::Error::other).flatten().map_err(unreadable)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let stopping = |_| Failure::new(Code::Unreachable, "the coordinator is stopping");
        self.readers.clone().acquire_owned().await.map_err(stopping)
    }

    /// Waits until the events so far are in the file of a job that is being recorded. Returns whether it is.
    async fn flush(&self, job: JobId) -> bool {
        if !self.reading.is_live(job) {
            return false;
        }
        let (flushed, waits) = oneshot::channel();
        self.reading.after_flush(move || _ = flushed.send(()));
        // A disk that hangs delays the answer no longer than that.
        let _ = timeout(FLUSH_MAX, waits).await;
        true
    }

    /// The files of a job that has a log.
    async fn files(&self, job: JobId) -> Result<JobFiles, Failure> {
        let files = self.reading.folder().job(job);
        let looked = files.clone();
        let parts = self.read(move || looked.parts()).await?;
        if parts.is_empty() && !self.reading.is_live(job) {
            return Err(Failure::new(Code::JobNotFound, format!("there is no history of {job}")));
        }
        Ok(files)
    }

    /// Sends the lines from `cursor` on. `None`: the client has gone.
    async fn send_lines(
        &self,
        files: &JobFiles,
        cursor: Cursor,
        is_live: bool,
        skip: &mut u64,
        to: &mpsc::Sender<Result<v1::EventLines, Status>>,
    ) -> Result<Option<Cursor>, Failure> {
        let (files, to, runtime) = (files.clone(), to.clone(), Handle::current());
        let mut left = *skip;
        let (read, left) = self
            .read(move || {
                let (mut lines, mut bytes) = (Vec::new(), 0);
                let send =
                    |lines: Vec<String>| lines.is_empty() || runtime.block_on(give(&to, Ok(v1::EventLines { lines })));
                let end = files.read(cursor, is_live, &mut |logged| {
                    if left > 0 {
                        left -= 1;
                        return ControlFlow::Continue(());
                    }
                    bytes += logged.text.len();
                    lines.push(String::from_utf8_lossy(logged.text).into_owned());
                    if bytes < LINES_BYTES {
                        return ControlFlow::Continue(());
                    }
                    bytes = 0;
                    match send(std::mem::take(&mut lines)) {
                        true => ControlFlow::Continue(()),
                        false => ControlFlow::Break(()),
                    }
                })?;
                let end = end.filter(|_| send(lines));
                Ok((end, left))
            })
            .await?;
        *skip = left;
        Ok(read)
    }

    async fn send_events(
        self,
        job: JobId,
        follow: bool,
        mut skip: u64,
        to: mpsc::Sender<Result<v1::EventLines, Status>>,
    ) {
        let sent = async {
            let files = self.files(job).await?;
            let mut cursor = Cursor::default();
            loop {
                // Asked before the read: what was written until the end is read, then.
                let is_live = match follow {
                    true => self.reading.is_live(job),
                    false => self.flush(job).await,
                };
                let Some(next) = self.send_lines(&files, cursor, is_live, &mut skip, &to).await? else { return Ok(()) };
                cursor = next;
                if !follow || !is_live || to.is_closed() {
                    return Ok(());
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        if let Err(failure) = sent.await {
            let _ = give(&to, Err(refuse(failure))).await;
        }
    }
}

#[tonic::async_trait]
impl v1::history_server::History for History {
    type EventsStream = Answers<v1::EventLines>;

    async fn events(&self, request: Request<v1::EventsRequest>) -> Reply<Self::EventsStream> {
        let v1::EventsRequest { id, follow, skip } = request.into_inner();
        let job: JobId = field(id, "id")?;
        let permit = self.followers.clone().try_acquire_owned().map_err(|_| {
            let what = format!("{FOLLOWERS_MAX} calls read logs already");
            refuse(Failure::new(Code::BadRequest, what))
        })?;
        let (send, receive) = mpsc::channel(WAITING_MAX);
        let history = self.clone();
        tokio::spawn(async move {
            let _permit = permit;
            history.send_events(job, follow, skip, send).await;
        });
        Ok(Response::new(ReceiverStream::new(receive)))
    }

    async fn attempts(&self, request: Request<v1::AttemptsRequest>) -> Reply<v1::AttemptsReply> {
        let request = request.into_inner();
        let job: JobId = field(request.id.clone(), "id")?;
        let query = query_of(&request).map_err(refuse)?;
        let is_live = self.flush(job).await;
        let files = self.files(job).await.map_err(refuse)?;
        let now = crate::wall_clock::unix_ms();
        let page = self.read(move || {
            let mut listing = Listing::new(query);
            files.read(Cursor::default(), is_live, &mut |logged| {
                listing.apply(&logged.line);
                ControlFlow::Continue(())
            })?;
            Ok(listing.page(now))
        });
        let page = page.await.map_err(refuse)?;
        let mut bytes = 0;
        let rows = page.rows.iter().map(|row| row.to_json()).take_while(|row| {
            bytes += row.len();
            bytes <= ROWS_BYTES_MAX
        });
        Ok(Response::new(v1::AttemptsReply { rows: rows.collect(), admitted: page.admitted }))
    }

    async fn past_jobs(&self, request: Request<v1::PastJobsRequest>) -> Reply<v1::PastJobsReply> {
        let v1::PastJobsRequest { filter, before } = request.into_inner();
        let mut filter: JobFilter = field(Some(filter.unwrap_or_default()), "filter")?;
        filter.limit = Some(filter.limit.unwrap_or(PAST_MAX).min(PAST_MAX));
        let before = before.map(|id| field(Some(id), "before")).transpose()?;
        let folder = self.reading.folder().clone();
        let found = self.read(move || folder.list(&filter, before, SUMMARIES_MAX)).await.map_err(refuse)?;
        let jobs = found.jobs.into_iter().map(Into::into).collect();
        Ok(Response::new(v1::PastJobsReply { jobs, next: found.next.map(Into::into) }))
    }
}

fn query_of(request: &v1::AttemptsRequest) -> Result<AttemptQuery, Failure> {
    let bad = |what: String| Failure::new(Code::BadRequest, what);
    let states =
        request.states.iter().take(AttemptState::ALL.len() + 1).map(|name| {
            AttemptState::parse(name).ok_or_else(|| bad(format!("`{}` is no state of an attempt", cut(name))))
        });
    let sort =
        Sort::parse(&request.sort).ok_or_else(|| bad(format!("`{}` is no order of attempts", cut(&request.sort))))?;
    let limit = match request.limit {
        0 => AttemptQuery::LIMIT_MAX,
        n => n.min(AttemptQuery::LIMIT_MAX),
    };
    if request.skip > AttemptQuery::WINDOW_MAX - limit {
        let most = AttemptQuery::WINDOW_MAX;
        return Err(bad(format!(
            "only the first {most} attempts of an order can be listed: choose a stage or a state"
        )));
    }
    let stage = request.stage.as_ref();
    Ok(AttemptQuery {
        states: states.collect::<Result<_, _>>()?,
        stage: stage.map(|of| of.stage),
        task: stage.filter(|of| of.one_task).map(|of| of.task),
        sort,
        skip: request.skip,
        limit,
    })
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(text.len().min(40))]
}
