//! Sign-in and sign-out: sessions, passwords and device logins.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use protocol::{
    Code, Redacted, TenantId, UserId,
    api::auth::{
        COOKIE, COOKIE_PLAIN, ConfirmPassword, DeviceApproval, DeviceCode, DeviceInfo, DeviceRequest,
        DeviceTokenRequest, LinkSignIn, Login, Session, SetPassword, TokenSecret,
    },
};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    error::{ApiError, Result},
    extract::{Client, Input, Params, Signed},
};
use crate::{
    audit::{
        self, origin,
        refusals::{self, Refusal},
    },
    authz::{Action, Allowed, Caller, authorize},
    core::{App, Core},
    db::System,
    identity::{
        clean,
        device_logins::{self, PollOutcome},
        passwords::{MAX_LENGTH, Requester, find_weakness},
        secrets,
        sessions::{self, LINK_TRUST_TTL, OpenSession, SESSION_TTL, SessionKind, SignIn, TokenRequest},
        sign_in_links, users,
    },
    tenants,
};

const DEVICE_PAGE: &str = "/device";
const MAX_CLIENT_NAME_CHARACTERS: usize = 100;

/// Sign in with a one-time link
///
/// The token stands behind `#` in the link that the server prints at its first start. It works once
/// and expires after 12 hours. Sets the session cookie.
#[utoipa::path(
    post,
    path = "/auth/link",
    tag = "auth",
    request_body = LinkSignIn,
    responses((status = 200, body = Session, description = "The new session; its cookie is in `set-cookie`")),
    extensions(("x-problem-codes" = json!(["expired", "rate_limited"]))),
)]
pub async fn sign_in_with_link(
    State(app): State<App>,
    client: Client,
    Input(request): Input<LinkSignIn>,
) -> Result<Response> {
    app.rate_limits.check_address(&client.address)?;
    let mut system = app.db.system().await?;
    let user = sign_in_links::redeem(system.connection(), app.now(), request.token.expose()).await?;
    let Some(user) = user else {
        let known = sign_in_links::find_user(system.connection(), request.token.expose()).await?;
        record_refusals(&mut system, app.now(), known, "link").await?;
        system.commit().await?;
        return Err(ApiError::new(
            Code::Expired,
            "This link was used or has expired. Run `burrow admin sign-in-link` on the server for a new one, \
             or ask an owner of your organisation.",
        ));
    };
    system.commit().await?;
    let how = SignIn::Link { created_by: user.created_by };
    create_session(&app, &client, user.user, how).await
}

/// Records that a sign-in to each of these accounts was refused. `by` is how it was tried.
async fn record_refusals(
    system: &mut System,
    now: OffsetDateTime,
    users: impl IntoIterator<Item = (Uuid, Uuid)>,
    by: &str,
) -> std::result::Result<(), sqlx::Error> {
    // In the order in which everybody locks the logs of several tenants.
    let mut users: Vec<_> = users.into_iter().collect();
    users.sort_unstable();
    for (tenant, user) in users {
        let subject = UserId(user).to_string();
        let refusal = Refusal {
            actor: None,
            action: "session.refuse",
            key: subject.clone(),
            subject,
            detail: serde_json::json!({ "by": by }),
        };
        refusals::record(system.connection(), now, TenantId(tenant), &refusal).await?;
    }
    Ok(())
}

/// Sign in with email and password
///
/// Sets the session cookie. Attempts are limited per address, per account and address, and more slowly
/// per account. The last does not hold for an address from which the right password came before.
#[utoipa::path(
    post,
    path = "/auth/login",
    tag = "auth",
    request_body = Login,
    responses((status = 200, body = Session, description = "The new session; its cookie is in `set-cookie`")),
    extensions(("x-problem-codes" = json!(["bad_credentials", "rate_limited", "unavailable"]))),
)]
pub async fn sign_in(
    State(app): State<App>,
    client: Client,
    Input(request): Input<Login>,
) -> Result<Response> {
    app.rate_limits.check_address(&client.address)?;
    // The address as it looks: invisible characters come with a paste.
    let email = clean::clean_email(&request.email).unwrap_or_else(|| request.email.trim().to_owned());
    app.rate_limits.check_password(&email, &client.address)?;
    let refused = || ApiError::new(Code::BadCredentials, "Wrong email address or password.");
    if request.password.expose().chars().count() > MAX_LENGTH {
        return Err(refused());
    }
    let mut system = app.db.system().await?;
    let known = users::find_password_accounts(system.connection(), &email).await?;
    // Hashing takes time: the transaction ends first.
    system.commit().await?;
    let hashes = known.iter().map(|user| user.password_hash.clone()).collect();
    let requester = Requester::at_address(&client.address);
    let Some(index) = app.passwords.verify(requester, &request.password, hashes).await? else {
        // Not before the response: its time must not tell whether the account exists.
        let users: Vec<_> = known.iter().map(|user| (user.tenant_id, user.user_id)).collect();
        let core = app.clone();
        let recording = origin::current().run(async move {
            let recorded = async {
                let mut system = core.db.system().await?;
                record_refusals(&mut system, core.now(), users, "password").await?;
                system.commit().await
            };
            if let Err(error) = recorded.await {
                tracing::error!(%error, "cannot record a refused sign-in in the audit log");
            }
        });
        app.tasks.spawn("record a refused sign-in", recording);
        return Err(refused());
    };
    app.rate_limits.record_success(&email, &client.address);
    create_session(&app, &client, (known[index].tenant_id, known[index].user_id), SignIn::Password).await
}

