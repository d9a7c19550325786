//! RESP, the server's protocol: commands are written and replies read without copying more than what is kept.
//!
//! Versions 2 and 3. What the toolkit meets on every call (strings, numbers, arrays and nothing) is read here; errors and
//! the rarer kinds of version 3 are left to the driver's parser, frame by frame.

use redis::Value;

/// The bytes are not RESP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Begins a command of so many words.
pub(super) fn put_count(out: &mut Vec<u8>, words: usize) {
    put_header(out, b'*', words);
}

/// The next word of a command.
pub(super) fn put_word(out: &mut Vec<u8>, word: &[u8]) {
    put_header(out, b'$', word.len());
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

fn put_header(out: &mut Vec<u8>, kind: u8, number: usize) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Finds where a reply ends, in bytes that arrive piece by piece; nothing is looked at twice but the header of a string
/// whose end has yet to come.
#[derive(Debug)]
pub(super) struct Scanner {
    at: usize,
    /// Values that belong to the reply and were not met yet.
    due: u64,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { at: 0, due: 1 }
    }
}

impl Scanner {
    /// The length of the reply that `bytes` begin with, once all of it is there. `bytes` may only have grown since the
    /// last call, and begin with the next reply after a length was given.
    pub(super) fn find_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        while self.due > 0 {
            let Some((kind, line, begin)) = line(bytes, self.at)? else {
                return Ok(None);
            };
            let mut end = begin;
            let inside = match kind {
                b'$' | b'!' | b'=' => {
                    if let Some(length) = length(line)? {
                        end = begin
                            .checked_add(length)
                            .and_then(|end| end.checked_add(2))
                            .ok_or(Malformed)?;
                    }
                    0
                }
                b'*' | b'~' | b'>' => length(line)?.unwrap_or(0) as u64,
                b'%' => (length(line)?.unwrap_or(0) as u64)
                    .checked_mul(2)
                    .ok_or(Malformed)?,
                // What it is said of comes behind it.
                b'|' => (length(line)?.unwrap_or(0) as u64)
                    .checked_mul(2)
                    .and_then(|inside| inside.checked_add(1))
                    .ok_or(Malformed)?,
                _ => 0,
            };
            if end > bytes.len() {
                return Ok(None);
            }
            self.at = end;
            self.due = (self.due - 1).checked_add(inside).ok_or(Malformed)?;
        }
        let end = self.at;
        *self = Self::default();
        Ok(Some(end))
    }
}

/// Reads a reply of which [`Scanner::find_end`] has found the end.
pub(super) fn value(frame: &[u8]) -> Result<Value, Malformed> {
    let mut at = 0;
    read(frame, &mut at, 0)
}

fn read(frame: &[u8], at: &mut usize, depth: usize) -> Result<Value, Malformed> {
    if depth > DEEPEST {
        return Err(Malformed);
    }
    let begin = *at;
    let (kind, line, after) = line(frame, begin)?.ok_or(Malformed)?;
    *at = after;
    match kind {
        b':' => number(line).map(Value::Int),
        b'$' => {
            let Some(length) = length(line)? else {
                return Ok(Value::Nil);
            };
            let end = after.checked_add(length).ok_or(Malformed)?;
            let bytes = frame.get(after..end).ok_or(Malformed)?;
            if frame.get(end..).is_none_or(|rest| !rest.starts_with(b"\r\n")) {
                return Err(Malformed);
            }
            *at = end + 2;
            Ok(Value::BulkString(bytes.to_vec()))
        }
        b'*' => {
            let Some(length) = length(line)? else {
                return Ok(Value::Nil);
            };
            // Each takes three bytes at least: nobody makes us reserve more than was sent.
            let mut items = Vec::with_capacity(length.min((frame.len() - after) / 3 + 1));
            for _ in 0..length {
                items.push(read(frame, at, depth + 1)?);
            }
            Ok(Value::Array(items))
        }
        b'+' if line == b"OK" => Ok(Value::Okay),
        b'+' => String::from_utf8(line.to_vec())
            .map(Value::SimpleString)
            .map_err(|_| Malformed),
        b'_' if line.is_empty() => Ok(Value::Nil),
        _ => {
            let rest = frame.get(begin..).ok_or(Malformed)?;
            let end = Scanner::default().find_end(rest)?.ok_or(Malformed)?;
            *at = begin + end;
            redis::parse_redis_value(&rest[..end]).map_err(|_| Malformed)
        }
    }
}

/// The kind of a value, the rest of its first line, and where the next one begins.
type Line<'a> = (u8, &'a [u8], usize);

/// The line that begins at `at`, if all of it is there.
fn line(bytes: &[u8], at: usize) -> Result<Option<Line<'_>>, Malformed> {
    let Some((kind, rest)) = bytes.get(at..).and_then(<[u8]>::split_first) else {
        return Ok(None);
    };
    if !KINDS.contains(kind) {
        return Err(Malformed);
    }
    let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
        return if rest.len() > LONGEST_LINE {
            Err(Malformed)
        } else {
            Ok(None)
        };
    };
    let line = rest[..length].strip_suffix(b"\r").ok_or(Malformed)?;
    Ok(Some((*kind, line, at + length + 2)))
}

/// A length, or `None` for what is not there.
fn length(line: &[u8]) -> Result<Option<usize>, Malformed> {
    if line == b"-1" {
        return Ok(None);
    }
    let number = number(line)?;
    usize::try_from(number).map(Some).map_err(|_| Malformed)
}

