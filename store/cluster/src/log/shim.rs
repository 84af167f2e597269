//! Opaque bytes as raft-engine wants them: it asks for protobuf messages.

use std::{any::Any, io::Read};

use bytes::Bytes;
use protobuf::{
    Clear, CodedInputStream, CodedOutputStream, Message, ProtobufResult, UnknownFields,
    reflect::MessageDescriptor,
};
use raft_engine::MessageExt;

use super::{HEAD_BYTES, RawEntry, codec::entry_index};

impl Default for RawEntry {
    fn default() -> RawEntry {
        RawEntry {
            index: 0,
            head: [0; HEAD_BYTES],
            body: Bytes::new(),
        }
    }
}

impl Clear for RawEntry {
    fn clear(&mut self) {
        *self = RawEntry::default();
    }
}

/// Only what raft-engine calls does something: it asks for the size, writes, and merges into a default value.
impl Message for RawEntry {
    fn is_initialized(&self) -> bool {
        true
    }

    fn merge_from(&mut self, input: &mut CodedInputStream<'_>) -> ProtobufResult<()> {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes)?;
        let bytes = Bytes::from(bytes);
        let Some((head, body)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(protobuf::ProtobufError::WireError(
                protobuf::error::WireError::UnexpectedEof,
            ));
        };
        self.head = *head;
        self.index = entry_index(head);
        self.body = bytes.slice_ref(body);
        Ok(())
    }

    fn write_to_with_cached_sizes(&self, output: &mut CodedOutputStream<'_>) -> ProtobufResult<()> {
        output.write_raw_bytes(&self.head)?;
        output.write_raw_bytes(&self.body)
    }

    fn compute_size(&self) -> u32 {
        // A body is bounded by `COMMAND_BYTES_MAX`, far below 4 GiB.
        u32::try_from(self.len_bytes()).unwrap_or(u32::MAX)
    }

    fn get_cached_size(&self) -> u32 {
        self.compute_size()
    }

    fn get_unknown_fields(&self) -> &UnknownFields {
        unreachable!("raft-engine asks for no unknown fields")
    }

    fn mut_unknown_fields(&mut self) -> &mut UnknownFields {
        unreachable!("raft-engine asks for no unknown fields")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn descriptor(&self) -> &'static MessageDescriptor {
        unreachable!("raft-engine asks for no reflection")
    }

    fn new() -> RawEntry {
        RawEntry::default()
    }

    fn default_instance() -> &'static RawEntry {
        unreachable!("raft-engine asks for no default instance")
    }
}

/// Tells raft-engine how to find an entry's index.
#[derive(Clone)]
pub(super) struct RawEntries;

impl MessageExt for RawEntries {
    type Entry = RawEntry;

    fn index(entry: &RawEntry) -> u64 {
        entry.index
    }
}
