//! Whether another node has let this one in since it was started.
//!
//! What a node holds may be an old copy of its disk, or it may have been removed or replaced while it was away. Where others
//! vote, they see to it. A group in which this node alone votes would be led and served at once: so it first waits until one
//! of the others has taken its hello, for a while. Those that are gone are not waited for.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Heard(Arc<AtomicBool>);

impl Heard {
    /// Of a node that knows of others, or does not.
    pub(crate) fn of(has_others: bool) -> Heard {
        Heard(Arc::new(AtomicBool::new(!has_others)))
    }

    /// The wait is over, or there was none.
    pub(crate) fn is_over(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// It is over from now on.
    pub(crate) fn end(&self) {
        self.0.store(true, Ordering::Release);
    }
}
