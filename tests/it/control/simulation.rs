//! The whole protocol under randomised crash points and schedules: authors
//! push and roll back at once, the `Control` object dies between any two
//! steps, the policy store fails, lies and goes back, isolates follow and lose
//! requests. What was acknowledged must not be lost, and no isolate may go
//! back.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use edgeweir::addresses::StoredSets;
use edgeweir::control::answer::{
    Acknowledgement, ActivePolicy, AuditEntry, AuditLog, AuditOutcome, History, RevisionDocument, Status,
    decode_answer,
};
use edgeweir::control::change_sets::{Author, change_sets};
use edgeweir::control::client::seen;
use edgeweir::control::message::{
    Action, AuditPage, HistoryPage, Push, RevisionOf, Role, Rollback, encode_request, revision_name,
};
use edgeweir::control::plane::handle;
use edgeweir::control::sets::{SetsStatus, StoredSetsState};
use edgeweir::control::state::State;
use edgeweir::platform::Clock as _;
use edgeweir::platform::ControlClient as _;
use edgeweir::policy::manifest::{Manifest, sha256_hex};
use edgeweir::policy::snapshot::{FIRST_READ, Fallback, Holder, REFRESH_WAIT, ready, refresh};
use edgeweir::time::millis_of;
use serde_json::json;

use super::world::{FromLocation, Random, ToControl, World};
use crate::admin::sets_of;
use crate::fake::START;

/// What an author was told.
#[derive(Clone, Debug)]
enum Told {
    Accepted { revision: String, sequence: u64, document: String, at: u64 },
    Refused(String),
}

/// What the authors know.
#[derive(Default)]
struct Authors {
    /// By the text of the change, which is its own.
    told: RefCell<BTreeMap<String, Told>>,
    documents: RefCell<BTreeSet<String>>,
    /// The generations of sets that were acknowledged, with sequence and
    /// message.
    sets: RefCell<Vec<(u64, u64, String)>>,
    attempts: Cell<u32>,
}

struct Isolate {
    holder: RefCell<Holder>,
    store: FromLocation,
    control: ToControl,
    highest: Cell<u64>,
    /// The highest generation of sets that it had.
    generation: Cell<u64>,
    acts: Cell<u32>,
    refusals: Cell<u32>,
}

struct Run {
    world: Rc<World>,
    authors: Rc<Authors>,
    isolates: RefCell<Vec<Rc<Isolate>>>,
    interval: u64,
    max_stale: u64,
    is_control: bool,
    is_closed: bool,
    /// Whether the policies name a stored set.
    names_sets: bool,
    /// Which requests are lost.
    losses: Random,
    seed: u64,
}

impl Run {
    fn new(seed: u64) -> Rc<Self> {
        let world = World::new(seed);
        let random = &world.random;
        let interval = random.within(1, 31) * 1_000;
        let (is_control, is_closed) = (random.percent(60), random.percent(50));
        let run = Self {
            max_stale: interval * random.within(1, 6),
            isolates: RefCell::default(),
            authors: Rc::default(),
            interval,
            is_control,
            is_closed,
            names_sets: random.percent(60),
            losses: Random::new(!seed),
            seed,
            world,
        };
        for index in 0..5 {
            run.isolates.borrow_mut().push(run.isolate(index));
        }
        Rc::new(run)
    }

    fn isolate(&self, index: usize) -> Rc<Isolate> {
        let (world, location) = (Rc::clone(&self.world), index % 3 + 1);
        Rc::new(Isolate {
            holder: RefCell::default(),
            store: FromLocation { world: Rc::clone(&world), location, answered: Rc::default() },
            control: ToControl { world, failed: Rc::default(), answered: Rc::default() },
            highest: Cell::new(0),
            generation: Cell::new(0),
            acts: Cell::new(0),
            refusals: Cell::new(0),
        })
    }

