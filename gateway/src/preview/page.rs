//! Pages of ours at the origin of a preview: why it is not shown, and what to do.

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header};
use protocol::ports::PREVIEW_READY_PATH;
use uuid::Uuid;

/// A page with a title, a sentence, and what the visitor can do.
#[derive(Debug)]
pub struct Page {
    title: String,
    text: String,
    /// The text and the address of a link.
    link: Option<(&'static str, String)>,
    /// Whether the page loads again once the preview can be shown.
    waits: bool,
}

impl Page {
    pub fn not_listening(port: u16) -> Self {
        Self {
            title: format!("Nothing listens on port {port}"),
            text: "Start a server in the workspace. This page loads when it accepts connections.".to_owned(),
            link: None,
            waits: true,
        }
    }

    pub fn stopped(port: u16, workspace: &str) -> Self {
        Self {
            title: "The workspace is not running".to_owned(),
            text: format!("Port {port} can be reached while the workspace runs."),
            link: Some(("Open the workspace", workspace.to_owned())),
            waits: true,
        }
    }

    pub fn sign_in(port: u16, sign_in: &str) -> Self {
        Self {
            title: format!("Sign in to see port {port}"),
            text: "Reload the preview in the workbench, or open it in a tab.".to_owned(),
            link: Some(("Open in a tab", sign_in.to_owned())),
            waits: false,
        }
    }

    pub fn forbidden(port: u16, sign_in: &str) -> Self {
        Self {
            title: format!("You may not see port {port}"),
            text: "The owner of the workspace has not shared this port with you, or does not any more."
                .to_owned(),
            link: Some(("Try again", sign_in.to_owned())),
            waits: false,
        }
    }

    pub fn expired(port: u16, sign_in: &str) -> Self {
        Self {
            title: "This link was used already".to_owned(),
            text: format!("A link to the preview of port {port} works once, within a minute."),
            link: Some(("Open the preview again", sign_in.to_owned())),
            waits: false,
        }
    }

    /// Any other refusal, in its own words.
    pub fn refused(port: u16, detail: &str) -> Self {
        Self { title: format!("Cannot show port {port}"), text: detail.to_owned(), link: None, waits: false }
    }

    /// `is_framed`: in a frame, whose links open in another tab.
    pub fn into_response(self, status: u16, is_framed: bool) -> Response {
        let nonce = Uuid::new_v4().simple().to_string();
        let mut response = Response::new(Body::from(self.html(&nonce, is_framed)));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let policy = format!(
            "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'"
        );
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        response
    }

    fn html(&self, nonce: &str, is_framed: bool) -> String {
        let place = if is_framed { " target=\"_blank\" rel=\"noopener\"" } else { "" };
        let (title, text) = (escape(&self.title), escape(&self.text));
        let link = self.link.as_ref().map_or_else(String::new, |(text, address)| {
            format!("<p><a href=\"{}\"{place}>{}</a></p>", escape(address), escape(text))
        });
        let script = if self.waits {
            format!(
                "<p role=\"status\" class=\"soft\">Waiting…</p><script nonce=\"{nonce}\">\
                 const look = () => setTimeout(async () => {{\
                 const asked = fetch(\"{PREVIEW_READY_PATH}\", {{ cache: \"no-store\" }});\
                 const answer = await asked.catch(() => null);\
                 if (answer && answer.status === 204) location.reload(); else look();\
                 }}, 1000); look();</script>"
            )
        } else {
            String::new()
        };
        format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style nonce=\"{nonce}\">:root {{ color-scheme: light dark }} \
             body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 28rem; margin: 20vh auto 0; \
             padding: 0 1rem }} \
             h1 {{ font-size: 1.2rem }} .soft {{ opacity: .7 }}</style>\
             <h1>{title}</h1><p>{text}</p>{link}{script}"
        )
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_escaped() {
        let page = Page::forbidden(3000, "https://x/?a=\"><script>&b");
        let html = page.html("n", true);
        assert!(html.contains("href=\"https://x/?a=&quot;&gt;&lt;script&gt;&amp;b\""), "{html}");
        assert!(!html.contains("<script"), "{html}");
    }

    #[test]
    fn waiting_page_asks_whether_the_port_is_ready() {
        assert!(Page::not_listening(3000).html("n", true).contains(PREVIEW_READY_PATH));
        let policy =
            Page::stopped(1, "x").into_response(503, false).headers()["content-security-policy"].clone();
        let policy = policy.to_str().expect("text").to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    }
}
