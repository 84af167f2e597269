//! The state machine itself: one command of the log after the other.
//!
//! Each handler first asks all that could refuse, and writes only then: a refused command leaves the view as it was.

mod accounts;
mod aliases;
mod ca;
mod cluster;
mod domains;
mod moving;
mod nodes;
mod operations;
mod passwords;
mod placement;
mod settings;
mod slots;

use mailrook_kv::{Applied, ApplyError, KvError, StateMachine, View};
use mailrook_types::{Address, Domain, Timestamp};

use crate::{
    AccountRecord, LEVEL_MOVES, MetaCommand, MetaRefusal, MetaReply, key,
    resolve::{VISITED_MAX, WalkError},
    tables::{DomainRow, Tables, put},
    wire::decode_entry,
};

pub use aliases::{ALIAS_DEPTH_MAX, ALIAS_TARGETS_MAX, EXPANSION_MAX};
pub use ca::{CA_TRUSTED_MAX, PEM_BYTES_MAX};
pub use cluster::{HEAL_AFTER_MAX, HEAL_AFTER_MIN};
pub use nodes::{
    JOIN_TOKEN_LIFE_MAX, JOIN_TOKENS_MAX, NODE_ADDRESS_BYTES_MAX, NODE_NAME_BYTES_MAX, NODES_MAX,
    ZONE_BYTES_MAX,
};
pub use operations::{REPLIES_KEPT, UNANSWERED_MAX};
pub use passwords::{CREDENTIAL_NAME_BYTES_MAX, CREDENTIALS_MAX, VERIFIER_BYTES_MAX};
pub use placement::{REPLICAS_MAX, SHARDS_MAX};
pub use settings::{GRANTS_KEPT, SETTING_BYTES_MAX, SETTING_NAME_BYTES_MAX};

/// The meta group's state machine. It holds nothing: all state is in the store.
///
/// [`Applied::touched`] tells watchers of the directory: key 0 stands for all of it, another key for the account of that
/// id; the number counts the changes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meta;

/// A command that is being applied.
struct Machine<'v, 'a> {
    view: &'v mut View<'a>,
    now: Timestamp,
}

/// How a handler ends: with a reply, or with why nothing changed.
type Outcome = Result<MetaReply, Stop>;

/// Why a handler ends early.
enum Stop {
    Refused(MetaRefusal),
    Failed(KvError),
}

impl From<MetaRefusal> for Stop {
    fn from(refusal: MetaRefusal) -> Stop {
        Stop::Refused(refusal)
    }
}

impl From<KvError> for Stop {
    fn from(error: KvError) -> Stop {
        Stop::Failed(error)
    }
}

impl From<WalkError> for Stop {
    fn from(error: WalkError) -> Stop {
        match error {
            WalkError::TooMany => limit(format!(
                "aliases and catch-alls lead from there to more than {VISITED_MAX} addresses"
            )),
            WalkError::Failed(error) => Stop::Failed(error),
        }
    }
}

impl StateMachine for Meta {
    fn apply(
        &self,
        view: &mut View<'_>,
        time_ms: i64,
        command: &[u8],
    ) -> Result<Applied, ApplyError> {
        let (op, command) = decode_entry(command)?;
        let mut machine = Machine {
            view,
            now: Timestamp(time_ms),
        };
        let (reply, touched) = match op {
            Some(op) => machine.run_once(&op, command)?,
            None => machine.run(command)?,
        };
        Ok(Applied {
            reply: reply.encode(),
            touched,
        })
    }

    /// The directory is small, and by it accounts are removed and copies healed. But what a shard has to follow waits for it.
    fn makes_room(&self, command: &[u8]) -> bool {
        let followed = |command| {
            matches!(
                command,
                MetaCommand::AddAccount(_) | MetaCommand::SetQuota { .. }
            )
        };
        decode_entry(command).is_ok_and(|(_, command)| !followed(command))
    }
}

