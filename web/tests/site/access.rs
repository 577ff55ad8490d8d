//! Who may do what: every route against its row of the table, codes, sessions, hosts and forms.

use crate::support::{Reply, Served, job_id, worker_id};
use std::io::{Read, Write};
use windrow_model::{JobState, PageRole};
use windrow_web::{Form, Need, ROUTES, Route};

fn path(route: &Route) -> String {
    let id = if route.path.contains("/workers/") { worker_id().to_string() } else { job_id(1).to_string() };
    route.path.replace("{id}", &id)
}

/// The status of a request of this route with an optional token.
fn status(served: &Served, route: &Route, token: Option<&str>) -> u16 {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> = authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
    let method = if route.changes { "POST" } else { "GET" };
    served.request(method, &path(route), &headers, "").status
}

#[test]
fn every_route_admits_those_in_its_row_alone() {
    let served = Served::new();
    // A job that can be cancelled.
    served.facts.jobs.lock().unwrap()[0].state = JobState::Running;
    let (view, steer) = (served.token(PageRole::View), served.token(PageRole::Steer));
    let mut refused = 0;
    for route in ROUTES {
        let answered = |token| {
            let status = status(&served, route, token);
            match status {
                401 | 403 => false,
                200 | 202 | 303 => true,
                other => panic!("{} answers with {other}", route.path),
            }
        };
        let all = [
            answered(None),
            answered(Some("wdp_0123456789abcdef0123456789abcdef")),
            answered(Some(&view)),
            answered(Some(&steer)),
        ];
        let expected = match route.need {
            // A sign-in needs a code instead.
            Need::Nothing if route.path == "/signin" => [false; 4],
            Need::Nothing => [true; 4],
            Need::Role(PageRole::View) => [false, false, true, true],
            Need::Role(PageRole::Steer) => [false, false, false, true],
        };
        assert_eq!(all, expected, "{}", route.path);
        refused += all.iter().filter(|answered| !**answered).count();
    }
    assert!(refused >= 40, "{refused}");
    assert_eq!(served.facts.cancelled.lock().unwrap().len(), 2);
    assert_eq!(served.facts.drained.lock().unwrap().len(), 2);
}

#[test]
fn routes_that_change_are_no_gets_and_the_reverse() {
    let served = Served::new();
    let steer = format!("Bearer {}", served.token(PageRole::Steer));
    for route in ROUTES {
        let method = if route.changes { "GET" } else { "POST" };
        let reply = served.request(method, &path(route), &[("Authorization", &steer)], "");
        assert_eq!(reply.status, 405, "{method} {}", route.path);
    }
    assert!(served.facts.cancelled.lock().unwrap().is_empty());
}

#[test]
fn refusals_have_the_form_of_their_route() {
    let served = Served::new();
    for route in ROUTES.iter().filter(|route| route.need != Need::Nothing) {
        let method = if route.changes { "POST" } else { "GET" };
        let reply = served.request(method, &path(route), &[], "");
        assert_eq!(reply.status, 401);
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        match route.form {
            Form::Html => assert!(reply.body.contains("windrow dashboard"), "{}", reply.body),
            Form::Json => assert!(reply.body.contains("\"code\":\"UNAUTHORISED\""), "{}", reply.body),
            Form::Plain => assert!(reply.body.contains("UNAUTHORISED"), "{}", reply.body),
        }
    }
    assert_eq!(served.get("/nothing", &[]).status, 404);
    assert!(served.get("/api/v1/nothing", &[]).body.starts_with('{'));
}

