//! A world in which the whole protocol runs: one clock, a policy store with a
//! view for each location, a `Control` object that dies, and isolates. Time
//! moves only from one thing that happens to the next.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use edgeweir::control::publication::{Guard, publish, serve};
use edgeweir::error::{Dependency, PlatformError};
use edgeweir::platform::{Clock, ControlClient, ManifestStore, PartRead, Pause, PolicyStore, Stored};
use edgeweir::time::{Timestamp, millis_of};

use super::memory::MemoryStore;
use crate::fake::{START, part_read};

/// SplitMix64: the same numbers for the same seed.
pub struct Random(Cell<u64>);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
    }

    pub fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.0.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` up to and without `high`.
    pub fn within(&self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    /// Whether something of so many percent happens.
    pub fn percent(&self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

type Work = Pin<Box<dyn Future<Output = ()>>>;

struct Task {
    /// The life of the `Control` object in which it runs; `None` outside.
    life: Option<u32>,
    work: Work,
}

/// A write of `active` that has taken effect or will.
#[derive(Clone, Debug)]
pub struct Written {
    pub at: u64,
    pub value: String,
    pub metadata: String,
}

/// The policy store. Each location has a view of its own, which may go back.
#[derive(Default)]
pub struct Kv {
    /// In the order in which they took effect.
    pub active: RefCell<Vec<Written>>,
    pub parts: RefCell<BTreeMap<String, (u64, Vec<u8>)>>,
    /// When each write of `active` began.
    pub begun: RefCell<Vec<u64>>,
    /// What each location showed last.
    views: RefCell<BTreeMap<usize, Option<usize>>>,
}

pub struct World {
    pub clock: Cell<u64>,
    pub random: Random,
    pub kv: Kv,
    /// Whether stores fail and lie, and the object dies.
    pub chaos: Cell<bool>,
    /// Whether the object is out of reach.
    pub unreachable: Cell<bool>,
    pub store: MemoryStore,
    guard: RefCell<Rc<Guard>>,
    life: Cell<u32>,
    pub deaths: Cell<u32>,
    /// How many runs of the alarm are on their way.
    ringing: Cell<u32>,
    tasks: RefCell<Vec<Task>>,
    wake: RefCell<BTreeSet<u64>>,
    pub this: Weak<World>,
}

impl World {
    pub fn new(seed: u64) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            clock: Cell::new(START),
            random: Random::new(seed),
            kv: Kv::default(),
            chaos: Cell::new(true),
            unreachable: Cell::new(false),
            store: MemoryStore::default(),
            guard: RefCell::default(),
            life: Cell::new(0),
            deaths: Cell::new(0),
            ringing: Cell::new(0),
            tasks: RefCell::default(),
            wake: RefCell::default(),
            this: this.clone(),
        })
    }

    pub fn me(&self) -> Rc<Self> {
        self.this.upgrade().unwrap()
    }

    pub fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().push(Task { life: None, work: Box::pin(work) });
        self.wake.borrow_mut().insert(self.clock.get());
    }

    fn spawn_in_object(&self, work: impl Future<Output = ()> + 'static) {
        self.tasks.borrow_mut().push(Task { life: Some(self.life.get()), work: Box::pin(work) });
        self.wake.borrow_mut().insert(self.clock.get());
    }

    /// Waits; the world goes on meanwhile.
    pub async fn sleep(&self, millis: u64) {
        let until = self.clock.get() + millis;
        self.wake.borrow_mut().insert(until);
        let me = self.me();
        std::future::poll_fn(|_| if me.clock.get() >= until { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// The object loses its memory: what it was doing is gone, and whoever
    /// waits for an answer gets none.
    pub fn kill(&self) {
        self.store.dead.set(false);
        self.store.fuse.set(None);
        self.life.set(self.life.get() + 1);
        self.deaths.set(self.deaths.get() + 1);
        self.tasks.borrow_mut().retain(|task| task.life.is_none());
        *self.guard.borrow_mut() = Rc::default();
        // The runtime repeats an alarm whose run did not end.
        if self.ringing.replace(0) > 0 {
            let again = self.now().after(Duration::from_secs(2));
            self.store.disk.borrow_mut().alarm.get_or_insert(again);
        }
        if let Some(alarm) = self.store.disk.borrow().alarm {
            self.wake.borrow_mut().insert(alarm.millis().max(self.clock.get()));
        }
    }

    /// Runs until `end`, moving the clock to each moment at which something
    /// happens.
    pub fn run_until(&self, end: u64) {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Some(alarm) = self.store.disk.borrow().alarm {
                self.wake.borrow_mut().insert(alarm.millis().max(self.clock.get()));
            }
            let next = self.wake.borrow_mut().pop_first();
            match next {
                Some(next) if next <= end => self.clock.set(self.clock.get().max(next)),
                next => {
                    self.wake.borrow_mut().extend(next);
                    self.clock.set(end);
                    return;
                }
            }
            self.ring();
            let mut again = true;
            while again {
                again = false;
                let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
                for mut task in tasks {
                    if task.life.is_some_and(|life| life != self.life.get()) {
                        again = true;
                        continue;
                    }
                    let done = task.work.as_mut().poll(&mut context).is_ready();
                    if self.store.dead.get() {
                        // It died at work. What else it was doing dies below.
                        drop(task);
                        self.kill();
                        again = true;
                        continue;
                    }
                    again |= done;
                    if !done {
                        self.tasks.borrow_mut().push(task);
                    }
                }
            }
        }
    }

    /// Rings the alarm when it is due.
    fn ring(&self) {
        let due = self.store.disk.borrow().alarm.filter(|alarm| alarm.millis() <= self.clock.get());
        if due.is_none() {
            return;
        }
        // An alarm that has rung is gone unless it is set anew. At times it
        // rings twice.
        self.store.disk.borrow_mut().alarm = None;
        for _ in 0..=u64::from(self.chaos.get() && self.random.percent(20)) {
            let me = self.me();
            let guard = Rc::clone(&self.guard.borrow());
            self.ringing.set(self.ringing.get() + 1);
            self.spawn_in_object(async move {
                let done = publish(&me.store, &*me, &*me, &guard).await;
                if me.store.dead.get() {
                    return;
                }
                me.ringing.set(me.ringing.get() - 1);
                if done.is_err() {
                    let again = me.now().after(Duration::from_secs(2));
                    me.store.disk.borrow_mut().alarm.get_or_insert(again);
                }
            });
        }
    }

    fn failed(dependency: Dependency) -> PlatformError {
        PlatformError::failed(dependency, "broken on purpose")
    }

    /// Takes a while, within a deadline.
    async fn take(&self, dependency: Dependency, deadline: Duration) -> Result<(), PlatformError> {
        let slow = self.chaos.get() && self.random.percent(3);
        let millis = if slow { self.random.within(100, 8_000) } else { self.random.within(1, 60) };
        let deadline = millis_of(deadline);
        self.sleep(millis.min(deadline)).await;
        if millis > deadline {
            return Err(PlatformError::timed_out(dependency, "late on purpose"));
        }
        Ok(())
    }

    /// What a location shows of `active`.
    fn view(&self, location: usize) -> Option<Written> {
        let written = self.kv.active.borrow();
        let now = self.clock.get();
        let there = written.iter().filter(|written| written.at <= now).count();
        let old = written.iter().filter(|written| written.at + 60_000 <= now).count();
        let mut views = self.kv.views.borrow_mut();
        let shown = views.entry(location).or_insert(None);
        // While nothing is promised: the same, anything that ever was,
        // nothing, or the newest. After that, what is older than 60 s is
        // overwritten everywhere.
        *shown = match (self.chaos.get(), self.random.within(0, 10)) {
            (true, 0..=3) => *shown,
            (true, 4..=5) => (there > 0).then(|| self.random.within(0, there as u64) as usize),
            (true, 6) => None,
            (false, 0..=4) if old > 0 => Some(self.random.within(old as u64 - 1, there as u64) as usize),
            _ => there.checked_sub(1),
        };
        shown.and_then(|index| written.get(index).cloned())
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.get())
    }
}

impl ManifestStore for World {
    async fn put_part(&self, hash: &str, bytes: &[u8]) -> Result<(), PlatformError> {
        self.store.point()?;
        self.sleep(self.random.within(1, 200)).await;
        if self.chaos.get() && self.random.percent(20) {
            return Err(Self::failed(Dependency::PolicyStore));
        }
        let now = self.clock.get();
        self.kv.parts.borrow_mut().entry(hash.to_owned()).or_insert((now, bytes.to_vec()));
        self.store.point()
    }

    async fn delete_part(&self, hash: &str) -> Result<(), PlatformError> {
        self.store.point()?;
        self.sleep(self.random.within(1, 200)).await;
        if self.chaos.get() && self.random.percent(20) {
            return Err(Self::failed(Dependency::PolicyStore));
        }
        self.kv.parts.borrow_mut().remove(hash);
        self.store.point()
    }

    async fn put_active(&self, value: &str, metadata: &str) -> Result<(), PlatformError> {
        self.store.point()?;
        self.kv.begun.borrow_mut().push(self.clock.get());
        let written = Written { at: 0, value: value.to_owned(), metadata: metadata.to_owned() };
        let chaos = if self.chaos.get() { self.random.within(0, 10) } else { 9 };
        let me = self.me();
        let takes = self.random.within(1, 900);
        if (1..=3).contains(&chaos) {
            // It takes effect whatever becomes of whoever wrote it: at once,
            // or long after.
            let delay = if chaos == 1 { self.random.within(1_000, 60_000) } else { takes / 2 };
            self.spawn(async move {
                me.sleep(delay).await;
                me.kv.active.borrow_mut().push(Written { at: me.clock.get(), ..written });
            });
            self.sleep(takes).await;
            self.store.point()?;
            return if chaos == 3 { Ok(()) } else { Err(Self::failed(Dependency::PolicyStore)) };
        }
        self.sleep(takes).await;
        self.store.point()?;
        if chaos == 0 {
            return Err(Self::failed(Dependency::PolicyStore));
        }
        self.kv.active.borrow_mut().push(Written { at: self.clock.get(), ..written });
        self.store.point()
    }

    async fn read_active(&self) -> Result<Option<Stored>, PlatformError> {
        self.store.point()?;
        self.sleep(self.random.within(1, 100)).await;
        if self.chaos.get() && self.random.percent(20) {
            return Err(Self::failed(Dependency::PolicyStore));
        }
        Ok(self.view(0).map(|written| (written.value, Some(written.metadata))))
    }
}

/// The object from outside: it may be out of reach, be slow or die, and the
/// answer may be lost.
pub struct ToControl {
    pub world: Rc<World>,
    /// When a call last failed, which an isolate may then act on.
    pub failed: Rc<Cell<Option<u64>>>,
    /// When a call that was answered last began.
    pub answered: Rc<Cell<Option<u64>>>,
}

impl ControlClient for ToControl {
    async fn call(&self, message: &str, deadline: Duration) -> Result<String, PlatformError> {
        let begun = self.world.clock.get();
        let answer = self.answer(message, deadline).await;
        match &answer {
            Ok(_) => self.answered.set(self.answered.get().max(Some(begun))),
            Err(_) => self.failed.set(Some(self.world.clock.get())),
        }
        answer
    }
}

impl ToControl {
    async fn answer(&self, message: &str, deadline: Duration) -> Result<String, PlatformError> {
        let world = &self.world;
        let begun = world.clock.get();
        world.take(Dependency::Control, deadline).await?;
        if world.unreachable.get() || (world.chaos.get() && world.random.percent(4)) {
            return Err(World::failed(Dependency::Control));
        }
        let slot: Rc<RefCell<Option<Result<String, PlatformError>>>> = Rc::default();
        let (into, me, message) = (Rc::clone(&slot), world.me(), message.to_owned());
        let guard = Rc::clone(&world.guard.borrow());
        world.spawn_in_object(async move {
            let answer = serve(&me.store, &*me, &*me, &guard, &message).await;
            // The dead do not answer.
            if !me.store.dead.get() {
                *into.borrow_mut() = Some(answer);
            }
            drop(into);
        });
        let limit = begun + millis_of(deadline);
        world.wake.borrow_mut().insert(limit);
        let answer = std::future::poll_fn(|_| {
            if let Some(answer) = slot.borrow_mut().take() {
                return Poll::Ready(Some(answer));
            }
            let gone = Rc::strong_count(&slot) == 1 || world.clock.get() >= limit;
            if gone { Poll::Ready(None) } else { Poll::Pending }
        });
        let answer = answer.await.ok_or_else(|| World::failed(Dependency::Control))??;
        if world.chaos.get() && world.random.percent(4) {
            return Err(World::failed(Dependency::Control));
        }
        Ok(answer)
    }
}

/// The policy store from a location.
pub struct FromLocation {
    pub world: Rc<World>,
    pub location: usize,
    /// When a read that showed a manifest last began.
    pub answered: Rc<Cell<Option<u64>>>,
}

impl Pause for FromLocation {
    async fn pause(&self, span: Duration) {
        self.world.sleep(millis_of(span)).await;
    }
}

impl PolicyStore for FromLocation {
    async fn read_active(&self, deadline: Duration) -> Result<Option<Stored>, PlatformError> {
        let world = &self.world;
        let begun = world.clock.get();
        world.take(Dependency::PolicyStore, deadline).await?;
        if world.chaos.get() && world.random.percent(10) {
            return Err(World::failed(Dependency::PolicyStore));
        }
        let Some(mut shown) = world.view(self.location) else { return Ok(None) };
        if world.chaos.get() && world.random.percent(5) {
            shown.value.truncate(shown.value.len() / 2);
        } else {
            self.answered.set(self.answered.get().max(Some(begun)));
        }
        Ok(Some((shown.value, Some(shown.metadata))))
    }

    async fn read_parts(
        &self,
        hashes: &[&str],
        deadline: Duration,
    ) -> Result<Vec<Option<PartRead>>, PlatformError> {
        self.world.take(Dependency::PolicyStore, deadline).await?;
        let read = hashes.iter().map(|hash| self.part(hash));
        Ok(read.collect::<Result<Vec<_>, _>>()?.into_iter().map(|bytes| bytes.map(part_read)).collect())
    }
}

impl FromLocation {
    fn part(&self, hash: &str) -> Result<Option<Vec<u8>>, PlatformError> {
        let world = &self.world;
        let found = world.kv.parts.borrow().get(hash).cloned();
        let Some((at, mut bytes)) = found else { return Ok(None) };
        let random = &world.random;
        match (world.chaos.get(), random.within(0, 10)) {
            (true, 0) => return Err(World::failed(Dependency::PolicyStore)),
            (true, 1..=2) => return Ok(None),
            (true, 3) => bytes.truncate(bytes.len() / 2),
            (true, 4) => bytes.reverse(),
            (false, 0..=4) if at + 60_000 > world.clock.get() => return Ok(None),
            _ => {}
        }
        Ok(Some(bytes))
    }
}
