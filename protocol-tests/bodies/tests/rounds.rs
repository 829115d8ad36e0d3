//! Every body against damage from a seed, for a second or two: no panic, and no more memory than the target states.
//!
//! `FUZZ_SEEDS=from..to` draws other seeds, `FUZZ_TARGET=name` for one target alone; a failure says which one seed shows
//! it. Memory is that of this process's allocator: what zstd's C library takes for its window is not in it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ops::Range;
use std::panic::catch_unwind;

use fuzz_bodies::{BYTES_MAX, Chance, TARGETS, Target, mutate};

/// Counts what each thread has and had at most.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that ends frees after its counters are gone.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

#[allow(unsafe_code, reason = "an allocator is unsafe by its trait; it hands everything to the system's")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of this same method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may be there at once.
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

/// The most bytes that this thread had at once meanwhile, beyond what it had before.
fn peak_of(run: impl FnOnce()) -> usize {
    let before = NOW.get();
    PEAK.set(before);
    run();
    usize::try_from(PEAK.get() - before).unwrap_or(0)
}

fn seeds(target: &Target) -> Range<u64> {
    let Ok(text) = std::env::var("FUZZ_SEEDS") else { return 0..target.rounds };
    let bounds = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    bounds.unwrap_or_else(|| panic!("FUZZ_SEEDS={text} is not from..to"))
}

fn check(name: &str) {
    if std::env::var("FUZZ_TARGET").is_ok_and(|only| only != name) {
        return;
    }
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of the table");
    let whole = (target.seeds)();
    for (at, bytes) in whole.iter().enumerate() {
        assert!(bytes.len() <= BYTES_MAX, "{name}: seed input {at} has {} bytes", bytes.len());
        let peak = peak_of(|| (target.body)(bytes));
        assert!(peak <= target.peak_bytes_max, "{name}: the whole input {at} takes {peak} bytes");
    }
    for (_, hex) in FOUND.iter().filter(|(of, _)| *of == name) {
        (target.body)(&bytes_of(hex));
    }
    for seed in seeds(target) {
        round(target, &whole, seed);
    }
}

/// Inputs that a body failed for once.
const FOUND: [(&str, &str); 2] = [
    // A quorum-state whose votedId is the largest number of 64 bits.
    (
        "quorum",
        "067b226c6561223a312c226c656164657245706f6368223a312c22766f7465644964223a39323233333732303336383534373735383037223a2241414141414141414141414141414141414141414141222c22646174615f76657273696f6e223a317d",
    ),
    // The last entry of the newest segment's offset index points at the end of the log file: the log ended there.
    (
        "indexes",
        "2700000000000000005700000005000000b3000000060000011200003f524e79707b00000009000001bf0000000b0000026c",
    ),
];

fn bytes_of(hex: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hexadecimal digit") as u8;
    hex.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn round(target: &Target, whole: &[Vec<u8>], seed: u64) {
    let mut bytes = mutate(whole, &mut Chance(seed));
    bytes.truncate(BYTES_MAX);
    let Target { name, body, peak_bytes_max, .. } = target;
    let again = format!(
        "FUZZ_TARGET={name} FUZZ_SEEDS={seed}..{} cargo test -p fuzz-bodies {name}, or as a file for cargo fuzz: {}",
        seed + 1,
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    );
    let mut peak = 0;
    let outcome = catch_unwind(std::panic::AssertUnwindSafe(|| peak = peak_of(|| body(&bytes))));
    assert!(outcome.is_ok(), "{name} failed, see above: {again}");
    assert!(
        peak <= *peak_bytes_max,
        "{name} took {peak} bytes, at most {peak_bytes_max} are allowed: {again}"
    );
}

macro_rules! rounds {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*

        #[test]
        fn every_target_has_its_rounds() {
            let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(names, [$(stringify!($name)),*]);
        }
    };
}

rounds! { batches segment indexes snapshots epochs directories metadata checkpoint quorum groups requests }
