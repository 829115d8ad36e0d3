//! Seeds that must hold.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::{Failure, Run, Summary};

fn variable<T>(name: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(parse(&text).unwrap_or_else(|| panic!("{name}={text} makes no sense")))
}

fn seeds(default: Range<u64>) -> Range<u64> {
    let range = |text: &str| {
        let (from, to) = text.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    };
    variable("SIM_SEEDS", range).unwrap_or(default)
}

fn steps(default: u64) -> u64 {
    variable("SIM_STEPS", |text| text.parse().ok()).unwrap_or(default)
}

/// Runs them all; a world in which nothing happens proves nothing.
fn check(seeds: Range<u64>, steps: u64) -> Vec<Failure> {
    let mut sum = Summary::default();
    let mut failures = Vec::new();
    let count = seeds.end - seeds.start;
    for seed in seeds {
        match (Run { seed, steps, mutation: None }).go() {
            Ok(one) => {
                sum.events += one.events;
                sum.restarts += one.restarts;
                sum.acknowledged += one.acknowledged;
                sum.seen += one.seen;
            }
            Err(failure) => failures.push(*failure),
        }
    }
    println!("{count} seeds: {sum:?}");
    assert!(!failures.is_empty() || sum.acknowledged.min(sum.seen) > 0, "nothing has happened: {sum:?}");
    failures
}

#[test]
fn seeds_hold() {
    if let Some(first) = check(seeds(0..SEEDS), steps(STEPS)).first() {
        panic!("{first}");
    }
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    for seed in 0..3 {
        let run = Run { seed, steps: STEPS, mutation: None };
        assert_eq!(run.go().ok(), run.go().ok(), "seed {seed}");
    }
}

/// For hours: goes on past a failure and tells them all, by invariant.
#[test]
fn soak() {
    let failures = check(seeds(SOAK_SEEDS), steps(SOAK_STEPS));
    let mut by_invariant: BTreeMap<&str, Vec<&Failure>> = BTreeMap::new();
    for failure in &failures {
        by_invariant.entry(failure.invariant).or_default().push(failure);
    }
    for (invariant, broken) in &by_invariant {
        let seeds: Vec<u64> = broken.iter().map(|failure| failure.run.seed).collect();
        println!(
            "{invariant}: {} seeds, {:?}: {}",
            seeds.len(),
            &seeds[..seeds.len().min(20)],
            broken[0].what
        );
    }
    if let Some(first) = failures.first() {
        panic!("{first}");
    }
}

const SEEDS: u64 = 200;
const STEPS: u64 = 1_500;
/// Without a word from the environment just a few, and longer ones.
const SOAK_SEEDS: Range<u64> = 1_000_000..1_000_004;
const SOAK_STEPS: u64 = 10_000;