/// Creates a session and its cookie: the response to every kind of sign-in.
pub async fn create_session(
    app: &Core,
    client: &Client,
    user: (Uuid, Uuid),
    how: SignIn,
) -> Result<Response> {
    let now = app.now();
    let mut system = app.db.system().await?;
    let secret = sessions::create(system.connection(), now, user, how).await?;
    let open = sessions::find(system.connection(), now, secret.expose()).await?;
    system.commit().await?;
    let open = open.ok_or_else(ApiError::unauthenticated)?;
    let mut scope = app.db.scope(authorize(&open.caller, Action::ManageSelf)?).await?;
    let detail = serde_json::json!({ "by_link": open.by_link });
    audit::write(&mut scope, "session.create", "", detail).await?;
    let session = describe_session(&mut scope, &open).await?;
    scope.commit().await?;
    let mut response = Json(session).into_response();
    response
        .headers_mut()
        .append(header::SET_COOKIE, cookie(client.secure, &secret, SESSION_TTL.whole_seconds()));
    Ok(response)
}

async fn describe_session(scope: &mut crate::db::Scope, open: &OpenSession) -> Result<Session> {
    Ok(Session {
        user: users::current(scope).await?.into(),
        expires_at: open.expires_at,
        token_scope: open.token_scope(),
        destroy_key_at: tenants::find_key(scope).await?.destroy_at,
    })
}

/// The Set-Cookie header of a session.
fn cookie(secure: bool, value: &Redacted<String>, seconds: i64) -> HeaderValue {
    let value = value.expose();
    let text = if secure {
        format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax; Secure")
    } else {
        format!("{COOKIE_PLAIN}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax")
    };
    let mut header = HeaderValue::try_from(text).expect("a secret is plain text");
    header.set_sensitive(true);
    header
}

/// Get the current session
#[utoipa::path(
    get,
    path = "/auth/session",
    tag = "auth",
    responses((status = 200, body = Session, description = "The session that the request was made with")),
)]
pub async fn get_session(State(app): State<App>, signed: Signed) -> Result<Json<Session>> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageSelf)?).await?;
    let session = describe_session(&mut scope, &signed.0).await?;
    Ok(Json(session))
}

