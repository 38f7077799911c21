//! The web app, from within the executable.
//!
//! Files below `assets/` carry their hash in their name and are kept for ever; others are asked for anew. Any other address
//! is the app's own, and gets its page. The page has a fresh nonce each time, for the styles that editor and terminal make;
//! nothing else inline is run or shown.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use protocol::Code;
use rust_embed::{EmbeddedFile, RustEmbed};
use uuid::Uuid;

use crate::refusal::{Outcome, Refusal};

#[derive(RustEmbed)]
#[folder = "$CARGO_MANIFEST_DIR/../web/dist"]
#[allow_missing = true]
struct Dist;

/// Stands in the page where the nonce belongs.
const NONCE_PLACE: &str = "__BURROW_NONCE__";
const PAGE: &str = "index.html";
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_ANEW: HeaderValue = HeaderValue::from_static("no-cache");
const NEVER: HeaderValue = HeaderValue::from_static("no-store");

/// Answers for `path`.
pub fn serve(method: &Method, path: &str, asked: &HeaderMap) -> Outcome<Response> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Refusal::new(Code::MethodNotAllowed, "Pages are read only."));
    }
    let name = path.trim_start_matches('/');
    if !name.is_empty() && name != PAGE {
        if let Some((file, encoding)) = find(name, asked) {
            return Ok(file_answer(name, file, encoding, asked));
        }
        if looks_like_file(name) {
            return Err(Refusal::not_found());
        }
    }
    page()
}

/// The file, packed where it is there so and the client takes it.
fn find(name: &str, asked: &HeaderMap) -> Option<(EmbeddedFile, Option<&'static str>)> {
    for (encoding, ending) in [("br", "br"), ("gzip", "gz")] {
        if takes(asked, encoding)
            && let Some(file) = Dist::get(&format!("{name}.{ending}"))
        {
            return Some((file, Some(encoding)));
        }
    }
    Dist::get(name).map(|file| (file, None))
}

fn file_answer(
    name: &str,
    file: EmbeddedFile,
    encoding: Option<&'static str>,
    asked: &HeaderMap,
) -> Response {
    let tag = format!("\"{}\"", protocol::ManifestId(file.metadata.sha256_hash()));
    let known = asked.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    let unchanged = known.is_some_and(|tags| tags.split(',').any(|one| one.trim() == tag));
    let body = if unchanged { Body::empty() } else { Body::from(file.data.into_owned()) };
    let mut response = Response::new(body);
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    insert(headers, header::CONTENT_TYPE, kind.essence_str());
    insert(headers, header::ETAG, &tag);
    headers.insert(header::CACHE_CONTROL, if name.starts_with("assets/") { FOR_EVER } else { ASK_ANEW });
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    insert(headers, header::CONTENT_SECURITY_POLICY, &policy(None));
    response
}

fn page() -> Outcome<Response> {
    let Some(file) = Dist::get(PAGE) else {
        return Err(Refusal::new(
            Code::NotFound,
            "The web app is not part of this build. Build it, then this program again.",
        ));
    };
    let nonce = Uuid::new_v4().simple().to_string();
    let page = String::from_utf8_lossy(&file.data).replace(NONCE_PLACE, &nonce);
    let mut response = Response::new(Body::from(page));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, NEVER);
    insert(headers, header::CONTENT_SECURITY_POLICY, &policy(Some(&nonce)));
    Ok(response)
}

/// What the page may load: our own files, nothing inline but styles with the nonce.
fn policy(nonce: Option<&str>) -> String {
    let styles = nonce.map(|nonce| format!(" 'nonce-{nonce}'")).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'{styles}; img-src 'self' data: blob:; \
         font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; base-uri 'none'; \
         form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    )
}

fn takes(asked: &HeaderMap, encoding: &str) -> bool {
    let values = asked.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| {
        let (name, weight) = one.split_once(';').unwrap_or((one, ""));
        name.trim() == encoding && !matches!(weight.trim(), "q=0" | "q=0.0" | "q=0.00" | "q=0.000")
    })
}

/// A file that is missing must not look like a page: a script that is HTML is hard to understand.
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
    fn policies_allow_nothing_inline_but_the_nonces() {
        for policy in [policy(None), policy(Some("abc"))] {
            assert!(!policy.contains("unsafe"), "{policy}");
            assert!(policy.starts_with("default-src 'none'"), "{policy}");
        }
        assert!(policy(Some("abc")).contains("style-src 'self' 'nonce-abc';"));
    }

    #[test]
    fn missing_files_are_not_pages() {
        for name in ["assets/gone", "favicon.ico", "a/b.js"] {
            assert!(looks_like_file(name), "{name}");
        }
        for name in ["", "workspaces/0190", "sign-in"] {
            assert!(!looks_like_file(name), "{name}");
        }
    }

    #[test]
    fn pages_are_read_only() {
        let refusal = serve(&Method::POST, "/", &HeaderMap::new()).expect_err("refused");
        assert_eq!(refusal.code(), Code::MethodNotAllowed);
    }
}