fn number(line: &[u8]) -> Result<i64, Malformed> {
    let (negative, digits) = match line.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, line),
    };
    if digits.is_empty() {
        return Err(Malformed);
    }
    // Counted downwards, since there is one negative number more.
    let downwards = digits.iter().try_fold(0_i64, |number, digit| {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_sub(i64::from(digit))
    });
    let downwards = downwards.ok_or(Malformed)?;
    if negative {
        Ok(downwards)
    } else {
        downwards.checked_neg().ok_or(Malformed)
    }
}

const KINDS: &[u8] = b"$:*+-_#,(!=%~>|";
/// Numbers, words and messages of errors are far shorter.
const LONGEST_LINE: usize = 64 << 10;
/// No reply that is asked for is deeper than a few.
const DEEPEST: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is on the wire, and what it means.
    fn written(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Nil => out.extend_from_slice(b"$-1\r\n"),
            Value::Int(number) => out.extend_from_slice(format!(":{number}\r\n").as_bytes()),
            Value::BulkString(bytes) => put_word(out, bytes),
            Value::Okay => out.extend_from_slice(b"+OK\r\n"),
            Value::Boolean(yes) => out.extend_from_slice(if *yes { b"#t\r\n" } else { b"#f\r\n" }),
            Value::Array(items) => {
                put_count(out, items.len());
                items.iter().for_each(|item| written(item, out));
            }
            Value::Map(pairs) => {
                put_header(out, b'%', pairs.len());
                for (key, value) in pairs {
                    written(key, out);
                    written(value, out);
                }
            }
            other => panic!("{other:?} is not made here"),
        }
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            Just(Value::Okay),
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(Value::Int),
            prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::BulkString),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::vec((inner.clone(), inner), 0..4).prop_map(Value::Map),
            ]
        })
    }

    /// All replies of a stream that arrives in pieces of these lengths.
    fn replies(stream: &[u8], pieces: &[usize]) -> Result<Vec<Value>, Malformed> {
        let (mut scanner, mut begin, mut there, mut found) = (Scanner::default(), 0, 0, Vec::new());
        let mut pieces = pieces.iter().cycle();
        while there < stream.len() {
            there = (there + pieces.next().unwrap()).min(stream.len());
            while begin < there
                && let Some(length) = scanner.find_end(&stream[begin..there])?
            {
                found.push(value(&stream[begin..begin + length])?);
                begin += length;
            }
        }
        assert_eq!(begin, there, "nothing is left over");
        Ok(found)
    }

    proptest! {
        #[test]
        fn replies_are_read_however_they_arrive(
            sent in prop::collection::vec(values(), 1..5),
            pieces in prop::collection::vec(1_usize..20, 1..6),
        ) {
            let mut stream = Vec::new();
            sent.iter().for_each(|value| written(value, &mut stream));
            prop_assert_eq!(replies(&stream, &pieces).unwrap(), sent);
        }

        #[test]
        fn what_can_be_read_is_what_the_driver_reads(bytes in prop::collection::vec(any::<u8>(), 0..60), kind in 0_usize..15) {
            let mut bytes = bytes;
            bytes.insert(0, KINDS[kind]);
            if let Ok(Some(end)) = Scanner::default().find_end(&bytes)
                && let Ok(read) = value(&bytes[..end])
            {
                prop_assert_eq!(redis::parse_redis_value(&bytes[..end]).unwrap(), read);
            }
        }

        #[test]
        fn damaged_replies_harm_nobody(sent in values(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut stream = Vec::new();
            written(&sent, &mut stream);
            let at = at.index(stream.len());
            stream[at] = byte;
            if let Ok(Some(end)) = Scanner::default().find_end(&stream) {
                let _ = value(&stream[..end]);
            }
        }
    }

    #[track_caller]
    fn refused(bytes: &[u8]) {
        let found = Scanner::default().find_end(bytes);
        let read = found.and_then(|end| end.map(|end| value(&bytes[..end])).transpose());
        assert_eq!(read, Err(Malformed), "{}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn what_is_not_resp_is_refused() {
        refused(b"HTTP/1.1 400 Bad Request\r\n");
        refused(b"$x\r\n");
        refused(b"$-2\r\n");
        refused(b":\r\n");
        refused(b":9223372036854775808\r\n");
        refused(b"$3\r\nabcde\r\n");
        refused(b"$18446744073709551615\r\n");
        refused(b"%9223372036854775807\r\n*9223372036854775807\r\n");
        refused(b"$1\nx\r\n");
        refused(&[b"+".as_slice(), &[b'x'; LONGEST_LINE + 2]].concat());
        refused(&[b"*1\r\n".repeat(DEEPEST + 3), b":1\r\n".to_vec()].concat());
    }

    #[test]
    fn a_long_array_that_never_comes_reserves_nothing() {
        assert_eq!(Scanner::default().find_end(b"*1000000000000\r\n"), Ok(None));
    }

    #[test]
    fn errors_are_values() {
        let read = value(b"*2\r\n-ERR no\r\n-MOVED 7 there:1\r\n").unwrap();
        let Value::Array(items) = read else {
            panic!("it is an array")
        };
        assert!(items.iter().all(|item| matches!(item, Value::ServerError(_))));
    }
}
