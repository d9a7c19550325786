//! The part of Structured Field Values (RFC 9651) that the cache's fields need: lists and dictionaries of items and
//! inner lists, with parameters read and dropped where nobody uses them.
//!
//! A parser of its own, because the maintained crate needs a newer compiler than this one promises. Strict as the RFC
//! demands: one error and the whole field is void.

use http::{HeaderMap, HeaderName};

/// A bare item (RFC 9651 §3.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BareItem {
    /// An integer of at most 15 digits.
    Integer(i64),
    /// A decimal; no field of the cache uses one, so its value is not kept.
    Decimal,
    /// A string.
    String(String),
    /// A token.
    Token(String),
    /// A byte sequence; not kept either.
    ByteSequence,
    /// A boolean.
    Boolean(bool),
    /// A date, in seconds since 1970.
    Date(i64),
    /// A display string; not kept.
    DisplayString,
}

/// A member of a list or dictionary, parameters dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Member {
    /// A single item.
    Item(BareItem),
    /// An inner list.
    InnerList(Vec<BareItem>),
}

/// Why a field is void. One reason suffices: the RFC treats all of them alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidStructuredField;

/// Parses a list from all lines of a field (RFC 9651 §4.2.1); an absent field is an empty list.
///
/// # Errors
/// When any part of any line is not a list.
pub fn parse_list(headers: &HeaderMap, name: &HeaderName) -> Result<Vec<Member>, InvalidStructuredField> {
    let text = joined(headers, name);
    Parser::new(&text).list()
}

/// Parses a dictionary from all lines of a field (RFC 9651 §4.2.2); of members with the same key the last remains.
///
/// # Errors
/// When any part of any line is not a dictionary.
pub fn parse_dictionary(
    headers: &HeaderMap,
    name: &HeaderName,
) -> Result<Vec<(String, Member)>, InvalidStructuredField> {
    let text = joined(headers, name);
    Parser::new(&text).dictionary()
}

/// Whether a text can be written as a token (RFC 9651 §3.3.4).
pub(crate) fn is_token(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic() || first == b'*')
        && bytes.all(is_token_rest)
}

/// Writes a string item (RFC 9651 §4.1.6); `None` when it has characters that a string cannot hold.
pub(crate) fn write_string(text: &str, out: &mut String) -> Option<()> {
    if !text.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
        return None;
    }
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
    Some(())
}

/// "Join with a comma and a space" (RFC 9651 §4.2).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let lines: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(http::HeaderValue::as_bytes)
        .collect();
    lines.join(&b", "[..])
}

type Parsed<T> = Result<T, InvalidStructuredField>;

struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn new(text: &'a [u8]) -> Self {
        let mut parser = Self { rest: text };
        parser.skip(b" ");
        parser
    }

    fn list(mut self) -> Parsed<Vec<Member>> {
        let mut members = Vec::new();
        while !self.rest.is_empty() {
            members.push(self.member()?);
            self.separator()?;
        }
        Ok(members)
    }

    fn dictionary(mut self) -> Parsed<Vec<(String, Member)>> {
        let mut members: Vec<(String, Member)> = Vec::new();
        while !self.rest.is_empty() {
            let key = self.key()?;
            let value = if self.take(b'=') {
                self.member()?
            } else {
                self.parameters().map(|()| TRUE)?
            };
            members.retain(|(other, _)| *other != key);
            members.push((key, value));
            self.separator()?;
        }
        Ok(members)
    }

    /// The comma after a member, or the end of the input; a trailing comma is an error.
    fn separator(&mut self) -> Parsed<()> {
        self.skip(b" \t");
        if self.rest.is_empty() {
            return Ok(());
        }
        self.expect(b',')?;
        self.skip(b" \t");
        if self.rest.is_empty() {
            Err(InvalidStructuredField)
        } else {
            Ok(())
        }
    }

    fn member(&mut self) -> Parsed<Member> {
        let member = if self.take(b'(') {
            Member::InnerList(self.inner_list()?)
        } else {
            Member::Item(self.bare_item()?)
        };
        self.parameters()?;
        Ok(member)
    }

    fn inner_list(&mut self) -> Parsed<Vec<BareItem>> {
        let mut items = Vec::new();
        loop {
            self.skip(b" ");
            if self.take(b')') {
                return Ok(items);
            }
            items.push(self.bare_item()?);
            self.parameters()?;
            if !matches!(self.rest.first(), Some(b' ' | b')')) {
                return Err(InvalidStructuredField);
            }
        }
    }

    fn parameters(&mut self) -> Parsed<()> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.bare_item()?;
            }
        }
        Ok(())
    }

    fn key(&mut self) -> Parsed<String> {
        match self.rest.first() {
            Some(b'a'..=b'z' | b'*') => {
                Ok(self
                    .text_while(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'*')))
            }
            _ => Err(InvalidStructuredField),
        }
    }

    fn bare_item(&mut self) -> Parsed<BareItem> {
        match *self.rest.first().ok_or(InvalidStructuredField)? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string().map(BareItem::String),
            b'A'..=b'Z' | b'a'..=b'z' | b'*' => Ok(BareItem::Token(self.text_while(is_token_rest))),
            b':' => self.byte_sequence(),
            b'?' => self.boolean(),
            b'@' => self.date(),
            b'%' => self.display_string(),
            _ => Err(InvalidStructuredField),
        }
    }

    fn number(&mut self) -> Parsed<BareItem> {
        let sign = if self.take(b'-') { -1 } else { 1 };
        let integer = self.text_while(|byte| byte.is_ascii_digit());
        if !self.take(b'.') {
            if !(1..=15).contains(&integer.len()) {
                return Err(InvalidStructuredField);
            }
            let value: i64 = integer.parse().map_err(|_| InvalidStructuredField)?;
            return Ok(BareItem::Integer(sign * value));
        }
        let fraction = self.text_while(|byte| byte.is_ascii_digit());
        if (1..=12).contains(&integer.len()) && (1..=3).contains(&fraction.len()) {
            Ok(BareItem::Decimal)
        } else {
            Err(InvalidStructuredField)
        }
    }

    fn string(&mut self) -> Parsed<String> {
        self.expect(b'"')?;
        let mut text = String::new();
        loop {
            match self.next()? {
                b'"' => return Ok(text),
                b'\\' => match self.next()? {
                    escaped @ (b'"' | b'\\') => text.push(char::from(escaped)),
                    _ => return Err(InvalidStructuredField),
                },
                byte @ 0x20..=0x7e => text.push(char::from(byte)),
                _ => return Err(InvalidStructuredField),
            }
        }
    }

    fn byte_sequence(&mut self) -> Parsed<BareItem> {
        self.expect(b':')?;
        self.text_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='));
        self.expect(b':')?;
        Ok(BareItem::ByteSequence)
    }

    fn boolean(&mut self) -> Parsed<BareItem> {
        self.expect(b'?')?;
        match self.next()? {
            b'1' => Ok(BareItem::Boolean(true)),
            b'0' => Ok(BareItem::Boolean(false)),
            _ => Err(InvalidStructuredField),
        }
    }

    fn date(&mut self) -> Parsed<BareItem> {
        self.expect(b'@')?;
        match self.rest.first() {
            Some(b'-' | b'0'..=b'9') => match self.number()? {
                BareItem::Integer(seconds) => Ok(BareItem::Date(seconds)),
                _ => Err(InvalidStructuredField),
            },
            _ => Err(InvalidStructuredField),
        }
    }

    fn display_string(&mut self) -> Parsed<BareItem> {
        self.expect(b'%')?;
        self.expect(b'"')?;
        let mut text = Vec::new();
        loop {
            match self.next()? {
                b'"' => {
                    return String::from_utf8(text)
                        .map(|_| BareItem::DisplayString)
                        .map_err(|_| InvalidStructuredField);
                }
                b'%' => {
                    let (high, low) = (self.lower_hex()?, self.lower_hex()?);
                    text.push(high << 4 | low);
                }
                byte @ 0x20..=0x7e => text.push(byte),
                _ => return Err(InvalidStructuredField),
            }
        }
    }

    fn lower_hex(&mut self) -> Parsed<u8> {
        match self.next()? {
            digit @ b'0'..=b'9' => Ok(digit - b'0'),
            digit @ b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(InvalidStructuredField),
        }
    }

    fn text_while(&mut self, belongs: impl Fn(u8) -> bool) -> String {
        let end = self
            .rest
            .iter()
            .position(|&byte| !belongs(byte))
            .unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        text.iter().copied().map(char::from).collect()
    }

    fn skip(&mut self, bytes: &[u8]) {
        while self.rest.first().is_some_and(|byte| bytes.contains(byte)) {
            self.rest = &self.rest[1..];
        }
    }

    fn take(&mut self, expected: u8) -> bool {
        let found = self.rest.first() == Some(&expected);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn expect(&mut self, expected: u8) -> Parsed<()> {
        if self.take(expected) {
            Ok(())
        } else {
            Err(InvalidStructuredField)
        }
    }

    fn next(&mut self) -> Parsed<u8> {
        let (&first, rest) = self.rest.split_first().ok_or(InvalidStructuredField)?;
        self.rest = rest;
        Ok(first)
    }
}

fn is_token_rest(byte: u8) -> bool {
    super::fields::is_token_byte(byte) || matches!(byte, b':' | b'/')
}

const TRUE: Member = Member::Item(BareItem::Boolean(true));

