//! Headers between a visitor of a preview and the server in the guest. Pure.
//!
//! The server believes that it is visited at `http://localhost:PORT`, as on its developer's own computer.
//! Host, Origin, Referer and X-Forwarded-* all say so, and agree, because servers compare them: those that
//! check for DNS rebinding (vite, webpack, Django, Rails) allow `localhost`, and those that check for forged
//! requests (Django, Rails, Next) compare Origin with Host and X-Forwarded-Host. Where its responses name
//! `localhost`, they name the preview instead.
//!
//! The server sees nothing of Burrow: no cookie, no token, no grant.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use protocol::{
    api::auth::{COOKIE, COOKIE_PLAIN, TOKEN_PREFIX},
    ports::{PREVIEW_COOKIE, PREVIEW_COOKIE_PLAIN, PreviewHost, PreviewTarget},
};

use crate::headers::{hop_by_hop, is_internal};

/// The origin of the preview, for servers that build addresses for other computers.
const PREVIEW_ORIGIN: HeaderName = HeaderName::from_static("x-burrow-preview-origin");
/// Our cookies. The server neither sees nor sets them.
const OUR_COOKIES: [&str; 4] = [COOKIE, COOKIE_PLAIN, PREVIEW_COOKIE, PREVIEW_COOKIE_PLAIN];
/// Names of the guest's loopback interface, as servers write them in their responses.
const LOOPBACK_NAMES: [&str; 4] = ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"];

/// Headers of a guest that a browser does not get: they would act beyond the preview's origin, or on our own
/// connection.
const GUEST_DROPPED: [&str; 4] = [
    "alt-svc",
    // It can clear the cookies of the whole site, the app's among them.
    "clear-site-data",
    "strict-transport-security",
    // Replaced by `frame_ancestors`: Django and others forbid frames unless told otherwise.
    "x-frame-options",
];

/// Returns a visitor's headers for the server. `client` is the visitor's address.
pub fn to_guest(headers: &HeaderMap, host: &PreviewHost, target: PreviewTarget, client: IpAddr) -> HeaderMap {
    let is_hop_by_hop = hop_by_hop(headers);
    let mut rewritten = HeaderMap::new();
    for (name, value) in headers {
        let is_dropped = is_hop_by_hop(name)
            || is_internal(name)
            || is_claim(name)
            || matches!(*name, header::HOST | header::COOKIE)
            || (*name == header::AUTHORIZATION && is_our_token(value));
        if !is_dropped {
            let value = match *name {
                header::ORIGIN | header::REFERER => to_local(value, host, target),
                _ => value.clone(),
            };
            rewritten.append(name, value);
        }
    }
    if let Some(cookies) = foreign_cookies(headers) {
        rewritten.insert(header::COOKIE, cookies);
    }
    let local = format!("localhost:{}", target.port);
    set(&mut rewritten, header::HOST, &local);
    set(&mut rewritten, HeaderName::from_static("x-forwarded-host"), &local);
    set(&mut rewritten, HeaderName::from_static("x-forwarded-proto"), "http");
    set(&mut rewritten, HeaderName::from_static("x-forwarded-for"), &client.to_canonical().to_string());
    set(&mut rewritten, PREVIEW_ORIGIN, &host.origin(target));
    rewritten
}

/// Returns the server's headers for the visitor.
pub fn to_visitor(
    headers: &HeaderMap,
    host: &PreviewHost,
    target: PreviewTarget,
    app_origins: &[String],
) -> HeaderMap {
    let is_hop_by_hop = hop_by_hop(headers);
    let mut rewritten = HeaderMap::new();
    for (name, value) in headers {
        let text = name.as_str();
        if is_hop_by_hop(name) || is_internal(name) || GUEST_DROPPED.contains(&text) {
            continue;
        }
        let value = match *name {
            header::LOCATION | header::CONTENT_LOCATION | header::ACCESS_CONTROL_ALLOW_ORIGIN => {
                to_preview(value, host, target)
            }
            header::SET_COOKIE => match bound_cookie(value) {
                Some(cookie) => cookie,
                None => continue,
            },
            _ => value.clone(),
        };
        rewritten.append(name, value);
    }
    // A second policy: what the server says holds, too.
    if let Ok(policy) = HeaderValue::from_str(&frame_ancestors(app_origins)) {
        rewritten.append(header::CONTENT_SECURITY_POLICY, policy);
    }
    rewritten
}

/// The policy that only the app may show a preview in a frame.
pub fn frame_ancestors(app_origins: &[String]) -> String {
    format!("frame-ancestors 'self' {}", app_origins.join(" "))
}

/// Headers by which proxies say where a request comes from. We set our own.
fn is_claim(name: &HeaderName) -> bool {
    let text = name.as_str();
    text.starts_with("x-forwarded-") || matches!(text, "forwarded" | "x-real-ip")
}

