//! What the API descriptions of controller and agent share: the error responses that every
//! operation has because of how requests are read, authenticated and relayed. Pure; each part
//! describes its own routes.
//!
//! An operation names the codes of its own in the extension `x-problem-codes`.
//! [`describe_problems`] adds the common ones, keeps the whole list in the extension and declares
//! one response for each status.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use utoipa::openapi::{
    ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder,
    extensions::Extensions,
    path::{Operation, ParameterIn, PathItem},
};

use crate::{Code, Problem, problem::CONTENT_TYPE};

/// The extension that lists the codes of an operation's errors.
pub const CODES_EXTENSION: &str = "x-problem-codes";

/// Errors of any request: the controller, the database or the runner may fail or be slow, and a
/// body may be cut short.
const ALWAYS: [Code; 4] = [Code::BadRequest, Code::Internal, Code::Unavailable, Code::Timeout];

/// Declares every error response of every operation.
///
/// # Panics
/// If an operation names a code that does not exist.
pub fn describe_problems(document: &mut OpenApi) {
    for (_, method, operation) in operations(document) {
        let codes = problem_codes(method, operation);
        for (status, codes) in by_status(&codes) {
            let response = problem_response(&codes);
            operation.responses.responses.insert(status.to_string(), RefOr::T(response));
        }
        let names: Vec<String> = codes.iter().map(|code| code.as_str().to_owned()).collect();
        operation
            .extensions
            .get_or_insert_with(Extensions::default)
            .insert(CODES_EXTENSION.to_owned(), json!(names));
    }
}

/// Every operation with its path and its method in capitals.
pub fn operations(document: &mut OpenApi) -> impl Iterator<Item = (&str, &'static str, &mut Operation)> {
    document.paths.paths.iter_mut().flat_map(|(path, item)| {
        let PathItem { get, post, put, patch, delete, .. } = item;
        [("GET", get), ("POST", post), ("PUT", put), ("PATCH", patch), ("DELETE", delete)]
            .into_iter()
            .filter_map(|(method, operation)| Some((path.as_str(), method, operation.as_mut()?)))
    })
}

/// The operation's own codes and those that follow from its shape.
fn problem_codes(method: &str, operation: &Operation) -> BTreeSet<Code> {
    let mut codes = own_codes(operation);
    codes.extend(ALWAYS);
    let needs_session = operation.security.as_ref().is_none_or(|security| !security.is_empty());
    if needs_session {
        codes.extend([Code::Unauthenticated, Code::Forbidden]);
    }
    if method != "GET" {
        codes.insert(Code::ForeignOrigin);
    }
    if operation.request_body.is_some() {
        codes.extend([Code::TooLarge, Code::Invalid]);
    }
    for parameter in operation.parameters.iter().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        match parameter.parameter_in {
            ParameterIn::Path => codes.insert(Code::NotFound),
            ParameterIn::Query | ParameterIn::QueryString => codes.insert(Code::Invalid),
            ParameterIn::Header | ParameterIn::Cookie => false,
        };
    }
    codes
}

fn own_codes(operation: &Operation) -> BTreeSet<Code> {
    let listed = operation.extensions.as_ref().and_then(|extensions| extensions.get(CODES_EXTENSION));
    let names = listed.and_then(Value::as_array).into_iter().flatten();
    names
        .map(|name| {
            serde_json::from_value(name.clone()).unwrap_or_else(|_| panic!("no such problem code: {name}"))
        })
        .collect()
}

fn by_status(codes: &BTreeSet<Code>) -> BTreeMap<u16, Vec<Code>> {
    let mut statuses: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        statuses.entry(code.status()).or_default().push(*code);
    }
    statuses
}

/// The description of one status: each code with its title, and the first as an example.
fn problem_response(codes: &[Code]) -> Response {
    let lines: Vec<String> =
        codes.iter().map(|code| format!("`{}`: {}", code.as_str(), code.title())).collect();
    let mut example = Problem::new(codes[0], format!("{}.", codes[0].title()));
    "0197a3c2-8d4e-7f00-b1c2-3d4e5f607182".clone_into(&mut example.request_id);
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .example(Some(json!(example)))
        .build();
    ResponseBuilder::new().description(lines.join("\n\n")).content(CONTENT_TYPE, content).build()
}
