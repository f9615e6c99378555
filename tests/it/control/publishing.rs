//! From the intent to the store: which step is next, and what a run does to a
//! store that works, fails or shows something else.

use std::cell::{Cell, RefCell};

use edgeweir::control::publication::{
    Guard, Step, VERIFY_AFTER, WRITE_INTERVAL, backoff, next_step, publish, serve,
};
use edgeweir::control::state::State;
use edgeweir::error::{Dependency, PlatformError};
use edgeweir::platform::{Clock, ManifestStore, Stored};
use edgeweir::policy::manifest::{Manifest, sha256_hex};
use edgeweir::time::Timestamp;
use serde_json::{Value, json};

use super::memory::MemoryStore;
use super::{ask, at, document, push};
use crate::fake::{START, block_on, both};

/// A policy store with a clock that each call moves.
#[derive(Default)]
struct Shelf {
    now: Cell<u64>,
    active: RefCell<Option<Stored>>,
    /// Everything that was asked, in order.
    calls: RefCell<Vec<String>>,
    /// When each write of `active` began.
    begun: RefCell<Vec<u64>>,
    failing: RefCell<Vec<&'static str>>,
    takes: Cell<u64>,
}

impl Shelf {
    async fn call(&self, name: &'static str, what: String) -> Result<(), PlatformError> {
        self.calls.borrow_mut().push(what);
        self.now.set(self.now.get() + self.takes.get());
        let mut first = true;
        std::future::poll_fn(|_| {
            if std::mem::take(&mut first) { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
        })
        .await;
        if self.failing.borrow().contains(&name) {
            return Err(PlatformError::failed(Dependency::PolicyStore, "broken on purpose"));
        }
        Ok(())
    }

    fn taken(&self) -> Vec<String> {
        std::mem::take(&mut *self.calls.borrow_mut())
    }

    fn shows(&self, manifest: &Manifest) {
        let (value, metadata) = manifest.encode().unwrap();
        *self.active.borrow_mut() = Some((value, Some(metadata)));
    }
}

impl Clock for Shelf {
    fn now(&self) -> Timestamp {
        at(self.now.get())
    }
}

impl ManifestStore for Shelf {
    async fn put_part(&self, hash: &str, bytes: &[u8]) -> Result<(), PlatformError> {
        assert_eq!(hash, sha256_hex(bytes));
        self.call("part", format!("part {}", String::from_utf8_lossy(bytes))).await
    }

    async fn delete_part(&self, hash: &str) -> Result<(), PlatformError> {
        self.call("delete", format!("delete {hash}")).await
    }

    async fn put_active(&self, value: &str, metadata: &str) -> Result<(), PlatformError> {
        let manifest: Value = serde_json::from_str(value).unwrap();
        self.begun.borrow_mut().push(self.now.get());
        self.call("active", format!("active {}", manifest["revision"].as_str().unwrap())).await?;
        // The store may write the metadata in its own way.
        let metadata = serde_json::from_str::<Value>(metadata).unwrap();
        *self.active.borrow_mut() = Some((value.to_owned(), Some(format!(" {metadata:#}"))));
        Ok(())
    }

