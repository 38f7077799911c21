//! Serves the web app, which is embedded in the executable.
//!
//! Files below `assets/` have a hash in their name and are cached forever; browsers revalidate the
//! others. Any other path belongs to the app's own router and gets its page. Each response with the
//! page has a fresh nonce for the styles that editor and terminal create. The policy allows no
//! other inline content.

use std::borrow::Cow;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use protocol::Code;
use rust_embed::{EmbeddedFile, RustEmbed};
use uuid::Uuid;

use crate::refusal::{Refusal, Result};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../web/dist"]
#[allow_missing = true]
struct Dist;

/// Placeholder for the nonce in the page.
const NONCE_PLACEHOLDER: &str = "__BURROW_NONCE__";
const PAGE: &str = "index.html";
/// Path and file of the API reference. It is a page of its own, not part of the app.
const API_REFERENCE: (&str, &str) = ("docs", "api-docs.html");
const CACHE_FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Returns the file at `path`, or the app's page. `frames`: the origins that the page may show in frames.
pub fn serve(method: &Method, path: &str, headers: &HeaderMap, frames: Option<&str>) -> Result<Response> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Refusal::new(Code::MethodNotAllowed, "Pages accept only GET and HEAD."));
    }
    let name = match path.trim_matches('/') {
        name if name == API_REFERENCE.0 => API_REFERENCE.1,
        _ => path.trim_start_matches('/'),
    };
    if !name.is_empty() && name != PAGE {
        if let Some((file, encoding)) = find_file(name, headers) {
            return Ok(file_response(name, file, encoding, headers));
        }
        if looks_like_file(name) {
            return Err(Refusal::not_found());
        }
    }
    page(frames)
}

/// Finds a file, compressed if the client accepts an encoding that is embedded.
fn find_file(name: &str, headers: &HeaderMap) -> Option<(EmbeddedFile, Option<&'static str>)> {
    for (encoding, extension) in [("br", "br"), ("gzip", "gz")] {
        if accepts_encoding(headers, encoding)
            && let Some(file) = Dist::get(&format!("{name}.{extension}"))
        {
            return Some((file, Some(encoding)));
        }
    }
    Dist::get(name).map(|file| (file, None))
}

fn file_response(
    name: &str,
    file: EmbeddedFile,
    encoding: Option<&'static str>,
    request_headers: &HeaderMap,
) -> Response {
    let tag = format!("\"{}\"", protocol::ManifestId(file.metadata.sha256_hash()));
    let known_tags = request_headers.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let is_unchanged = known_tags.is_some_and(|tags| tags.split(',').any(|one| one.trim() == tag));
    let body = if is_unchanged { Body::empty() } else { Body::from(content(file.data)) };
    let mut response = Response::new(body);
    if is_unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    insert(headers, header::CONTENT_TYPE, kind.essence_str());
    insert(headers, header::ETAG, &tag);
    headers
        .insert(header::CACHE_CONTROL, if name.starts_with("assets/") { CACHE_FOREVER } else { REVALIDATE });
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    insert(headers, header::CONTENT_SECURITY_POLICY, &content_security_policy(None, None));
    response
}

/// The content of an embedded file. It is not copied, so that many responses at once take no
/// memory.
fn content(data: Cow<'static, [u8]>) -> Bytes {
    match data {
        Cow::Borrowed(embedded) => Bytes::from_static(embedded),
        Cow::Owned(read) => Bytes::from(read),
    }
}

fn page(frames: Option<&str>) -> Result<Response> {
    let Some(file) = Dist::get(PAGE) else {
        return Err(Refusal::new(
            Code::NotFound,
            "This build does not contain the web app. Build the web app, then build this program again.",
        ));
    };
    let nonce = Uuid::new_v4().simple().to_string();
    let page = String::from_utf8_lossy(&file.data).replace(NONCE_PLACEHOLDER, &nonce);
    let mut response = Response::new(Body::from(page));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    insert(headers, header::CONTENT_SECURITY_POLICY, &content_security_policy(Some(&nonce), frames));
    Ok(response)
}

/// The content security policy: our own files, inline styles only with the nonce, and frames only of
/// previews.
fn content_security_policy(nonce: Option<&str>, frames: Option<&str>) -> String {
    let frames = frames.unwrap_or("'none'");
    let styles = nonce.map(|nonce| format!(" 'nonce-{nonce}'")).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data: blob:; \
         font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; \
         frame-src {frames}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    )
}

fn accepts_encoding(headers: &HeaderMap, encoding: &str) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        name.trim() == encoding && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}

/// Whether a path names a file. A missing file is 404 and not the page: a script that contains HTML
/// fails in confusing ways.
fn looks_like_file(name: &str) -> bool {
    name.starts_with("assets/") || name.rsplit('/').next().is_some_and(|last| last.contains('.'))
}

fn insert(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_allows_inline_only_with_nonce() {
        for policy in [content_security_policy(None, None), content_security_policy(Some("abc"), None)] {
            assert!(!policy.contains("unsafe"), "{policy}");
            assert!(policy.starts_with("default-src 'none'"), "{policy}");
        }
        assert!(content_security_policy(Some("abc"), None).contains("style-src 'self' 'nonce-abc';"));
    }

    #[test]
    fn policy_allows_frames_of_previews_only() {
        let previews = "http://*.localhost:8080";
        assert!(content_security_policy(None, Some(previews)).contains("frame-src http://*.localhost:8080;"));
        assert!(content_security_policy(None, None).contains("frame-src 'none';"));
    }

    #[test]
    fn missing_file_is_not_a_page() {
        for name in ["assets/gone", "favicon.ico", "a/b.js"] {
            assert!(looks_like_file(name), "{name}");
        }
        for name in ["", "workspaces/0190", "sign-in"] {
            assert!(!looks_like_file(name), "{name}");
        }
    }

    #[test]
    fn post_to_page_is_refused() {
        let refusal = serve(&Method::POST, "/", &HeaderMap::new(), None).expect_err("refused");
        assert_eq!(refusal.code(), Code::MethodNotAllowed);
    }
}
