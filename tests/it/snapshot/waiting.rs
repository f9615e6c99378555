//! Requests of one isolate that wait for what one of them does: the first
//! read, and a load of stored sets. Over a store that is slow, fails, hangs,
//! or whose reader is never heard of again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use edgeweir::error::{Dependency, PlatformError};
use edgeweir::platform::{Clock as _, PartRead, Pause, PolicyStore, Stored};
use edgeweir::policy::manifest::{PART_LIMIT, sha256_hex};
use edgeweir::policy::snapshot::{FIRST_READ, Holder, Need, REFRESH_WAIT, ready, refresh};
use edgeweir::time::millis_of;
use serde_json::json;

use super::follow::Plane;
use super::sets::{binary, manifest, naming};
use super::{good, none, revision};
use crate::control::world::World;
use crate::fake::{Read, START, part_read};

/// What becomes of one read, after how many milliseconds.
#[derive(Clone, Copy)]
enum Does {
    Shows(u64),
    Fails(u64),
    Hangs,
    /// The runtime never comes back to the request.
    Dies,
}
use Does::{Dies, Fails, Hangs, Shows};

/// A store that does what it is told to, in order; then the last once more.
struct Store {
    world: Rc<World>,
    active: RefCell<Read>,
    reads: RefCell<VecDeque<Does>>,
    loads: RefCell<VecDeque<Does>>,
    /// When each read and each load began.
    read_at: RefCell<Vec<u64>>,
    loaded_at: RefCell<Vec<u64>>,
}

impl Store {
    async fn take(&self, script: &RefCell<VecDeque<Does>>, deadline: Duration) -> Result<(), PlatformError> {
        let does = {
            let mut script = script.borrow_mut();
            if script.len() > 1 { script.pop_front().unwrap() } else { script[0] }
        };
        let (millis, fails) = match does {
            Shows(millis) => (millis, false),
            Fails(millis) => (millis, true),
            Hangs => (u64::MAX, true),
            Dies => std::future::pending().await,
        };
        let limit = millis_of(deadline);
        self.world.sleep(millis.min(limit)).await;
        match fails || millis > limit {
            true => Err(PlatformError::failed(Dependency::PolicyStore, "broken on purpose")),
            false => Ok(()),
        }
    }

    fn now(&self) -> u64 {
        self.world.clock.get() - START
    }
}

impl Pause for Store {
    async fn pause(&self, span: Duration) {
        self.world.sleep(millis_of(span)).await;
    }
}

impl PolicyStore for Store {
    async fn read_active(&self, deadline: Duration) -> Result<Option<Stored>, PlatformError> {
        self.read_at.borrow_mut().push(self.now());
        self.take(&self.reads, deadline).await?;
        self.active.borrow().clone()
    }

    async fn read_parts(
        &self,
        hashes: &[&str],
        deadline: Duration,
    ) -> Result<Vec<Option<PartRead>>, PlatformError> {
        self.loaded_at.borrow_mut().push(self.now());
        self.take(&self.loads, deadline).await?;
        let known = [binary(1), binary(2)];
        let found = |hash: &&str| known.iter().find(|bytes| sha256_hex(bytes) == *hash).cloned();
        Ok(hashes.iter().map(|hash| found(hash).map(part_read)).collect())
    }
}

/// An isolate and its requests.
struct Place {
    store: Store,
    plane: Plane,
    holder: RefCell<Holder>,
    /// When requests were answered, and with which revision.
    answers: RefCell<Vec<(u64, Option<String>)>>,
    lines: Cell<usize>,
}

impl Place {
    /// Without an object that answers.
    fn new(reads: &[Does]) -> Rc<Self> {
        let world = World::new(1);
        world.chaos.set(false);
        let place = Self {
            store: Store {
                world,
                active: RefCell::new(good(1)),
                reads: RefCell::new(reads.iter().copied().collect()),
                loads: RefCell::new([Shows(10)].into()),
                read_at: RefCell::default(),
                loaded_at: RefCell::default(),
            },
            plane: Plane::default(),
            holder: RefCell::default(),
            answers: RefCell::default(),
            lines: Cell::default(),
        };
        place.plane.down.set(true);
        Rc::new(place)
    }