    async fn read_active(&self) -> Result<Option<Stored>, PlatformError> {
        self.call("read", "read".to_owned()).await?;
        Ok(self.active.borrow().clone())
    }
}

fn run(store: &MemoryStore, shelf: &Shelf) -> Vec<String> {
    block_on(publish(store, shelf, shelf, &Guard::default())).unwrap();
    shelf.taken()
}

fn status(store: &MemoryStore) -> Value {
    ask(store, "status", json!({}))["result"].clone()
}

fn alarm(store: &MemoryStore) -> u64 {
    store.disk.borrow().alarm.unwrap().millis() - START
}

#[test]
fn the_steps() {
    let state = State { active: 1, sequence: 5, ..State::default() };
    let published = State { published: 5, ..state.clone() };
    for (state, expected) in [
        (State::default(), Step::Idle),
        (state.clone(), Step::Publish),
        (State { wrote: Some(at(500)), ..state.clone() }, Step::Wait(at(1_500))),
        (State { wrote: Some(at(0)), ..state.clone() }, Step::Publish),
        (State { retry: Some(at(9_000)), wrote: Some(at(500)), ..state.clone() }, Step::Wait(at(9_000))),
        (State { retry: Some(at(1_200)), wrote: Some(at(500)), ..state.clone() }, Step::Wait(at(1_500))),
        (State { retry: Some(at(1_000)), ..state.clone() }, Step::Publish),
        // Written under a clock that has gone back since.
        (State { retry: Some(at(62_000)), ..state.clone() }, Step::Publish),
        (State { wrote: Some(at(86_400_000)), ..state.clone() }, Step::Publish),
        (State { verify: Some(at(0)), ..state }, Step::Publish),
        (published.clone(), Step::Idle),
        (State { verify: Some(at(50_000)), ..published.clone() }, Step::Wait(at(50_000))),
        (State { verify: Some(at(1_000)), ..published.clone() }, Step::Verify),
        (State { verify: Some(at(4_000_000)), ..published.clone() }, Step::Verify),
        (State { published: 9, ..published }, Step::Idle),
    ] {
        assert_eq!(next_step(&state, at(1_000)), expected, "{state:?}");
    }
}

#[test]
fn the_waits_after_failures() {
    let waits: Vec<u64> = (0..10).map(|failures| backoff(failures).as_secs()).collect();
    assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!((backoff(64).as_secs(), backoff(u32::MAX).as_secs()), (60, 60));
}

#[test]
fn a_push_is_published_before_it_is_answered_parts_first() {
    let (store, shelf) = (MemoryStore::default(), Shelf::default());
    let text = json!({"version": 2, "action": "push", "base": "r0", "document": document("a"), "author": "a",
        "role": "operator", "parts": ["one", "two"]});
    let answer = block_on(serve(&store, &shelf, &shelf, &Guard::default(), &text.to_string())).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["result"]["state"], "published");
    assert_eq!(shelf.taken(), ["read", "part one", "part two", "active r1"]);
    assert_eq!(alarm(&store), VERIFY_AFTER[0].as_millis() as u64);
    // Reading asks the store for nothing.
    let text = json!({"version": 2, "action": "active"}).to_string();
    block_on(serve(&store, &shelf, &shelf, &Guard::default(), &text)).unwrap();
    assert!(shelf.taken().is_empty());
}

#[test]
fn a_store_that_fails_makes_the_answer_say_pending_and_the_alarm_goes_on() {
    for (failing, calls) in [
        ("read", vec!["read"]),
        ("part", vec!["read", "part one"]),
        ("active", vec!["read", "part one", "active r1"]),
    ] {
        let (store, shelf) = (MemoryStore::default(), Shelf::default());
        shelf.failing.borrow_mut().push(failing);
        let text = json!({"version": 2, "action": "push", "base": "r0", "document": document("a"), "author": "a",
            "role": "operator", "parts": ["one"]});
        let answer = block_on(serve(&store, &shelf, &shelf, &Guard::default(), &text.to_string())).unwrap();
        assert!(answer.contains("\"state\":\"pending\""), "{answer}");
        assert_eq!(shelf.taken(), calls);
        for (failures, wait) in [(1, 1_000), (2, 2_000), (3, 4_000)] {
            assert_eq!(status(&store)["failures"], failures);
            assert_eq!(alarm(&store) - shelf.now.get(), wait, "{failing}");
            shelf.now.set(alarm(&store));
            let error = block_on(publish(&store, &shelf, &shelf, &Guard::default())).unwrap();
            assert!(error.unwrap().to_string().contains("broken on purpose"));
        }
        shelf.failing.borrow_mut().clear();
        shelf.taken();
        shelf.now.set(alarm(&store));
        assert_eq!(run(&store, &shelf), ["read", "part one", "active r1"]);
        assert_eq!((&status(&store)["state"], &status(&store)["failures"]), (&json!("published"), &json!(0)));
    }
}

