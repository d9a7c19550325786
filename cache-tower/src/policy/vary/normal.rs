//! The normal form of a nominated field's value (RFC 9111 §4.1).

use http::{HeaderName, header};

use crate::policy::fields::{is_token_byte, trim};

/// "Normalizing [...] in a way that is known to have identical semantics" (§4.1).
pub(super) fn normal_form(name: &HeaderName, value: &[u8]) -> Vec<u8> {
    if WEIGHTED_LISTS.contains(name)
        && let Some(normal) = normal_weighted_list(value)
    {
        return normal;
    }
    if TEXT_FIELDS.contains(name) {
        value.to_vec()
    } else {
        without_space_at_commas(value)
    }
}

/// A list of names with weights (RFC 9110 §12.4.2, §12.5.2–4): neither case nor order nor spelling of the weight matters.
fn normal_weighted_list(value: &[u8]) -> Option<Vec<u8>> {
    let mut members = Vec::new();
    for member in value
        .split(|&byte| byte == b',')
        .map(trim)
        .filter(|member| !member.is_empty())
    {
        members.push(weighted_member(member)?);
    }
    members.sort_unstable();
    members.dedup();
    let texts: Vec<_> = members
        .into_iter()
        .map(|(demerit, mut name)| {
            if demerit > 0 {
                name.extend_from_slice(format!(";q={}", 1_000 - demerit).as_bytes());
            }
            name
        })
        .collect();
    Some(texts.join(&b',' as &u8))
}

/// A member as (1,000 minus its weight in thousandths, lower-case name).
fn weighted_member(member: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut parts = member.split(|&byte| byte == b';').map(trim);
    let name = parts.next()?;
    if name.is_empty() || !name.iter().all(|&byte| is_token_byte(byte)) {
        return None;
    }
    let weight = match (parts.next(), parts.next()) {
        (None, _) => 1_000,
        (Some([b'q' | b'Q', b'=', weight @ ..]), None) => thousandths(weight)?,
        _ => return None,
    };
    Some((1_000 - weight, name.to_ascii_lowercase()))
}

/// A qvalue (RFC 9110 §12.4.2) in thousandths.
fn thousandths(weight: &[u8]) -> Option<u16> {
    let (whole, fraction) = match weight {
        [whole] | [whole, b'.'] => (*whole, &b""[..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (*whole, fraction),
        _ => return None,
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let fraction = (0..3).fold(0, |sum, index| {
        sum * 10 + u16::from(fraction.get(index).map_or(0, |d| d - b'0'))
    });
    match whole {
        b'0' => Some(fraction),
        b'1' if fraction == 0 => Some(1_000),
        _ => None,
    }
}

/// Removes white space around commas that are not inside a quoted string.
fn without_space_at_commas(value: &[u8]) -> Vec<u8> {
    let mut normal: Vec<u8> = Vec::with_capacity(value.len());
    let (mut quoted, mut escaped, mut after_comma) = (false, false, false);
    for &byte in value {
        let is_space = matches!(byte, b' ' | b'\t');
        if after_comma && is_space {
            continue;
        }
        after_comma = false;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                while normal.last().is_some_and(|last| matches!(last, b' ' | b'\t')) {
                    normal.pop();
                }
                after_comma = true;
            }
            _ => {}
        }
        normal.push(byte);
    }
    normal
}

/// Lists whose members have a weight and whose order means nothing.
const WEIGHTED_LISTS: [HeaderName; 3] = [
    header::ACCEPT_LANGUAGE,
    header::ACCEPT_ENCODING,
    header::ACCEPT_CHARSET,
];

/// Fields in which a comma is just a character, so that white space beside it is part of the value.
const TEXT_FIELDS: [HeaderName; 9] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::DATE,
    header::FROM,
    header::HOST,
    header::IF_MODIFIED_SINCE,
    header::ORIGIN,
    header::REFERER,
    header::USER_AGENT,
];
