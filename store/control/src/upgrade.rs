//! When the cluster's feature level is raised by itself.
//!
//! Not at once: after it the former program cannot be put back, and a version that misbehaves shows it soon.

use std::time::Duration;

use tokio::time::Instant;

use crate::gather::ClusterView;

/// How long every node must have known the higher level, and been there.
pub const RAISE_AFTER: Duration = Duration::from_secs(10 * 60);

/// Since when the level could be raised.
#[derive(Debug, Default)]
pub(crate) struct Upgrade {
    possible: Option<(u32, Instant)>,
}

impl Upgrade {
    /// The level to raise to, if it is time.
    pub(crate) fn due(&mut self, view: &ClusterView) -> Option<u32> {
        let Some(to) = highest_common(view).filter(|_| all_there(view)) else {
            self.possible = None;
            return None;
        };
        match self.possible {
            Some((level, since)) if level == to => (since.elapsed() >= RAISE_AFTER).then_some(to),
            _ => {
                self.possible = Some((to, Instant::now()));
                None
            }
        }
    }
}

/// The highest level that every node knows, if it is above the cluster's.
pub fn highest_common(view: &ClusterView) -> Option<u32> {
    let members = view.nodes.iter().filter(|node| node.is_member());
    let common = members.map(|node| node.levels.highest).min()?;
    (common > view.settings.feature_level).then_some(common)
}

fn all_there(view: &ClusterView) -> bool {
    let mut members = view.nodes.iter().filter(|node| node.is_member());
    members.all(|node| view.reports.contains_key(&node.id))
}

#[cfg(test)]
mod tests {
    use mailrook_meta::{ClusterSettings, FeatureLevels, NodeRecord, NodeState};
    use mailrook_types::{NodeId, Timestamp};

    use super::*;
    use crate::NodeReport;

    fn view(levels: &[u32]) -> ClusterView {
        let ids = (1..).map(NodeId);
        let nodes = ids.zip(levels).map(|(id, highest)| NodeRecord {
            id,
            name: id.to_string(),
            address: String::new(),
            zone: String::new(),
            state: NodeState::Active,
            joined: Timestamp(0),
            levels: FeatureLevels {
                lowest: 1,
                highest: *highest,
            },
        });
        let nodes: Vec<NodeRecord> = nodes.collect();
        let report = NodeReport {
            disk_full: false,
            disk_free_bytes: 0,
            groups: Vec::new(),
        };
        let reports = nodes.iter().map(|node| (node.id, report.clone())).collect();
        ClusterView {
            settings: ClusterSettings::default(),
            nodes,
            reports,
            records: Vec::new(),
            announced: Default::default(),
            groups: Vec::new(),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_level_is_raised_once_all_have_known_it_for_a_while() {
        let mut upgrade = Upgrade::default();
        assert_eq!(upgrade.due(&view(&[2, 1, 2])), None);
        tokio::time::advance(RAISE_AFTER).await;
        assert_eq!(upgrade.due(&view(&[2, 1, 2])), None);
        let all = view(&[2, 3, 2]);
        assert_eq!(upgrade.due(&all), None, "not at once");
        tokio::time::advance(RAISE_AFTER).await;
        let mut one_away = all.clone();
        one_away.reports.remove(&NodeId(2));
        assert_eq!(upgrade.due(&one_away), None);
        assert_eq!(upgrade.due(&all), None, "it begins anew");
        tokio::time::advance(RAISE_AFTER).await;
        assert_eq!(upgrade.due(&all), Some(2));
        assert_eq!(upgrade.due(&view(&[1, 1])), None);
    }
}
