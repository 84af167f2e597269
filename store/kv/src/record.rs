//! How values are encoded: one byte of version, then postcard.
//!
//! A record type's enum of versions is `#[serde]`-encoded by postcard, whose first byte is the variant: variants
//! are only ever appended. This module adds the checks that every decoder needs.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// A stored record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("a record of type {type_name} with {len} bytes cannot be read: {cause}")]
pub struct RecordError {
    type_name: &'static str,
    len: usize,
    cause: String,
}

/// The bytes of `record`.
pub fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    // postcard fails only for a full fixed buffer or a sequence of unknown length; a Vec grows and records have neither.
    postcard::to_stdvec(record).expect("a record of plain values is always encodable")
}

/// Reads a record and insists that nothing is left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    let fail = |cause: String| RecordError {
        type_name: std::any::type_name::<T>(),
        len: bytes.len(),
        cause,
    };
    let (record, rest) =
        postcard::take_from_bytes(bytes).map_err(|error| fail(error.to_string()))?;
    if rest.is_empty() {
        Ok(record)
    } else {
        Err(fail(format!("{} bytes are left over", rest.len())))
    }
}
