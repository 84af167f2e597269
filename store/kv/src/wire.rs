//! How what is sent between nodes and written into the log becomes bytes.
//!
//! The first byte is the version of the whole; within a version, enums grow only at their ends.

use serde::{Deserialize, Serialize};

/// The versions. Postcard writes the variant as the first byte.
#[derive(Serialize, Deserialize)]
#[doc(hidden)]
pub enum Versioned<T> {
    /// The first, in use since the first release.
    V1(T),
}

/// Gives a type `encode` and `decode`.
#[macro_export]
macro_rules! wire_format {
    ($name:ident, $what:literal) => {
        impl $name {
            #[doc = concat!("The bytes of this ", $what, ".")]
            pub fn encode(&self) -> Vec<u8> {
                $crate::encode(&$crate::Versioned::V1(self))
            }

            #[doc = concat!("Reads a ", $what, " of any version that this build knows.")]
            pub fn decode(bytes: &[u8]) -> Result<$name, $crate::RecordError> {
                let $crate::Versioned::V1(value) = $crate::decode(bytes)?;
                Ok(value)
            }
        }
    };
}