    fn document(&self, name: &str) -> String {
        let refresh = json!({
            "interval": format!("{}ms", self.interval), "max_stale": format!("{}ms", self.max_stale),
            "source": if self.is_control { "control" } else { "kv" },
            "on_failure": if self.is_closed { "closed" } else { "last_good" },
        });
        let mut document =
            json!({"version": 1, "refresh": refresh, "address_sets": {name: {"prefixes": []}}});
        if self.names_sets {
            document["address_sets"]["list"] = json!({"stored": true});
        }
        document.to_string()
    }

    /// What the newest acknowledgement of that time or before says.
    fn acknowledged(&self, until: u64) -> u64 {
        let told = self.authors.told.borrow();
        let sequences = told.values().filter_map(|told| match told {
            Told::Accepted { sequence, at, .. } if *at <= until => Some(*sequence),
            _ => None,
        });
        sequences.max().unwrap_or(0)
    }

    /// Begins a request, or a refresh after one. At times the runtime never
    /// comes back to it.
    fn begin(&self, work: impl Future<Output = ()> + 'static) {
        let (world, mut work) = (Rc::clone(&self.world), Box::pin(work));
        let is_lost = world.chaos.get() && self.losses.percent(2);
        let lost = is_lost.then(|| world.clock.get() + self.losses.within(1, 200));
        self.world.spawn(std::future::poll_fn(move |context| match lost {
            Some(lost) if world.clock.get() >= lost => Poll::Pending,
            _ => work.as_mut().poll(context),
        }));
    }

    /// One request to an isolate, as the adapter serves it.
    async fn request(self: Rc<Self>, isolate: Rc<Isolate>) {
        let world = &self.world;
        let begun = world.clock.get();
        let fallback = Fallback::default();
        let had = isolate.holder.borrow().current().is_some();
        let ready = ready(&isolate.store, &isolate.control, &fallback, &isolate.holder, || world.now()).await;
        let now = world.clock.get();
        let longest = if had { REFRESH_WAIT } else { FIRST_READ + REFRESH_WAIT };
        assert!(now <= begun + millis_of(longest), "seed {}: waited for {} ms", self.seed, now - begun);
        if ready.refresh_after {
            let (run, isolate) = (Rc::clone(&self), Rc::clone(&isolate));
            self.begin(async move { run.refresh(&isolate).await });
        }
        let Some(snapshot) = ready.snapshot else {
            isolate.refusals.set(isolate.refusals.get() + 1);
            return;
        };
        let (seed, sequence) = (self.seed, snapshot.sequence.unwrap());
        assert!(sequence >= isolate.highest.get(), "seed {seed}: an isolate went back to {sequence}");
        isolate.highest.set(sequence);
        isolate.acts.set(isolate.acts.get() + 1);
        if let Some(bound) = &snapshot.stored {
            let generation = bound.sets.generation;
            assert!(self.names_sets, "seed {seed}: loaded for nobody");
            assert!(generation >= isolate.generation.get(), "seed {seed}: back to sets {generation}");
            isolate.generation.set(generation);
            // Whoever has the publication that carries a generation has it.
            let sets = self.authors.sets.borrow();
            let carried = sets.iter().filter(|(_, carried, _)| *carried > 0 && *carried <= sequence);
            let newest = carried.map(|(generation, ..)| *generation).max().unwrap_or(0);
            assert!(generation >= newest, "seed {seed}: sets {generation} instead of {newest}");
        }
        if self.is_control {
            // Only a call that failed in the last second excuses an isolate,
            // and then only until max_stale.
            let bound = self.interval + 1_000;
            let newest = self.acknowledged(now.saturating_sub(bound));
            let excused = isolate.control.failed.get().is_some_and(|failed| failed + 1_000 >= now);
            assert!(sequence >= newest || excused, "seed {seed}: {sequence} instead of {newest}");
            let newest = self.acknowledged(now.saturating_sub(self.max_stale));
            assert!(sequence >= newest || !self.is_closed, "seed {seed}: {sequence} past max_stale");
        } else if self.is_closed {
            // Any source may have answered; Control is asked when KV is not
            // enough.
            let answered = isolate.store.answered.get();
            let asked = isolate.control.answered.get();
            let last = answered.max(asked).unwrap_or(0);
            assert!(now < last + self.max_stale, "seed {seed}: acted on what is too old");
        }
        let due = isolate.holder.borrow_mut().report_due(world.now());
        if due {
            world.spawn(async move {
                let have = isolate.holder.borrow().have();
                let _ = seen(&isolate.control, have, Duration::from_secs(5)).await;
            });
        }
    }

