//! What is different on a thread that simulates a cluster: nothing is drawn from the operating system, and nothing runs on
//! another thread, so that what happens is a function of the seed.
//!
//! A thread simulates from [`begin`] on, until what that gave is dropped. Everywhere else the functions here are what their
//! names say: random bytes of the operating system's, and the runtime's threads for what blocks.

use std::{cell::Cell, convert::Infallible, io, marker::PhantomData};

use rand_core::TryRng;

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
}

/// As long as it lives, its thread simulates.
#[derive(Debug)]
#[must_use = "the simulation ends when this is dropped"]
pub struct Simulating {
    /// It belongs to its thread.
    _here: PhantomData<*const ()>,
}

impl Drop for Simulating {
    fn drop(&mut self) {
        STATE.set(None);
    }
}

/// From now on all that is random on this thread follows from `seed`.
pub fn begin(seed: u64) -> Simulating {
    STATE.set(Some(seed));
    Simulating { _here: PhantomData }
}

/// Whether this thread simulates.
pub fn is_on() -> bool {
    STATE.get().is_some()
}

/// SplitMix64 (Steele, Lea, Flood 2014), on a thread that simulates.
fn next() -> Option<u64> {
    let state = STATE.get()?.wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(Some(state));
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Some(mixed ^ (mixed >> 31))
}

/// Fills `bytes` with random ones.
///
/// # Errors
/// The operating system has none.
pub fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    if !is_on() {
        return getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()));
    }
    for chunk in bytes.chunks_mut(8) {
        let random = next().unwrap_or_default().to_le_bytes();
        chunk.copy_from_slice(&random[..chunk.len()]);
    }
    Ok(())
}

/// Runs what blocks where it holds up nothing else.
///
/// # Errors
/// It panicked, or the runtime ends.
pub async fn run_blocking<T: Send + 'static>(
    run: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    if is_on() {
        return Ok(run());
    }
    Ok(tokio::task::spawn_blocking(run).await?)
}

/// The generator of the consensus engine: that of `inner`, or the simulation's.
pub(crate) struct Chance<R> {
    pub(crate) inner: R,
}

impl<R: TryRng<Error = Infallible>> TryRng for Chance<R> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        // The upper half is as good as the lower one.
        next().map_or_else(
            || self.inner.try_next_u32(),
            |random| Ok((random >> 32) as u32),
        )
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        next().map_or_else(|| self.inner.try_next_u64(), Ok)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        if !is_on() {
            return self.inner.try_fill_bytes(bytes);
        }
        // A simulation has random bytes without the operating system.
        fill_random(bytes).unwrap_or_default();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{begin, fill_random, is_on};

    fn draw() -> [u8; 19] {
        let mut bytes = [0; 19];
        fill_random(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_seed_gives_the_same_bytes_until_it_ends() {
        let drawn = |seed| {
            let _simulating = begin(seed);
            (draw(), draw())
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
        let (first, second) = drawn(7);
        assert_ne!(first, second);
        assert!(!is_on());
        assert_ne!(draw(), draw());
    }
}
