//! How fast ordinary mail is read: `cargo test --release -p mailrook-mime --test speed -- --ignored --nocapture`.

#![allow(clippy::print_stdout)] // what was measured

mod support;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use mailrook_mime::{Matcher, derive};
use support::typical_mail;

const SIZE: usize = 8 << 10;

/// The best of many rounds: the machine's other work is not ours.
fn best(mut work: impl FnMut()) -> Duration {
    let round = |work: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..20).for_each(|_| work());
        start.elapsed() / 20
    };
    (0..500).map(|_| round(&mut work)).min().unwrap_or_default()
}

fn report(name: &str, took: Duration, bytes: usize) {
    println!(
        "{name}: {took:?}, {:.0} MB/s",
        bytes as f64 / took.as_secs_f64() / 1e6
    );
}

#[test]
#[ignore = "measures; run it in release"]
fn ordinary_mail() {
    let raw = typical_mail(7, SIZE);
    let derived = derive(&raw);
    let took = best(|| drop(black_box(derive(black_box(&raw)))));
    report("derive", took, raw.len());
    for needle in ["absent", "über", "zzzzzz"] {
        let matcher = Matcher::new(needle);
        let search =
            best(|| _ = black_box(matcher.matches_text(black_box(&raw), &derived.structure)));
        report(&format!("search for {needle}"), search, raw.len());
        let ask = best(|| {
            let scope = mailrook_mime::SearchScope::Text;
            _ = black_box(
                derived
                    .signature
                    .may_contain(scope, black_box(matcher.grams())),
            );
        });
        println!("signature asked for {needle}: {ask:?}");
    }
    let stored = postcard::to_allocvec(&(&derived.envelope, &derived.structure)).unwrap();
    println!(
        "{} bytes: {} stored, signature {}",
        raw.len(),
        stored.len(),
        derived.signature.as_bytes().len()
    );
    if !cfg!(debug_assertions) {
        assert!(took < Duration::from_micros(40), "{took:?}");
    }
}