    async fn refresh(&self, isolate: &Isolate) {
        let (world, fallback) = (&self.world, Fallback::default());
        let begun = world.clock.get();
        let now = || world.now();
        refresh(&isolate.store, &isolate.control, &fallback, &isolate.holder, now, FIRST_READ).await;
        assert!(world.clock.get() <= begun + millis_of(FIRST_READ), "seed {}: too long", self.seed);
    }

    /// One change by an author who may know an old base, or makes a mistake.
    async fn change(self: Rc<Self>) {
        let (world, authors) = (&self.world, &self.authors);
        let random = &world.random;
        let attempt = authors.attempts.get() + 1;
        authors.attempts.set(attempt);
        let message = format!("change-{attempt}");
        let control = ToControl { world: Rc::clone(world), failed: Rc::default(), answered: Rc::default() };
        let long = Duration::from_secs(20);
        let text = encode_request(&Action::Status);
        let Ok(text) = control.call(&text, long).await else { return };
        let Ok(Ok(status)) = decode_answer::<Status>(&text) else { return };
        world.sleep(random.within(0, 400)).await;
        let active: u64 = status.active[1..].parse().unwrap();
        let author = "ada".to_owned();
        let base = if random.percent(10) { revision_name(active + 1) } else { status.active };
        let mut document = self.document(&message);
        if random.percent(10) {
            document.push('}');
        }
        let action = if active > 0 && random.percent(25) {
            let to = revision_name(random.within(1, active + 1));
            let of = encode_request(&Action::Revision(RevisionOf { name: Some(to.clone()) }));
            let Ok(text) = control.call(&of, long).await else { return };
            let Ok(Ok(old)) = decode_answer::<RevisionDocument>(&text) else { return };
            document = old.document;
            Action::Rollback(Rollback { to, base, message: message.clone(), author, role: Role::Operator })
        } else {
            let parts = (0..random.within(0, 3)).map(|part| format!("part {part} of {attempt}")).collect();
            let document = document.clone();
            Action::Push(Push {
                base,
                document,
                parts,
                message: message.clone(),
                author,
                role: Role::Operator,
            })
        };
        authors.documents.borrow_mut().insert(document.clone());
        let Ok(text) = control.call(&encode_request(&action), long).await else { return };
        let told = match decode_answer::<Acknowledgement>(&text) {
            Ok(Ok(Acknowledgement { revision, sequence, hash, .. })) => {
                assert_eq!(hash, sha256_hex(document.as_bytes()), "seed {}", self.seed);
                Told::Accepted { revision, sequence, document, at: world.clock.get() }
            }
            Ok(Err(refused)) => Told::Refused(refused.reason.as_str().to_owned()),
            // The storage failed: nothing was changed.
            Err(_) => return,
        };
        authors.told.borrow_mut().insert(message, told);
    }

    /// One import by somebody.
    async fn import(self: Rc<Self>) {
        let (world, authors) = (&self.world, &self.authors);
        let attempt = authors.attempts.get() + 1;
        authors.attempts.set(attempt);
        let control = ToControl { world: Rc::clone(world), failed: Rc::default(), answered: Rc::default() };
        let message = format!("import-{attempt}");
        let author = Author { name: "bob", role: Role::Operator, change: "import list", message: &message };
        let names = ["list".to_owned(), format!("other-{attempt}")];
        let sets = sets_of(&names.each_ref().map(String::as_str));
        let edit = |_: &StoredSets, _: &SetsStatus| Ok::<_, ()>(Some(sets.clone()));
        if let Ok(Some(done)) = change_sets(&control, &author, None, edit).await {
            authors.sets.borrow_mut().push((done.generation, done.sequence, message));
        }
    }