    fn requests(self: &Rc<Self>, count: usize) {
        for _ in 0..count {
            let place = Rc::clone(self);
            self.store.world.spawn(async move {
                let now = || place.store.world.now();
                let ready = ready(&place.store, &place.plane, &none(), &place.holder, now).await;
                let revision = ready.snapshot.map(|snapshot| snapshot.revision.clone());
                place.lines.set(place.lines.get() + ready.lines.len());
                place.answers.borrow_mut().push((place.store.now(), revision));
            });
        }
    }

    /// A refresh after a response.
    fn refresh(self: &Rc<Self>) {
        let place = Rc::clone(self);
        self.store.world.spawn(async move {
            let now = || place.store.world.now();
            refresh(&place.store, &place.plane, &none(), &place.holder, now, FIRST_READ).await;
        });
    }

    fn run_until(&self, millis: u64) {
        self.store.world.run_until(START + millis);
    }

    /// How many requests were answered with a policy, and without.
    fn answered(&self) -> (usize, usize) {
        let answers = self.answers.borrow();
        let with = answers.iter().filter(|(_, revision)| revision.is_some()).count();
        (with, answers.len() - with)
    }

    fn last_answer(&self) -> u64 {
        self.answers.borrow().iter().map(|(at, _)| *at).max().unwrap()
    }

    fn read_at(&self) -> Vec<u64> {
        self.store.read_at.borrow().clone()
    }
}

#[test]
fn fifty_first_requests_read_once() {
    let place = Place::new(&[Shows(80)]);
    place.requests(50);
    place.run_until(10_000);
    assert_eq!((place.answered(), place.read_at()), ((50, 0), vec![0]));
    assert!(place.last_answer() <= 100, "{}", place.last_answer());
}

#[test]
fn when_the_reader_dies_another_one_reads() {
    let place = Place::new(&[Dies, Shows(50)]);
    place.requests(50);
    place.run_until(10_000);
    assert_eq!((place.answered(), place.read_at()), ((49, 0), vec![0, 1_000]));
    assert!(place.last_answer() <= 1_070, "{}", place.last_answer());
}

#[test]
fn when_a_read_fails_the_next_one_tries_and_then_nobody() {
    let place = Place::new(&[Fails(30), Shows(30)]);
    place.requests(50);
    place.run_until(10_000);
    assert_eq!((place.answered(), place.read_at().len()), ((49, 1), 2));
    assert!(place.last_answer() <= 100, "{}", place.last_answer());
    // Twice is a source that fails: nobody waits for his turn to find out.
    let place = Place::new(&[Fails(30)]);
    place.requests(50);
    place.run_until(10_000);
    assert_eq!((place.answered(), place.read_at().len(), place.lines.get()), ((0, 50), 2, 1));
    assert!(place.last_answer() <= 100, "{}", place.last_answer());
    // Requests that come later find the store left alone for a second.
    place.requests(1);
    place.run_until(12_000);
    assert_eq!(place.read_at().len(), 3);
}

#[test]
fn a_slow_reader_is_one_of_few() {
    // Who takes over does not wait for the store as long as the one that began:
    // all have their answer when a read of their own would have had it.
    for first in [Hangs, Dies] {
        let place = Place::new(&[first, Hangs]);
        place.plane.push(&json!({"version": 1}), &[]);
        place.plane.down.set(false);
        place.requests(50);
        place.run_until(10_000);
        let answered = if matches!(first, Dies) { 49 } else { 50 };
        assert_eq!((place.answered(), place.read_at()), ((answered, 0), vec![0, 1_000]));
        let mut at: Vec<u64> = place.answers.borrow().iter().map(|(at, _)| *at).collect();
        at.sort_unstable();
        assert!(at[48] <= 1_520 && *at.last().unwrap() <= 2_500, "{at:?}");
    }
    // A store that is slow, and no object: the one that began has it, and who
    // took over does not make the others give up.
    let place = Place::new(&[Shows(2_200)]);
    place.requests(50);
    place.run_until(10_000);
    assert_eq!(place.answered(), (50, 0));
    assert!(place.read_at().len() <= 4 && place.last_answer() <= 2_220, "{:?}", place.read_at());
}

