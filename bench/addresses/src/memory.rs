//! The answers in an isolate's memory: what a lookup costs, by how many there
//! are.

use std::cell::RefCell;
use std::fmt::Write as _;
use std::hint::black_box;
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
        memory.fill(BodyNumber(place), BODY, now());
    }
    let kept = memory.len();
    MEMORY.with(|held| *held.borrow_mut() = Some(memory));
    u32::try_from(kept).unwrap_or(u32::MAX)
}

/// Makes keys of answers that are there, one after the other, and goes so far
/// with each: 0 makes it, 1 looks it up where nothing is, which is its hash, 2
/// finds the answer, 3 reads of its head what judging a plain request takes, 4
/// reads all of the head. `popular` is 0 where all are asked for alike, else
/// the n-th is asked for 1/n times as often as the first. Gives how many were
/// found.
#[unsafe(no_mangle)]
pub extern "C" fn lookup_memory(step: u32, entries: u32, lookups: u32, popular: u32) -> u32 {
    let now = now().after(Duration::from_secs(1));
    let mut empty = Memory::new(7);
    MEMORY.with(|held| {
        let mut held = held.borrow_mut();
        let memory = held.as_mut().expect("fill_memory comes first");
        let way = (entries, lookups, popular != 0);
        match step {
            0 => each(way, |text| u32::from(!black_box(text).is_empty())),
            1 => each(way, |text| u32::from(black_box(empty.find(text, now)).is_none())),
            2 => each(way, |text| {
                memory.find(text, now).map_or(0, |found| {
                    black_box(found.body);
                    u32::from(found.size == BODY)
                })
            }),
            3 => each(way, |text| memory.get(text, now).map_or(0, |kept| judged(&kept.entry, now))),
            _ => each(way, |text| {
                memory.get(text, now).map_or(0, |kept| judged(&kept.entry, now) & read(&kept.entry))
            }),
        }
    })
}

/// What `judge` reads where nothing selects the answer, and it is fresh.
fn judged(entry: &Entry, now: Timestamp) -> u32 {
    let plain = entry.selected_by.is_empty() && entry.part.is_none() && !entry.validate_always;
    let fresh = entry.age(now).is_some_and(|age| entry.lifetime > age);
    u32::from(plain && fresh && entry.began == 0)
}

fn read(entry: &Entry) -> u32 {
    let bytes = entry.fields.iter().map(|(name, value)| {
        let ends = value.as_bytes().first().zip(value.as_bytes().last());
        name.as_str().len() + usize::from(ends.is_some())
    });
    u32::from(bytes.sum::<usize>() > 0)
}

fn each((entries, lookups, popular): (u32, u32, bool), mut act: impl FnMut(&str) -> u32) -> u32 {
    // Knuth's generator for 32 bits: no two neighbours stand beside each other.
    let mut random: u32 = 1;
    let mut text = PREFIX.to_owned();
    let mut found = 0;
    // No compiler knows that it is 0. The next key is made of what was found,
    // so that the processor does not begin with it while this one waits.
    let nothing = black_box(0);
    let mut last = 0;
    for _ in 0..lookups {
        random = (random ^ (last & nothing)).wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let place = if popular {
            let share = f64::from(random) / f64::from(u32::MAX);
            let rank = (f64::from(entries) + 1.0).powf(share) as u64 - 1;
            // Popular ones do not lie together.
            rank * 2_654_435_761 % u64::from(entries)
        } else {
            (u64::from(random) * u64::from(entries)) >> 32
        };
        key(u32::try_from(place).unwrap_or_default(), &mut text);
        last = act(&text);
        found += last;
    }
    found
}