    /// Every import that was acknowledged has a generation of its own and
    /// stands in the audit log once; what is replaced for a day or was never
    /// named is gone.
    fn check_sets(&self) {
        let seed = self.seed;
        let audit = self.audit();
        let status: SetsStatus = self.say(&Action::Sets);
        let mut generations = BTreeSet::new();
        for (generation, _, message) in &*self.authors.sets.borrow() {
            assert!(generations.insert(*generation), "seed {seed}: generation {generation} twice");
            assert!(*generation <= status.present.generation, "seed {seed}: {generation} is lost");
            let entries: Vec<_> = audit.iter().filter(|entry| entry.message == *message).collect();
            let accepted = entries.iter().filter(|entry| entry.outcome == AuditOutcome::Accepted);
            assert_eq!(accepted.count(), 1, "seed {seed}: {message}");
        }
        let state = StoredSetsState::load(&self.world.store).unwrap();
        assert!(state.loose.is_empty(), "seed {seed}: parts of no list after hours");
        let parts = self.world.kv.parts.borrow();
        // Where no author got a revision through there is nothing to publish.
        let is_published = State::load(&self.world.store).unwrap().active > 0;
        for part in status.present.parts.iter().filter(|_| is_published) {
            assert!(part.fits(&parts[&part.hash].1), "seed {seed}: a part of the sets is missing");
        }
        for isolate in &*self.isolates.borrow() {
            let snapshot = isolate.holder.borrow().current();
            let Some(bound) = snapshot.as_ref().and_then(|snapshot| snapshot.stored.as_ref()) else {
                let is_nothing = !self.names_sets || status.present.generation == 0 || snapshot.is_none();
                // The first manifest may be one by hand that names none.
                assert!(is_nothing, "seed {seed}: no sets");
                continue;
            };
            assert_eq!(bound.sets.generation, status.present.generation, "seed {seed}");
        }
    }

    fn every_isolate(self: &Rc<Self>) {
        for isolate in &*self.isolates.borrow() {
            self.begin(Rc::clone(self).request(Rc::clone(isolate)));
        }
    }

    /// What the plane says, past the network.
    fn say<T: serde::de::DeserializeOwned>(&self, action: &Action) -> T {
        let text = handle(&self.world.store, &encode_request(action), self.world.now()).unwrap();
        decode_answer(&text).unwrap().unwrap()
    }

    fn history(&self) -> Vec<edgeweir::control::answer::Revision> {
        let (mut revisions, mut before) = (Vec::new(), None);
        loop {
            let page: History = self.say(&Action::History(HistoryPage { before, limit: Some(7) }));
            before = page.revisions.last().map(|revision| revision.revision.clone());
            revisions.extend(page.revisions);
            if !page.more {
                revisions.reverse();
                return revisions;
            }
        }
    }

    fn audit(&self) -> Vec<AuditEntry> {
        let (mut entries, mut before) = (Vec::new(), None);
        loop {
            let page: AuditLog = self.say(&Action::Audit(AuditPage { before, limit: Some(9) }));
            before = page.entries.last().map(|entry| entry.id);
            entries.extend(page.entries);
            if !page.more {
                entries.reverse();
                return entries;
            }
        }
    }

