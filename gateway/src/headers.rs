//! Which headers pass in which direction.
//!
//! The controller gets all of a client's headers except hop-by-hop ones and those that only our
//! processes may set. A guest gets, and may send, only the headers on a list: it must never see a
//! credential, and browsers read its responses on our own origin.

use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, request::Parts};
use protocol::{RequestId, problem::REQUEST_ID_HEADER};

/// Tells the controller whether cookies marked secure reach it: `true` or `false`.
pub const SECURE: HeaderName = HeaderName::from_static("x-burrow-secure");

/// Tells the controller the client's IP address.
pub const CLIENT_ADDRESS: HeaderName = HeaderName::from_static("x-burrow-client-address");

/// Tells nginx, and proxies that follow it, whether to buffer a response.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Prefix of the headers that only our processes may set.
const INTERNAL_PREFIX: &str = "x-burrow-";

/// Headers that concern one connection only (RFC 9110, 7.6.1).
const HOP_BY_HOP: [&str; 10] = [
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Headers about where a request comes from. The gateway sets its own.
const ORIGIN_CLAIMS: [&str; 3] = ["forwarded", "x-real-ip", REQUEST_ID_HEADER];

/// Headers of a client that a guest gets.
const CLIENT_TO_GUEST: [HeaderName; 9] = [
    header::ACCEPT,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_UNMODIFIED_SINCE,
    header::RANGE,
];

/// Headers of a guest that a client gets. No cookies, no redirects, no policies.
const GUEST_TO_CLIENT: [HeaderName; 9] = [
    header::ACCEPT_RANGES,
    header::ALLOW,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::RETRY_AFTER,
];

/// Content types that a browser displays without executing anything. A guest's other content is
/// sent as plain bytes, so that no script, page or style of a guest is served from our origin.
const SAFE_TYPES: [&str; 10] = [
    "application/json",
    "application/problem+json",
    "application/octet-stream",
    "text/event-stream",
    "text/plain",
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
];

/// The content security policy of every response that is not our page.
const DATA_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox");

/// Returns a client's headers for the controller, plus what the gateway knows about the request.
pub fn client_to_controller(
    parts: &Parts,
    peer: std::net::IpAddr,
    id: RequestId,
    is_secure: bool,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let is_hop_by_hop = hop_by_hop(&parts.headers);
    for (name, value) in &parts.headers {
        let text = name.as_str();
        let passes = !is_hop_by_hop(name)
            && !is_internal(name)
            && !ORIGIN_CLAIMS.contains(&text)
            && !text.starts_with("x-forwarded-")
            && *name != header::COOKIE;
        if passes {
            headers.append(name, value.clone());
        }
    }
    if let Some(cookies) = joined_cookies(&parts.headers) {
        headers.insert(header::COOKIE, cookies);
    }
    if let Ok(host) = host(&parts.uri, &parts.headers).parse() {
        headers.insert(header::HOST, host);
    }
    headers.insert(SECURE, HeaderValue::from_static(if is_secure { "true" } else { "false" }));
    set(&mut headers, CLIENT_ADDRESS, &peer.to_canonical().to_string());
    mark_request(&mut headers, id);
    headers
}

/// Returns the controller's headers for a client.
pub fn controller_to_client(mut headers: HeaderMap) -> HeaderMap {
    let is_hop_by_hop = hop_by_hop(&headers);
    let removed: Vec<HeaderName> =
        headers.keys().filter(|name| is_hop_by_hop(name) || is_internal(name)).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
    forbid_buffering_of_events(&mut headers);
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(DATA_POLICY);
    headers
}

/// Returns a client's headers for a front, with the grant instead of the client's credential.
pub fn client_to_front(client: &HeaderMap, grant: &str, id: RequestId) -> HeaderMap {
    let mut headers = select(client, &CLIENT_TO_GUEST);
    if let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {grant}")) {
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
    }
    mark_request(&mut headers, id);
    headers
}

/// Returns a front's headers for a client. The guest wrote them, so they are not trusted.
pub fn front_to_client(guest: &HeaderMap) -> HeaderMap {
    let mut headers = select(guest, &GUEST_TO_CLIENT);
    if let Some(kind) = headers.get_mut(header::CONTENT_TYPE)
        && !is_safe_type(kind)
    {
        *kind = HeaderValue::from_static("application/octet-stream");
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    headers.insert(header::CONTENT_SECURITY_POLICY, DATA_POLICY);
    forbid_buffering_of_events(&mut headers);
    headers
}

/// Lets proxies pass on each event of an event stream at once.
fn forbid_buffering_of_events(headers: &mut HeaderMap) {
    if headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
    {
        // nginx would hold events back until its buffer is full, and some proxies would compress them.
        headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    }
}

/// Adds the headers that every response has.
pub fn add_security_headers(headers: &mut HeaderMap, id: RequestId) {
    mark_request(headers, id);
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(DATA_POLICY);
}

/// Returns the host and port that the client sent the request to.
pub fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
    }
}

