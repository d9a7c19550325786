//! Which characters a key text holds as themselves, and how it writes the others.
//!
//! The table is frozen. It does not follow the Unicode version of the compiler: the invisible characters are
//! listed here by number.

use std::borrow::Cow;

use crate::key::KeyError;

/// Escapes `text` and hands the pieces to `emit`: plain runs as they are, other bytes as `%XX`.
///
/// Only whole characters are escaped, so the pieces joined are valid UTF-8.
#[inline]
pub(crate) fn escape(text: &str, mut emit: impl FnMut(&[u8])) {
    // All classes at once: texts are short, and leaving at the first special byte would cost a branch for each.
    let classes = text
        .bytes()
        .fold(PLAIN, |classes, byte| classes | CLASS[byte as usize]);
    if classes == PLAIN {
        emit(text.as_bytes());
    } else {
        escape_by_character(text, &mut emit);
    }
}

/// `text` escaped; borrowed when nothing needs it.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len() + 8);
    escape(text, |piece| bytes.extend_from_slice(piece));
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether `text` stands in a key as it is.
pub(crate) const fn is_plain(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if needs_escape(bytes, at) {
            return false;
        }
        at += 1;
    }
    true
}

/// Checks that `text` is what the escaping would have written: structure, plain characters and the escapes of
/// exactly the characters that need one. `offset` is added to the reported position.
pub(crate) fn check_canonical(text: &str, offset: usize) -> Result<(), KeyError> {
    let mut position = offset;
    for run in text.split_inclusive(is_structure) {
        let atom = run.trim_end_matches(is_structure);
        let canonical = unescape(atom).is_some_and(|plain| escaped(&plain) == atom);
        if !canonical {
            return Err(KeyError::NotCanonical { position });
        }
        position += run.len();
    }
    Ok(())
}

/// Whether the character gives a part its structure.
pub(crate) fn is_structure(character: char) -> bool {
    STRUCTURE.contains(character)
}

#[inline(never)]
fn escape_by_character(text: &str, emit: &mut dyn FnMut(&[u8])) {
    let bytes = text.as_bytes();
    let mut written = 0;
    // By bytes: none inside a character is ever escaped on its own, see `CLASS`.
    for (at, &first) in bytes.iter().enumerate() {
        let length = match CLASS[usize::from(first)] {
            PLAIN => continue,
            ESCAPED => 1,
            _ if is_invisible(code_point(bytes, at)) => encoded_length(first),
            _ => continue,
        };
        emit(&bytes[written..at]);
        for &byte in &bytes[at..at + length] {
            emit(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        written = at + length;
    }
    emit(&bytes[written..]);
}

/// How many bytes a character of more than one has, by its first.
const fn encoded_length(first: u8) -> usize {
    match first {
        0xF0.. => 4,
        0xE0.. => 3,
        _ => 2,
    }
}

/// The characters behind an escaped text, or nothing if an escape is malformed.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => hex_digit(rest.next()?)? << 4 | hex_digit(rest.next()?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex_digit(symbol: u8) -> Option<u8> {
    // The table has sixteen entries, so the index fits.
    HEX.iter()
        .position(|&digit| digit == symbol)
        .map(|value| value as u8)
}

/// Whether the character that begins at `at` is escaped. False inside a character.
const fn needs_escape(bytes: &[u8], at: usize) -> bool {
    match CLASS[bytes[at] as usize] {
        PLAIN => false,
        ESCAPED => true,
        _ => is_invisible(code_point(bytes, at)),
    }
}

/// The character of two to four bytes that begins at `at` in valid UTF-8.
const fn code_point(bytes: &[u8], at: usize) -> u32 {
    let lead = bytes[at] as u32;
    let (length, mut value) = match lead {
        0xF0.. => (4, lead & 0x07),
        0xE0.. => (3, lead & 0x0F),
        _ => (2, lead & 0x1F),
    };
    let mut next = 1;
    while next < length {
        value = value << 6 | (bytes[at + next] as u32 & 0x3F);
        next += 1;
    }
    value
}

/// Characters outside ASCII that show nothing or reorder what stands around them.
const fn is_invisible(character: u32) -> bool {
    matches!(
        character,
        0x80..=0xA0             // C1 controls, no-break space
        | 0xAD                  // soft hyphen
        | 0x61C                 // Arabic letter mark
        | 0x1680 | 0x180E       // Ogham space, Mongolian vowel separator
        | 0x2000..=0x200F       // spaces, zero-width characters, direction marks
        | 0x2028..=0x202F       // line and paragraph separators, embeddings and overrides
        | 0x205F..=0x206F       // medium space, word joiner, isolates
        | 0x3000                // ideographic space
        | 0xFEFF                // byte order mark
        | 0xE0000..=0xE007F     // tag characters
    )
}

const PLAIN: u8 = 0;
const ESCAPED: u8 = 1;
/// The first byte of a character that [`is_invisible`] must look at.
const LOOK: u8 = 2;

/// Part separators, Redis glob characters, cluster hash tags and the escape character.
const RESERVED: &[u8] = b":%{}*?[]\\^";
/// The characters that give a part its structure; a text never holds them unescaped.
const STRUCTURE: &str = "(),~#'";
const LOOK_AT: &[u8] = &[0xC2, 0xD8, 0xE1, 0xE2, 0xE3, 0xEF, 0xF3];

const HEX: &[u8; 16] = b"0123456789ABCDEF";

static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut class = [PLAIN; 256];
    let mut byte = 0;
    while byte <= 0x20 {
        class[byte] = ESCAPED;
        byte += 1;
    }
    class[0x7F] = ESCAPED;
    class = with_class(class, RESERVED, ESCAPED);
    class = with_class(class, STRUCTURE.as_bytes(), ESCAPED);
    with_class(class, LOOK_AT, LOOK)
}