    /// Nothing that was acknowledged is lost, nothing stands there that
    /// nobody asked for, and the audit log has all of it once.
    fn check_records(&self) {
        let seed = self.seed;
        let (history, audit) = (self.history(), self.audit());
        for (index, revision) in history.iter().enumerate() {
            assert_eq!(revision.revision, revision_name(index as u64 + 1), "seed {seed}");
            assert_eq!(revision.base, revision_name(index as u64), "seed {seed}");
            let of = RevisionOf { name: Some(revision.revision.clone()) };
            let stored: RevisionDocument = self.say(&Action::Revision(of));
            assert_eq!(sha256_hex(stored.document.as_bytes()), revision.hash, "seed {seed}");
            assert!(self.authors.documents.borrow().contains(&stored.document), "seed {seed}");
        }
        assert!(history.windows(2).all(|pair| pair[0].sequence < pair[1].sequence), "seed {seed}");
        let ids: Vec<u64> = audit.iter().map(|entry| entry.id).collect();
        assert_eq!(ids, (1..=audit.len() as u64).collect::<Vec<_>>(), "seed {seed}");
        let accepted: Vec<_> = audit.iter().filter_map(|entry| entry.revision.clone()).collect();
        let revisions: Vec<_> = history.iter().map(|revision| revision.revision.clone()).collect();
        assert_eq!(accepted, revisions, "seed {seed}");
        for (message, told) in &*self.authors.told.borrow() {
            let entries: Vec<_> = audit.iter().filter(|entry| entry.message == *message).collect();
            assert_eq!(entries.len(), 1, "seed {seed}: {message}");
            let entry = entries[0];
            match told {
                Told::Accepted { revision, sequence, document, .. } => {
                    let stored = history.iter().find(|stored| stored.revision == *revision);
                    let stored = stored.unwrap_or_else(|| panic!("seed {seed}: {revision} is lost"));
                    let said = (stored.message.clone(), stored.sequence, stored.hash.clone());
                    assert_eq!(said, (message.clone(), *sequence, sha256_hex(document.as_bytes())));
                    assert_eq!(entry.outcome, AuditOutcome::Accepted);
                }
                Told::Refused(reason) => {
                    assert_eq!(entry.reason.as_deref(), Some(reason.as_str()), "seed {seed}");
                    assert_eq!(entry.outcome, AuditOutcome::Refused);
                }
            }
        }
    }

    /// The store never got two writes within a second.
    fn check_rate(&self) {
        let begun = self.world.kv.begun.borrow();
        for pair in begun.windows(2) {
            assert!(pair[1] >= pair[0] + 1_000, "seed {}: writes {} ms apart", self.seed, pair[1] - pair[0]);
        }
    }

    /// What the store really holds is the newest intent.
    fn check_published(&self) {
        let active: ActivePolicy = self.say(&Action::Active(Default::default()));
        let Some(wanted) = active.manifest else {
            assert!(active.none, "seed {}", self.seed);
            return;
        };
        let written = self.world.kv.active.borrow();
        let written = written.last().unwrap_or_else(|| panic!("seed {}: nothing is published", self.seed));
        assert_eq!(
            (&written.value, &written.metadata),
            (&wanted.value, &wanted.metadata),
            "seed {}",
            self.seed
        );
        let manifest = Manifest::parse(&written.value, Some(&written.metadata)).unwrap();
        let parts = self.world.kv.parts.borrow();
        for part in &manifest.parts {
            assert!(part.fits(&parts[&part.hash].1), "seed {}: a part is missing", self.seed);
        }
        for isolate in &*self.isolates.borrow() {
            let holder = isolate.holder.borrow();
            assert_eq!(holder.have(), Some(manifest.sequence), "seed {}", self.seed);
            assert_eq!(holder.degraded(), None, "seed {}", self.seed);
        }
    }
}

/// What the runs came to, so that a test cannot pass by doing nothing.
#[derive(Default, Debug)]
struct Sum {
    accepted: usize,
    imports: usize,
    refused: usize,
    deaths: u32,
    writes: usize,
    acts: u32,
    refusals: u32,
}

