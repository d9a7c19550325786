//! MessagePack with fields by name.

use rmp_serde::Deserializer;
use rmp_serde::decode::Error;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::{BoxError, Undecodable};
use super::limits::Limits;

pub(super) fn encode<T: Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) -> Result<(), BoxError> {
    rmp_serde::encode::write_named(out, value).map_err(Into::into)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Undecodable> {
    let mut reader = Deserializer::from_read_ref(bytes);
    let value = Limits::read(&mut reader, bytes.len(), undecodable)?;
    // The reader does not tell what is left. Reading a unit stops at its marker, which is missing only at the end.
    match <()>::deserialize(&mut reader) {
        Err(Error::InvalidMarkerRead(_)) => Ok(value),
        _ => Err(Undecodable::Leftover),
    }
}

fn undecodable(error: &Error) -> Undecodable {
    match error {
        Error::InvalidMarkerRead(_) | Error::InvalidDataRead(_) => Undecodable::EndsEarly,
        Error::DepthLimitExceeded => Undecodable::TooDeep,
        Error::Utf8Error(_) => Undecodable::Syntax,
        _ => Undecodable::Mismatch,
    }
}