#[test]
fn changes_within_a_second_become_one_write_of_the_newest() {
    let (store, shelf) = (MemoryStore::default(), Shelf::default());
    push(&store, "r0", &document("a"));
    assert_eq!(run(&store, &shelf), ["read", "active r1"]);
    shelf.now.set(400);
    push(&store, "r1", &document("b"));
    push(&store, "r2", &document("c"));
    assert!(run(&store, &shelf).is_empty());
    assert_eq!(alarm(&store), WRITE_INTERVAL.as_millis() as u64);
    push(&store, "r3", &document("d"));
    shelf.now.set(1_000);
    assert_eq!(run(&store, &shelf), ["active r4"]);
}

#[test]
fn one_run_at_a_time_and_it_sees_what_came_meanwhile() {
    let (store, shelf, guard) = (MemoryStore::default(), Shelf::default(), Guard::default());
    push(&store, "r0", &document("a"));
    let first = publish(&store, &shelf, &shelf, &guard);
    let second = async {
        push(&store, "r1", &document("b"));
        // Twice: one that finds it shut must leave it shut.
        publish(&store, &shelf, &shelf, &guard).await?;
        publish(&store, &shelf, &shelf, &guard).await
    };
    let (first, second) = both(first, second);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(shelf.taken(), ["read", "active r1"]);
    // The first run ended by setting the alarm for what the second left.
    assert_eq!((&status(&store)["state"], alarm(&store)), (&json!("pending"), 1_000));
    shelf.now.set(1_000);
    assert!(block_on(publish(&store, &shelf, &shelf, &guard)).is_ok());
    assert_eq!(shelf.taken(), ["active r2"]);
    // It is open again.
    assert_eq!(status(&store)["state"], "published");
}

#[test]
fn what_was_written_is_read_back_and_written_again() {
    let later = |shelf: &Shelf, store: &MemoryStore| {
        shelf.now.set(alarm(store));
        run(store, shelf)
    };
    let (store, shelf) = (MemoryStore::default(), Shelf::default());
    push(&store, "r0", &document("a"));
    run(&store, &shelf);
    shelf.now.set(2_000);
    push(&store, "r1", &document("b"));
    let old = shelf.active.borrow().clone();
    run(&store, &shelf);
    // All is well: looked at three times, and that is all.
    let good = shelf.active.borrow().clone();
    for _ in 0..3 {
        assert_eq!(later(&shelf, &store), ["read"]);
    }
    assert_eq!(next_step(&state_of(&store), at(shelf.now.get() + 1_000_000_000)), Step::Idle);
    // Something else: written again, and looked at again.
    for shown in [old, None, Some(("{".to_owned(), None)), Some((good.clone().unwrap().0, None))] {
        push(&store, &format!("r{}", state_of(&store).active), &document("b"));
        shelf.now.set(shelf.now.get() + 5_000);
        run(&store, &shelf);
        *shelf.active.borrow_mut() = shown;
        let calls = later(&shelf, &store);
        assert_eq!((calls[0].as_str(), calls.len()), ("read", 3), "{calls:?}");
        assert!(calls[2].starts_with("active r"), "{calls:?}");
        assert_eq!(later(&shelf, &store), ["read"]);
    }
}

fn state_of(store: &MemoryStore) -> State {
    State::load(store).unwrap()
}

