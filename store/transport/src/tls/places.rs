//! The places of connections that have not said who they are.
//!
//! They are few, and counted by where the connections come from. Some are kept for the addresses of known nodes, so that
//! strangers, however many, shut no node out.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use mailrook_net::site_of;
use parking_lot::Mutex;

/// All of them.
const PLACES_MAX: usize = 128;

/// Of these, what strangers do not get: eight nodes that come back at once, with each class.
const KEPT_FOR_NODES: usize = 32;

/// The same from one place: several nodes of a cluster may share one, as in development.
const PLACES_PER_SOURCE_MAX: usize = 48;

/// Who is counted as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The address of a known node.
    Node(IpAddr),
    /// A network of others.
    Strangers(IpAddr),
}

impl Source {
    pub(crate) fn of(address: IpAddr, is_node: bool) -> Source {
        match is_node {
            true => Source::Node(address.to_canonical()),
            false => Source::Strangers(site_of(address)),
        }
    }
}

#[derive(Default)]
struct Taken {
    of: HashMap<Source, usize>,
    all: usize,
    strangers: usize,
}

/// Counts who is in.
#[derive(Default)]
pub(crate) struct Places {
    taken: Mutex<Taken>,
}

/// One of them, until it is dropped.
pub(crate) struct Place {
    places: Arc<Places>,
    source: Source,
}

impl Places {
    /// None if there is none for this source.
    pub(crate) fn admit(self: &Arc<Places>, source: Source) -> Option<Place> {
        let mut taken = self.taken.lock();
        let is_stranger = matches!(source, Source::Strangers(_));
        let same = taken.of.get(&source).copied().unwrap_or(0);
        if taken.all >= PLACES_MAX
            || same >= PLACES_PER_SOURCE_MAX
            || is_stranger && taken.strangers >= PLACES_MAX - KEPT_FOR_NODES
        {
            return None;
        }
        taken.of.insert(source, same + 1);
        taken.all += 1;
        taken.strangers += usize::from(is_stranger);
        let places = Arc::clone(self);
        Some(Place { places, source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        taken.strangers -= usize::from(matches!(self.source, Source::Strangers(_)));
        if let Some(same) = taken.of.get_mut(&self.source) {
            *same -= 1;
            if *same == 0 {
                taken.of.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(text: &str) -> Source {
        Source::of(text.parse().unwrap(), false)
    }

    fn many(places: &Arc<Places>, sources: impl Iterator<Item = Source>) -> Vec<Place> {
        sources.map_while(|source| places.admit(source)).collect()
    }

    #[test]
    fn places_are_few_and_given_back() {
        let places = Arc::new(Places::default());
        let one = many(&places, std::iter::repeat(stranger("192.0.2.1")));
        assert_eq!(one.len(), PLACES_PER_SOURCE_MAX);
        let others = (2..=255).map(|n| stranger(&format!("192.0.2.{n}")));
        let others = many(&places, others);
        assert_eq!(one.len() + others.len(), PLACES_MAX - KEPT_FOR_NODES);
        drop(one);
        assert!(places.admit(stranger("192.0.2.1")).is_some());
        drop(others);
        places.admit(stranger("192.0.2.1"));
        let taken = places.taken.lock();
        assert!(taken.of.is_empty());
        assert_eq!((taken.all, taken.strangers), (0, 0));
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let places = Arc::new(Places::default());
        let hosts = (0..200).map(|n| stranger(&format!("2001:db8:0:1:{n:x}::{n:x}")));
        let same = many(&places, hosts);
        assert_eq!(same.len(), PLACES_PER_SOURCE_MAX);
        assert!(places.admit(stranger("2001:db8:0:2::1")).is_some());
        let mapped = stranger("::ffff:192.0.2.1");
        assert_eq!(mapped, stranger("192.0.2.1"));
        assert_ne!(mapped, stranger("::ffff:192.0.2.2"));
    }

    #[test]
    fn strangers_leave_places_for_nodes() {
        let places = Arc::new(Places::default());
        let networks = (0..500).map(|n| stranger(&format!("2001:db8:0:{n:x}::1")));
        let strangers = many(&places, networks);
        assert_eq!(strangers.len(), PLACES_MAX - KEPT_FOR_NODES);
        // Also one in the midst of them.
        let node = Source::of("2001:db8:0:1::7".parse().unwrap(), true);
        let nodes = many(&places, std::iter::repeat(node));
        assert_eq!(nodes.len(), KEPT_FOR_NODES);
    }
}