fn is_our_token(value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    value.windows(TOKEN_PREFIX.len()).any(|window| window == TOKEN_PREFIX.as_bytes())
}

/// The cookies that are not ours, as one line.
fn foreign_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let lines = headers.get_all(header::COOKIE).into_iter().map(HeaderValue::as_bytes);
    let pairs = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    let kept: Vec<&[u8]> = pairs.filter(|pair| !pair.is_empty() && !is_our_cookie(pair)).collect();
    if kept.is_empty() {
        return None;
    }
    let mut value = HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether a pair `name=value` has the name of one of our cookies.
fn is_our_cookie(pair: &[u8]) -> bool {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
    OUR_COOKIES.iter().any(|ours| name.eq_ignore_ascii_case(ours.as_bytes()))
}

/// A cookie of the server, without a domain: it is of this origin only, and reaches neither other workspaces
/// nor the app. None for one of our names.
fn bound_cookie(value: &HeaderValue) -> Option<HeaderValue> {
    let mut parts = value.as_bytes().split(|byte| *byte == b';');
    let pair = parts.next()?;
    if is_our_cookie(pair) {
        return None;
    }
    let is_domain = |part: &&[u8]| {
        let name = part.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case(b"domain")
    };
    let kept: Vec<&[u8]> = std::iter::once(pair).chain(parts.filter(|part| !is_domain(part))).collect();
    HeaderValue::from_bytes(&kept.join(&b';')).ok()
}

/// Replaces the origin of a preview of this workspace by that of the server: `http://localhost:PORT`.
fn to_local(value: &HeaderValue, host: &PreviewHost, target: PreviewTarget) -> HeaderValue {
    replace_origin(value, |origin| {
        let page = host.parse_origin(origin)?;
        (page.workspace == target.workspace).then(|| format!("http://localhost:{}", page.port))
    })
}

/// Replaces an origin of the guest's loopback interface by that of the port's preview.
fn to_preview(value: &HeaderValue, host: &PreviewHost, target: PreviewTarget) -> HeaderValue {
    replace_origin(value, |origin| {
        let (scheme, authority) = origin.split_once("://")?;
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.ends_with(']') => (name, protocol::ports::parse_port(port)?),
            _ => (authority, default),
        };
        let is_local = LOOPBACK_NAMES.iter().any(|local| name.eq_ignore_ascii_case(local));
        is_local.then(|| host.origin(PreviewTarget { port, ..target }))
    })
}

