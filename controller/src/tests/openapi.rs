//! The API's description: complete by itself, and true for every response that any test of this
//! crate receives.

use std::{collections::HashSet, sync::LazyLock};

use serde_json::Value;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(crate::schema::openapi()).expect("plain data"));

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Every operation with its path.
fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    paths.iter().flat_map(|(path, item)| {
        METHODS.into_iter().filter_map(move |method| Some((path.as_str(), method, item.get(method)?)))
    })
}

/// Fails unless the description declares this response. Addresses that are not described are not
/// checked.
#[track_caller]
pub fn assert_declared(method: &str, path: &str, status: u16, content_type: Option<&str>) {
    let path = path.split('?').next().unwrap_or_default();
    let Some((template, operation)) = find(&method.to_lowercase(), path) else { return };
    let response = &operation["responses"][status.to_string()];
    assert!(response.is_object(), "{method} {template} answers {status}, which is not declared");
    let declared = response["content"].as_object();
    let media_type = content_type.map(|text| text.split(';').next().unwrap_or_default().trim());
    let is_declared = match (declared, media_type) {
        (None, None) => true,
        (Some(declared), Some(media_type)) => declared.contains_key(media_type),
        _ => false,
    };
    assert!(is_declared, "{method} {template} answers {status} with {content_type:?}, which is not declared");
}

/// The operation for a path; a template with fewer parameters wins.
fn find(method: &str, path: &str) -> Option<(&'static str, &'static Value)> {
    operations()
        .filter(|(template, its_method, _)| *its_method == method && matches(template, path))
        .min_by_key(|(template, _, _)| template.matches('{').count())
        .map(|(template, _, operation)| (template, operation))
}

fn matches(template: &str, path: &str) -> bool {
    template.split('/').count() == path.split('/').count()
        && template
            .split('/')
            .zip(path.split('/'))
            .all(|(part, given)| part.starts_with('{') || part == given)
}

#[test]
fn operation_ids_are_unique_verb_nouns() {
    let mut ids = HashSet::new();
    for (path, method, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap_or_default();
        assert!(ids.insert(id), "{id} is used twice");
        let is_well_formed = id == "sign_in" || id.split('_').count() >= 2;
        let is_plain = id.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
        assert!(is_well_formed && is_plain, "{method} {path}: `{id}` is not verb_noun");
    }
}

#[test]
fn operations_are_described() {
    for (path, method, operation) in operations() {
        let at = format!("{method} {path}");
        let summary = operation["summary"].as_str().unwrap_or_default();
        assert!(!summary.is_empty() && summary.split(' ').count() <= 9, "{at}: summary `{summary}`");
        assert!(!summary.ends_with('.'), "{at}: summary `{summary}`");
        let responses = operation["responses"].as_object().expect("responses");
        let successes = responses.iter().filter(|(status, _)| status.starts_with('2'));
        let described = successes.filter(|(_, response)| response["description"] != "").count();
        assert_eq!(described, 1, "{at}: one described success");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let description = parameter["description"].as_str().unwrap_or_default();
            assert!(!description.is_empty(), "{at}: parameter {} has no description", parameter["name"]);
        }
    }
}

#[test]
fn problem_codes_have_responses() {
    for (path, method, operation) in operations() {
        let codes = operation["x-problem-codes"].as_array().expect("codes");
        assert!(codes.iter().any(|code| code == "internal"), "{method} {path}");
        for code in codes {
            let code: protocol::Code = serde_json::from_value(code.clone()).expect("a code");
            let content = &operation["responses"][code.status().to_string()]["content"];
            assert!(content["application/problem+json"].is_object(), "{method} {path}: {code:?}");
        }
    }
}

#[test]
fn schemas_have_descriptions() {
    let schemas = DOCUMENT["components"]["schemas"].as_object().expect("schemas");
    let bare: Vec<&String> =
        schemas.iter().filter(|(_, schema)| schema["description"].is_null()).map(|(name, _)| name).collect();
    assert!(bare.is_empty(), "without a description: {bare:?}");
}
