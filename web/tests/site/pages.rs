//! What pages and the API show: hostile texts, parts of lists, failures, live updates.

use crate::support::{HOSTILE, Served, failed_job, job_id};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::Ordering;
use windrow_model::{Code, Failure, JobState, JobStatus, PageRole, WorkerState};

fn bearer(served: &Served) -> String {
    format!("Bearer {}", served.token(PageRole::View))
}

const PAGES: [&str; 6] = ["/", "/jobs/{id}", "/jobs/{id}/logs", "/workers", "/datasets", "/settings"];

#[test]
fn hostile_texts_are_inert_on_every_page() {
    let served = Served::new();
    let bearer = bearer(&served);
    for path in PAGES {
        let path = path.replace("{id}", &job_id(1).to_string());
        let page = served.get(&path, &[("Authorization", &bearer)]);
        assert_eq!(page.status, 200, "{path}: {}", page.body);
        let body = page.body.replace("<script type=\"module\" src=\"./static/live.js\"></script>", "");
        let body = body.replace("<script type=\"module\" src=\"../static/live.js\"></script>", "");
        assert!(!body.contains("<script"), "{path}: {body}");
        assert!(body.contains("evil"), "{path} shows the text: {body}");
        let unsafe_char = body.chars().find(|c| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{202e}').contains(c));
        assert_eq!(unsafe_char, None, "{path}");
        // The text does not end an attribute: its quotes are never plain.
        assert!(!body.contains("</script>") && !body.contains("\"'&"), "{path}");
    }
    let unknown = served.get("/jobs/%3Cscript%3Ealert(1)", &[("Authorization", &bearer)]);
    assert_eq!(unknown.status, 404);
    assert!(!unknown.body.contains("<script>"));
    let parameter = served.get("/?name=%22%3E%3Cscript%3E&x", &[("Authorization", &bearer)]);
    assert_eq!(parameter.status, 400);
    let search = served.get("/?name=%22%3E%3Cscript%3E", &[("Authorization", &bearer)]);
    assert!(search.status == 200 && !search.body.contains("<script>"));
}

#[test]
fn page_of_a_failed_job_says_why_and_where() {
    let served = Served::new();
    let mut job = failed_job(2, "reduce");
    job.error.as_mut().unwrap().message = "index 7 is out of bounds".into();
    served.facts.jobs.lock().unwrap().push(job);
    let page = served.get(&format!("/jobs/{}", job_id(2)), &[("Authorization", &bearer(&served))]);
    let id = job_id(2);
    for part in [
        "The job failed with USER_PANIC in stage 0 `reduce`, task 3, attempt 1 on reduce",
        "<code class=\"code\">USER_PANIC</code>",
        "index 7 is out of bounds",
        "look there, and at the record",
        "at byte 77",
        &format!("{id}/logs?stage=0&amp;task=3"),
        "<svg class=\"plan\"",
        "not charged",
        "gets no tasks of this job",
    ] {
        assert!(page.body.contains(part), "no {part} in {}", page.body);
    }
}

#[test]
fn list_has_parts_and_its_url_is_its_state() {
    let served = Served::new();
    let bearer = bearer(&served);
    {
        let mut jobs = served.facts.jobs.lock().unwrap();
        jobs.clear();
        for n in 0..=120 {
            let state = if n % 2 == 0 { JobState::Running } else { JobState::Done };
            jobs.push(JobStatus { name: format!("job {n:03}"), ..JobStatus::new(job_id(n), state) });
        }
    }
    let get = |path: &str| served.get(path, &[("Authorization", &bearer)]).body;
    let first = get("/");
    assert!(first.contains("121 jobs, page 1 of 3") && first.contains("?page=2") && first.contains("job 120"));
    assert!(!first.contains("job 119<"), "running jobs come first");
    let last = get("/?page=3");
    assert!(last.contains("page 3 of 3") && last.contains("?page=2") && !last.contains("?page=4"));
    let some = get("/?state=done&name=job+11&sort=name");
    assert!(some.contains("5 jobs, page 1 of 1"), "{some}");
    assert!(some.contains("name=\"state\" value=\"done\"") && some.contains("name=\"sort\" value=\"name\""));
    assert!(some.contains("state=done&#38;name=job+11&#38;sort=name&#38;reversed=1"), "{some}");
}

#[test]
fn cursors_of_the_api_reach_every_job_once() {
    let served = Served::new();
    let bearer = bearer(&served);
    {
        let mut jobs = served.facts.jobs.lock().unwrap();
        *jobs = (0..=100).map(|n| JobStatus::new(job_id(n), JobState::Done)).collect();
    }
    let (mut seen, mut cursor, mut parts) = (Vec::new(), String::new(), 0);
    loop {
        let reply = served.get(&format!("/api/v1/jobs?limit=30{cursor}"), &[("Authorization", &bearer)]);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let part: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(part["total"], 101);
        seen.extend(part["jobs"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_string()));
        parts += 1;
        match part["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((seen.len(), parts), (101, 4));
    assert!(seen.is_sorted_by(|a, b| a > b));
}

#[test]
fn api_answers_with_the_views_of_the_command_line() {
    let served = Served::new();
    let bearer = bearer(&served);
    let json = |path: &str| -> Value {
        let reply = served.get(path, &[("Authorization", &bearer)]);
        assert_eq!(reply.status, 200, "{path}");
        serde_json::from_str(&reply.body).unwrap()
    };
    let job = json(&format!("/api/v1/jobs/{}", job_id(1)));
    assert_eq!((&job["state"], &job["error"]["code"]), (&"failed".into(), &"USER_PANIC".into()));
    assert_eq!(job["name"], HOSTILE, "JSON has escapes of its own");
    assert!(job["sentence"].as_str().unwrap().starts_with("The job failed with USER_PANIC"));
    assert_eq!(job["plan"][1]["from"], serde_json::json!([0]));
    let workers = json("/api/v1/workers");
    assert_eq!((&workers["workers"][0]["slots"], &workers["workers"][0]["silent_ms"]), (&4.into(), &700.into()));
    assert_eq!(json("/api/v1/datasets")["datasets"][0]["state"], "degraded");
    let logs = json(&format!("/api/v1/jobs/{}/logs?stage=1", job_id(1)));
    assert_eq!(logs["logs"].as_array().unwrap().len(), 1);
    assert!(logs["logs"][0]["text"].as_str().unwrap().starts_with("out of stage 1\n"));
    let missing = served.get(&format!("/api/v1/jobs/{}", job_id(7)), &[("Authorization", &bearer)]);
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("JOB_NOT_FOUND"));
}

#[test]
fn process_that_does_not_answer_is_a_clear_error() {
    let served = Served::new();
    let bearer = bearer(&served);
    assert_eq!(served.get("/readyz", &[]).status, 200);
    served.facts.silent.store(true, Ordering::Relaxed);
    let reply = served.get("/api/v1/workers", &[("Authorization", &bearer)]);
    assert_eq!(reply.status, 504);
    assert!(reply.body.contains("DEADLINE_EXCEEDED"), "{}", reply.body);
    assert_eq!(served.get("/readyz", &[]).status, 503);
    assert_eq!(served.get("/healthz", &[]).status, 200);
}

#[test]
fn stream_sends_patches_until_the_job_has_ended() {
    let served = Served::new();
    let running = JobStatus { name: "first".into(), ..JobStatus::new(job_id(3), JobState::Running) };
    served.facts.jobs.lock().unwrap().push(running);
    let bearer = bearer(&served);
    let mut stream = served.connect();
    let request = format!(
        "GET /jobs/{} HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n",
        job_id(3),
        served.addr
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.unwrap());
    assert!(lines.next().unwrap().contains("200"));
    lines.find(|line| line == "event: patch").unwrap();
    lines.find(|line| line.contains("first")).unwrap();
    let mut jobs = served.facts.jobs.lock().unwrap();
    let job = jobs.iter_mut().find(|job| job.id == job_id(3)).unwrap();
    (job.name, job.state) = ("second".into(), JobState::Done);
    drop(jobs);
    lines.find(|line| line.contains("second")).unwrap();
    lines.find(|line| line == "event: end").unwrap();
    assert!(lines.all(|line| line.starts_with("data:") || line.is_empty() || line == "0"), "the stream is over");
}

#[test]
fn cancelled_job_is_not_shown_as_failed() {
    let served = Served::new();
    let bearer = bearer(&served);
    {
        let mut jobs = served.facts.jobs.lock().unwrap();
        let job = failed_job(2, "reduce");
        let error = Some(Failure::new(Code::Cancelled, "the job was cancelled"));
        *jobs = vec![JobStatus { state: JobState::Cancelled, error, waiting: None, ..job }];
    }
    let page = served.get(&format!("/jobs/{}", job_id(2)), &[("Authorization", &bearer)]).body;
    assert!(page.contains("The job was cancelled after") && !page.contains("Why it failed"), "{page}");
    let list = served.get("/", &[("Authorization", &bearer)]).body;
    assert!(list.contains("state cancelled") && !list.contains("CANCELLED"), "{list}");
}

#[test]
fn input_of_a_job_is_what_its_sources_have() {
    let served = Served::new();
    let page = served.get(&format!("/jobs/{}", job_id(1)), &[("Authorization", &bearer(&served))]).body;
    let (head, _) = page.split_once("</section>").unwrap();
    assert!(head.contains("15 B of 40 B"), "{head}");
}

#[test]
fn headings_name_the_order_of_the_rows() {
    let served = Served::new();
    let bearer = bearer(&served);
    for (sort, order, reversed) in [
        ("name", "ascending", "descending"),
        ("state", "ascending", "descending"),
        ("elapsed", "descending", "ascending"),
        ("submitted", "descending", "ascending"),
        ("tasks", "descending", "ascending"),
        ("failed", "descending", "ascending"),
    ] {
        for (query, order) in [(format!("/?sort={sort}"), order), (format!("/?sort={sort}&reversed=1"), reversed)] {
            let body = served.get(&query, &[("Authorization", &bearer)]).body;
            let named: Vec<&str> =
                body.split("aria-sort=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
            let chosen: Vec<&&str> = named.iter().filter(|order| **order != "none").collect();
            assert_eq!(chosen, [&order], "{query}");
        }
    }
}

#[test]
fn names_that_cannot_be_seen_or_are_long_have_a_short_link() {
    let served = Served::new();
    let bearer = bearer(&served);
    let long = "n".repeat(300);
    *served.facts.jobs.lock().unwrap() = vec![failed_job(1, " \u{200b}\u{3164}"), failed_job(2, &long)];
    let list = served.get("/", &[("Authorization", &bearer)]).body;
    assert!(list.contains(&format!("<a href=\"jobs/{}\">(no name)</a>", job_id(1))), "{list}");
    let link = format!("<a href=\"jobs/{}\" title=\"{long}\">{}…</a>", job_id(2), "n".repeat(80));
    assert!(list.contains(&link), "{list}");
    // The message of its failure is as long.
    assert!(list.contains(&format!("USER_PANIC: {}…<", "n".repeat(160))), "{list}");
    for (n, shown) in [(1, "<h1>(no name) "), (2, "n… <span class=\"state failed\">")] {
        let page = served.get(&format!("/jobs/{}", job_id(n)), &[("Authorization", &bearer)]).body;
        assert!(page.contains(shown), "{page}");
    }
}

#[test]
fn workers_that_drain_are_named() {
    let served = Served::new();
    {
        let mut workers = served.facts.workers.lock().unwrap();
        (workers[0].status.state, workers[0].status.host) = (WorkerState::Draining, "node-7".into());
    }
    let page = served.get("/workers", &[("Authorization", &bearer(&served))]).body;
    assert!(page.contains("0 of 1 worker live; 0 of 0 slots busy; draining, with 1 task left: node-7."), "{page}");
}

#[test]
fn stream_says_that_an_unchanged_page_is_the_present_one() {
    let served = Served::new();
    let bearer = bearer(&served);
    let mut stream = served.connect();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {}\r\nAuthorization: {bearer}\r\nAccept: text/event-stream\r\n\r\n",
        served.addr
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut lines = BufReader::new(stream).lines().map(|line| line.unwrap());
    lines.find(|line| line == "event: patch").unwrap();
    let next = lines.find(|line| line.starts_with("event: ")).unwrap();
    assert_eq!(next, "event: alive");
}
