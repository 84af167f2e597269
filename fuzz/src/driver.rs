//! Runs a target on mutated inputs: without coverage, but with the same inputs for the same seed on every machine.
//!
//! It is no substitute for libFuzzer, which finds its way by coverage (`libfuzzer/`). It needs no nightly compiler and
//! a few seconds, so that it can run with the tests.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::Target;

/// How many mutants are kept to be mutated again, beside the seeds.
const POOL_MAX: usize = 64;
/// Mutations piled on one input.
const MUTATIONS_MAX: u64 = 6;
/// Shown of a failing input on the terminal; the seed and the round name all of it.
const SHOWN_BYTES_MAX: usize = 16 * 1024;

/// The same numbers for the same seed: SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A sequence of numbers.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `count`; 0 if there is nothing to choose from.
    fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }
}

/// Runs `target` on its seeds and on `rounds` mutants of them.
///
/// # Panics
/// As the target does, after the input was written to standard error.
pub fn run(target: &Target, seed: u64, rounds: u32) {
    let mut random = Random::new(seed);
    let mut pool: Vec<Vec<u8>> = (target.seeds)();
    assert!(!pool.is_empty(), "{} has no seeds", target.name);
    let seeds = pool.len();
    let longest = pool.iter().map(Vec::len).max().unwrap_or(0);
    for (index, input) in pool.clone().iter().enumerate() {
        attempt(target, input, &format!("its seed {index}"));
    }
    for round in 0..rounds {
        let input = mutant(&mut random, &pool, target);
        attempt(target, &input, &format!("seed {seed}, round {round}"));
        // What has been mutated several times is what a single mutation does not reach. Short inputs say little.
        if random.below(4) == 0 && input.len() > longest / 4 {
            if pool.len() < seeds + POOL_MAX {
                pool.push(input);
            } else {
                let at = seeds + random.below(POOL_MAX);
                pool[at] = input;
            }
        }
    }
}

fn attempt(target: &Target, input: &[u8], origin: &str) {
    // Nothing of a run outlives it but the panic.
    let run = AssertUnwindSafe(|| (target.run)(input));
    if let Err(panic) = catch_unwind(run) {
        tell(target.name, input, origin);
        resume_unwind(panic);
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the one thing that a fuzzer has to say"
)]
fn tell(name: &str, input: &[u8], origin: &str) {
    let shown = &input[..input.len().min(SHOWN_BYTES_MAX)];
    eprintln!(
        "the target {name} failed ({origin}), input of {} bytes:\n{}\nas text: {}",
        input.len(),
        hex::encode(shown),
        shown.escape_ascii()
    );
}

/// An input of the pool with some mutations.
fn mutant(random: &mut Random, pool: &[Vec<u8>], target: &Target) -> Vec<u8> {
    let mut input = pool[random.below(pool.len())].clone();
    for _ in 0..=random.next() % MUTATIONS_MAX {
        mutate(random, &mut input, pool, target.dictionary);
    }
    input.truncate(target.len_max);
    input
}

fn mutate(
    random: &mut Random,
    input: &mut Vec<u8>,
    pool: &[Vec<u8>],
    dictionary: &[&'static [u8]],
) {
    let at = random.below(input.len() + 1);
    // What shortens is rare, or the pool would wither.
    match random.below(20) {
        0..=3 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        4..=6 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = TELLING_BYTES[random.below(TELLING_BYTES.len())];
            }
        }
        7 => input.insert(at, random.next() as u8),
        8 | 9 => {
            let end = (at + 1 + random.below(16)).min(input.len());
            input.drain(at..end.max(at));
        }
        10 => input.truncate(at),
        11 | 12 => {
            // Said twice.
            let again = piece(random, input).to_vec();
            input.splice(at..at, again);
        }
        13 | 14 => {
            let other = random.below(pool.len());
            let other = piece(random, &pool[other]);
            input.splice(at..at, other.iter().copied());
        }
        15 => {
            // The end of another input.
            let other = &pool[random.below(pool.len())];
            let from = random.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => insert_token(random, input, at, dictionary),
    }
}

/// Bytes that mean something in one language or another.
const TELLING_BYTES: &[u8] = b"\0\t\r\n \"\\(){}[]<>@.*%&+-=:;,/019azAZ\x7f\x80\xc3\xff";

/// At most 200 bytes of `input`.
fn piece<'i>(random: &mut Random, input: &'i [u8]) -> &'i [u8] {
    let start = random.below(input.len() + 1);
    let end = (start + random.below(200)).min(input.len());
    &input[start..end]
}

/// Puts a word of the target's language in, or in the place of as many bytes.
fn insert_token(random: &mut Random, input: &mut Vec<u8>, at: usize, dictionary: &[&'static [u8]]) {
    let Some(token) = dictionary.get(random.below(dictionary.len())) else {
        return;
    };
    let replaced = [0, token.len()][random.below(2)];
    let end = (at + replaced).min(input.len());
    input.splice(at..end, token.iter().copied());
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    static SEEN: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

    const NOTING: Target = Target {
        name: "noting",
        run: |input| {
            SEEN.lock()
                .expect("no test panics with it")
                .push(input.to_vec())
        },
        seeds: || vec![b"one two three".to_vec(), b"four".to_vec()],
        dictionary: &[b"five"],
        len_max: 100,
        rounds: 0,
    };

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let mut runs = Vec::new();
        for seed in [1, 1, 2] {
            run(&NOTING, seed, 300);
            runs.push(std::mem::take(
                &mut *SEEN.lock().expect("no test panics with it"),
            ));
        }
        assert_eq!(runs[0].len(), 302);
        assert_eq!(runs[0], runs[1]);
        assert_ne!(runs[0], runs[2]);
        assert!(runs[0].iter().all(|input| input.len() <= 100));
    }
}
