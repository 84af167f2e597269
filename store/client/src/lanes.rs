//! Lanes for calls that come without one: changes of the directory and of the cluster-wide tables.

use std::{
    mem,
    ops::{Deref, DerefMut},
};

use mailrook_store_api::{Lane, StoreError};
use mailrook_types::ClientId;
use parking_lot::Mutex;

use crate::Client;

/// Lanes that nobody uses at the moment. A call has one for itself, so that no other call on it can make the groups take
/// its operation for one that was given up.
#[derive(Default)]
pub(crate) struct SpareLanes(Mutex<Vec<Lane>>);

/// More than as many calls at once are rare, and a lane that is not kept is only forgotten a day later by the groups.
const SPARE_MAX: usize = 64;

/// A lane that goes back when it is dropped, in the middle of a call too: what was begun on it and not answered is never
/// begun again.
pub(crate) struct BorrowedLane<'a> {
    lane: Lane,
    home: &'a SpareLanes,
}

impl Client {
    /// A lane that no one else uses for as long as it is borrowed.
    pub(crate) async fn borrow_lane(&self) -> Result<BorrowedLane<'_>, StoreError> {
        let home = &self.inner.spare_lanes;
        let spare = home.0.lock().pop();
        let lane = match spare {
            Some(lane) => lane,
            None => self.new_lane().await?,
        };
        Ok(BorrowedLane { lane, home })
    }
}

impl Deref for BorrowedLane<'_> {
    type Target = Lane;

    fn deref(&self) -> &Lane {
        &self.lane
    }
}

impl DerefMut for BorrowedLane<'_> {
    fn deref_mut(&mut self) -> &mut Lane {
        &mut self.lane
    }
}

impl Drop for BorrowedLane<'_> {
    fn drop(&mut self) {
        let mut spare = self.home.0.lock();
        if spare.len() < SPARE_MAX {
            spare.push(mem::replace(&mut self.lane, Lane::new(ClientId(0), 0)));
        }
    }
}