#[test]
fn a_verification_that_fails_is_tried_again() {
    let (store, shelf) = (MemoryStore::default(), Shelf::default());
    push(&store, "r0", &document("a"));
    run(&store, &shelf);
    shelf.failing.borrow_mut().push("read");
    shelf.now.set(alarm(&store));
    let begun = shelf.now.get();
    assert_eq!(run(&store, &shelf), ["read"]);
    assert_eq!((alarm(&store), &status(&store)["state"]), (begun + 1_000, &json!("published")));
    shelf.failing.borrow_mut().clear();
    shelf.now.set(alarm(&store));
    assert_eq!(run(&store, &shelf), ["read"]);
    assert_eq!(state_of(&store).verified, 1);
}

/// The first publication looks at what was written by hand, and goes above.
#[test]
fn a_manifest_of_somebody_else_is_outbid() {
    let high = 1 << 50;
    for when in ["before", "after"] {
        let (store, shelf) = (MemoryStore::default(), Shelf::default());
        let foreign = Manifest::new(high, "by-hand", "{\"version\":1}");
        push(&store, "r0", &document("a"));
        if when == "before" {
            shelf.shows(&foreign);
            assert_eq!(run(&store, &shelf), ["read", "read", "active r1"]);
        } else {
            run(&store, &shelf);
            shelf.shows(&foreign);
            shelf.now.set(alarm(&store));
            assert_eq!(run(&store, &shelf), ["read", "read", "active r1"]);
        }
        let value = shelf.active.borrow().clone().unwrap().0;
        assert!(value.contains(&format!("\"sequence\":{}", high + 1)), "{when}: {value}");
        assert_eq!(status(&store)["state"], "published");
    }
    // What cannot be outbid is written over all the same.
    let (store, shelf) = (MemoryStore::default(), Shelf::default());
    shelf.shows(&Manifest::new(u64::MAX, "by-hand", "{\"version\":1}"));
    push(&store, "r0", &document("a"));
    assert_eq!(run(&store, &shelf), ["read", "active r1"]);
}

/// Dying anywhere, with or without the write having taken effect, and coming
/// back at once: it is published in the end, and never written twice within a
/// second.
#[test]
fn dying_at_any_point_of_a_publication_loses_nothing() {
    let (mut deaths, mut twice) = (0, 0);
    for point in 0..40 {
        let (store, shelf) = (MemoryStore::default(), Shelf::default());
        shelf.takes.set(7);
        push(&store, "r0", &document("a"));
        store.fuse.set(Some(point));
        let done = block_on(publish(&store, &shelf, &shelf, &Guard::default()));
        let died = store.dead.replace(false);
        store.fuse.set(None);
        assert_eq!(done.is_err(), died);
        deaths += u32::from(died);
        assert!(
            status(&store)["state"] == "published" || alarm(&store) <= shelf.now.get() + 5_000,
            "{point}"
        );
        // Whoever knocks first leads it on.
        for _ in 0..20 {
            shelf.now.set(shelf.now.get() + 100);
            run(&store, &shelf);
        }
        assert_eq!(status(&store)["state"], "published", "{point}");
        let begun = shelf.begun.borrow();
        assert!(begun.windows(2).all(|pair| pair[1] >= pair[0] + 1_000), "{point}: {begun:?}");
        twice += u32::from(begun.len() > 1);
    }
    assert!(deaths > 10 && twice > 0, "{deaths} {twice}");
}

#[test]
fn a_storage_that_is_full_stops_before_the_store_is_touched() {
    let (store, shelf) = (MemoryStore::default(), Shelf::default());
    push(&store, "r0", &document("a"));
    store.full.set(true);
    assert!(block_on(publish(&store, &shelf, &shelf, &Guard::default())).is_err());
    assert!(shelf.taken().is_empty());
    // The alarm of the push is still there.
    assert_eq!(alarm(&store), 1_000);
}

#[test]
fn an_empty_plane_publishes_nothing() {
    let (store, shelf) = (MemoryStore::default(), Shelf::default());
    assert!(run(&store, &shelf).is_empty());
    assert!(store.disk.borrow().alarm.is_none());
}