#[test]
fn nobody_waits_longer_than_for_a_read_of_his_own() {
    // All of them die: whoever waited in vain is answered after five seconds,
    // and who came later has his turn once the first one's is over.
    let place = Place::new(&[Dies, Dies, Dies, Dies, Shows(40)]);
    place.requests(10);
    place.run_until(4_500);
    place.requests(1);
    place.run_until(20_000);
    assert_eq!((place.answered(), place.read_at()), ((1, 6), vec![0, 1_000, 2_000, 3_000, 5_000]));
    let answers = place.answers.borrow();
    assert!(answers.iter().all(|(at, revision)| *at <= if revision.is_some() { 5_060 } else { 5_000 }));
}

#[test]
fn a_load_that_hangs_keeps_no_policy_back() {
    for hangs in [Hangs, Dies] {
        let place = Place::new(&[Shows(10)]);
        *place.store.active.borrow_mut() = manifest(1, &naming("30s"), 1, PART_LIMIT);
        place.requests(1);
        place.run_until(1_000);
        // Another generation, whose load by a refresh after a response hangs.
        *place.store.active.borrow_mut() = manifest(2, &naming("31s"), 2, PART_LIMIT);
        *place.store.loads.borrow_mut() = [hangs, Shows(10)].into();
        place.run_until(299_900);
        place.refresh();
        place.run_until(300_100);
        // Past max_stale a request waits 200 ms, half of what the read left it
        // for the one that loads.
        place.answers.borrow_mut().clear();
        place.requests(1);
        place.run_until(300_400);
        assert_eq!(*place.answers.borrow(), [(300_120, Some("r2".to_owned()))]);
        assert_eq!(*place.store.loaded_at.borrow(), [10, 299_910, 300_110]);
        // What hung ends later and takes nothing back.
        place.run_until(320_000);
        assert_eq!(revision(&place.holder.borrow()).as_deref(), Some("r2"));
    }
}

#[test]
fn who_gives_up_leaves_the_next_one_to_try() {
    let place = Place::new(&[Shows(10)]);
    *place.store.active.borrow_mut() = manifest(1, &naming("30s"), 1, PART_LIMIT);
    place.requests(1);
    place.run_until(1_000);
    *place.store.active.borrow_mut() = manifest(2, &naming("31s"), 2, PART_LIMIT);
    *place.store.loads.borrow_mut() = [Dies, Dies, Shows(10)].into();
    place.run_until(296_000);
    place.refresh();
    place.run_until(299_000);
    place.refresh();
    place.run_until(300_100);
    // Two are at it, and no more may be.
    place.answers.borrow_mut().clear();
    place.requests(20);
    let begun = 300_100;
    place.run_until(begun + millis_of(REFRESH_WAIT));
    assert_eq!((place.answered(), place.store.loaded_at.borrow().len()), ((20, 0), 3));
    assert!(place.answers.borrow().iter().all(|(_, revision)| revision.as_deref() == Some("r1")));
    // The source has not failed, so who comes next waits for it again.
    assert_eq!(place.holder.borrow().degraded(), None);
    assert_eq!(place.holder.borrow_mut().need(place.store.world.now()), Need::RefreshFirst);
    // The first turn has run out.
    place.run_until(301_010);
    place.answers.borrow_mut().clear();
    place.requests(20);
    place.run_until(302_000);
    assert_eq!(place.store.loaded_at.borrow().len(), 4);
    assert!(place.answers.borrow().iter().all(|(_, revision)| revision.as_deref() == Some("r2")));
}
