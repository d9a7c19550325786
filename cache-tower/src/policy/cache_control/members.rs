//! The members of a directive list (RFC 9111 §5.2), read leniently where they are cut apart and strictly where an argument
//! is taken.

use http::HeaderName;

use super::Seconds;
use crate::policy::fields::{delta_seconds, is_token_byte, trim};

/// One member of a directive list.
pub(super) struct Member<'a> {
    pub(super) name: &'a [u8],
    pub(super) argument: Argument<'a>,
}

#[derive(PartialEq)]
pub(super) enum Argument<'a> {
    None,
    Token(&'a [u8]),
    /// The text between the quotes, quoted pairs still escaped.
    Quoted(&'a [u8]),
    Malformed,
    /// A quoted string that has no end.
    Unfinished,
}

impl Argument<'_> {
    pub(super) fn seconds(&self) -> Seconds {
        match self {
            Self::Token(text) | Self::Quoted(text) => {
                delta_seconds(text).map_or(Seconds::Malformed, Seconds::Valid)
            }
            Self::None | Self::Malformed | Self::Unfinished => Seconds::Malformed,
        }
    }

    /// The list of field names, when there is one and each of its members is a name (§5.2.2.4).
    pub(super) fn field_names(&self) -> Option<Vec<HeaderName>> {
        let (Self::Token(text) | Self::Quoted(text)) = self else {
            return None;
        };
        let names: Option<Vec<_>> = text
            .split(|&byte| byte == b',')
            .map(trim)
            .filter(|name| !name.is_empty())
            .map(|name| HeaderName::from_bytes(name).ok())
            .collect();
        names.filter(|names| !names.is_empty())
    }
}

/// The members of one field line. Commas inside quoted strings do not separate.
pub(super) struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    pub(super) fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        while !self.rest.is_empty() {
            let (text, finished) = take_member(&mut self.rest);
            let text = trim(text);
            // Empty list members are to be ignored (RFC 9110 §5.6.1.2).
            if !text.is_empty() {
                return Some(member(text, finished));
            }
        }
        None
    }
}

/// Cuts the text up to the next separating comma off `rest`; the flag tells whether all quoted strings in it end.
fn take_member<'a>(rest: &mut &'a [u8]) -> (&'a [u8], bool) {
    let (mut quoted, mut escaped) = (false, false);
    let line = *rest;
    for (index, &byte) in line.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                *rest = &line[index + 1..];
                return (&line[..index], true);
            }
            _ => {}
        }
    }
    *rest = &[];
    (line, !quoted)
}

fn member(text: &[u8], finished: bool) -> Member<'_> {
    let name_end = text
        .iter()
        .position(|&byte| !is_token_byte(byte))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(name_end);
    let argument = match rest {
        _ if !finished => Argument::Unfinished,
        [] => Argument::None,
        // White space around "=" is not in the grammar (§5.2), so `max-age =1` has no readable argument.
        [b'=', value @ ..] => argument(value),
        _ => Argument::Malformed,
    };
    Member { name, argument }
}

fn argument(value: &[u8]) -> Argument<'_> {
    match value {
        [b'"', inner @ .., b'"'] if !inner.contains(&b'"') => Argument::Quoted(inner),
        [] => Argument::Malformed,
        token if token.iter().all(|&byte| is_token_byte(byte)) => Argument::Token(token),
        _ => Argument::Malformed,
    }
}
