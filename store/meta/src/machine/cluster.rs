//! How the cluster is kept: copies, patience, feature level.

use std::time::Duration;

use super::{Machine, Outcome, invalid};
use crate::{ClusterSettings, MetaRefusal, MetaReply, key, reply::NAMED_MAX, tables::put};

/// The shortest time after which a node's copies are made elsewhere. Whoever is cut off for a moment is back sooner.
pub const HEAL_AFTER_MIN: Duration = Duration::from_secs(1);
/// The longest: who wants to wait for more than a month wants no healing.
pub const HEAL_AFTER_MAX: Duration = Duration::from_secs(31 * 24 * 3600);

impl Machine<'_, '_> {
    pub(super) fn set_copies(&mut self, copies: u8) -> Outcome {
        ClusterSettings::check_copies(copies)?;
        self.change_settings(|settings| settings.copies = copies)
    }

    pub(super) fn set_heal_after(&mut self, ms: u64) -> Outcome {
        ClusterSettings::check_heal_after(ms)?;
        self.change_settings(|settings| settings.heal_after_ms = ms)
    }

    pub(super) fn raise_feature_level(&mut self, to: u32) -> Outcome {
        if to <= self.tables().cluster_settings()?.feature_level {
            return Ok(MetaReply::Done);
        }
        let members = self.tables().members()?;
        if members.is_empty() {
            return Err(invalid(
                "no node has said yet which feature levels it knows",
            ));
        }
        let unable: Vec<String> = members
            .into_iter()
            .filter(|node| node.levels.highest < to)
            .map(|node| node.name)
            .collect();
        if !unable.is_empty() {
            return Err(MetaRefusal::LevelUnknown {
                level: to,
                count: u32::try_from(unable.len()).unwrap_or(u32::MAX),
                nodes: unable.into_iter().take(NAMED_MAX).collect(),
            }
            .into());
        }
        self.change_settings(|settings| settings.feature_level = to)
    }

    fn change_settings(&mut self, change: impl FnOnce(&mut ClusterSettings)) -> Outcome {
        let mut settings = self.tables().cluster_settings()?;
        change(&mut settings);
        put(self.view, key::cluster(key::SETTINGS), &settings);
        Ok(MetaReply::Done)
    }
}
