//! The dashboard: one document with its style and scripts in it, so that no second request needs a token that a browser
//! does not send by itself.
//!
//! It is the same document for everybody and holds no data. Its scripts ask for the token, keep it in the tab's session
//! storage, and send it as a header field.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};

pub(super) async fn show() -> Response {
    document(StatusCode::OK)
}

/// The same document as the body of a refusal.
pub(super) fn sign_in(refusal: &Response) -> Response {
    let mut response = document(refusal.status());
    if let Some(challenge) = refusal.headers().get(WWW_AUTHENTICATE) {
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge.clone());
    }
    response
}

fn document(status: StatusCode) -> Response {
    // 128 bits from a generator that cannot be foreseen, new for every answer.
    let nonce = format!("{:032x}", rand::random::<u128>());
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut response = (status, DOCUMENT.replace(NONCE, &nonce)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Put together once; only the nonce is left open.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    PARTS.iter().fold(
        include_str!("dashboard/index.html").to_owned(),
        |page, (mark, part)| page.replace(mark, part),
    )
});

const PARTS: [(&str, &str); 4] = [
    ("/*{chart-style}*/", include_str!("dashboard/uplot/uPlot.min.css")),
    ("/*{style}*/", include_str!("dashboard/style.css")),
    ("/*{chart}*/", include_str!("dashboard/uplot/uPlot.iife.min.js")),
    ("/*{script}*/", include_str!("dashboard/app.js")),
];

const NONCE: &str = "{nonce}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_can_end_the_element_that_it_stands_in() {
        for (mark, part) in PARTS {
            for end in ["</script", "</style", "<!--"] {
                assert!(!part.to_ascii_lowercase().contains(end), "{mark} contains {end}");
            }
        }
    }

    #[test]
    fn the_document_is_complete_and_asks_for_nothing_else() {
        for (mark, _) in PARTS {
            assert!(!DOCUMENT.contains(mark), "{mark}");
        }
        assert_eq!(DOCUMENT.matches(NONCE).count(), 4, "two styles and two scripts");
        for outside in [
            "src=",
            "href=\"http",
            "@import",
            "url(",
            " style=\"",
            " onclick",
            "innerHTML",
            "eval(",
        ] {
            assert!(!DOCUMENT.contains(outside), "the document says {outside}");
        }
    }
}
