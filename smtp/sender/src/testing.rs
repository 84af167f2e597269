//! What the tests of this crate share.

use std::time::Duration;

use mailrook_store_api::shard::{
    ClaimedJob, JobId, Needs, Origin, QueuedEnvelope, QueuedId, QueuedRecipient,
};
use mailrook_types::{Address, BlobHash, Domain, ReversePath, Timestamp};

use crate::SenderSettings;

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).expect("a test's address")
}

pub(crate) fn domain(text: &str) -> Domain {
    Domain::parse(text).expect("a test's domain")
}

pub(crate) fn settings() -> SenderSettings {
    SenderSettings::new(domain("mx.example.test"))
}

/// From `sender@example.test`, received at 0, given up after five days.
pub(crate) fn envelope() -> QueuedEnvelope {
    QueuedEnvelope {
        reverse_path: ReversePath::Address(address("sender@example.test")),
        prefix: b"Received: here\r\n".to_vec(),
        envid: None,
        return_full: None,
        needs: Needs::default(),
        account: None,
        origin: Origin::Submission,
        log_id: "abc".to_owned(),
        received: Timestamp(0),
        expires: Timestamp(0).saturating_add(Duration::from_secs(5 * 86_400)),
    }
}

pub(crate) fn recipient(text: &str) -> QueuedRecipient {
    QueuedRecipient {
        address: address(text),
        original: None,
        notify: None,
        last: None,
    }
}

/// For `r0@remote.test`, `r1@remote.test` and so on.
pub(crate) fn job(recipients: u32) -> ClaimedJob {
    let of = |n| (n, recipient(&format!("r{n}@remote.test")));
    ClaimedJob {
        id: JobId {
            message: QueuedId(1),
            number: 0,
        },
        destination: domain("remote.test"),
        envelope: envelope(),
        hash: BlobHash([0; 32]),
        size: 0,
        recipients: (0..recipients).map(of).collect(),
        tries: 0,
        delay_told: false,
    }
}
