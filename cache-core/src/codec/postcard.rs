//! Postcard.

use ::postcard::{Deserializer, Error};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{BoxError, Undecodable};
use super::limits::Limits;

pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
    ::postcard::to_io(value, out)?;
    Ok(())
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Undecodable> {
    let mut reader = Deserializer::from_bytes(bytes);
    let value = Limits::read(&mut reader, bytes.len(), undecodable)?;
    match reader.finalize() {
        Ok([]) => Ok(value),
        _ => Err(Undecodable::Leftover),
    }
}

fn undecodable(error: &Error) -> Undecodable {
    match error {
        Error::DeserializeUnexpectedEnd => Undecodable::EndsEarly,
        Error::SerdeDeCustom | Error::WontImplement | Error::NotYetImplemented => Undecodable::Mismatch,
        _ => Undecodable::Syntax,
    }
}
