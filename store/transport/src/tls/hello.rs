//! The first frame each way: who speaks, which versions, and what for.
//!
//! ```text
//! magic           4   "MRKN"
//! wire versions   2+2 lowest and highest that the sender speaks
//! cluster        16
//! node            8
//! class           1   what the dialer will ask for; the acceptor repeats it
//! incarnation     8   random, drawn when the process started
//! feature level   4   of the sender's program: opaque here
//! address       2+n   host:port at which the sender is dialled
//! introduction  2+n   opaque here
//! ```
//!
//! A later version may append fields, which are skipped; it moves none of these. The version that both speak is the lower of
//! the highest ones.

use bytes::{Buf, BufMut, Bytes};
use mailrook_types::NodeId;
use thiserror::Error;

use crate::{Class, WireVersions};

const MAGIC: [u8; 4] = *b"MRKN";

/// All but address and introduction.
const FIXED_BYTES: usize = 4 + 2 + 2 + 16 + 8 + 1 + 8 + 4;

/// A hello is at most this long, with what later versions append.
pub(crate) const HELLO_BYTES_MAX: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) wire: WireVersions,
    pub(crate) cluster: u128,
    pub(crate) node: NodeId,
    pub(crate) class: Class,
    pub(crate) incarnation: u64,
    pub(crate) feature_level: u32,
    pub(crate) address: String,
    pub(crate) introduction: Bytes,
}

/// Why the other side is not spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum HelloError {
    #[error("it does not speak the protocol of Mailrook's nodes")]
    Magic,
    #[error("its hello is incomplete or malformed")]
    Malformed,
    #[error("unknown class {0}; is the other node of a newer version?")]
    Class(u8),
    #[error("it speaks the wire versions {theirs}, and this node {ours}")]
    Version {
        theirs: WireVersions,
        ours: WireVersions,
    },
    #[error("it is of cluster {theirs:032x}, and this node of {ours:032x}")]
    Cluster { theirs: u128, ours: u128 },
    #[error("it says that it is {said}, and its certificate that it is {certified}")]
    Node { said: NodeId, certified: NodeId },
}

fn class_to_wire(class: Class) -> u8 {
    match class {
        Class::Consensus => 0,
        Class::Store => 1,
        Class::Control => 2,
        Class::Bulk => 3,
    }
}

fn class_from_wire(number: u8) -> Result<Class, HelloError> {
    let class = Class::ALL.get(usize::from(number)).copied();
    class.ok_or(HelloError::Class(number))
}

impl Hello {
    pub(crate) fn encode(&self) -> Bytes {
        let length = FIXED_BYTES + 4 + self.address.len() + self.introduction.len();
        let mut out = Vec::with_capacity(length);
        out.put_slice(&MAGIC);
        out.put_u16(self.wire.lowest);
        out.put_u16(self.wire.highest);
        out.put_u128(self.cluster);
        out.put_u64(self.node.0);
        out.put_u8(class_to_wire(self.class));
        out.put_u64(self.incarnation);
        out.put_u32(self.feature_level);
        for field in [self.address.as_bytes(), &self.introduction] {
            // The options bound the address, and `introduction` the other, far below 64 KiB.
            out.put_u16(field.len() as u16);
            out.put_slice(field);
        }
        out.into()
    }

    pub(crate) fn decode(mut body: Bytes) -> Result<Hello, HelloError> {
        if !body.starts_with(&MAGIC) {
            return Err(HelloError::Magic);
        }
        if body.len() < FIXED_BYTES {
            return Err(HelloError::Malformed);
        }
        body.advance(MAGIC.len());
        let wire = WireVersions {
            lowest: body.get_u16(),
            highest: body.get_u16(),
        };
        let (cluster, node) = (body.get_u128(), NodeId(body.get_u64()));
        let class = body.get_u8();
        let (incarnation, feature_level) = (body.get_u64(), body.get_u32());
        let address = take_field(&mut body)?;
        let introduction = take_field(&mut body)?;
        Ok(Hello {
            wire,
            cluster,
            node,
            class: class_from_wire(class)?,
            incarnation,
            feature_level,
            address: String::from_utf8(address.into()).map_err(|_| HelloError::Malformed)?,
            introduction,
        })
    }

