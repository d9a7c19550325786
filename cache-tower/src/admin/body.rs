//! JSON in and out: bounded in length, time and depth on the way in, harmless inside HTML on the way out.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// An answer in JSON.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut response = text_of(&self.0).into_response();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }
}

/// JSON without the characters that could end a script or begin a tag, should it ever stand in a page. They occur in
/// strings only, where their escapes mean the same.
pub(super) fn text_of(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_else(|_| String::from("null"));
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 32);
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Reads what a request says.
pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let late = |_| {
        let detail = "the content did not arrive within 5 seconds";
        Problem::new(StatusCode::REQUEST_TIMEOUT, "too_slow", detail)
    };
    let bytes = tokio::time::timeout(MAX_TIME, collect(body))
        .await
        .map_err(late)??;
    if !is_shallow(&bytes) {
        return Err(Problem::invalid(
            "too_deep",
            "the content nests more than 16 deep",
        ));
    }
    // A list would do as well for the values in their order: a caller who means that is mistaken.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::invalid("invalid_json", "the content must be an object"));
    }
    serde_json::from_slice(&bytes).map_err(|error| Problem::invalid("invalid_json", error.to_string()))
}

async fn collect(mut body: Body) -> Result<Vec<u8>, Problem> {
    let too_long = || {
        let detail = "the content has more than 16 KiB";
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_long", detail)
    };
    if body.size_hint().lower() > MAX_BYTES as u64 {
        return Err(too_long());
    }
    let mut collected = Vec::new();
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| Problem::invalid("broken_off", "the content broke off"))?;
        let data: Bytes = frame.into_data().unwrap_or_default();
        if collected.len() + data.len() > MAX_BYTES {
            return Err(too_long());
        }
        collected.extend_from_slice(&data);
    }
    Ok(collected)
}

/// Whether arrays and objects nest at most [`MAX_DEPTH`] deep. Looked at before anything is built of them.
fn is_shallow(json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

const MAX_BYTES: usize = 16 << 10;
const MAX_TIME: Duration = Duration::from_secs(5);
const MAX_DEPTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(is_shallow(nested(16).as_bytes()));
        assert!(!is_shallow(nested(17).as_bytes()));
        assert!(!is_shallow("[{".repeat(9).as_bytes()));
        assert!(is_shallow(
            format!(r#"{{"key":"{}\"{}"}}"#, "[".repeat(99), "{".repeat(99)).as_bytes()
        ));
        assert!(is_shallow("[]".repeat(99).as_bytes()));
    }

    #[test]
    fn what_is_written_cannot_end_a_script_and_reads_the_same() {
        let nasty = "</script><!--&\u{2028}\u{2029}\"\\";
        let text = text_of(&nasty);
        assert!(!text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "{text}");
        assert_eq!(serde_json::from_str::<String>(&text).unwrap(), nasty);
    }
}
