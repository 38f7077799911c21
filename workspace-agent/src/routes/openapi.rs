//! The OpenAPI description of the routes that clients reach through the gateway.
//!
//! The executable of the agent never calls [`openapi`], so the linker leaves the whole description
//! out of it: the agent is loaded into every guest at boot and has to stay small. This is also why
//! the router is a plain table instead of `utoipa_axum`'s, which builds the description whenever it
//! builds routes. A test compares the table with the description.

use protocol::{
    Code, Problem, WorkspaceId,
    agent::Route,
    api::auth::TokenScope,
    document::DocumentEvent,
    exec::{ExecEnd, ExecRequest},
    files::{DirectoryChanges, WatchRequest},
    git::{GitWatchRequest, RepositoryChanged},
    languages::{LanguageEvent, LanguageWatchRequest},
    openapi::{CODES_EXTENSION, describe_problems, describe_scope, operations},
    ports::PortList,
    terminal::{AttachInfo, ExitStatus},
};
use utoipa::{
    OpenApi, PartialSchema as _,
    openapi::{
        Required,
        path::{Operation, ParameterBuilder, ParameterIn},
    },
};

use super::{documents, exec, file_content, files, git, languages, ports, stats, terminals};

/// Path of the agent's routes as the gateway maps it. `/v1/…` of the agent is below it.
const PUBLIC_PREFIX: &str = "/api/v1/workspaces/{id}/agent";

#[derive(OpenApi)]
#[openapi(
    paths(
        terminals::list_terminals,
        terminals::create_terminal,
        terminals::get_terminal,
        terminals::rename_terminal,
        terminals::clear_terminal,
        terminals::delete_terminal,
        terminals::attach_terminal,
        files::list_directory,
        files::find_files,
        files::search_files,
        files::delete_file,
        file_content::read_file,
        file_content::get_file_headers,
        file_content::write_file,
        files::create_directory,
        files::rename_file,
        files::copy_file,
        files::watch_files,
        git::list_repositories,
        git::get_git_status,
        git::list_references,
        git::list_commits,
        git::compare_file,
        git::get_committed_file,
        git::blame_line,
        git::run_git,
        git::answer_prompt,
        git::watch_repository,
        languages::watch_languages,
        languages::query_language,
        languages::rename_symbol,
        languages::apply_code_action,
        languages::undo_language_edits,
        languages::restart_language,
        documents::open_document,
        documents::overwrite_document,
        documents::edit_document,
        exec::exec_program,
        stats::get_workspace_stats,
        ports::list_ports,
        ports::watch_ports,
        ports::connect_port,
    ),
    // Messages of the WebSockets, which no operation refers to.
    components(schemas(
        Problem,
        AttachInfo,
        ExitStatus,
        DirectoryChanges,
        WatchRequest,
        GitWatchRequest,
        RepositoryChanged,
        LanguageWatchRequest,
        LanguageEvent,
        DocumentEvent,
        ExecRequest,
        ExecEnd,
        PortList,
    )),
    tags(
        (name = "terminals", description = "Terminals of a running workspace. They outlive their clients."),
        (name = "files", description = "Files of a running workspace's home."),
        (name = "git", description = "Git repositories of a running workspace's home."),
        (name = "languages", description = "Language servers, and what they know of open documents."),
        (name = "documents", description = "Text files that several users edit at once."),
        (name = "exec", description = "Programs without a terminal."),
        (name = "ports", description = "Ports that programs listen on, and their previews."),
    )
)]
struct AgentApi;

/// Describes the relayed routes at their public paths, `/api/v1/workspaces/{id}/agent/…`.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = AgentApi::openapi();
    let paths = std::mem::take(&mut document.paths.paths);
    document.paths.paths =
        paths.into_iter().map(|(path, item)| (format!("{PUBLIC_PREFIX}{path}"), item)).collect();
    for (path, method, operation) in operations(&mut document) {
        let rest = path.strip_prefix(PUBLIC_PREFIX).unwrap_or(path).trim_start_matches('/');
        // The table of relayed routes knows ids, not their names.
        let rest = rest.replace("{terminal}", &protocol::TerminalId::random().to_string());
        let rest = rest.replace("{port}", "3000");
        let route = Route::of(method, &rest).expect("every described route is relayed");
        describe_scope(operation, Some(TokenScope::for_access(route.access)));
        add_workspace(operation);
    }
    describe_problems(&mut document);
    document
}

/// Adds the workspace's id to an operation, and that the workspace must run.
fn add_workspace(operation: &mut Operation) {
    let id = ParameterBuilder::new()
        .name("id")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some("Id of the workspace."))
        .schema(Some(WorkspaceId::schema()))
        .build();
    operation.parameters.get_or_insert_default().insert(0, id.into());
    let codes = serde_json::json!([Code::NotRunning]);
    operation.extensions.get_or_insert_default().insert(CODES_EXTENSION.to_owned(), codes);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use protocol::agent::Route;

    use super::*;
    use crate::routes::{relayed_file_routes, relayed_routes};

    #[test]
    fn openapi_describes_every_route() {
        let mut document = openapi();
        let mut described = BTreeSet::new();
        for (path, method, _) in operations(&mut document) {
            let path = path.strip_prefix(PUBLIC_PREFIX).expect("the public prefix");
            described.insert((method, format!("/v1{path}")));
        }
        let routes = relayed_routes().into_iter().chain(relayed_file_routes());
        let routes: BTreeSet<_> = routes.map(|(method, path, _)| (method, path.to_owned())).collect();
        assert_eq!(described, routes);
    }

    #[test]
    fn openapi_describes_only_relayed_routes() {
        let id = protocol::TerminalId::random().to_string();
        for (method, path, _) in relayed_routes().into_iter().chain(relayed_file_routes()) {
            let path = path.strip_prefix("/v1/").expect("the version").replace("{terminal}", &id);
            let path = path.replace("{port}", "3000");
            assert!(Route::of(method, &path).is_some(), "{method} {path}");
        }
    }

    #[test]
    fn operations_are_complete() {
        let mut document = openapi();
        let mut ids = BTreeSet::new();
        for (path, method, operation) in operations(&mut document) {
            let id = operation.operation_id.clone().expect("an operation id");
            assert!(ids.insert(id.clone()), "{id} is used twice");
            assert!(operation.summary.is_some(), "{method} {path} has no summary");
            assert!(operation.description.is_some(), "{method} {path} has no description");
            assert!(operation.responses.responses.keys().any(|status| status < &"400".to_owned()));
        }
    }

    #[test]
    fn references_resolve() {
        let document = serde_json::to_value(openapi()).expect("plain data serializes");
        check_references(&document, &document);
    }

    fn check_references(document: &serde_json::Value, value: &serde_json::Value) {
        if let Some(reference) = value.get("$ref").and_then(serde_json::Value::as_str) {
            let pointer = reference.strip_prefix('#').expect("a local reference");
            assert!(document.pointer(pointer).is_some(), "{reference} does not exist");
        }
        match value {
            serde_json::Value::Object(fields) => {
                for value in fields.values() {
                    check_references(document, value);
                }
            }
            serde_json::Value::Array(items) => {
                for value in items {
                    check_references(document, value);
                }
            }
            _ => {}
        }
    }
}
