//! JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::{Deserializer, Error};

use super::error::{BoxError, Undecodable};
use super::limits::Limits;

pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
    serde_json::to_writer(out, value).map_err(Into::into)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Undecodable> {
    let mut reader = Deserializer::from_slice(bytes);
    let value = Limits::read(&mut reader, bytes.len(), undecodable)?;
    // White space may follow, nothing else.
    reader.end().map_err(|_| Undecodable::Leftover)?;
    Ok(value)
}

fn undecodable(error: &Error) -> Undecodable {
    match error.classify() {
        Category::Data => Undecodable::Mismatch,
        Category::Eof => Undecodable::EndsEarly,
        // Reading from memory has no other failures than the text's.
        Category::Syntax | Category::Io => Undecodable::Syntax,
    }
}