/// Replaces `scheme://authority` at the beginning of a URL.
fn replace_origin(value: &HeaderValue, replace: impl Fn(&str) -> Option<String>) -> HeaderValue {
    let replaced = value.to_str().ok().and_then(|text| {
        let start = text.find("://")? + 3;
        let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |end| start + end);
        HeaderValue::from_str(&format!("{}{}", replace(&text[..end])?, &text[end..])).ok()
    });
    replaced.unwrap_or_else(|| value.clone())
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use protocol::WorkspaceId;

    use super::*;

    struct Setup {
        host: PreviewHost,
        target: PreviewTarget,
        own: String,
        sibling: String,
        other: String,
    }

    fn setup() -> Setup {
        let host = PreviewHost { scheme: "https".to_owned(), name: "p.example".to_owned(), port: 443 };
        let target = PreviewTarget { port: 3000, workspace: WorkspaceId::random() };
        let sibling = host.origin(PreviewTarget { port: 8000, ..target });
        let other = host.origin(PreviewTarget { workspace: WorkspaceId::random(), ..target });
        Setup { own: host.origin(target), host, target, sibling, other }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().expect("valid"));
        }
        headers
    }

    fn sent(setup: &Setup, pairs: &[(&'static str, &str)]) -> HeaderMap {
        to_guest(&headers(pairs), &setup.host, setup.target, "192.0.2.7".parse().expect("valid"))
    }

    fn received(setup: &Setup, name: &'static str, value: &str) -> Vec<String> {
        let app = ["https://burrow.example".to_owned()];
        let got = to_visitor(&headers(&[(name, value)]), &setup.host, setup.target, &app);
        got.get_all(name).into_iter().map(|value| value.to_str().expect("text").to_owned()).collect()
    }

    #[test]
    fn server_is_visited_at_localhost() {
        let setup = setup();
        let got = sent(
            &setup,
            &[
                ("host", "3000--x.p.example"),
                ("origin", &setup.own),
                ("referer", &format!("{}/page?a=1", setup.own)),
                ("x-forwarded-host", "evil.example"),
                ("x-forwarded-proto", "https"),
                ("x-forwarded-port", "443"),
                ("forwarded", "for=1.2.3.4"),
                ("accept-language", "de"),
            ],
        );
        assert_eq!(got["host"], "localhost:3000");
        assert_eq!(got["origin"], "http://localhost:3000");
        assert_eq!(got["referer"], "http://localhost:3000/page?a=1");
        assert_eq!(got["x-forwarded-host"], "localhost:3000");
        assert_eq!(got["x-forwarded-proto"], "http");
        assert_eq!(got["x-forwarded-for"], "192.0.2.7");
        assert_eq!(got["x-burrow-preview-origin"], setup.own.as_str());
        assert_eq!(got["accept-language"], "de");
        assert_eq!(got.len(), 8, "{got:?}");
    }

    #[test]
    fn origins_of_others_stay() {
        let setup = setup();
        for (origin, expected) in [
            (setup.sibling.as_str(), "http://localhost:8000"),
            (&setup.other, &setup.other),
            ("https://evil.example", "https://evil.example"),
            ("null", "null"),
        ] {
            assert_eq!(sent(&setup, &[("origin", origin)])["origin"], expected);
        }
    }

    #[test]
    fn server_sees_no_secret_of_ours() {
        let setup = setup();
        let got = sent(
            &setup,
            &[
                ("cookie", "__Host-burrow-preview=SECRET; theme=dark"),
                ("cookie", "__Host-burrow=SECRET;burrow=SECRET;  burrow-preview =SECRET; id=7"),
                ("authorization", "Bearer brw_SECRET"),
                ("x-burrow-access", "SECRET"),
                ("proxy-authorization", "SECRET"),
                ("connection", "x-private"),
                ("x-private", "SECRET"),
                ("te", "trailers"),
            ],
        );
        assert_eq!(got["cookie"], "theme=dark; id=7");
        assert!(!format!("{got:?}").contains("SECRET"), "{got:?}");
        assert_eq!(sent(&setup, &[("authorization", "Basic YTpi")])["authorization"], "Basic YTpi");
        assert!(!sent(&setup, &[("cookie", "burrow=SECRET")]).contains_key("cookie"));
    }

    #[test]
    fn local_addresses_become_previews() {
        let setup = setup();
        let Setup { own, sibling, .. } = &setup;
        for (location, expected) in [
            ("http://localhost:3000/a?b#c", format!("{own}/a?b#c")),
            ("http://127.0.0.1:3000", own.clone()),
            ("http://[::1]:3000/", format!("{own}/")),
            ("http://0.0.0.0:3000?x", format!("{own}?x")),
            ("https://LOCALHOST:8000/x", format!("{sibling}/x")),
            ("/relative", "/relative".to_owned()),
            (
                "https://login.example/?to=http://localhost:3000/",
                "https://login.example/?to=http://localhost:3000/".to_owned(),
            ),
            ("http://localhost.evil:3000/", "http://localhost.evil:3000/".to_owned()),
            ("ftp://localhost:3000/", "ftp://localhost:3000/".to_owned()),
        ] {
            assert_eq!(received(&setup, "location", location), [expected], "{location}");
        }
        let own_port_80 = setup.host.origin(PreviewTarget { port: 80, ..setup.target });
        assert_eq!(received(&setup, "location", "http://localhost/"), [format!("{own_port_80}/")]);
        let allowed = received(&setup, "access-control-allow-origin", "http://localhost:8000");
        assert_eq!(allowed, std::slice::from_ref(sibling));
        assert_eq!(received(&setup, "access-control-allow-origin", "*"), ["*"]);
    }

    #[test]
    fn cookies_stay_at_their_origin() {
        let setup = setup();
        for (cookie, expected) in [
            ("id=7; Path=/; Domain=p.example; HttpOnly", Some("id=7; Path=/; HttpOnly")),
            ("id=7; domain =.example", Some("id=7")),
            ("domain=x; Path=/", Some("domain=x; Path=/")),
            ("__Host-burrow-preview=x; Path=/; Secure", None),
            ("burrow=x", None),
            (" __Host-Burrow =x", None),
        ] {
            let expected: Vec<String> = expected.into_iter().map(ToOwned::to_owned).collect();
            assert_eq!(received(&setup, "set-cookie", cookie), expected, "{cookie}");
        }
    }

    #[test]
    fn guest_acts_on_its_own_origin_only() {
        let setup = setup();
        for name in [
            "strict-transport-security",
            "clear-site-data",
            "alt-svc",
            "x-frame-options",
            "x-burrow-secure",
            "upgrade",
        ] {
            assert_eq!(received(&setup, name, "x"), Vec::<String>::new(), "{name}");
        }
        let policies = received(&setup, "content-security-policy", "default-src 'self'");
        assert_eq!(policies, ["default-src 'self'", "frame-ancestors 'self' https://burrow.example"]);
        assert_eq!(received(&setup, "content-type", "text/html"), ["text/html"]);
    }
}
