//! `openapi.json` and the server agree: the same routes, the same fields with the same types in every answer, and the
//! parameters that it lists are the ones that are accepted.

use crate::support::{Served, job_id, worker_id};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use windrow_model::PageRole;
use windrow_web::{Form, ROUTES};

fn document() -> Value {
    serde_json::from_str(include_str!("../../openapi.json")).unwrap()
}

/// The part of JSON Schema that the document uses. Anything else is an error, so that no rule is ignored.
fn check(schema: &Value, value: &Value, document: &Value, at: &str) {
    if let Some(name) = schema.get("$ref") {
        let path = name.as_str().unwrap().strip_prefix('#').unwrap();
        return check(document.pointer(path).unwrap_or_else(|| panic!("{path}")), value, document, at);
    }
    let known = ["type", "description", "properties", "required", "additionalProperties", "items", "enum"];
    let rules = schema.as_object().unwrap();
    assert!(rules.keys().all(|rule| known.contains(&rule.as_str())), "{at}: {rules:?}");
    let types: Vec<&str> = match &rules["type"] {
        Value::Array(types) => types.iter().map(|name| name.as_str().unwrap()).collect(),
        name => vec![name.as_str().unwrap()],
    };
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    assert!(types.contains(&found), "{at} is {found}, not {types:?}");
    if let Some(values) = rules.get("enum") {
        assert!(values.as_array().unwrap().contains(value), "{at}: {value}");
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| check(&rules["items"], item, document, &format!("{at}[]"))),
        Value::Object(fields) => check_fields(rules, fields, document, at),
        _ => {}
    }
}

fn check_fields(rules: &Map<String, Value>, fields: &Map<String, Value>, document: &Value, at: &str) {
    let empty = Map::new();
    let properties = rules.get("properties").map_or(&empty, |properties| properties.as_object().unwrap());
    for name in rules.get("required").map_or(&[][..], |names| names.as_array().unwrap()) {
        assert!(fields.contains_key(name.as_str().unwrap()), "{at} has no {name}");
    }
    for (name, field) in fields {
        let at = format!("{at}.{name}");
        match (properties.get(name), &rules["additionalProperties"]) {
            (Some(schema), _) => check(schema, field, document, &at),
            (None, Value::Bool(_)) => panic!("{at} is not in the document"),
            (None, schema) => check(schema, field, document, &at),
        }
    }
}

#[test]
fn document_has_every_route_of_the_api() {
    let document = document();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        described.extend(methods.as_object().unwrap().keys().map(|method| (method.clone(), path.clone())));
    }
    let api = ROUTES.iter().filter(|route| route.form == Form::Json);
    let served: BTreeSet<_> =
        api.map(|route| (if route.changes { "post" } else { "get" }.to_string(), route.path.to_string())).collect();
    assert_eq!(described, served);
}

#[test]
fn answers_have_the_fields_of_the_document() {
    let (served, document) = (Served::new(), document());
    let steer = format!("Bearer {}", served.token(PageRole::Steer));
    let mut checked = 0;
    for route in ROUTES.iter().filter(|route| route.form == Form::Json) {
        let (method, request) = if route.changes { ("post", "POST") } else { ("get", "GET") };
        let described = &document["paths"][route.path][method];
        let known = if route.path.contains("/workers/") { worker_id().to_string() } else { job_id(1).to_string() };
        let unknown = route.path.replace("{id}", &job_id(200).to_string());
        let known = route.path.replace("{id}", &known);
        let wrong = format!("{known}?nothing=1");
        for (path, authorised) in [(&known, true), (&unknown, true), (&known, false), (&wrong, true)] {
            let headers: Vec<(&str, &str)> =
                authorised.then_some(("Authorization", steer.as_str())).into_iter().collect();
            let reply = served.request(request, path, &headers, "");
            let answer = &described["responses"][reply.status.to_string()];
            let schema = &answer["content"]["application/json"]["schema"];
            assert!(schema.is_object(), "{method} {path}: the status {} is not in the document", reply.status);
            let value = serde_json::from_str(&reply.body).unwrap();
            check(schema, &value, &document, &format!("{method} {path} {}", reply.status));
            checked += 1;
        }
    }
    assert_eq!(checked, 4 * 7);
}

#[test]
fn parameters_of_the_document_are_accepted() {
    let (served, document) = (Served::new(), document());
    let view = format!("Bearer {}", served.token(PageRole::View));
    let mut tried = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for parameter in methods["get"]["parameters"].as_array().into_iter().flatten() {
            if parameter["in"] != "query" {
                continue;
            }
            let value = match (parameter["name"].as_str().unwrap(), parameter["schema"]["type"].as_str().unwrap()) {
                ("cursor", _) => job_id(9).to_string(),
                ("state", _) => "active".to_string(),
                (_, "integer") => "1".to_string(),
                _ => "text".to_string(),
            };
            let path = path.replace("{id}", &job_id(1).to_string());
            let path = format!("{path}?{}={value}", parameter["name"].as_str().unwrap());
            assert_eq!(served.get(&path, &[("Authorization", &view)]).status, 200, "{path}");
            tried += 1;
        }
    }
    assert_eq!(tried, 8);
}
