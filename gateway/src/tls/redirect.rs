//! What a gateway with TLS answers to plain http: on its own port, and on one that only redirects. Pure.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, uri::PathAndQuery};
use protocol::Code;

use crate::{
    headers,
    origin::LocalAddress,
    refusal::{Refusal, Result},
    target::Target,
};

/// Sends a browser to the same page by https. A request to the API is refused instead: it may hold a
/// token, which has now been sent in clear, and its sender should know.
pub fn to_https(
    method: &Method,
    uri: &Uri,
    request_headers: &HeaderMap,
    local: LocalAddress,
) -> Result<Response> {
    let host = headers::host(uri, request_headers);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let origin = if host.is_empty() || !host.chars().all(is_plain) {
        local.https_origin()
    } else {
        format!("https://{host}")
    };
    let is_page = matches!(Target::parse(uri.path()), Target::WebApp) && method.is_safe();
    if !is_page {
        let detail = format!("This server uses https only. Use the address {origin}.");
        return Err(Refusal::new(Code::BadRequest, &detail));
    }
    to_origin(&origin, uri)
}

/// Sends any request to the same path at `origin`.
pub fn to_origin(origin: &str, uri: &Uri) -> Result<Response> {
    // `OPTIONS *` and CONNECT have no path.
    let path = uri.path_and_query().map(PathAndQuery::as_str).filter(|path| path.starts_with('/'));
    let location = HeaderValue::from_bytes(format!("{origin}{}", path.unwrap_or("/")).as_bytes())
        .map_err(|_| Refusal::not_found())?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    response.headers_mut().insert(header::LOCATION, location);
    // The same address may serve plain http again, when TLS is turned off.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redirect(host: &str, path: &str) -> Option<String> {
        let local = LocalAddress { address: "192.0.2.1:8080".parse().expect("valid"), is_tls: false };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().expect("valid"));
        let response = to_https(&Method::GET, &path.parse().expect("valid"), &headers, local).ok()?;
        Some(response.headers()[header::LOCATION].to_str().expect("text").to_owned())
    }

    #[test]
    fn page_is_redirected_to_same_address() {
        for (host, path, expected) in [
            ("burrow.example:8080", "/a?b=c", "https://burrow.example:8080/a?b=c"),
            ("[::1]:8080", "/", "https://[::1]:8080/"),
            ("", "/", "https://192.0.2.1:8080/"),
            ("x/y@z", "/", "https://192.0.2.1:8080/"),
        ] {
            assert_eq!(redirect(host, path).as_deref(), Some(expected), "{host}");
        }
    }

    #[test]
    fn request_is_redirected_to_known_origin() {
        for (uri, expected) in [
            ("/a?b=c", "https://burrow.example/a?b=c"),
            ("//evil.example/", "https://burrow.example//evil.example/"),
            ("http://evil.example/a", "https://burrow.example/a"),
            ("http://evil.example", "https://burrow.example/"),
            ("evil.example:80", "https://burrow.example/"),
            ("*", "https://burrow.example/"),
        ] {
            let response =
                to_origin("https://burrow.example", &uri.parse().expect("valid")).expect("redirected");
            assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
            assert_eq!(response.headers()[header::LOCATION], expected, "{uri}");
        }
    }

    #[test]
    fn api_is_not_redirected() {
        assert_eq!(redirect("burrow.example", "/api/v1/session"), None);
        assert_eq!(redirect("burrow.example", "/internal/grants"), None);
    }
}