#[test]
fn every_answer_has_the_headers_that_bind_browsers() {
    let served = Served::new();
    let evil = [("Host", "evil.example")];
    for reply in [served.get("/", &[]), served.get("/healthz", &[]), served.get("/none", &[]), served.get("/", &evil)] {
        let policy = reply.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
}

#[test]
fn code_signs_in_once_and_a_head_does_not_use_it() {
    let served = Served::new();
    let url = served.page.sign_in_url(PageRole::View).unwrap();
    let path = format!("/{}", url.splitn(4, '/').nth(3).unwrap());
    assert_eq!(served.request("HEAD", &path, &[], "").status, 405);
    let reply = served.get(&path, &[]);
    assert_eq!((reply.status, reply.header("location")), (303, Some("./")));
    let cookie = reply.header("set-cookie").unwrap();
    for part in ["HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!reply.body.contains("code="));
    let again = served.get(&path, &[]);
    assert_eq!(again.status, 401);
    assert!(again.header("set-cookie").is_none() && again.body.contains("has been used"));
}

#[test]
fn session_ends_with_its_sign_out() {
    let served = Served::new();
    let cookie = served.session(PageRole::View);
    let page = served.get("/", &[("Cookie", &cookie)]);
    assert_eq!(page.status, 200);
    let (origin, form) = (served.origin(), format!("key={}", page.form_key()));
    let out = served.post("/signout", &[("Cookie", &cookie), ("Origin", &origin)], &form);
    assert_eq!(out.status, 303);
    assert_eq!(served.get("/", &[("Cookie", &cookie)]).status, 401);
}

#[test]
fn forms_of_other_pages_change_nothing() {
    let served = Served::new();
    let cookie = served.session(PageRole::Steer);
    let page = served.get("/workers", &[("Cookie", &cookie)]);
    let (origin, key) = (served.origin(), format!("key={}", page.form_key()));
    let target = format!("/workers/{}/drain", worker_id());
    let other_port = format!("http://127.0.0.1:{}", served.addr.port().wrapping_add(1));
    for (headers, body) in [
        (vec![("Origin", "https://evil.example")], key.as_str()),
        (vec![("Origin", "null")], &key),
        (vec![("Origin", other_port.as_str())], &key),
        (vec![("Sec-Fetch-Site", "same-site")], &key),
        (vec![], &key),
        (vec![("Origin", origin.as_str())], ""),
        (vec![("Origin", origin.as_str())], "key=0123456789abcdef0123456789abcdef"),
    ] {
        let headers: Vec<_> = headers.into_iter().chain([("Cookie", cookie.as_str())]).collect();
        assert_eq!(served.post(&target, &headers, body).status, 403, "{headers:?} {body}");
    }
    assert!(served.facts.drained.lock().unwrap().is_empty());
    let done = served.post(&target, &[("Cookie", &cookie), ("Origin", &origin)], &key);
    assert_eq!((done.status, done.header("location")), (303, Some("../../workers")));
    assert_eq!(*served.facts.drained.lock().unwrap(), [worker_id()]);
}

#[test]
fn session_that_may_only_look_gets_no_forms_that_steer() {
    let served = Served::new();
    let cookie = served.session(PageRole::View);
    for path in ["/workers".to_string(), format!("/jobs/{}", job_id(1))] {
        let page = served.get(&path, &[("Cookie", &cookie)]);
        assert!(!page.body.contains("/drain") && !page.body.contains("/cancel"), "{}", page.body);
    }
    let key = format!("key={}", served.get("/", &[("Cookie", &cookie)]).form_key());
    let headers = [("Cookie", cookie.as_str()), ("Origin", &served.origin())];
    assert_eq!(served.post(&format!("/workers/{}/drain", worker_id()), &headers, &key).status, 403);
}

#[test]
fn revoked_token_is_refused_at_once() {
    let served = Served::new();
    let (secret, token) = served.page.keys().issue(PageRole::View, "scraper", 60_000).unwrap();
    let bearer = format!("Bearer {}", secret.as_str());
    assert_eq!(served.get("/api/v1/workers", &[("Authorization", &bearer)]).status, 200);
    served.page.keys().revoke(&token.id).unwrap();
    assert_eq!(served.get("/api/v1/workers", &[("Authorization", &bearer)]).status, 401);
    // A valid session does not make a wrong token good.
    let cookie = served.session(PageRole::Steer);
    assert_eq!(served.get("/", &[("Authorization", &bearer), ("Cookie", &cookie)]).status, 401);
}

#[test]
fn rebound_names_are_refused_before_any_key_is_looked_at() {
    let served = Served::new();
    let bearer = format!("Bearer {}", served.token(PageRole::Steer));
    for host in ["evil.example", &format!("evil.example:{}", served.addr.port()), "127.0.0.1:1", ""] {
        for path in ["/", "/healthz", "/api/v1/jobs", "/signin?code=x"] {
            let reply = served.get(path, &[("Host", host), ("Authorization", &bearer)]);
            assert_eq!(reply.status, 421, "{host} {path}");
            assert!(reply.body.contains("--ui-host"));
        }
    }
    let proxied = Served::with("", &["dash.example.com"]);
    let bearer = format!("Bearer {}", proxied.token(PageRole::View));
    assert_eq!(proxied.get("/", &[("Host", "dash.example.com"), ("Authorization", &bearer)]).status, 200);
}

#[test]
fn page_works_below_a_path_with_and_without_it() {
    let served = Served::with("/windrow", &[]);
    let url = served.page.sign_in_url(PageRole::View).unwrap();
    assert!(url.contains("/windrow/signin?code="), "{url}");
    let cookie = served.get(&format!("/{}", url.splitn(4, '/').nth(3).unwrap()), &[]);
    let cookie = cookie.header("set-cookie").unwrap();
    assert!(cookie.contains("Path=/windrow/;"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap();
    for path in ["/windrow/", "/", "/windrow/workers", "/workers"] {
        let page = served.get(path, &[("Cookie", cookie)]);
        assert_eq!(page.status, 200, "{path}");
        // Every link is relative: a proxy may put the page anywhere.
        for link in page.body.split("href=\"").chain(page.body.split("action=\"")).skip(1) {
            assert!(!link.starts_with('/') && !link.starts_with("http"), "{}", &link[..40]);
        }
    }
    assert_eq!(served.get("/windrow", &[]).header("location"), Some("/windrow/"));
}

#[test]
fn origin_is_that_of_the_request_itself() {
    let served = Served::with("", &["dash.example.com"]);
    let cookie = served.session(PageRole::Steer);
    let key = format!("key={}", served.get("/workers", &[("Cookie", &cookie)]).form_key());
    let target = format!("/workers/{}/drain", worker_id());
    let (own, port) = (served.origin(), served.addr.port());
    let status = |origins: &[&str]| {
        let origins = origins.iter().map(|origin| ("Origin", *origin));
        let headers: Vec<_> = [("Cookie", cookie.as_str())].into_iter().chain(origins).collect();
        served.post(&target, &headers, &key).status
    };
    // Another name of this page, and another scheme.
    assert_eq!(status(&[&format!("http://localhost:{port}")]), 403);
    assert_eq!(status(&[&format!("https://127.0.0.1:{port}")]), 403);
    assert_eq!(status(&[&own, &own]), 400);
    assert!(served.facts.drained.lock().unwrap().is_empty());
    assert_eq!(status(&[&own]), 303);
    assert_eq!(status(&["https://dash.example.com"]), 303, "a proxy that the operator named");
}

#[test]
fn origin_that_is_not_text_is_a_foreign_one() {
    let served = Served::new();
    let cookie = served.session(PageRole::Steer);
    let key = format!("key={}", served.get("/workers", &[("Cookie", &cookie)]).form_key());
    let send = |origin: &[u8]| {
        let head = format!(
            "POST /workers/{}/drain HTTP/1.1\r\nHost: {}\r\nCookie: {cookie}\r\nConnection: close\r\n\
             Sec-Fetch-Site: same-origin\r\nContent-Length: {}\r\n",
            worker_id(),
            served.addr,
            key.len()
        );
        let mut stream = served.connect();
        stream.write_all(&[head.as_bytes(), origin, b"\r\n", key.as_bytes()].concat()).unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Reply::parse(&bytes).status
    };
    assert_eq!(send(b"Origin: http://ev\xffil\r\n"), 403);
    assert_eq!(send(b""), 303);
}

#[test]
fn request_for_two_hosts_is_refused() {
    let served = Served::new();
    let own = served.addr.to_string();
    for hosts in [[own.as_str(), "evil.example"], ["evil.example", &own], [&own, &own]] {
        let reply = served.get("/api/v1/jobs", &hosts.map(|host| ("Host", host)));
        assert_eq!(reply.status, 400, "{hosts:?}");
        assert!(reply.body.contains("\"code\":\"BAD_REQUEST\""), "{}", reply.body);
    }
}

#[test]
fn cookie_of_another_path_does_not_hide_a_session() {
    let served = Served::new();
    let cookie = served.session(PageRole::View);
    let (name, _) = cookie.split_once('=').unwrap();
    for cookies in [format!("{name}=x; {cookie}"), format!("{cookie}; {name}=x")] {
        assert_eq!(served.get("/", &[("Cookie", &cookies)]).status, 200, "{cookies}");
    }
    assert_eq!(served.get("/", &[("Cookie", &format!("{name}=x"))]).status, 401);
}

#[test]
fn scheme_of_a_token_may_have_any_case() {
    let served = Served::new();
    let token = served.token(PageRole::View);
    for (scheme, status) in [("bearer", 200), ("BEARER", 200), ("Basic", 401)] {
        let reply = served.get("/api/v1/jobs", &[("Authorization", &format!("{scheme} {token}"))]);
        assert_eq!(reply.status, status, "{scheme}");
    }
}

#[test]
fn id_that_is_not_text_is_refused_after_the_key() {
    let served = Served::new();
    let bearer = format!("Bearer {}", served.token(PageRole::View));
    for (path, begin) in [("/jobs/%ff", "<!doctype html>"), ("/api/v1/jobs/%ff", "{")] {
        let without = served.get(path, &[]);
        assert!(without.status == 401 && without.body.starts_with(begin), "{} {}", without.status, without.body);
        let with = served.get(path, &[("Authorization", &bearer)]);
        assert!(with.status == 404 && with.body.starts_with(begin), "{} {}", with.status, with.body);
    }
}

#[test]
fn ended_job_cannot_be_cancelled() {
    let served = Served::new();
    let steer = format!("Bearer {}", served.token(PageRole::Steer));
    for path in [format!("/jobs/{}/cancel", job_id(1)), format!("/api/v1/jobs/{}/cancel", job_id(1))] {
        let reply = served.post(&path, &[("Authorization", &steer)], "");
        assert_eq!(reply.status, 409, "{path}");
        assert!(reply.body.contains("the job has ended already"), "{}", reply.body);
    }
    assert!(served.facts.cancelled.lock().unwrap().is_empty());
}