/// A reply, and what watchers hear.
type Told = (MetaReply, Vec<(u64, u64)>);

impl Machine<'_, '_> {
    fn run(&mut self, command: MetaCommand) -> Result<Told, KvError> {
        let is_grant = matches!(command, MetaCommand::GrantClient { .. });
        let reply = match self.carry_out(command) {
            Ok(reply) => reply,
            Err(Stop::Refused(refusal)) => MetaReply::Refused(refusal),
            Err(Stop::Failed(error)) => return Err(error),
        };
        let touched = match &reply {
            MetaReply::Refused(_) => Vec::new(),
            _ if is_grant => Vec::new(),
            changed => self.touch(changed)?,
        };
        Ok((reply, touched))
    }

    fn carry_out(&mut self, command: MetaCommand) -> Outcome {
        match command {
            MetaCommand::GrantClient { nonce } => self.grant_client(nonce),
            MetaCommand::SetShards(shards) => self.set_shards(&shards),
            MetaCommand::AddDomain(domain) => self.add_domain(domain),
            MetaCommand::RemoveDomain(domain) => self.remove_domain(domain),
            MetaCommand::SetCatchAll { domain, target } => self.set_catch_all(domain, target),
            MetaCommand::AddAccount(new) => self.add_account(new),
            MetaCommand::RemoveAccount(address) => self.remove_account(address),
            MetaCommand::RenameAccount { from, to } => self.rename_account(from, to),
            MetaCommand::SetEnabled { address, enabled } => self.set_enabled(address, enabled),
            MetaCommand::SetQuota {
                address,
                storage_bytes,
                messages,
            } => self.set_quota(address, storage_bytes, messages),
            MetaCommand::PutCredential {
                address,
                credential,
            } => self.put_credential(address, credential),
            MetaCommand::RemoveCredential { address, name } => {
                self.remove_credential(address, name)
            }
            MetaCommand::AddAlias { address, targets } => self.add_alias(address, targets),
            MetaCommand::RemoveAlias { address, targets } => self.remove_alias(address, &targets),
            MetaCommand::PutSetting { name, value } => self.put_setting(&name, value),
            MetaCommand::EndRemoval(account) => Ok(self.end_removal(account)),
            MetaCommand::AnnounceNode(node) => self.announce_node(node, None),
            MetaCommand::JoinNode { secret_hash, node } => self.join_node(secret_hash, node, None),
            MetaCommand::SetNodeDraining { node, draining } => {
                self.set_node_draining(node, draining)
            }
            MetaCommand::RemoveNode(node) => self.remove_node(node),
            MetaCommand::AddJoinToken {
                secret_hash,
                expires,
            } => self.add_join_token(secret_hash, expires),
            MetaCommand::PlaceShard {
                shard,
                epoch_before,
                replicas,
            } => self.place_shard(shard, epoch_before, replicas),
            MetaCommand::AddShards { to } => self.add_shards(to),
            MetaCommand::SetCopies(copies) => self.set_copies(copies),
            MetaCommand::SetHealAfter { ms } => self.set_heal_after(ms),
            MetaCommand::RaiseFeatureLevel { to } => self.raise_feature_level(to),
            MetaCommand::PutClusterCa {
                epoch_before,
                trusted,
                signer,
            } => self.put_cluster_ca(epoch_before, trusted, signer),
            MetaCommand::RemoveLostNode(node) => self.remove_lost_node(node),
            MetaCommand::BeginCaRotation {
                epoch_before,
                successor,
            } => self.begin_ca_rotation(epoch_before, successor),
            MetaCommand::AdvanceCaRotation { epoch_before } => {
                self.advance_ca_rotation(epoch_before)
            }
            MetaCommand::SkipIds { by } => self.skip_ids(by),
            MetaCommand::BeginSlotMove {
                epoch_before,
                slots,
                from,
                to,
            } => self.begin_slot_move(epoch_before, slots, from, to),
            MetaCommand::FinishSlotMove { id } => self.finish_slot_move(id),
            MetaCommand::ForgetSlotMove { id } => self.forget_slot_move(id),
            MetaCommand::MoveAccounts { accounts, to } => self.move_accounts(&accounts, to),
            MetaCommand::TakeMove { id, turn_before } => self.take_move(id, turn_before),
            MetaCommand::NoteMove { id, turn, note } => self.note_move(id, turn, note),
            MetaCommand::FlipMove {
                id,
                turn,
                found_open,
            } => self.flip_move(id, turn, found_open),
            MetaCommand::AbandonMove { id, cause } => self.abandon_move(id, &cause),
            MetaCommand::EndMove { id, turn } => self.end_move(id, turn),
            MetaCommand::PauseMove { id, paused } => self.pause_move(id, paused),
            MetaCommand::AnnounceFront { node, roles } => self.announce_node(node, Some(roles)),
            MetaCommand::JoinFront {
                secret_hash,
                node,
                roles,
            } => self.join_node(secret_hash, node, Some(roles)),
        }
    }