    /// Whether the two can speak, and in which version. `certified` is what the other side's certificate says.
    pub(crate) fn agree(&self, ours: &Hello, certified: NodeId) -> Result<u16, HelloError> {
        if self.cluster != ours.cluster {
            let (theirs, ours) = (self.cluster, ours.cluster);
            return Err(HelloError::Cluster { theirs, ours });
        }
        if self.node != certified {
            let said = self.node;
            return Err(HelloError::Node { said, certified });
        }
        let (theirs, ours) = (self.wire, ours.wire);
        let version = theirs.highest.min(ours.highest);
        if version < theirs.lowest.max(ours.lowest) {
            return Err(HelloError::Version { theirs, ours });
        }
        Ok(version)
    }
}

fn take_field(body: &mut Bytes) -> Result<Bytes, HelloError> {
    let length = body.try_get_u16().map_err(|_| HelloError::Malformed)?;
    if body.len() < usize::from(length) {
        return Err(HelloError::Malformed);
    }
    Ok(body.split_to(usize::from(length)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            wire: WireVersions {
                lowest: 1,
                highest: 3,
            },
            cluster: 9,
            node: NodeId(4),
            class: Class::Store,
            incarnation: 5,
            feature_level: 6,
            address: "a.example.test:1".into(),
            introduction: Bytes::from_static(b"hi"),
        }
    }

    #[test]
    fn classes_keep_their_numbers() {
        for (number, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(class_to_wire(class)), number);
            assert_eq!(class_from_wire(number as u8), Ok(class));
        }
        assert_eq!(class_from_wire(4), Err(HelloError::Class(4)));
    }

    #[test]
    fn later_fields_are_skipped_and_missing_ones_noticed() {
        let wire = hello().encode();
        let longer = [&wire[..], b"later"].concat();
        assert_eq!(Hello::decode(longer.into()), Ok(hello()));
        for cut in 0..4 {
            assert_eq!(Hello::decode(wire.slice(..cut)), Err(HelloError::Magic));
        }
        for cut in 4..wire.len() {
            assert_eq!(Hello::decode(wire.slice(..cut)), Err(HelloError::Malformed));
        }
    }

    #[test]
    fn the_highest_version_that_both_speak_is_taken() {
        let agree = |theirs: (u16, u16), ours: (u16, u16)| {
            let of = |(lowest, highest)| Hello {
                wire: WireVersions { lowest, highest },
                ..hello()
            };
            of(theirs).agree(&of(ours), NodeId(4)).ok()
        };
        assert_eq!(agree((1, 1), (1, 1)), Some(1));
        assert_eq!(agree((1, 3), (2, 5)), Some(3));
        assert_eq!(agree((2, 5), (1, 3)), Some(3));
        assert_eq!(agree((1, 1), (2, 3)), None);
        assert_eq!(agree((2, 3), (1, 1)), None);
    }

    #[test]
    fn another_cluster_or_node_is_not_spoken_to() {
        let other = Hello {
            cluster: 8,
            ..hello()
        };
        let error = hello().agree(&other, NodeId(4)).unwrap_err();
        assert!(error.to_string().contains("0009, and"), "{error}");
        let error = hello().agree(&hello(), NodeId(5)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "it says that it is n4, and its certificate that it is n5"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_much(bytes: Vec<u8>) {
            let _ = Hello::decode([&MAGIC[..], &bytes].concat().into());
            if let Ok(hello) = Hello::decode(bytes.clone().into()) {
                prop_assert!(bytes.starts_with(&hello.encode()));
            }
        }

        #[test]
        fn what_is_printed_is_read(cluster: u128, node: u64, address: String, introduction: Vec<u8>) {
            let node = NodeId(node);
            let introduction = introduction.into();
            let hello = Hello { cluster, node, address, introduction, ..hello() };
            prop_assert_eq!(Hello::decode(hello.encode()), Ok(hello));
        }
    }
}