/// Sign out
///
/// Ends the session that the request was made with; a personal access token is revoked. Clears the
/// cookie.
#[utoipa::path(
    post,
    path = "/auth/logout",
    tag = "auth",
    responses((status = 204, description = "The session has ended")),
)]
pub async fn sign_out(State(app): State<App>, client: Client, signed: Signed) -> Result<Response> {
    let mut scope = app.db.scope(authorize(signed.caller(), Action::ManageSelf)?).await?;
    sessions::revoke(&mut scope, signed.caller().session.0, None).await?;
    audit::write(&mut scope, "session.revoke", "", serde_json::json!({})).await?;
    scope.commit().await?;
    let mut headers = HeaderMap::new();
    if signed.0.kind == SessionKind::Cookie {
        headers.append(header::SET_COOKIE, cookie(client.secure, &Redacted::new(String::new()), 0));
    }
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// Set or change your password
///
/// Every other session and token of the user ends. The current password is required unless the session began
/// with a one-time link in the last ten minutes.
#[utoipa::path(
    post,
    path = "/auth/password",
    tag = "auth",
    request_body = SetPassword,
    responses((status = 204, description = "The password is set")),
    extensions(("x-problem-codes" = json!(["bad_credentials", "rate_limited", "unavailable"]))),
)]
pub async fn set_password(
    State(app): State<App>,
    client: Client,
    signed: Signed,
    Input(request): Input<SetPassword>,
) -> Result<StatusCode> {
    if let Some(weakness) = find_weakness(request.new.expose()) {
        return Err(ApiError::invalid("new", weakness));
    }
    let allowed = authorize(signed.caller(), Action::ManageSelf)?;
    let mut scope = app.db.scope(allowed).await?;
    let known = users::current(&mut scope).await?;
    drop(scope);
    let is_trusted = signed.0.by_link && app.now() - signed.0.created_at < LINK_TRUST_TTL;
    let is_proved = known.password_hash.is_some() && !is_trusted;
    if let Some(hash) = known.password_hash.filter(|_| !is_trusted) {
        let current = request.current.unwrap_or_else(|| Redacted::new(String::new()));
        check_password(&app, allowed, &client, &known.email, hash, &current).await?;
    }
    let hash = app.passwords.hash(Requester::User(signed.caller().user), &request.new).await?;
    let mut scope = app.db.scope(allowed).await?;
    users::set_password(&mut scope, &hash).await?;
    if is_proved {
        sessions::confirm(&mut scope, app.now()).await?;
    }
    sessions::revoke_others(&mut scope).await?;
    audit::write(&mut scope, "password.set", "", serde_json::json!({})).await?;
    scope.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Checks the password of the caller. Attempts are limited, and a wrong one is recorded.
async fn check_password(
    app: &Core,
    allowed: Allowed,
    client: &Client,
    email: &str,
    hash: String,
    password: &Redacted<String>,
) -> Result<()> {
    app.rate_limits.check_password(email, &client.address)?;
    let is_short = password.expose().chars().count() <= MAX_LENGTH;
    let requester = Requester::User(allowed.caller().user);
    if is_short && app.passwords.verify(requester, password, vec![hash]).await?.is_some() {
        return Ok(());
    }
    let Caller { tenant, user, .. } = allowed.caller();
    let refusal = Refusal {
        actor: Some(user),
        action: "password.refuse",
        subject: user.to_string(),
        key: user.to_string(),
        detail: serde_json::json!({}),
    };
    let mut system = app.db.system().await?;
    refusals::record(system.connection(), app.now(), tenant, &refusal).await?;
    system.commit().await?;
    Err(ApiError::new(Code::BadCredentials, "The password is wrong."))
}

/// Confirm your password
///
/// For 15 minutes, this session may then do what asks for a confirmation with the code
/// `confirmation_required`. A sign-in counts as well, so users without a password sign in again with a
/// link.
#[utoipa::path(
    post,
    path = "/auth/confirm",
    tag = "auth",
    request_body = ConfirmPassword,
    responses((status = 204, description = "The session is confirmed")),
    extensions(("x-problem-codes" = json!(["bad_credentials", "conflict", "rate_limited", "unavailable"]))),
)]
pub async fn confirm_password(
    State(app): State<App>,
    client: Client,
    signed: Signed,
    Input(request): Input<ConfirmPassword>,
) -> Result<StatusCode> {
    let allowed = authorize(signed.caller(), Action::ManageSelf)?;
    let mut scope = app.db.scope(allowed).await?;
    let known = users::current(&mut scope).await?;
    drop(scope);
    let hash = known.password_hash.ok_or_else(|| {
        ApiError::new(
            Code::Conflict,
            "You have no password. Set one on the Account page, or sign in again with a new link.",
        )
    })?;
    check_password(&app, allowed, &client, &known.email, hash, &request.password).await?;
    let mut scope = app.db.scope(allowed).await?;
    sessions::confirm(&mut scope, app.now()).await?;
    audit::write(&mut scope, "session.confirm", "", serde_json::json!({})).await?;
    scope.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Start a device login
///
/// A program without a browser signs in as in RFC 8628: it shows `user_code`, the user approves it
/// on another device, and the program polls `POST /auth/device/token`. Needs no session.
#[utoipa::path(
    post,
    path = "/auth/device",
    tag = "auth",
    request_body = DeviceRequest,
    responses((status = 200, body = DeviceCode, description = "The codes, and how often to poll")),
    extensions(("x-problem-codes" = json!(["rate_limited"]))),
)]
pub async fn start_device_login(
    State(app): State<App>,
    client: Client,
    Input(request): Input<DeviceRequest>,
) -> Result<Json<DeviceCode>> {
    app.rate_limits.check_address(&client.address)?;
    let name = clean::clean_name(&request.client_name)
        .filter(|name| name.chars().count() <= MAX_CLIENT_NAME_CHARACTERS)
        .ok_or_else(|| ApiError::invalid("client_name", "Use one line of at most 100 characters."))?;
    let mut system = app.db.system().await?;
    let login = device_logins::create(system.connection(), app.now(), &name, request.scope).await?;
    system.commit().await?;
    let login = login.ok_or_else(|| {
        ApiError::new(Code::RateLimited, "Too many device logins are pending. Try again later.")
            .retry_after(60)
    })?;
    Ok(Json(DeviceCode {
        device_code: login.device_code,
        user_code: login.user_code,
        verification_path: DEVICE_PAGE.to_owned(),
        expires_in_seconds: device_logins::LOGIN_TTL.whole_seconds().unsigned_abs(),
        interval_seconds: device_logins::POLL_INTERVAL.whole_seconds().unsigned_abs(),
    }))
}