fn select(from: &HeaderMap, allowed: &[HeaderName]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for name in allowed {
        if let Some(value) = from.get(name) {
            headers.insert(name, value.clone());
        }
    }
    headers
}

fn is_safe_type(kind: &HeaderValue) -> bool {
    let Ok(kind) = kind.to_str() else { return false };
    let kind = kind.split(';').next().unwrap_or_default().trim();
    SAFE_TYPES.iter().any(|safe| kind.eq_ignore_ascii_case(safe))
}

/// Joins cookie headers: HTTP/2 may send each cookie separately, HTTP/1.1 allows one line.
fn joined_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let cookies: Vec<&[u8]> =
        headers.get_all(header::COOKIE).into_iter().map(HeaderValue::as_bytes).collect();
    if cookies.is_empty() {
        return None;
    }
    let mut value = HeaderValue::from_bytes(&cookies.join(&b"; "[..])).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Tells which headers of a message concern one connection only.
pub fn hop_by_hop(headers: &HeaderMap) -> impl Fn(&HeaderName) -> bool + use<> {
    let named = connection_options(headers);
    move |name| HOP_BY_HOP.contains(&name.as_str()) || named.iter().any(|option| option == name.as_str())
}

/// Whether only our processes may set a header.
pub fn is_internal(name: &HeaderName) -> bool {
    name.as_str().starts_with(INTERNAL_PREFIX)
}

/// Adds the id of the request, by which the processes find it in each other's logs.
pub fn mark_request(headers: &mut HeaderMap, id: RequestId) {
    set(headers, HeaderName::from_static(REQUEST_ID_HEADER), &id.to_string());
}

fn connection_options(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|option| option.trim().to_ascii_lowercase()).collect()
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(pairs: &[(&'static str, &'static str)]) -> Parts {
        let mut request = http::Request::get("/api/v1/version").body(()).expect("valid");
        for (name, value) in pairs {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        request.into_parts().0
    }

    #[test]
    fn clients_cannot_set_internal_headers() {
        let parts = parts(&[
            ("x-burrow-secure", "true"),
            ("x-burrow-client-address", "1.2.3.4"),
            ("x-burrow-anything", "1"),
            ("x-request-id", "mine"),
            ("x-forwarded-for", "1.2.3.4"),
            ("connection", "close, x-dropped"),
            ("x-dropped", "1"),
            ("upgrade", "h2c"),
            ("accept", "*/*"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("host", "burrow.example"),
        ]);
        let id = RequestId::random();
        let headers = client_to_controller(&parts, "::ffff:10.0.0.1".parse().expect("valid"), id, false);
        assert_eq!(headers[SECURE], "false");
        assert_eq!(headers[CLIENT_ADDRESS], "10.0.0.1");
        assert_eq!(headers[REQUEST_ID_HEADER], id.to_string().as_str());
        assert_eq!(headers["cookie"], "a=1; b=2");
        assert_eq!(headers["host"], "burrow.example");
        assert_eq!(headers.len(), 6, "{headers:?}");
    }

    #[test]
    fn proxies_may_not_hold_events_back() {
        let events = parts(&[("content-type", "text/event-stream"), ("cache-control", "no-cache")]).headers;
        let headers = controller_to_client(events);
        assert_eq!(headers["x-accel-buffering"], "no");
        assert_eq!(headers["cache-control"], "no-store, no-transform");
        let json = parts(&[("content-type", "application/json")]).headers;
        assert!(!controller_to_client(json).contains_key("x-accel-buffering"));
    }

    #[test]
    fn guests_get_only_the_grant() {
        let parts =
            parts(&[("cookie", "burrow=s"), ("authorization", "Bearer brw_x"), ("range", "bytes=0-1")]);
        let headers = client_to_front(&parts.headers, "grant", RequestId::random());
        assert_eq!(headers["authorization"], "Bearer grant");
        assert_eq!(headers["range"], "bytes=0-1");
        assert!(!headers.contains_key("cookie"));
    }

    #[test]
    fn guest_content_is_not_executable() {
        for kind in
            ["text/html", "Text/HTML; charset=utf-8", "image/svg+xml", "text/javascript", "text/css", ""]
        {
            let parts =
                parts(&[("set-cookie", "burrow=evil"), ("location", "https://evil"), ("refresh", "0")]);
            let mut guest = parts.headers;
            guest.insert(header::CONTENT_TYPE, kind.parse().expect("valid"));
            guest.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src *"));
            let headers = front_to_client(&guest);
            assert_eq!(headers["content-type"], "application/octet-stream", "{kind}");
            assert_eq!(headers[header::CONTENT_SECURITY_POLICY], DATA_POLICY);
            assert_eq!(headers.len(), 3, "{headers:?}");
        }
        let plain = parts(&[("content-type", "text/plain; charset=utf-8")]).headers;
        assert_eq!(front_to_client(&plain)["content-type"], "text/plain; charset=utf-8");
        let events = front_to_client(&parts(&[("content-type", "text/event-stream")]).headers);
        assert_eq!(events["content-type"], "text/event-stream");
        assert_eq!(events["x-accel-buffering"], "no");
    }
}