fn run(seed: u64, sum: &mut Sum) {
    let run = Run::new(seed);
    let world = Rc::clone(&run.world);
    let random = &world.random;
    // Some environments begin with a manifest that was written by hand.
    if random.percent(30) {
        // At times in front of every clock.
        let sequence = if random.percent(30) { 1 << 52 } else { random.within(1, 9) };
        let manifest = Manifest::new(sequence, "by-hand", run.document("by-hand"));
        let (value, metadata) = manifest.encode().unwrap();
        // With the first set it becomes a revision.
        run.authors.documents.borrow_mut().insert(manifest.policy);
        let at = START;
        world.kv.active.borrow_mut().push(super::world::Written { at, value, metadata });
    }
    // Two minutes of chaos: about twelve changes, requests all the time,
    // deaths at any point and at any moment.
    for _ in 0..240 {
        let until = world.clock.get() + random.within(1, 1_000);
        world.run_until(until);
        match random.within(0, 100) {
            0..=11 => world.spawn(Rc::clone(&run).change()),
            12..=14 => world.spawn(Rc::clone(&run).import()),
            15..=17 => {
                // Two at once, on one base.
                world.spawn(Rc::clone(&run).change());
                world.spawn(Rc::clone(&run).change());
            }
            18..=34 => world.store.fuse.set(Some(random.within(0, 40) as u32)),
            35..=37 => world.kill(),
            38..=39 => world.unreachable.set(!world.unreachable.get()),
            40..=41 => {
                let index = random.within(0, 4) as usize;
                let fresh = run.isolate(index);
                run.isolates.borrow_mut()[index] = fresh;
            }
            42..=44 => world.store.full.set(!world.store.full.get()),
            _ => {}
        }
        // The last isolate gets one request at the start and sits idle.
        let awake = if world.clock.get() < START + 2_000 { 5 } else { 4 };
        for index in 0..awake {
            if random.percent(60) {
                let isolate = Rc::clone(&run.isolates.borrow()[index]);
                run.begin(Rc::clone(&run).request(isolate));
            }
        }
    }
    world.chaos.set(false);
    world.unreachable.set(false);
    world.store.full.set(false);
    world.store.fuse.set(None);
    // Late writes take effect, they are seen and written over; the idle
    // isolate stays idle for an hour.
    for _ in 0..80 {
        for isolate in &run.isolates.borrow()[..4] {
            run.begin(Rc::clone(&run).request(Rc::clone(isolate)));
        }
        world.run_until(world.clock.get() + 60_000);
    }
    // A change, and an hour later the isolate that slept through it all.
    world.spawn(Rc::clone(&run).change());
    world.run_until(world.clock.get() + 3_600_000);
    for _ in 0..40 {
        run.every_isolate();
        world.run_until(world.clock.get() + run.interval.max(10_000));
    }
    run.every_isolate();
    world.run_until(world.clock.get() + 1_000);
    run.check_records();
    run.check_rate();
    run.check_published();
    run.check_sets();
    sum.imports += run.authors.sets.borrow().len();
    let told = run.authors.told.borrow();
    let accepted = told.values().filter(|told| matches!(told, Told::Accepted { .. })).count();
    sum.accepted += accepted;
    sum.refused += told.len() - accepted;
    sum.deaths += world.deaths.get();
    sum.writes += world.kv.begun.borrow().len();
    for isolate in &*run.isolates.borrow() {
        sum.acts += isolate.acts.get();
        sum.refusals += isolate.refusals.get();
    }
}

/// Runs the seeds, or those of `EDGEWEIR_SEEDS` (`7..8`) to look into one.
fn run_all(from: u64, to: u64) {
    let seeds = std::env::var("EDGEWEIR_SEEDS").ok();
    let asked = seeds.as_deref().and_then(|seeds| seeds.split_once(".."));
    let (from, to) = asked.map_or((from, to), |(from, to)| (from.parse().unwrap(), to.parse().unwrap()));
    let mut sum = Sum::default();
    for seed in from..to {
        run(seed, &mut sum);
    }
    println!("{sum:?}");
    let runs = (to - from) as usize;
    assert!(sum.accepted > 2 * runs && sum.refused > runs && sum.deaths as usize > 5 * runs, "{sum:?}");
    assert!(2 * sum.imports > runs, "{sum:?}");
    assert!(sum.writes > 2 * runs && sum.acts as usize > 100 * runs && sum.refusals > 0, "{sum:?}");
}

#[test]
fn nothing_acknowledged_is_lost_and_nobody_goes_back_first_half() {
    run_all(0, 120);
}

#[test]
fn nothing_acknowledged_is_lost_and_nobody_goes_back_second_half() {
    run_all(120, 240);
}

/// A first read that fails after another request has brought what is too old
/// by then.
#[test]
fn a_late_failure_of_a_first_read_excuses_nobody() {
    run(544, &mut Sum::default());
}
