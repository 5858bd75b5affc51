//! Whether a request is one of gRPC at all, as its specification has it.
//!
//! Any page can have a browser send a GET or a POST of plain text to any address, with the certificate of
//! whoever sits before it. **Invariant:** nothing is done for a request that no client of gRPC sends.

use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};

use super::status::Violations;

/// What the content is called: alone, or with the form of the messages after it.
const CONTENT: &str = "application/grpc";

/// The HTTP status of the answer, and what is wrong if anything is.
pub(super) fn check<B>(request: &Request<B>) -> (StatusCode, Result<(), Violations>) {
    let wrong = |status, field, description| {
        let mut violations = Violations::default();
        violations.add(field, description);
        (status, Err(violations))
    };
    if request.method() != Method::POST {
        return wrong(StatusCode::METHOD_NOT_ALLOWED, ":method", "must be POST");
    }
    let content = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match content.and_then(|content| content.strip_prefix(CONTENT)) {
        Some("" | "+proto") => (StatusCode::OK, Ok(())),
        Some(parameters) if parameters.starts_with(';') => (StatusCode::OK, Ok(())),
        _ => wrong(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-type",
            "must be application/grpc or application/grpc+proto",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(method: Method, content: Option<&str>) -> StatusCode {
        let mut request = Request::builder().method(method);
        if let Some(content) = content {
            request = request.header(CONTENT_TYPE, content);
        }
        let (status, outcome) = check(&request.body(()).expect("it is well formed"));
        assert_eq!(status == StatusCode::OK, outcome.is_ok());
        status
    }

    #[test]
    fn only_posts_of_grpc_are_calls() {
        for content in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
            assert_eq!(status(Method::POST, Some(content)), StatusCode::OK, "{content}");
            for method in [Method::GET, Method::PUT, Method::OPTIONS] {
                let status = status(method, Some(content));
                assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{content}");
            }
        }
        for content in [
            None,
            Some(""),
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/grpc-web"),
            Some("application/grpc-web+proto"),
            Some("application/grpc+json"),
            Some("Application/json"),
        ] {
            let status = status(Method::POST, content);
            assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content:?}");
        }
    }
}