/// Poll a device login
///
/// Answers 400 `authorization_pending` until the user has decided. Poll no more often than
/// `interval_seconds`. Needs no session.
#[utoipa::path(
    post,
    path = "/auth/device/token",
    tag = "auth",
    request_body = DeviceTokenRequest,
    responses(
        (status = 200, body = TokenSecret, description = "The user approved. The token is returned once."),
    ),
    extensions(
        ("x-problem-codes" = json!(["authorization_pending", "expired", "forbidden", "rate_limited"])),
    ),
)]
pub async fn poll_device_login(
    State(app): State<App>,
    Input(request): Input<DeviceTokenRequest>,
) -> Result<Json<TokenSecret>> {
    let now = app.now();
    let mut system = app.db.system().await?;
    let outcome = device_logins::poll(system.connection(), now, request.device_code.expose()).await?;
    let answer = match outcome {
        PollOutcome::Approved(login) => {
            let (tenant, user, days) = (login.tenant, login.user, sessions::DEFAULT_TOKEN_DAYS);
            let request = TokenRequest {
                name: &login.client_name,
                days,
                scope: login.scope,
                created_by: login.approved_by.map(|session| session.0),
            };
            let (info, token) =
                sessions::create_token(system.connection(), now, (tenant.0, user.0), request).await?;
            let detail =
                serde_json::json!({ "days": days, "device": login.client_name, "scope": login.scope });
            let subject = info.id.to_string();
            audit::write_for(system.connection(), tenant, Some(user), "token.create", &subject, detail)
                .await?;
            Ok(Json(TokenSecret { info, token }))
        }
        PollOutcome::Pending => {
            Err(ApiError::new(Code::AuthorizationPending, "The user has not approved the device login yet."))
        }
        PollOutcome::TooSoon => {
            let seconds = device_logins::POLL_INTERVAL.whole_seconds().unsigned_abs();
            Err(ApiError::new(Code::RateLimited, "Poll less often.").retry_after(seconds))
        }
        PollOutcome::Denied => Err(ApiError::new(Code::Forbidden, "The user denied the device login.")),
        PollOutcome::Expired => {
            Err(ApiError::new(Code::Expired, "The device login has expired. Start a new one."))
        }
    };
    system.commit().await?;
    answer
}

/// Get a pending device login by its user code
#[utoipa::path(
    get,
    path = "/auth/device/{user_code}",
    tag = "auth",
    params(
        ("user_code" = String, Path, description = "The code that the program shows; case \
            and dashes do not matter."),
    ),
    responses((status = 200, body = DeviceInfo, description = "The pending login")),
    extensions(("x-problem-codes" = json!(["expired", "rate_limited"]))),
)]
pub async fn get_device_login(
    State(app): State<App>,
    signed: Signed,
    Params(typed): Params<String>,
) -> Result<Json<DeviceInfo>> {
    app.rate_limits.check_user_code(&signed.caller().user.to_string())?;
    let code = secrets::normalize_user_code(&typed).ok_or_else(unknown_code)?;
    let mut system = app.db.system().await?;
    let info = device_logins::find_pending(system.connection(), app.now(), &code).await?;
    info.map(Json).ok_or_else(unknown_code)
}

/// Approve or deny a device login
///
/// An approval needs a confirmed session.
#[utoipa::path(
    post,
    path = "/auth/device/approve",
    tag = "auth",
    request_body = DeviceApproval,
    responses((status = 204, description = "The decision is recorded")),
    extensions(("x-problem-codes" = json!(["confirmation_required", "expired", "rate_limited"]))),
)]
pub async fn decide_device_login(
    State(app): State<App>,
    signed: Signed,
    Input(request): Input<DeviceApproval>,
) -> Result<StatusCode> {
    let caller = signed.caller();
    if request.approve {
        signed.check_confirmed(app.now())?;
    }
    app.rate_limits.check_user_code(&caller.user.to_string())?;
    let code = secrets::normalize_user_code(&request.user_code).ok_or_else(unknown_code)?;
    let mut system = app.db.system().await?;
    let client =
        device_logins::resolve(system.connection(), app.now(), &code, request.approve, caller).await?;
    let client = client.ok_or_else(unknown_code)?;
    let action = if request.approve { "device_login.approve" } else { "device_login.deny" };
    let (user, detail) = (caller.user.to_string(), serde_json::json!({ "device": client }));
    audit::write_for(system.connection(), caller.tenant, Some(caller.user), action, &user, detail).await?;
    system.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn unknown_code() -> ApiError {
    ApiError::new(
        Code::Expired,
        "There is no pending device login with this code. Check the code, or start a new login.",
    )
}
