//! The description of the API: what it says beside the routes' own annotations. Pure.

use protocol::{
    Problem,
    openapi::{describe_problems, describe_scope},
    workspace::StartPriority,
};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{
        ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
    },
};

use super::{PREFIX, route_access::RouteAccess};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Burrow",
        description = "The HTTP API of Burrow: workspaces in microVMs, their files, terminals \
            and snapshots.\n\n\
            **Authentication.** Send a personal access token as `authorization: Bearer brw_…`, \
                or sign in and keep the \
            cookie. Operations without a lock need no session. `x-token-scope` is the least scope of a \
            token; `none` means that only a browser's session is accepted. Operations with the code \
            `confirmation_required` need a session that proved the password in the last 15 minutes, see \
            `POST /auth/confirm`.\n\n\
            **Errors.** Every error is a problem document (RFC 9457) with a stable `code` \
                and a `request_id` to quote. \
            `x-problem-codes` lists the codes of each operation.\n\n\
            **Times** are RFC 3339 in UTC. **Sizes** are bytes unless the name ends in `_mib`."
    ),
    components(schemas(Problem, StartPriority)),
    modifiers(&SecuritySchemes),
    security(("token" = []), ("cookie" = [])),
    tags(
        (name = "auth", description = "Sign in and out, device logins, personal access tokens"),
        (name = "users", description = "Accounts of your organisation"),
        (name = "network", description = "Where workspaces may connect"),
        (name = "ports", description = "Who may see the previews of ports"),
        (name = "templates", description = "What workspaces are created from"),
        (name = "workspaces", description = "Create, start, stop, watch and delete workspaces"),
        (name = "snapshots", description = "Browse, compare, restore, fork and verify saved homes"),
        (name = "chunks", description = "Read a home in chunks, to transfer it to another installation"),
        (name = "imports", description = "Receive a home from another installation"),
        (name = "classes", description = "A teacher's group of users and their workspaces"),
        (name = "invitations", description = "Join a class by a link"),
        (name = "budgets", description = "What users, classes and the organisation may use"),
        (name = "usage", description = "What users, classes and the organisation have used"),
        (name = "audit", description = "Who did what: search, export and verify the log"),
        (name = "admin", description = "For the owner of the organisation"),
    )
)]
struct Outline;

/// The ways to authenticate.
struct SecuritySchemes;

impl Modify for SecuritySchemes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let token =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("A personal access token"));
        components.add_security_scheme("token", SecurityScheme::Http(token.build()));
        let cookie =
            ApiKeyValue::with_description(protocol::api::auth::COOKIE, "The session cookie of a browser");
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// The document without its routes.
pub fn outline() -> utoipa::openapi::OpenApi {
    Outline::openapi()
}

/// The controller's API in OpenAPI 3.1, with every status that it can answer. The agent describes
/// its own routes.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut document = super::public().split_for_parts().1;
    for (path, method, operation) in protocol::openapi::operations(&mut document) {
        let template = path.strip_prefix(PREFIX).unwrap_or(path);
        match RouteAccess::of(method, template) {
            Some(RouteAccess::Open) => operation.security = Some(Vec::new()),
            Some(RouteAccess::Token(scope)) => describe_scope(operation, Some(scope)),
            Some(RouteAccess::Browser) => {
                let cookie = SecurityRequirement::new("cookie", Vec::<String>::new());
                operation.security = Some(vec![cookie]);
                describe_scope(operation, None);
            }
            // Refused by the layer, and by a test.
            None => {}
        }
    }
    describe_problems(&mut document);
    document
}
