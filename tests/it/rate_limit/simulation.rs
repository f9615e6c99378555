//! Leases under everything that can go wrong: isolates that borrow from one
//! object over messages that are late, lost, repeated and overtaken, with
//! clocks that drift and step, deaths and restarts. Every token that is spent
//! is noted, and the promise of the algorithm is held against the notes.
//!
//! A schedule is a seed. That the bound can be seen to break is a test of its
//! own: each [`Flaw`] is a protocol that looks right, and is found out.

use std::collections::BTreeMap;
use std::time::Duration;

use edgeweir::stages::rate_limit::account::{Account, Granted};
use edgeweir::stages::rate_limit::algorithm::{Decision, Quota};
use edgeweir::stages::rate_limit::holder::{Ask, Holder, Report, Spend};
use edgeweir::stages::rate_limit::{Algorithm, CounterKey};
use edgeweir::time::Timestamp;

use super::algorithm::ALGORITHMS;
use crate::fake::START;

const KEY: CounterKey = CounterKey(1);

/// A protocol that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// What was not reported when a lease ends comes back.
    ReturnsAtExpiry,
    /// The holder's deadline begins when it has the answer.
    LateDeadline,
    /// The holder believes that its lease is longer than it is.
    LongLease,
    /// The holder reports first, and goes on spending.
    SpendsAfterReport,
    /// The object answers before its write is durable.
    LosesWrites,
    /// What is lent does not keep the rest from refilling.
    RefillsUnderLeases,
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64 (Steele, Lea and Flood, 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// A clock: real time, a drift in parts of a thousand, and a step.
#[derive(Clone, Copy)]
struct Clock {
    drift: i64,
    offset: i64,
}

impl Clock {
    fn read(&self, real: u64) -> Timestamp {
        let real = i64::try_from(real).unwrap();
        let read = real + real * self.drift / 1_000 + self.offset + i64::try_from(START).unwrap();
        Timestamp::from_millis(u64::try_from(read).unwrap())
    }
}

enum Event {
    Request {
        isolate: usize,
        cost: u32,
    },
    /// A message reaches the object. An answer is of use to the life that
    /// asked, within its patience.
    Asked {
        isolate: usize,
        life: u64,
        ask: Ask,
        cost: u32,
    },
    Answered {
        isolate: usize,
        life: u64,
        ask: Ask,
        answer: Answer,
    },
    Reported {
        report: Report,
    },
    AfterResponse {
        isolate: usize,
    },
    Death {
        isolate: usize,
    },
    Step {
        isolate: usize,
    },
    ObjectStep,
    Restart,
    Change,
}

#[derive(Clone, Copy)]
struct Answer {
    cost: u32,
    decision: Decision,
    granted: Option<Granted>,
    holds: Duration,
    /// Which decision it was.
    token: u64,
}

struct Isolate {
    holder: Holder,
    life: u64,
    clock: Clock,
    /// Of a flawed holder: what it reported and spends all the same.
    zombie: u32,
}

#[derive(Clone, Copy)]
struct Faults {
    /// One message in so many is lost, and one repeated; 0 for none.
    messages: u64,
    /// The longest way of a message, in milliseconds.
    delay: u64,
    /// Deaths, restarts and clock steps.
    machines: bool,
    /// The quota changes half-way.
    change: bool,
}

struct World {
    random: Random,
    quota: Quota,
    flaw: Option<Flaw>,
    faults: Faults,
    now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    queued: u64,
    isolates: Vec<Isolate>,
    lives: u64,
    account: Account,
    durable: Vec<String>,
    object_clock: Clock,
    /// The object's time, which never goes back.
    object_time: u64,
    /// What was spent, by the object's time.
    spent: Vec<(u64, u32)>,
    calls: u64,
    requests: u64,
    /// Isolates whose work after a response is never done: what they hold
    /// idle does not go back.
    lazy: bool,
    /// Decisions that were not delivered yet, by token: when they were made.
    decided: BTreeMap<u64, u64>,
}

struct Outcome {
    violation: Option<String>,
    admitted: u64,
    requests: u64,
    calls: u64,
}

impl World {
    fn new(seed: u64, quota: Quota, isolates: usize, faults: Faults, flaw: Option<Flaw>) -> Self {
        let mut random = Random(seed);
        let mut clock = || {
            let drift = if faults.machines { i64::try_from(random.below(11)).unwrap() - 5 } else { 0 };
            Clock { drift, offset: 0 }
        };
        let object_clock = clock();
        let isolates = (0..isolates)
            .map(|index| {
                let mut clock = clock();
                // Clocks of isolates need not agree with anybody's.
                clock.offset = i64::try_from(index).unwrap() * 3_600_000;
                Isolate {
                    holder: Holder::new(seed ^ (index as u64 + 1)),
                    life: index as u64,
                    clock,
                    zombie: 0,
                }
            })
            .collect::<Vec<_>>();
        Self {
            random,
            quota,
            flaw,
            faults,
            now: 0,
            queue: BTreeMap::new(),
            queued: 0,
            lives: isolates.len() as u64,
            isolates,
            account: Account::default(),
            durable: Vec::new(),
            object_clock,
            object_time: object_clock.read(0).millis(),
            spent: Vec::new(),
            calls: 0,
            requests: 0,
            lazy: faults.machines && seed & 1 == 0,
            decided: BTreeMap::new(),
        }
    }

    fn at(&mut self, when: u64, event: Event) {
        self.queued += 1;
        self.queue.insert((when, self.queued), event);
    }

    /// Sends a message: lost, late or twice.
    fn send(&mut self, event: impl Fn() -> Event) {
        let faults = self.faults;
        if faults.messages > 0 && self.random.one_in(faults.messages) {
            return;
        }
        let twice = faults.messages > 0 && self.random.one_in(faults.messages);
        for _ in 0..=u8::from(twice) {
            let delay = match self.random.below(4) {
                0..3 => self.random.below(faults.delay / 8 + 1),
                _ => self.random.below(faults.delay + 1),
            };
            self.at(self.now + delay, event());
        }
    }

    fn object_now(&mut self) -> Timestamp {
        let clock = self.object_clock.read(self.now);
        self.object_time = self.object_time.max(clock.millis());
        clock
    }

    fn note(&mut self, amount: u32) {
        self.object_now();
        self.spent.push((self.object_time, amount));
    }

    fn request(&mut self, isolate: usize, cost: u32) {
        self.requests += 1;
        let now = self.now;
        let me = &mut self.isolates[isolate];
        if self.flaw == Some(Flaw::SpendsAfterReport)
            && let Some(rest) = me.zombie.checked_sub(cost)
        {
            me.zombie = rest;
            self.note(cost);
            return;
        }
        match me.holder.spend(KEY, &self.quota, cost, me.clock.read(now)) {
            Spend::Decided(decision) if decision.allowed => self.note(cost),
            Spend::Decided(_) => {}
            Spend::Ask(ask) => {
                let life = me.life;
                me.zombie = ask.report.map_or(0, |report| report.unspent);
                self.send(|| Event::Asked { isolate, life, ask, cost });
            }
        }
        if !self.lazy {
            self.at(now, Event::AfterResponse { isolate });
        }
    }

    fn asked(&mut self, isolate: usize, life: u64, ask: Ask, cost: u32) {
        let now = self.object_now();
        self.calls += 1;
        let quota = self.quota;
        self.expire(now);
        if let Some(report) = ask.report {
            self.account.settle(&quota, report.id, report.unspent, now);
        }
        let (decision, granted) = if self.flaw == Some(Flaw::RefillsUnderLeases) {
            // Half of what is left, lent without a hold.
            let decision = self.account.take(&quota, cost, now);
            let amount = ask.wanted.amount.min(decision.remaining / 2);
            let lent = decision.allowed && amount > 0 && self.account.take(&quota, amount, now).allowed;
            (decision, lent.then_some(Granted { amount, ttl: ask.wanted.ttl }))
        } else {
            self.account.lease(&quota, cost, &ask.wanted, now)
        };
        self.durable.push(self.account.encode());
        let holds = self.account.refusal_holds(&decision);
        let token = self.queued;
        self.decided.insert(token, self.object_time);
        let answer = Answer { cost, decision, granted, holds, token };
        self.send(|| Event::Answered { isolate, life, ask, answer });
    }

    /// The flaw that everybody thinks of first.
    fn expire(&mut self, now: Timestamp) {
        if self.flaw != Some(Flaw::ReturnsAtExpiry) {
            return;
        }
        let ended: Vec<_> = self.account.holds().iter().filter(|hold| hold.ends <= now).copied().collect();
        for hold in ended {
            let moment = Timestamp::from_millis(hold.ends.millis() - 1);
            self.account.settle(&self.quota, hold.id, hold.amount, moment);
        }
    }

    fn answered(&mut self, isolate: usize, life: u64, mut ask: Ask, answer: &Answer) {
        let Answer { cost, decision, granted, holds, token } = *answer;
        let me = &mut self.isolates[isolate];
        if me.life != life {
            return;
        }
        let now = me.clock.read(self.now);
        match self.flaw {
            Some(Flaw::LateDeadline) => ask.asked = now,
            Some(Flaw::LongLease) => ask.asked = ask.asked.after(Duration::from_secs(3)),
            _ => {}
        }
        me.holder.answered(KEY, &ask, cost, &(decision, granted), holds, now);
        // The request passes once, and counts when it was decided.
        if let Some(decided) = self.decided.remove(&token)
            && decision.allowed
        {
            self.spent.push((decided, cost));
        }
    }

    fn after_response(&mut self, isolate: usize) {
        let me = &mut self.isolates[isolate];
        let now = me.clock.read(self.now);
        if let Some((_, _, report)) = me.holder.due(now, 1).pop() {
            me.zombie = report.unspent;
            self.send(|| Event::Reported { report });
        }
    }

    fn run(mut self, seconds: u64) -> Outcome {
        let end = seconds * 1_000;
        let isolates = self.isolates.len();
        for (when, isolate, cost) in traffic(&mut self.random, isolates, end) {
            self.at(when, Event::Request { isolate, cost });
        }
        // Requests of others, after which an isolate looks at what it holds.
        for _ in 0..if self.lazy { 0 } else { 4 * seconds } {
            let (when, isolate) = (self.random.below(end), self.random.below(isolates as u64));
            self.at(when, Event::AfterResponse { isolate: usize::try_from(isolate).unwrap() });
        }
        if self.faults.machines {
            for _ in 0..seconds / 4 {
                let when = self.random.below(end);
                let isolate = usize::try_from(self.random.below(isolates as u64)).unwrap();
                let event = match self.random.below(6) {
                    0 => Event::Death { isolate },
                    1..4 => Event::Step { isolate },
                    4 => Event::ObjectStep,
                    _ => Event::Restart,
                };
                self.at(when, event);
            }
        }
        if self.faults.change {
            self.at(end / 2, Event::Change);
        }
        let first = self.quota;
        while let Some(((now, _), event)) = self.queue.pop_first() {
            self.now = now;
            self.happen(event);
        }
        // During a change the larger quota holds.
        let (one, other) = (first, self.quota);
        let larger = if one.max() > other.max() { one } else { other };
        self.spent.sort_by_key(|(when, _)| *when);
        let violation = violation(&larger, &self.spent);
        // Nothing is lost for good: left alone, all of it is there again.
        let later = Timestamp::from_millis(self.object_time)
            .after(Duration::from_secs(7))
            .after(self.quota.recovery());
        let whole = self.account.take(&self.quota, self.quota.burst(), later);
        let leak = (!whole.allowed).then(|| "tokens are lost for good".to_owned());
        Outcome {
            violation: violation.or(leak),
            admitted: self.spent.iter().map(|(_, amount)| u64::from(*amount)).sum(),
            requests: self.requests,
            calls: self.calls,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Request { isolate, cost } => self.request(isolate, cost),
            Event::Asked { isolate, life, ask, cost } => self.asked(isolate, life, ask, cost),
            Event::Answered { isolate, life, ask, answer } => self.answered(isolate, life, ask, &answer),
            Event::Reported { report } => {
                let now = self.object_now();
                self.calls += 1;
                self.expire(now);
                self.account.settle(&self.quota, report.id, report.unspent, now);
                self.durable.push(self.account.encode());
            }
            Event::AfterResponse { isolate } => self.after_response(isolate),
            Event::Death { isolate } => {
                self.lives += 1;
                let seed = self.random.next();
                let me = &mut self.isolates[isolate];
                (me.holder, me.life, me.zombie) = (Holder::new(seed), self.lives, 0);
            }
            Event::Step { isolate } => {
                let small = self.random.below(3) > 0;
                let step =
                    i64::try_from(if small { self.random.below(300) } else { self.random.below(600_000) })
                        .unwrap();
                let back = self.random.one_in(2);
                let now = self.now;
                let me = &mut self.isolates[isolate];
                // A large step is seen: the isolate looks at its clock before
                // and after. A small one is within the margin.
                if !small {
                    me.holder.due(me.clock.read(now), 0);
                }
                me.clock.offset += if back { -step } else { step };
                if !small {
                    me.holder.due(me.clock.read(now), 0);
                }
            }
            Event::ObjectStep => {
                let step = i64::try_from(self.random.below(400)).unwrap() - 200;
                self.object_clock.offset += step;
            }
            Event::Restart => {
                let old = self.durable.len().saturating_sub(6);
                let stored = match self.flaw {
                    Some(Flaw::LosesWrites) => self.durable.get(old),
                    _ => self.durable.last(),
                };
                if let Some(stored) = stored {
                    self.account = Account::decode(stored).unwrap();
                }
            }
            Event::Change => {
                let (max, window) = (self.quota.max(), self.quota.window());
                self.quota = Quota::of(self.quota.algorithm(), max * 2, window, self.quota.burst() * 2);
            }
        }
    }
}

/// Requests: at each isolate bursts, and pauses in which it sits on what it
/// holds.
fn traffic(random: &mut Random, isolates: usize, end: u64) -> Vec<(u64, usize, u32)> {
    let mut requests = Vec::new();
    for isolate in 0..isolates {
        let mut when = random.below(4_000);
        while when < end {
            let pause = when + random.below(700);
            while when < pause {
                when += random.below(14);
                requests.push((when, isolate, if random.one_in(8) { 3 } else { 1 }));
            }
            when += random.below(7_000);
        }
    }
    requests.sort_unstable();
    requests
}

/// What breaks the promise, if anything does.
fn violation(quota: &Quota, spent: &[(u64, u32)]) -> Option<String> {
    let window = u64::try_from(quota.window().as_millis()).unwrap();
    match quota.algorithm() {
        Algorithm::Gcra => {
            // A bucket that is as full as it can be: it runs over if any
            // interval holds more than its burst and its rate.
            let (mut level, mut last) = (0_i128, 0);
            for (when, amount) in spent {
                let leaked = i128::from(when - last) * i128::from(quota.max());
                level = (level - leaked).max(0) + i128::from(*amount) * i128::from(window);
                last = *when;
                if level > i128::from(quota.burst()) * i128::from(window) {
                    return Some(format!("too many before {when}"));
                }
            }
            None
        }
        Algorithm::FixedWindow | Algorithm::SlidingWindow => {
            let is_sliding = quota.algorithm() == Algorithm::SlidingWindow;
            let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
            for (when, amount) in spent {
                let index = when / window;
                *counts.entry(index).or_default() += u64::from(*amount);
                let left = window - when % window;
                let before = counts.get(&(index - 1)).copied().unwrap_or_default() * left;
                let estimate = counts[&index] * window + if is_sliding { before } else { 0 };
                if estimate > u64::from(quota.max()) * window {
                    return Some(format!("too many in the window of {when}"));
                }
            }
            None
        }
    }
}

fn quota_of(algorithm: Algorithm, random: &mut Random) -> Quota {
    let number = |random: &mut Random| 10 + u32::try_from(random.below(100)).unwrap();
    let window = [2_000, 5_000, 10_000][usize::try_from(random.below(3)).unwrap()];
    let (max, burst) = (number(random), number(random));
    Quota::of(algorithm, max, Duration::from_millis(window), burst)
}

fn run(seed: u64, algorithm: Algorithm, faults: Faults, flaw: Option<Flaw>) -> Outcome {
    let mut random = Random(seed.wrapping_mul(31));
    let quota = quota_of(algorithm, &mut random);
    let isolates = usize::try_from(1 + random.below(5)).unwrap();
    World::new(seed, quota, isolates, faults, flaw).run(40)
}

/// How many schedules; `EDGEWEIR_SCHEDULES` asks for more.
const SCHEDULES: u64 = 300;

fn schedules() -> u64 {
    std::env::var("EDGEWEIR_SCHEDULES").ok().and_then(|text| text.parse().ok()).unwrap_or(SCHEDULES)
}

const ALL: Faults = Faults { messages: 6, delay: 6_000, machines: true, change: false };

#[test]
fn no_schedule_breaks_the_bound() {
    for algorithm in ALGORITHMS {
        for seed in 0..schedules() {
            let outcome = run(seed, algorithm, ALL, None);
            assert_eq!(outcome.violation, None, "{algorithm:?}, seed {seed}");
        }
    }
}

#[test]
fn a_change_of_quota_keeps_the_larger_bound() {
    for algorithm in ALGORITHMS {
        for seed in 0..schedules() / 3 {
            let outcome = run(seed, algorithm, Faults { change: true, ..ALL }, None);
            assert_eq!(outcome.violation, None, "{algorithm:?}, seed {seed}");
        }
    }
}

/// The simulation can fail: every protocol that is wrong is found out.
#[test]
fn every_flaw_is_found() {
    let flaws = [
        Flaw::ReturnsAtExpiry,
        Flaw::LateDeadline,
        Flaw::LongLease,
        Flaw::SpendsAfterReport,
        Flaw::LosesWrites,
        Flaw::RefillsUnderLeases,
    ];
    for flaw in flaws {
        let schedules = (0..SCHEDULES).flat_map(|seed| ALGORITHMS.map(|algorithm| (seed, algorithm)));
        let broken = |(seed, algorithm): &(u64, Algorithm)| {
            run(*seed, *algorithm, ALL, Some(flaw)).violation.is_some()
        };
        let found = schedules.enumerate().find(|(_, schedule)| broken(schedule));
        assert!(found.is_some(), "{flaw:?} is not found");
    }
}

/// The one that everybody thinks of first, where windows are long against
/// leases, nobody's idle blocks go back, and nothing is lost that would make up
/// for what comes back twice.
#[test]
fn tokens_that_return_at_expiry_break_the_bound_often() {
    let calm = Faults { messages: 0, delay: 20, machines: false, change: false };
    for (flaw, expected) in [(Some(Flaw::ReturnsAtExpiry), 30..=100), (None, 0..=0)] {
        for algorithm in ALGORITHMS {
            let broken = (0..100).filter(|seed| {
                let quota = Quota::of(algorithm, 200, Duration::from_secs(60), 200);
                let mut world = World::new(*seed, quota, 4, calm, flaw);
                world.lazy = true;
                world.run(40).violation.is_some()
            });
            let broken = broken.count();
            println!("{flaw:?}, {algorithm:?}: {broken} of 100");
            assert!(expected.contains(&broken), "{flaw:?}, {algorithm:?}: {broken} of 100");
        }
    }
}

/// How much is lost to blocks that are lost or idle, against one perfect
/// counter.
#[test]
fn most_of_what_is_allowed_is_admitted() {
    let calm = Faults { messages: 0, delay: 20, machines: false, change: false };
    for algorithm in ALGORITHMS {
        let (mut admitted, mut perfect, mut calls, mut requests) = (0, 0, 0, 0);
        for seed in 0..30 {
            let outcome = run(seed, algorithm, calm, None);
            assert_eq!(outcome.violation, None, "{algorithm:?}, seed {seed}");
            admitted += outcome.admitted;
            calls += outcome.calls;
            requests += outcome.requests;
            perfect += perfectly(seed, algorithm, calm);
        }
        println!("{algorithm:?}: {admitted} of {perfect} tokens, {calls} calls for {requests} requests");
        assert!(admitted * 100 >= perfect * 93, "{algorithm:?}: {admitted} of {perfect}");
    }
}

/// The same requests, each decided at once by one counter.
fn perfectly(seed: u64, algorithm: Algorithm, faults: Faults) -> u64 {
    let mut random = Random(seed.wrapping_mul(31));
    let quota = quota_of(algorithm, &mut random);
    let isolates = usize::try_from(1 + random.below(5)).unwrap();
    let mut world = World::new(seed, quota, isolates, faults, None);
    let (mut account, mut admitted) = (Account::default(), 0);
    for (when, _, cost) in traffic(&mut world.random, isolates, 40_000) {
        let now = Timestamp::from_millis(START + when);
        admitted += if account.take(&quota, cost, now).allowed { u64::from(cost) } else { 0 };
    }
    admitted
}
