//! Who makes a request to a preview, as its headers show. Pure.
//!
//! Previews of one preview host are the same *site* for browsers, also those of different users. So a page of
//! another workspace could make requests with the visitor's cookie, as could any site by a form. The cookie
//! counts only if the request comes from the preview itself, from another port of the same workspace, or from
//! a link.

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use protocol::{
    Redacted,
    api::internal::PreviewCookie,
    ports::{PREVIEW_COOKIE, PREVIEW_COOKIE_PLAIN, PreviewHost, PreviewTarget},
};

use crate::{credential::is_plausible, websocket};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// How long a browser remembers that a sibling port may be asked.
const PREFLIGHT_MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// A request to a preview.
#[derive(Debug)]
pub struct Visit {
    pub target: PreviewTarget,
    /// The preview's cookie, if it counts.
    pub credential: Option<Redacted<String>>,
    /// A browser shows the response as a page.
    pub is_page: bool,
    /// The page is in a frame of another page.
    pub is_framed: bool,
    /// The origin of another port of the same workspace, whose page makes the request.
    sibling: Option<HeaderValue>,
    is_preflight: bool,
}

impl Visit {
    /// `is_secure`: browsers keep secure cookies of this preview.
    pub fn new<B>(host: &PreviewHost, target: PreviewTarget, request: &Request<B>, is_secure: bool) -> Self {
        let (method, headers) = (request.method(), request.headers());
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let is_navigation = text(&FETCH_MODE) == Some("navigate");
        let accepts_page = || text(&header::ACCEPT).is_some_and(|accept| accept.contains("text/html"));
        let is_page = method.is_safe()
            && !websocket::is_upgrade(request)
            && (is_navigation || (text(&FETCH_MODE).is_none() && accepts_page()));
        let sibling = headers.get(header::ORIGIN).filter(|origin| {
            let page = origin.to_str().ok().and_then(|origin| host.parse_origin(origin));
            page.is_some_and(|page| page.workspace == target.workspace && page != target)
        });
        let credential = if is_foreign(host, target, method, headers) {
            None
        } else {
            find_cookie(headers, if is_secure { PREVIEW_COOKIE } else { PREVIEW_COOKIE_PLAIN })
        };
        Self {
            target,
            credential,
            is_page,
            is_framed: matches!(text(&FETCH_DEST), Some("iframe" | "frame" | "embed" | "object")),
            sibling: sibling.cloned(),
            is_preflight: method == Method::OPTIONS
                && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD),
        }
    }

    /// Answers the preflight of a sibling port. A preflight has no cookie, so the preview's server never sees
    /// one of a private port.
    pub fn answer_preflight(&self, headers: &HeaderMap) -> Option<Response> {
        self.sibling.as_ref().filter(|_| self.is_preflight)?;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let answer = response.headers_mut();
        for (asked, allowed) in [
            (header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_ALLOW_METHODS),
            (header::ACCESS_CONTROL_REQUEST_HEADERS, header::ACCESS_CONTROL_ALLOW_HEADERS),
        ] {
            if let Some(value) = headers.get(asked) {
                answer.insert(allowed, value.clone());
            }
        }
        answer.insert(header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_MAX_AGE);
        self.allow_sibling(answer);
        Some(response)
    }

    /// Lets the page of a sibling port read a response: one workspace is one application.
    pub fn allow_sibling(&self, headers: &mut HeaderMap) {
        let Some(origin) = &self.sibling else { return };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }

    /// The header that sets the preview's cookie. In a frame of the app it must be partitioned, because
    /// browsers keep no other cookies there. In a tab it is not sent with forms of other sites.
    pub fn cookie(&self, cookie: &PreviewCookie, is_secure: bool) -> HeaderValue {
        let name = if is_secure { PREVIEW_COOKIE } else { PREVIEW_COOKIE_PLAIN };
        let kind = match (is_secure, self.is_framed) {
            (true, true) => "Secure; SameSite=None; Partitioned",
            (true, false) => "Secure; SameSite=Lax",
            (false, _) => "SameSite=Lax",
        };
        let (secret, age) = (cookie.secret.expose(), cookie.max_age_seconds);
        let text = format!("{name}={secret}; Path=/; Max-Age={age}; HttpOnly; {kind}");
        let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

/// Whether a page of another workspace or site may have made the request.
fn is_foreign(host: &PreviewHost, target: PreviewTarget, method: &Method, headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_ours =
        |origin: &str| host.parse_origin(origin).is_some_and(|page| page.workspace == target.workspace);
    // Only browsers set it. With `Referrer-Policy: no-referrer`, the origin of a page's own form is "null".
    if text(FETCH_SITE) == Some("same-origin") {
        return false;
    }
    if let Some(origin) = text(header::ORIGIN) {
        return !is_ours(origin);
    }
    match text(FETCH_SITE) {
        // Programs and old browsers do not say. Without an origin they cannot be a page's request that
        // changes something.
        None | Some("none") => false,
        // A link that was followed.
        Some(_) if method.is_safe() && text(FETCH_MODE) == Some("navigate") => false,
        // A script or an image of a sibling port has no origin but a referrer.
        Some(_) => !text(header::REFERER).and_then(origin_of).is_some_and(is_ours),
    }
}

fn origin_of(url: &str) -> Option<&str> {
    let start = url.find("://")? + 3;
    Some(url.split_at_checked(start + url[start..].find('/').unwrap_or(url.len() - start))?.0)
}

/// The last cookie of this name that may be one of ours: browsers send older ones first.
fn find_cookie(headers: &HeaderMap, name: &str) -> Option<Redacted<String>> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs
        .rfind(|(key, value)| *key == name && is_plausible(value))
        .map(|(_, value)| Redacted::new(value.to_owned()))
}

