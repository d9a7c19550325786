//! Globs as Redis understands them, and scanning with one.

use super::State;
use crate::shared::{ScanCursor, ScanPage, ScanRequest};

impl State {
    /// Pages go by the order of keys, so a key that exists all the time is in exactly one of them.
    pub(super) fn scan(&self, request: ScanRequest<'_>) -> ScanPage {
        let start = request.cursor.map_or(0, |cursor| cursor.position);
        let from = usize::try_from(start).unwrap_or(usize::MAX);
        let count = usize::try_from(request.count.max(1)).unwrap_or(usize::MAX);
        let looked_at: Vec<&String> = self.entries.keys().skip(from).take(count).collect();
        let end = from + looked_at.len();
        let next = (end < self.entries.len()).then_some(ScanCursor {
            server: 0,
            position: end as u64,
        });
        let keys = looked_at
            .into_iter()
            .filter(|key| matches(request.glob.as_bytes(), key.as_bytes()));
        ScanPage {
            keys: keys.cloned().collect(),
            next,
        }
    }
}

/// `*`, `?`, `[abc]`, `[^a]`, `[a-z]`, and `\` before anything that is meant literally.
fn matches(glob: &[u8], text: &[u8]) -> bool {
    match (glob, text) {
        ([], rest) => rest.is_empty(),
        ([b'*', glob @ ..], text) => (0..=text.len()).any(|skipped| matches(glob, &text[skipped..])),
        (_, []) => false,
        ([b'?', glob @ ..], [_, text @ ..]) => matches(glob, text),
        ([b'\\', literal, glob @ ..], [first, text @ ..]) => literal == first && matches(glob, text),
        ([b'[', class @ ..], [first, rest @ ..]) => match class.iter().position(|byte| *byte == b']') {
            Some(end) => in_class(&class[..end], *first) && matches(&class[end + 1..], rest),
            None => *first == b'[' && matches(class, rest),
        },
        ([literal, glob @ ..], [first, text @ ..]) => literal == first && matches(glob, text),
    }
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, mut class) = match class {
        [b'^', class @ ..] => (true, class),
        class => (false, class),
    };
    let mut found = false;
    loop {
        class = match class {
            [] => return found != negated,
            [from, b'-', to, rest @ ..] => {
                found |= (*from.min(to)..=*from.max(to)).contains(&byte);
                rest
            }
            [one, rest @ ..] => {
                found |= *one == byte;
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs_mean_what_they_mean_to_redis() {
        for (glob, text, expected) in [
            ("m:*", "m:a:b", true),
            ("m:*:b", "m:a:b", true),
            ("m:*:c", "m:a:b", false),
            ("m:?", "m:a", true),
            ("m:?", "m:", false),
            ("m:[ab]", "m:b", true),
            ("m:[^ab]", "m:b", false),
            ("m:[a-c]x", "m:bx", true),
            (r"m:\*", "m:*", true),
            (r"m:\*", "m:a", false),
            ("m:[", "m:[", true),
            ("", "", true),
            ("", "m", false),
        ] {
            assert_eq!(
                matches(glob.as_bytes(), text.as_bytes()),
                expected,
                "{glob} {text}"
            );
        }
    }
}