const fn with_class(mut class: [u8; 256], members: &[u8], value: u8) -> [u8; 256] {
    let mut at = 0;
    while at < members.len() {
        class[members[at] as usize] = value;
        at += 1;
    }
    class
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(escaped(text), expected);
        assert_eq!(unescape(expected).as_deref(), Some(text));
        assert_eq!(is_plain(text), text == expected);
        check_canonical(expected, 0).unwrap();
    }

    #[test]
    fn plain_texts_stay_as_they_are() {
        check("", "");
        check("AAPL", "AAPL");
        check(
            "a-b_c.d/e@f+g=h&i;j|k<l>m\"n`o!p$q",
            "a-b_c.d/e@f+g=h&i;j|k<l>m\"n`o!p$q",
        );
        check("München 東京 ユーザー 🦀 ¥", "München%20東京%20ユーザー%20🦀%20¥");
    }

    #[test]
    fn reserved_characters_are_escaped() {
        check(":%{}*?[]\\^", "%3A%25%7B%7D%2A%3F%5B%5D%5C%5E");
        check("(),~#'", "%28%29%2C%7E%23%27");
        check("a\0b\r\n\t\u{7f}", "a%00b%0D%0A%09%7F");
    }

    #[test]
    fn invisible_characters_are_escaped_and_their_neighbours_are_not() {
        check("\u{85}\u{a0}\u{a1}", "%C2%85%C2%A0¡");
        check("\u{200b}\u{2010}\u{2028}\u{202e}", "%E2%80%8B‐%E2%80%A8%E2%80%AE");
        check("\u{3000}\u{3001}\u{feff}\u{fffd}", "%E3%80%80、%EF%BB%BF\u{fffd}");
        check(
            "\u{61c}\u{61d}\u{e0041}\u{e0100}",
            "%D8%9C\u{61d}%F3%A0%81%81\u{e0100}",
        );
    }

    #[test]
    fn every_invisible_character_has_a_lead_byte_that_is_looked_at() {
        for character in ('\u{80}'..=char::MAX).filter(|&c| is_invisible(u32::from(c))) {
            let mut buffer = [0; 4];
            assert!(!is_plain(character.encode_utf8(&mut buffer)), "{character:?}");
        }
    }

    #[test]
    fn unicode_is_not_normalised() {
        assert_ne!(escaped("é"), escaped("e\u{301}"));
    }

    #[test]
    fn foreign_spellings_are_not_canonical() {
        for text in [
            "a b", "*", "%", "%4", "%3a", "%41", "%ZZ", "%C3", "%C3%A9", "{x}", "a(b c)",
        ] {
            assert!(check_canonical(text, 0).is_err(), "{text}");
        }
        assert_eq!(
            check_canonical("ab,c d", 10),
            Err(KeyError::NotCanonical { position: 13 })
        );
    }

    proptest! {
        #[test]
        fn escaping_is_undone_by_unescaping(text in any::<String>()) {
            let written = escaped(&text);
            prop_assert_eq!(unescape(&written), Some(text.clone()));
            prop_assert!(check_canonical(&written, 0).is_ok());
            prop_assert!(!written.chars().any(|c| RESERVED.contains(&(c as u8)) && c != '%' && c.is_ascii()));
        }

        #[test]
        fn checking_never_panics(text in any::<String>()) {
            let _ = check_canonical(&text, 0);
        }
    }
}