#[cfg(test)]
mod tests {
    use protocol::WorkspaceId;

    use super::*;

    fn host() -> PreviewHost {
        PreviewHost { scheme: "https".to_owned(), name: "p.example".to_owned(), port: 443 }
    }

    fn visit(target: PreviewTarget, method: Method, pairs: &[(&'static str, &str)]) -> Visit {
        let mut request = Request::new(());
        *request.method_mut() = method;
        for (name, value) in pairs {
            request.headers_mut().append(*name, value.parse().expect("valid"));
        }
        Visit::new(&host(), target, &request, true)
    }

    #[test]
    fn cookie_counts_for_own_pages_only() {
        let target = PreviewTarget { port: 3000, workspace: WorkspaceId::random() };
        let own = host().origin(target);
        let sibling = host().origin(PreviewTarget { port: 8000, ..target });
        let other = host().origin(PreviewTarget { workspace: WorkspaceId::random(), ..target });
        let other_page = format!("{other}/page");
        let sibling_page = format!("{sibling}/page?x=://");
        let (get, post) = (Method::GET, Method::POST);
        for (method, headers, counts) in [
            (&get, &[][..], true),
            (&post, &[("origin", &own[..])], true),
            (&post, &[("origin", &sibling)], true),
            (&post, &[("origin", &other)], false),
            (&get, &[("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")], false),
            (&post, &[("origin", "null")], false),
            (&post, &[("origin", "null"), ("sec-fetch-site", "same-origin")], true),
            (&post, &[("origin", "null"), ("sec-fetch-site", "same-site")], false),
            (&get, &[("sec-fetch-site", "same-origin")], true),
            (&get, &[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")], true),
            (&get, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], true),
            (&post, &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], false),
            (&get, &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")], false),
            (&get, &[("sec-fetch-site", "same-site"), ("referer", &other_page)], false),
            (&get, &[("sec-fetch-site", "same-site"), ("referer", &sibling_page)], true),
            (&get, &[("sec-fetch-site", "same-site"), ("referer", &sibling)], true),
        ] {
            let mut all =
                vec![("cookie", "a=b; __Host-burrow-preview=old"), ("cookie", "__Host-burrow-preview=new")];
            all.extend(headers);
            let found = visit(target, method.clone(), &all).credential;
            let expected = counts.then_some("new");
            assert_eq!(
                found.as_ref().map(|secret| secret.expose().as_str()),
                expected,
                "{method} {headers:?}"
            );
        }
        let plain = visit(target, get, &[("cookie", "burrow-preview=x; __Host-burrow=session")]);
        assert!(plain.credential.is_none(), "only the cookie that no other page can set");
    }

    #[test]
    fn preflight_of_sibling_is_answered() {
        let target = PreviewTarget { port: 3000, workspace: WorkspaceId::random() };
        let sibling = host().origin(PreviewTarget { port: 8000, ..target });
        let other = host().origin(PreviewTarget { workspace: WorkspaceId::random(), ..target });
        let preflight = |origin: &str| {
            let asked = [
                ("origin", origin),
                ("access-control-request-method", "PUT"),
                ("access-control-request-headers", "content-type"),
            ];
            let visit = visit(target, Method::OPTIONS, &asked);
            let mut headers = HeaderMap::new();
            headers.insert("access-control-request-method", HeaderValue::from_static("PUT"));
            visit.answer_preflight(&headers)
        };
        let answer = preflight(&sibling).expect("an answer");
        assert_eq!(answer.status(), StatusCode::NO_CONTENT);
        assert_eq!(answer.headers()["access-control-allow-origin"], sibling.as_str());
        assert_eq!(answer.headers()["access-control-allow-credentials"], "true");
        assert_eq!(answer.headers()["access-control-allow-methods"], "PUT");
        for origin in [&host().origin(target), &other, "https://evil.example", "null"] {
            assert!(preflight(origin).is_none(), "{origin}");
        }
    }

    #[test]
    fn cookie_is_partitioned_in_frames() {
        let target = PreviewTarget { port: 3000, workspace: WorkspaceId::random() };
        let cookie = PreviewCookie { secret: Redacted::new("s".to_owned()), max_age_seconds: 60 };
        let text = |headers: &[(&'static str, &str)], is_secure| {
            let value = visit(target, Method::GET, headers).cookie(&cookie, is_secure);
            value.to_str().expect("text").to_owned()
        };
        let start = "__Host-burrow-preview=s; Path=/; Max-Age=60; HttpOnly; Secure; ";
        let frame = [("sec-fetch-dest", "iframe")];
        assert_eq!(text(&frame, true), format!("{start}SameSite=None; Partitioned"));
        assert_eq!(text(&[], true), format!("{start}SameSite=Lax"));
        assert_eq!(text(&frame, false), "burrow-preview=s; Path=/; Max-Age=60; HttpOnly; SameSite=Lax");
    }
}
