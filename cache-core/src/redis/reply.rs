//! Reading the server's answers: RESP2 and RESP3 alike, and never believing their shape.

use std::time::Duration;

use redis::Value;

use super::fault::{self, Answer};
use crate::notice::LogId;
use crate::shared::{Fault, HEADER_BYTES, KIND_AT, MAGIC, StoredValue, TOMBSTONE, VERSION_AT, Version};

/// The items of an answer, one after the other.
#[derive(Debug)]
pub(super) struct Items {
    what: &'static str,
    items: std::vec::IntoIter<Value>,
}

impl Items {
    pub(super) fn of(what: &'static str, answer: Answer) -> Result<Self, Fault> {
        Self::of_value(what, answer.map_err(Fault::from)?)
    }

    pub(super) fn of_value(what: &'static str, value: Value) -> Result<Self, Fault> {
        match value {
            Value::Array(items) => Ok(Self {
                what,
                items: items.into_iter(),
            }),
            _ => Err(fault::shape(what)),
        }
    }

    pub(super) fn next(&mut self) -> Result<Value, Fault> {
        self.items.next().ok_or_else(|| fault::shape(self.what))
    }

    pub(super) fn bytes(&mut self) -> Result<Vec<u8>, Fault> {
        let next = self.next()?;
        bytes(self.what, next)
    }

    pub(super) fn text(&mut self) -> Result<String, Fault> {
        String::from_utf8(self.bytes()?).map_err(|_| fault::shape(self.what))
    }

    pub(super) fn number(&mut self) -> Result<i64, Fault> {
        let next = self.next()?;
        number(self.what, &next)
    }

    pub(super) fn millis(&mut self) -> Result<Duration, Fault> {
        Ok(millis(self.number()?))
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }
}

impl Iterator for Items {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        self.items.next()
    }
}

pub(super) fn bytes(what: &'static str, value: Value) -> Result<Vec<u8>, Fault> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Ok(text.into_bytes()),
        Value::Okay => Ok(b"OK".to_vec()),
        Value::Int(number) => Ok(number.to_string().into_bytes()),
        _ => Err(fault::shape(what)),
    }
}

pub(super) fn text(what: &'static str, value: Value) -> Result<String, Fault> {
    String::from_utf8(bytes(what, value)?).map_err(|_| fault::shape(what))
}

pub(super) fn number(what: &'static str, value: &Value) -> Result<i64, Fault> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::BulkString(bytes) => std::str::from_utf8(bytes)
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| fault::shape(what)),
        _ => Err(fault::shape(what)),
    }
}

/// A remaining time; what has none left has none.
pub(super) fn millis(number: i64) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}

pub(super) fn log_id(what: &'static str, text: &str) -> Result<LogId, Fault> {
    text.parse().map_err(|_| fault::shape(what))
}

/// What the header of stored bytes says they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    Value(Version),
    Tombstone(Version),
    Foreign,
}

pub(super) fn header(bytes: &[u8]) -> Header {
    if bytes.len() < HEADER_BYTES || !bytes.starts_with(&MAGIC) {
        return Header::Foreign;
    }
    match Version::from_slice(&bytes[VERSION_AT]) {
        Some(version) if bytes[KIND_AT] == TOMBSTONE => Header::Tombstone(version),
        Some(version) => Header::Value(version),
        None => Header::Foreign,
    }
}

/// A value that a script vouches for.
pub(super) fn stored(what: &'static str, remaining: Duration, bytes: Vec<u8>) -> Result<StoredValue, Fault> {
    match header(&bytes) {
        Header::Value(version) => Ok(StoredValue {
            version,
            bytes,
            remaining,
        }),
        Header::Tombstone(_) | Header::Foreign => Err(fault::shape(what)),
    }
}
