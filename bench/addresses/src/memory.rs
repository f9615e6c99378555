//! The answers in an isolate's memory: what a lookup costs, by how many there
//! are.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;

use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::memory::{BodyNumber, CAPACITY, Memory, Waiting};
use edgeweir::time::Timestamp;

/// What each may weigh. The gateway's own bound is kept where it is enough.
const ROOM: u64 = 4096;

const PREFIX: &str = "https://cache.edgeweir.invalid/production/near/app/stable/http/api.example.com/v1/store/near/";

/// The size of the bodies, which are not here.
const BODY: u64 = 306;

thread_local! {
    static MEMORY: RefCell<Option<Memory>> = const { RefCell::new(None) };
}

const fn now() -> Timestamp {
    Timestamp::from_millis(1_767_225_600_000)
}

fn entry() -> Entry {
    let fields = [
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("server", "bench-origin"),
        ("content-type", "application/json"),
        ("content-length", "306"),
        ("cache-control", "public, max-age=3600"),
        ("etag", "\"1\""),
    ];
    let fields = fields.map(|(name, value)| (name.parse().expect("a name"), value.to_owned()));
    Entry { status: 200, fields: fields.into(), received: now(), lifetime: 3600, ..Entry::default() }
}

fn key(place: u32, text: &mut String) {
    text.truncate(PREFIX.len());
    write!(text, "{place}").expect("a String takes everything");
}

/// Keeps so many answers; how many of them are there afterwards.
#[unsafe(no_mangle)]
pub extern "C" fn fill_memory(entries: u32) -> u32 {
    let mut memory = Memory::with_capacity(CAPACITY.max(u64::from(entries) * ROOM), 7);
    let mut text = PREFIX.to_owned();
    for place in 0..entries {
        key(place, &mut text);
        let waiting = Waiting { key: text.clone(), primary: text.clone(), entry: Rc::new(entry()) };
        memory.expect(BodyNumber(place), waiting);
        memory.fill(BodyNumber(place), BODY);
    }
    let kept = memory.len();
    MEMORY.with(|held| *held.borrow_mut() = Some(memory));
    u32::try_from(kept).unwrap_or(u32::MAX)
}

/// Looks answers up that are there, all over the table; how many were found.
#[unsafe(no_mangle)]
pub extern "C" fn lookup_memory(entries: u32, lookups: u32) -> u32 {
    MEMORY.with(|held| {
        let mut held = held.borrow_mut();
        let memory = held.as_mut().expect("fill_memory comes first");
        let now = now().after(Duration::from_secs(1));
        each(entries, lookups, |text| u32::from(memory.get(text, now).is_some()))
    })
}

/// The same without the lookups.
#[unsafe(no_mangle)]
pub extern "C" fn loop_memory(entries: u32, lookups: u32) -> u32 {
    each(entries, lookups, |text| u32::from(!std::hint::black_box(text).is_empty()))
}

fn each(entries: u32, lookups: u32, mut act: impl FnMut(&str) -> u32) -> u32 {
    // Knuth's generator for 32 bits: no two neighbours stand beside each other.
    let mut random: u32 = 1;
    let mut text = PREFIX.to_owned();
    let mut found = 0;
    for _ in 0..lookups {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let place = (u64::from(random) * u64::from(entries)) >> 32;
        key(u32::try_from(place).unwrap_or_default(), &mut text);
        found += act(&text);
    }
    found
}
