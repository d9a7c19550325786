//! A secret that must not turn up anywhere.

use std::fmt::Write;

/// A made-up secret, different in each value, safe in URLs and configuration files.
#[derive(Debug, Clone)]
pub struct Canary {
    secret: String,
}

impl Canary {
    /// A new secret.
    #[expect(
        clippy::new_without_default,
        reason = "each one differs, and a default should not"
    )]
    pub fn new() -> Self {
        Self {
            secret: format!("canary{:016x}", rand::random::<u64>()),
        }
    }

    /// The secret, to be used as password, token or key.
    pub fn secret(&self) -> &str {
        &self.secret
    }

    /// The form in which `text` contains the secret, if it does: as it is, in hexadecimal digits, in base64,
    /// or as a list of bytes, which is what `{:?}` makes of a byte string.
    pub fn found_in(&self, text: &str) -> Option<&'static str> {
        let bytes = self.secret.as_bytes();
        let list = bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
        let forms = [
            ("plain", self.secret.clone()),
            ("hexadecimal", hex(bytes)),
            ("byte list", list),
        ];
        let base64 = (0..3).map(|shift| ("base64", base64_core(bytes, shift)));
        let lower = text.to_lowercase();
        forms
            .into_iter()
            .find(|(_, form)| lower.contains(form.as_str()))
            .map(|(name, _)| name)
            .or_else(|| {
                base64
                    .into_iter()
                    .find(|(_, form)| text.contains(form.as_str()))
                    .map(|(name, _)| name)
            })
    }

    /// Fails when the secret is in `text`; the message names `place` and quotes the line without the secret.
    ///
    /// # Panics
    /// When it is there.
    #[track_caller]
    pub fn assert_absent(&self, place: &str, text: &str) {
        if let Some(form) = self.found_in(text) {
            let line = text
                .lines()
                .find(|line| self.found_in(line).is_some())
                .unwrap_or(text);
            panic!(
                "a secret ({form}) is in {place}: {}",
                line.replace(&self.secret, "<secret>")
            );
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes any text");
        text
    })
}

/// The letters which the base64 form of any text has that contains `bytes` after `3n + shift` other bytes.
fn base64_core(bytes: &[u8], shift: usize) -> String {
    let start = (3 - shift) % 3;
    bytes[start..].chunks_exact(3).flat_map(base64_group).collect()
}

fn base64_group(three: &[u8]) -> [char; 4] {
    let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
    [18, 12, 6, 0].map(|shift| char::from(BASE64[(bits >> shift & 63) as usize]))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    fn canary() -> Canary {
        Canary {
            secret: "canary0123".into(),
        }
    }

    #[test]
    fn every_form_is_found() {
        for (text, form) in [
            ("redis://:canary0123@host", "plain"),
            ("CANARY0123", "plain"),
            ("63616E61727930313233", "hexadecimal"),
            ("Bytes([99, 97, 110, 97, 114, 121, 48, 49, 50, 51])", "byte list"),
            // `x`, `:` and `u:` before the secret, as in `Authorization: Basic`
            ("Y2FuYXJ5MDEyMw==", "base64"),
            ("OmNhbmFyeTAxMjM=", "base64"),
            ("dTpjYW5hcnkwMTIz", "base64"),
        ] {
            assert_eq!(canary().found_in(text), Some(form), "{text}");
        }
    }

    #[test]
    fn other_text_is_not_accused() {
        assert_eq!(canary().found_in("canary 0123, Y2FuYXJ5, redis://host"), None);
    }

    #[test]
    fn the_failure_does_not_repeat_the_secret() {
        let failure =
            std::panic::catch_unwind(|| canary().assert_absent("the log", "fine\nurl canary0123\n"));
        let message = *failure.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(message, "a secret (plain) is in the log: url <secret>");
    }
}