// Tables: one case a line.
#[rustfmt::skip]
#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn field(lines: &[&str]) -> (HeaderMap, HeaderName) {
        let name = HeaderName::from_static("x");
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name.clone(), HeaderValue::from_str(line).unwrap());
        }
        (headers, name)
    }

    #[track_caller]
    fn check_item(section: &str, text: &str, expected: Option<BareItem>) {
        let (headers, name) = field(&[text]);
        let expected = expected.map(|item| vec![Member::Item(item)]).ok_or(InvalidStructuredField);
        assert_eq!(parse_list(&headers, &name), expected, "RFC 9651 {section}: {text}");
    }

    #[test]
    fn items_are_read_by_type() {
        use BareItem::*;
        for (section, text, expected) in [
            ("3.3.1", "42", Some(Integer(42))),
            ("3.3.1", "-42", Some(Integer(-42))),
            ("3.3.1", "0042", Some(Integer(42))),
            ("3.3.1", "999999999999999", Some(Integer(999_999_999_999_999))),
            ("3.3.1", "1000000000000000", None),
            ("3.3.1", "-", None),
            ("3.3.1", "+1", None),
            ("3.3.2", "4.5", Some(Decimal)),
            ("3.3.2", "4.", None),
            ("3.3.2", "4.5555", None),
            ("3.3.2", "1234567890123.1", None),
            ("3.3.3", "\"a b\"", Some(String("a b".into()))),
            ("3.3.3", r#""a\"b\\""#, Some(String(r#"a"b\"#.into()))),
            ("3.3.3", r#""a\b""#, None),
            ("3.3.3", "\"a", None),
            ("3.3.4", "foo123/456:x", Some(Token("foo123/456:x".into()))),
            ("3.3.4", "*a", Some(Token("*a".into()))),
            ("3.3.5", ":aGVsbG8=:", Some(ByteSequence)),
            ("3.3.5", ":aGVsbG8=", None),
            ("3.3.6", "?1", Some(Boolean(true))),
            ("3.3.6", "?0", Some(Boolean(false))),
            ("3.3.6", "?2", None),
            ("3.3.7", "@1659578233", Some(Date(1_659_578_233))),
            ("3.3.7", "@1659578233.5", None),
            ("3.3.7", "@x", None),
            ("3.3.8", "%\"f%c3%bc\"", Some(DisplayString)),
            ("3.3.8", "%\"%FF\"", None),
            ("3.3.8", "%\"%ff\"", None),
            ("3.1.2 parameters", "1;a;b=2;c=\"x\"", Some(Integer(1))),
            ("3.1.2 parameters with space", "1; a", Some(Integer(1))),
            ("3.1.2 upper-case parameter", "1;A", None),
            ("4.2 space around", "  1  ", Some(Integer(1))),
            ("4.2 junk after", "1 2", None),
            ("4.2 junk", "&", None),
            ("4.2.1 trailing comma", "1,", None),
        ] {
            check_item(section, text, expected);
        }
    }

    #[test]
    fn lists_join_lines_and_hold_inner_lists() {
        let (headers, name) = field(&["a, (b  c)", "( \"d\";x );y"]);
        let expected = vec![
            Member::Item(BareItem::Token("a".into())),
            Member::InnerList(vec![BareItem::Token("b".into()), BareItem::Token("c".into())]),
            Member::InnerList(vec![BareItem::String("d".into())]),
        ];
        assert_eq!(parse_list(&headers, &name), Ok(expected), "RFC 9651 4.2.1");
        for bad in ["(a", "(a b", "(a,b)", "(\"a\"\"b\")", "a,,b", ",a", "a;"] {
            let (headers, name) = field(&[bad]);
            assert!(parse_list(&headers, &name).is_err(), "RFC 9651 4.2.1: {bad}");
        }
    }

    #[test]
    fn dictionaries_keep_the_last_of_a_key() {
        let (headers, name) = field(&["a=1, b;x, c=(1 2)", "a=2, d=?0"]);
        let expected = vec![
            ("b".to_owned(), TRUE),
            ("c".to_owned(), Member::InnerList(vec![BareItem::Integer(1), BareItem::Integer(2)])),
            ("a".to_owned(), Member::Item(BareItem::Integer(2))),
            ("d".to_owned(), Member::Item(BareItem::Boolean(false))),
        ];
        assert_eq!(parse_dictionary(&headers, &name), Ok(expected), "RFC 9651 4.2.2");
        for bad in ["A=1", "a=", "a =1", "a= 1", "a=1,", "a=1 b=2", "=1", "a=&", "1=a"] {
            let (headers, name) = field(&[bad]);
            assert!(parse_dictionary(&headers, &name).is_err(), "RFC 9651 4.2.2: {bad}");
        }
    }

    proptest! {
        #[test]
        fn no_input_makes_a_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = Parser::new(&bytes).list();
            let _ = Parser::new(&bytes).dictionary();
        }

        #[test]
        fn a_written_string_reads_back(text in "[ -~]{0,40}") {
            let mut written = String::new();
            write_string(&text, &mut written).unwrap();
            let read = Parser::new(written.as_bytes()).list();
            prop_assert_eq!(read, Ok(vec![Member::Item(BareItem::String(text))]));
        }
    }
}
