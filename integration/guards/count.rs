//! Counting: the functions at whose borders callgrind starts and stops to count instructions, an allocator that counts, and a
//! counter for calls of the disk. Must never know what is counted.
//!
//! The allocator hands out memory and takes none back, at the border of a cache line each time. So the instructions are those
//! of the code that is guarded, whatever the allocator of the broker does, and no copy depends on where its bytes happen to lie.
//! How often memory is asked for is counted by itself.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::fmt;
use std::hint::black_box;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use anyhow::{Context, Result};

/// Something that is done again and again; the argument says how often it was done before.
pub type Operation = Box<dyn FnMut(usize)>;

/// What the process itself counts of [`TIMES`] operations; callgrind counts the instructions. As text it goes from
/// one process to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    pub allocations: u64,
    pub disk_calls: u64,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.allocations, self.disk_calls)
    }
}

impl FromStr for Counted {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Counted> {
        let (allocations, disk_calls) =
            text.trim().split_once(' ').with_context(|| format!("'{text}' is no count"))?;
        Ok(Counted { allocations: allocations.parse()?, disk_calls: disk_calls.parse()? })
    }
}

/// So many operations are counted: some cost more each now and then, as the one that writes the index entries of many.
pub const TIMES: usize = 100;
/// Before that: what is done once in a process, or once for each log, counts for nobody.
pub const WARM_UP: usize = 8;

pub fn run(mut operation: Operation) -> Counted {
    (0..WARM_UP).for_each(&mut operation);
    COUNTING.store(true, Relaxed);
    guard_counted(&mut || (WARM_UP..WARM_UP + TIMES).for_each(&mut operation));
    COUNTING.store(false, Relaxed);
    Counted { allocations: ALLOCATIONS.load(Relaxed), disk_calls: DISK_CALLS.load(Relaxed) }
}

/// A call of the disk: it counts as one, and what it does counts for nothing.
pub fn disk_call<T>(call: impl FnOnce() -> T) -> T {
    // Callgrind would begin to count where it does not.
    if !COUNTING.swap(false, Relaxed) {
        return call();
    }
    DISK_CALLS.fetch_add(1, Relaxed);
    let (mut call, mut result) = (Some(call), None);
    guard_uncounted(&mut || result = call.take().map(|call| call()));
    COUNTING.store(true, Relaxed);
    result.expect("it was called")
}

// Callgrind knows these two by their names, and toggles whether it counts when one of them is entered or left. They differ,
// because a linker makes one function of two that are alike.
#[allow(unsafe_code, reason = "a name that no other function of the program has")]
#[unsafe(no_mangle)]
#[inline(never)]
fn guard_counted(operations: &mut dyn FnMut()) {
    operations();
    black_box(1);
}

#[allow(unsafe_code, reason = "a name that no other function of the program has")]
#[unsafe(no_mangle)]
#[inline(never)]
fn guard_uncounted(call: &mut dyn FnMut()) {
    call();
    black_box(2);
}

/// The names of the two, for callgrind.
pub const TOGGLES: [&str; 2] = ["guard_counted", "guard_uncounted"];

static COUNTING: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static DISK_CALLS: AtomicU64 = AtomicU64::new(0);

/// Counts how often memory is asked for, and hands it out of the arena.
pub struct Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe by its trait")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTING.load(Relaxed) {
            ALLOCATIONS.fetch_add(1, Relaxed);
        }
        let bytes = layout.size().next_multiple_of(LINE_BYTES);
        let at = USED.fetch_add(bytes, Relaxed);
        if at.saturating_add(bytes) <= ARENA_BYTES && layout.align() <= LINE_BYTES {
            // The arena is aligned as its type says, and nobody else has been given these bytes.
            return ARENA.0.get().cast::<u8>().wrapping_add(at);
        }
        // SAFETY: the caller keeps the contract of this same method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

/// Pages of it that nothing was put into take no memory.
#[repr(align(4096))]
struct Arena(UnsafeCell<[u8; ARENA_BYTES]>);

// SAFETY: each byte is handed out once, and the arena itself reads and writes none.
#[allow(unsafe_code, reason = "parts of it belong to whom they were given to")]
unsafe impl Sync for Arena {}

static ARENA: Arena = Arena(UnsafeCell::new([0; ARENA_BYTES]));
static USED: AtomicUsize = AtomicUsize::new(0);

const ARENA_BYTES: usize = 256 << 20;
const LINE_BYTES: usize = 64;