    fn tables(&self) -> Tables<'_> {
        Tables(&*self.view)
    }

    /// Counts a change and says whom it concerns.
    fn touch(&mut self, reply: &MetaReply) -> Result<Vec<(u64, u64)>, KvError> {
        let revision = self.count_up(key::REVISION)?;
        let account = match reply {
            MetaReply::Account(record) | MetaReply::Removed(record) => {
                Some((record.id.0, revision))
            }
            MetaReply::AccountMove(of) => Some((of.account.0, revision)),
            _ => None,
        };
        Ok([(0, revision)].into_iter().chain(account).collect())
    }

    /// The next number of a counter, from 1, never given again.
    fn count_up(&mut self, name: &str) -> Result<u64, KvError> {
        let next = self.tables().counter(name)? + 1;
        put(self.view, key::counter(name), &next);
        Ok(next)
    }

    fn skip_ids(&mut self, by: u64) -> Outcome {
        for name in [key::NEXT_ACCOUNT, key::NEXT_CLIENT] {
            let next = self.tables().counter(name)?.saturating_add(by);
            put(self.view, key::counter(name), &next);
        }
        // Programs of before there were moves leave these alone, and so does this one where there was none. Accounts may
        // have moved in what is lost.
        let moving = self.tables().cluster_settings()?.feature_level >= LEVEL_MOVES;
        for name in [key::NEXT_SLOT_MOVE, key::NEXT_ACCOUNT_MOVE] {
            let moves = self.tables().counter(name)?;
            if moves > 0 || moving {
                put(self.view, key::counter(name), &moves.saturating_add(by));
            }
        }
        if moving {
            self.doubt_moves()?;
        }
        Ok(MetaReply::Done)
    }

    fn known_domain(&self, domain: &Domain) -> Result<DomainRow, Stop> {
        let row = self.tables().domain(domain)?;
        row.ok_or_else(|| MetaRefusal::NoSuchDomain(domain.clone()).into())
    }

    fn known_account(&self, address: &Address) -> Result<AccountRecord, Stop> {
        let record = self.tables().account_at(address)?;
        record.ok_or_else(|| MetaRefusal::NoSuchAccount(address.clone()).into())
    }

    fn put_domain(&mut self, row: &DomainRow) {
        put(self.view, key::domain(&row.record.domain), row);
    }

    fn put_account(&mut self, record: &AccountRecord) {
        put(self.view, key::account(record.id), record);
    }
}

/// A refusal because of a bound.
fn limit(text: String) -> Stop {
    MetaRefusal::Limit(text).into()
}

/// A refusal because of a value that cannot be.
fn invalid(text: impl Into<String>) -> Stop {
    MetaRefusal::Invalid(text.into()).into()
}
