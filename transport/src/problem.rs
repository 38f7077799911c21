//! Problems as HTTP responses (RFC 9457).
//!
//! The code that detects an error often does not know the id of the request, so [`response`] also
//! keeps the [`Problem`] in the response's extensions. The layer that knows the id adds it with
//! [`add_request_id`].

use http::{HeaderValue, Response, StatusCode, header};
use protocol::{Problem, problem::CONTENT_TYPE};

/// Returns `problem` as a response with its status. `B` is the body type of the caller's framework.
pub fn response<B: From<Vec<u8>>>(problem: Problem) -> Response<B> {
    let mut response = Response::new(body(&problem));
    *response.status_mut() =
        StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
    response.extensions_mut().insert(problem);
    response
}

/// Writes `id` into the problem of a response that [`response`] made. Its other headers stay. Any
/// other response is returned as it is.
pub fn add_request_id<B: From<Vec<u8>>>(mut response: Response<B>, id: &str) -> Response<B> {
    let Some(mut problem) = response.extensions_mut().remove::<Problem>() else { return response };
    id.clone_into(&mut problem.request_id);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.map(|_| body(&problem))
}

fn body<B: From<Vec<u8>>>(problem: &Problem) -> B {
    serde_json::to_vec(problem).expect("a problem is plain data").into()
}

#[cfg(test)]
mod tests {
    use protocol::Code;

    use super::*;

    #[test]
    fn response_has_status_and_content_type() {
        let response: Response<Vec<u8>> = response(Problem::new(Code::NotFound, "Not here."));
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let problem: Problem = serde_json::from_slice(response.body()).expect("a problem");
        assert_eq!(problem, Problem::new(Code::NotFound, "Not here."));
    }

    #[test]
    fn request_id_is_added_and_headers_stay() {
        let mut refused: Response<Vec<u8>> = response(Problem::new(Code::Unavailable, "Later."));
        refused.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        let refused = add_request_id(refused, "42");
        assert_eq!(refused.headers()[header::RETRY_AFTER], "2");
        let problem: Problem = serde_json::from_slice(refused.body()).expect("a problem");
        assert_eq!(problem.request_id, "42");
    }

    #[test]
    fn other_responses_are_unchanged() {
        let plain = add_request_id(Response::new(b"hello".to_vec()), "42");
        assert_eq!(plain.body(), b"hello");
    }
}
