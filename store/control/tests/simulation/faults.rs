//! What goes wrong, and when.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use mailrook_cluster::GroupRole;
use mailrook_meta::MetaCommand;
use mailrook_store_api::Directory;
use mailrook_store_client::Client;
use mailrook_types::NodeId;

use crate::{chance::Chance, disk::Speed, world::World};

/// Draws faults, and puts them on the world.
pub struct Faults {
    pub chance: Chance,
    pub next_ms: u64,
    /// By when what was cut is whole again.
    pub heal_at_ms: Option<u64>,
    /// For changes that people make.
    pub operator: Client,
    /// The node that is being drained.
    pub draining: Option<NodeId>,
}

impl Faults {
    /// Does what is due.
    pub fn step(&mut self, world: &mut World) {
        let now_ms = world.shared.now_ms();
        if self.heal_at_ms.is_some_and(|at| at <= now_ms) {
            self.heal_at_ms = None;
            world.shared.net.heal();
        }
        if now_ms >= self.next_ms {
            self.next_ms = now_ms + self.chance.range(200, 2500);
            self.happen(world);
        }
    }

    /// Nothing is wrong any more.
    pub fn end(&mut self, world: &mut World) {
        world.shared.net.heal();
        for member in world.members.values_mut() {
            member.disk.set_speed(Speed::Usual);
            member.skew_ms.store(0, Ordering::Relaxed);
            member.paused_until_ms = member.paused_until_ms.and(Some(0));
            member.restart_at_ms = member.restart_at_ms.and(Some(0));
        }
        self.set_draining(world, None);
    }

    fn happen(&mut self, world: &mut World) {
        let ids = world.ids();
        let Some(node) = self.chance.pick(&ids).copied() else {
            return;
        };
        match self.chance.range(0, 100) {
            0..16 => world.crash(node, self.chance.range(50, 4000)),
            16..19 => self.power_cut(world),
            19..29 => world.pause(node, self.chance.range(100, 6000)),
            29..39 => self.isolate(world, node),
            39..49 => self.cut_some(world),
            49..57 => self.break_some(world),
            57..63 => {
                let speed = [Speed::Usual, Speed::Slow];
                let speed = self.chance.pick(&speed).copied().unwrap_or(Speed::Usual);
                if let Some(member) = world.members.get(&node) {
                    member.disk.set_speed(speed);
                }
            }
            63..66 => drop(world.members.get(&node).map(|member| member.disk.fail())),
            66..73 => {
                // Up to a day, in either direction.
                let skew = self.chance.range(0, 172_800_000) as i64 - 86_400_000;
                if let Some(member) = world.members.get(&node) {
                    member.skew_ms.store(skew, Ordering::Relaxed);
                }
            }
            73..80 => self.transfer(world, node),
            _ => {
                let next = match self.draining {
                    Some(_) => None,
                    None => Some(node),
                };
                self.set_draining(world, next);
            }
        }
    }

    /// All nodes at once.
    fn power_cut(&mut self, world: &mut World) {
        for id in world.ids() {
            world.crash(id, self.chance.range(100, 2000));
        }
    }

    fn heal_later(&mut self, world: &World) {
        let after = self.chance.range(300, 9000);
        self.heal_at_ms = Some(world.shared.now_ms() + after);
    }

    /// Nobody but clients reaches the node, and it nobody.
    fn isolate(&mut self, world: &World, node: NodeId) {
        for other in world.ids().into_iter().filter(|other| *other != node) {
            world.shared.net.cut(node, other);
            world.shared.net.cut(other, node);
        }
        self.heal_later(world);
    }

    /// Some ways in one direction.
    fn cut_some(&mut self, world: &World) {
        let ids = world.ids();
        for from in &ids {
            for to in ids.iter().filter(|to| *to != from) {
                if self.chance.percent(30) {
                    world.shared.net.cut(*from, *to);
                }
            }
        }
        self.heal_later(world);
    }

    fn break_some(&mut self, world: &World) {
        let ids = world.ids();
        for one in &ids {
            for other in ids.iter().filter(|other| *other > one) {
                if self.chance.percent(50) {
                    world.shared.net.break_connection(*one, *other);
                }
            }
        }
    }

    /// Has another node lead what this one leads.
    fn transfer(&mut self, world: &World, to: NodeId) {
        for member in world.members.values() {
            let (Some(node), Some(host)) = (member.node.lock().clone(), &member.host) else {
                continue;
            };
            let led = node
                .groups()
                .filter(|group| group.status().role == GroupRole::Leader);
            let led: Vec<_> = led.map(|group| group.shard()).collect();
            let node = Arc::downgrade(&node);
            host.spawn(async move {
                for shard in led {
                    let Some(node) = node.upgrade() else { return };
                    // It may not be possible.
                    let _ = node.transfer_leader(shard, to).await;
                }
            });
        }
    }

    /// Has the cluster move everything from a node, or back.
    fn set_draining(&mut self, world: &World, node: Option<NodeId>) {
        let change = |node, draining| MetaCommand::SetNodeDraining { node, draining };
        let changes = [
            self.draining.map(|node| change(node, false)),
            node.map(|node| change(node, true)),
        ];
        self.draining = node;
        let operator = self.operator.clone();
        world.front.spawn(async move {
            for change in changes.into_iter().flatten() {
                while operator.command(change.clone()).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }
}
