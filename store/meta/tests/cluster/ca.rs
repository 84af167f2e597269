//! What the nodes' certificates are signed with.

use mailrook_meta::{
    CaSigner, MetaAnswer, MetaCommand, MetaQuery, MetaRefusal, MetaReply, PEM_BYTES_MAX,
    PrivateKeyPem,
};

use crate::rig::Group;

fn put(epoch_before: u64, trusted: &[&str], certificate: &str, key: &str) -> MetaCommand {
    MetaCommand::PutClusterCa {
        epoch_before,
        trusted: trusted.iter().copied().map(str::to_owned).collect(),
        signer: CaSigner {
            certificate: certificate.to_owned(),
            key: PrivateKeyPem::new(key),
        },
    }
}

#[test]
fn is_rotated_by_epoch() {
    let mut group = Group::new();
    assert_eq!(group.ask(MetaQuery::ClusterCa), MetaAnswer::ClusterCa(None));
    assert_eq!(
        group.done_twice(put(0, &["old"], "old", "key-1")),
        MetaReply::Epoch(1)
    );
    group.done_twice(put(1, &["old", "new"], "old", "key-1"));
    let refusal = MetaRefusal::EpochChanged { before: 1, now: 2 };
    assert_eq!(
        group.apply(put(1, &["other"], "other", "key-3")),
        MetaReply::Refused(refusal)
    );
    group.done(put(2, &["old", "new"], "new", "key-2"));
    group.done(put(3, &["new"], "new", "key-2"));
    let MetaAnswer::ClusterCa(Some(ca)) = group.ask(MetaQuery::ClusterCa) else {
        panic!()
    };
    assert_eq!((ca.epoch, ca.trusted), (4, vec!["new".to_owned()]));
    assert_eq!(ca.signer.key.reveal(), "key-2");
}

#[test]
fn a_rotation_goes_step_by_step() {
    let mut group = Group::new();
    let successor = CaSigner {
        certificate: "new".to_owned(),
        key: PrivateKeyPem::new("key-2"),
    };
    let begin = |epoch_before| MetaCommand::BeginCaRotation {
        epoch_before,
        successor: successor.clone(),
    };
    let advance = |epoch_before| MetaCommand::AdvanceCaRotation { epoch_before };
    let trust = |group: &Group| match group.ask(MetaQuery::ClusterTrust) {
        MetaAnswer::ClusterTrust(trust) => trust.map(|trust| *trust),
        other => panic!("{other:?}"),
    };
    assert_eq!(trust(&group), None);
    assert!(group.refused(begin(0)).contains("no CA yet"));
    group.done(put(0, &["old"], "old", "key-1"));
    assert!(group.refused(advance(1)).contains("not being rotated"));
    group.done(begin(1));
    let begun = trust(&group).unwrap();
    assert_eq!(begun.trusted, ["old", "new"]);
    assert_eq!(
        (begun.signer.as_str(), begun.successor.as_deref()),
        ("old", Some("new"))
    );
    assert!(group.refused(begin(2)).contains("already"));
    assert!(
        group
            .refused(put(2, &["x"], "x", "key-3"))
            .contains("already")
    );
    assert!(group.refused(advance(1)).contains("changed since"));
    group.done(advance(2));
    let signs = trust(&group).unwrap();
    assert_eq!((signs.signer.as_str(), signs.successor), ("new", None));
    assert_eq!(signs.trusted, ["old", "new"]);
    group.done(advance(3));
    let ended = trust(&group).unwrap();
    assert_eq!(ended.trusted, ["new"]);
    assert!(!ended.is_rotating());
    let MetaAnswer::ClusterCa(Some(ca)) = group.ask(MetaQuery::ClusterCa) else {
        panic!()
    };
    assert_eq!(ca.signer, successor);
}

#[test]
fn whoever_signs_is_trusted() {
    let mut group = Group::new();
    group.refused(put(0, &[], "a", "key"));
    group.refused(put(0, &["b"], "a", "key"));
    group.refused(put(0, &["a"], "a", ""));
    group.refused(put(0, &["a"; 9], "a", "key"));
    let long = "x".repeat(PEM_BYTES_MAX + 1);
    group.refused(put(0, &["a"], "a", &long));
    group.refused(put(0, &["a", &long], "a", "key"));
}

#[test]
fn the_key_is_in_no_log_line() {
    let mut group = Group::new();
    let command = put(0, &["cert"], "cert", "the-private-key");
    assert!(!format!("{command:?}").contains("the-private-key"));
    let reply = group.done(command);
    assert!(!format!("{reply:?}").contains("the-private-key"));
    let answer = group.ask(MetaQuery::ClusterCa);
    assert!(format!("{answer:?}").contains("PrivateKeyPem(15 bytes)"));
}
