//! What the API descriptions of controller and agent share: the error responses that every
//! operation has because of how requests are read, authenticated and relayed. Pure; each part
//! describes its own routes.
//!
//! An operation names the codes of its own in the extension `x-problem-codes`, or declares a response
//! whose description starts each code with its name: "`not_found`: no such terminal".
//! [`describe_problems`] adds the common ones, declares one response for each status and lists all codes
//! in the extension.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use utoipa::openapi::{
    ContentBuilder, OpenApi, Ref, RefOr, Response, ResponseBuilder,
    extensions::Extensions,
    path::{Operation, ParameterIn, PathItem},
};

use crate::{Code, Problem, api::auth::TokenScope, problem::CONTENT_TYPE};

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
            let declared = operation.responses.responses.remove(&status.to_string());
            let mut response = problem_response(&codes, declared.as_ref());
            if method == "HEAD" {
                response.content.clear();
            }
            operation.responses.responses.insert(status.to_string(), RefOr::T(response));
        }
        let names: Vec<String> = codes.iter().map(|code| code.as_str().to_owned()).collect();
        operation
            .extensions
            .get_or_insert_with(Extensions::default)
            .insert(CODES_EXTENSION.to_owned(), json!(names));
    }
}

/// The extension with the least scope of a token for an operation: `read`, `workspaces` or `admin`. `none`
/// means that no token may do it. Operations that need no session have none.
pub const SCOPE_EXTENSION: &str = "x-token-scope";

/// Describes which tokens may do an operation. `scope`: the least one, or None if no token may.
pub fn describe_scope(operation: &mut Operation, scope: Option<TokenScope>) {
    let name = scope.map_or("none", TokenScope::as_str);
    let text = match scope {
        Some(scope) => format!("Token scope: `{}`.", scope.as_str()),
        None => "No token may do this, only a session of a browser.".to_owned(),
    };
    let description = operation.description.take().filter(|text| !text.is_empty());
    operation.description = Some(description.map_or(text.clone(), |before| format!("{before}\n\n{text}")));
    operation
        .extensions
        .get_or_insert_with(Extensions::default)
        .insert(SCOPE_EXTENSION.to_owned(), json!(name));
}

/// Every operation with its path and its method in capitals.
pub fn operations(document: &mut OpenApi) -> impl Iterator<Item = (&str, &'static str, &mut Operation)> {
    document.paths.paths.iter_mut().flat_map(|(path, item)| {
        let PathItem { get, head, post, put, patch, delete, .. } = item;
        [("GET", get), ("HEAD", head), ("POST", post), ("PUT", put), ("PATCH", patch), ("DELETE", delete)]
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
    if !matches!(method, "GET" | "HEAD") {
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
    let names = listed.and_then(Value::as_array).into_iter().flatten().cloned();
    let described = operation.responses.responses.values().flat_map(|response| match response {
        RefOr::T(response) => described_codes(&response.description),
        RefOr::Ref(_) => vec![],
    });
    names
        .chain(described.into_iter().map(Value::from))
        .map(|name| {
            serde_json::from_value(name.clone()).unwrap_or_else(|_| panic!("no such problem code: {name}"))
        })
        .collect()
}

/// The names in "`not_found`: no such file. `conflict`: …".
fn described_codes(description: &str) -> Vec<&str> {
    let parts: Vec<&str> = description.split('`').collect();
    parts.windows(2).skip(1).step_by(2).filter(|pair| pair[1].starts_with(':')).map(|pair| pair[0]).collect()
}

fn by_status(codes: &BTreeSet<Code>) -> BTreeMap<u16, Vec<Code>> {
    let mut statuses: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in codes {
        statuses.entry(code.status()).or_default().push(*code);
    }
    statuses
}

/// The response of one status: the operation's own description, then each code that it does not
/// explain with its title. The first code is the example.
fn problem_response(codes: &[Code], declared: Option<&RefOr<Response>>) -> Response {
    let own = match declared {
        Some(RefOr::T(response)) => response.description.as_str(),
        _ => "",
    };
    let explained = described_codes(own);
    let titles = codes
        .iter()
        .filter(|code| !explained.contains(&code.as_str()))
        .map(|code| format!("`{}`: {}", code.as_str(), code.title()));
    let lines: Vec<String> =
        std::iter::once(own.to_owned()).filter(|own| !own.is_empty()).chain(titles).collect();
    let mut example = Problem::new(codes[0], format!("{}.", codes[0].title()));
    "0197a3c2-8d4e-7f00-b1c2-3d4e5f607182".clone_into(&mut example.request_id);
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .example(Some(json!(example)))
        .build();
    ResponseBuilder::new().description(lines.join("\n\n")).content(CONTENT_TYPE, content).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn described_codes_are_names_before_colons() {
        for (description, names) in [
            ("`not_found`: no such `x`. `conflict`: it exists.", vec!["not_found", "conflict"]),
            ("The range is not in the file. `Content-Range` has its size.", vec![]),
            ("`invalid`: the path contains `..`.", vec!["invalid"]),
            ("", vec![]),
        ] {
            assert_eq!(described_codes(description), names, "{description}");
        }
    }

    #[test]
    fn response_keeps_the_declared_description() {
        let declared = RefOr::T(Response::new("`conflict`: the path exists."));
        let response = problem_response(&[Code::Conflict, Code::NotRunning], Some(&declared));
        assert_eq!(
            response.description,
            "`conflict`: the path exists.\n\n`not_running`: The workspace is not running"
        );
        assert!(response.content.contains_key(CONTENT_TYPE));
    }
}
