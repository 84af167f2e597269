//! Plans carried out on a model of a cluster, while random things happen to it.
//!
//! What must hold of every action is checked against the model when it is planned ([`rules`]); when nothing more happens,
//! plans must come to an end within a bounded time, with everything as well as it can be ([`settled`]).

#![allow(clippy::unwrap_used, reason = "tests may")]

mod model;
mod rules;
mod settled;

use model::{Event, Model};
use proptest::prelude::*;

fn any_event() -> impl Strategy<Value = Event> {
    let node = 0usize..8;
    prop_oneof![
        3 => (0u8..4).prop_map(Event::Join),
        3 => node.clone().prop_map(Event::Fail),
        4 => node.clone().prop_map(Event::Return),
        2 => node.clone().prop_map(Event::Drain),
        2 => node.clone().prop_map(Event::Undrain),
        1 => node.clone().prop_map(Event::Remove),
        1 => node.clone().prop_map(Event::Full),
        2 => node.prop_map(Event::Room),
        1 => (0usize..3).prop_map(|n| Event::Copies([1, 3, 5][n])),
        1 => Just(Event::AddShard),
    ]
}

/// An event, and how many steps are made before the next; each has the bits of the actions that fail.
fn any_script() -> impl Strategy<Value = Vec<(Event, Vec<u16>)>> {
    let steps = prop::collection::vec(any::<u16>(), 0..12);
    prop::collection::vec((any_event(), steps), 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn no_action_harms_and_plans_end(shards in 0u32..9, script in any_script()) {
        let mut model = Model::new(shards);
        for (event, steps) in script {
            model.happen(&event);
            for failing in steps {
                let view = model.view();
                let planned = mailrook_placement::plan(&view);
                rules::check(&model, &view, &planned);
                model.step(&planned, failing);
            }
        }
        settled::check(model);
    }
}

/// From one node to six in two zones, and back to three.
#[test]
fn a_cluster_grows_and_shrinks() {
    let mut model = Model::new(8);
    for zone in [0, 1, 1, 0, 1] {
        model.happen(&Event::Join(zone));
        model = settled::check(model);
    }
    let leads = model.leads();
    assert!(
        leads.values().max().unwrap() - leads.values().min().unwrap() <= 1,
        "{leads:?}"
    );
    for node in [0, 1, 2] {
        model.happen(&Event::Drain(node));
        model = settled::check(model);
        model.happen(&Event::Remove(node));
    }
    model = settled::check(model);
    assert!(model.groups.values().all(|group| group.voters.len() == 3));
    let leads = model.leads();
    assert_eq!(leads.len(), 3);
    assert_eq!(leads.values().max(), Some(&3), "{leads:?}");
}

#[test]
fn the_dead_are_replaced_and_the_returned_are_not_in_the_way() {
    let mut model = Model::new(8);
    for zone in [0, 0, 0, 0] {
        model.happen(&Event::Join(zone));
    }
    model = settled::check(model);
    model.happen(&Event::Fail(2));
    model = settled::check(model);
    assert!(model.hosts_of(2) == 0, "all its copies are elsewhere");
    model.happen(&Event::Return(2));
    model = settled::check(model);
    assert!(model.hosts_of(2) > 0, "it takes its share again");
}
