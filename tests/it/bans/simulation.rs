//! Several isolates and one Limiter object over hours of offences, with
//! everything that goes wrong on the way.

use std::collections::BTreeMap;
use std::rc::Rc;

use edgeweir::stages::bans::limiter::LimiterBans;
use edgeweir::stages::bans::message::Message;
use edgeweir::stages::bans::offences::Offences;
use edgeweir::stages::bans::offender::LEASE;
use edgeweir::stages::bans::{Ban, BanTable, Terms};
use edgeweir::stages::ip_filter::prefix::Prefix;
use edgeweir::time::Timestamp;
use proptest::prelude::*;

use super::at;
use super::offences::{nth, terms};
use crate::explain::worlds::Dice;
use crate::fake::{Limiters, check};

/// An isolate, as far as bans go.
struct Isolate {
    offences: Offences,
    table: BanTable,
}

/// What a client did, and the bans that it got.
#[derive(Default)]
struct Client {
    offended: Vec<u64>,
    bans: BTreeMap<u64, Ban>,
}

struct World {
    isolates: Vec<Isolate>,
    limiters: Limiters,
    terms: Rc<Terms>,
    clients: BTreeMap<Prefix, Client>,
    now: u64,
    mishaps: bool,
}

impl World {
    fn new(isolates: u64, terms: Terms, mishaps: bool) -> Self {
        let isolate = |seed| Isolate { offences: Offences::new(100, seed), table: BanTable::new(100, seed) };
        Self {
            isolates: (0..isolates).map(isolate).collect(),
            limiters: Limiters::default(),
            terms: Rc::new(terms),
            clients: BTreeMap::new(),
            now: 0,
            mishaps,
        }
    }

    /// Nobody is banned who has not offended so often within the window since
    /// the end of his last ban.
    fn judge(&mut self, ban: &Ban) -> Result<(), TestCaseError> {
        let since = ban.since.millis() - at(0).millis();
        let client = self.clients.get_mut(&ban.network).unwrap();
        let window = u64::try_from(self.terms.window.as_millis()).unwrap();
        let within = client.offended.iter().filter(|time| **time + window > since && **time <= since).count();
        prop_assert!(
            within >= self.terms.threshold as usize,
            "{ban:?} after {within}: {:?}",
            client.offended
        );
        client.bans.insert(since, ban.clone());
        Ok(())
    }

    fn is_banned(&self, isolate: usize, client: Prefix) -> bool {
        self.isolates[isolate].table.find(client.address(), at(self.now)).next().is_some()
    }

    /// Sends a request that is an offence, unless a ban refuses it.
    fn offend(&mut self, isolate: usize, client: Prefix) -> Result<(), TestCaseError> {
        if self.is_banned(isolate, client) {
            return Ok(());
        }
        self.clients.entry(client).or_default().offended.push(self.now);
        let (terms, now) = (Rc::clone(&self.terms), at(self.now));
        if let Some(ban) = self.isolates[isolate].offences.note(client, &terms, now) {
            self.judge(&ban)?;
            self.isolates[isolate].table.hold(ban, None, now);
        }
        Ok(())
    }

    /// Sends what is due.
    fn report(&mut self, dice: &mut Dice) -> Result<(), TestCaseError> {
        let now = at(self.now);
        for isolate in 0..self.isolates.len() {
            for (shard, report) in self.isolates[isolate].offences.reports(now) {
                let text = Message::Report(report).encode();
                let tell = || self.limiters.tell(shard, &text, now).unwrap();
                let told = match if self.mishaps { dice.below(10) } else { 9 } {
                    0 => None,
                    1 => {
                        tell();
                        None
                    }
                    2 => {
                        tell();
                        Some(tell())
                    }
                    3 => {
                        self.limiters.restart();
                        Some(tell())
                    }
                    _ => Some(tell()),
                };
                let told = told.map(|told| edgeweir::stages::bans::message::Told::decode(&told).unwrap());
                self.isolates[isolate].offences.conclude(shard, told.as_ref(), now);
                for ban in told.into_iter().flat_map(|told| told.bans) {
                    prop_assert!(ban.until > now);
                    self.judge(&ban)?;
                    self.isolates[isolate].table.hold(ban, None, now);
                }
            }
        }
        Ok(())
    }
}

/// Whatever is lost, doubled or forgotten on the way: nobody under the
/// threshold is banned anywhere.
#[test]
fn nobody_is_banned_who_is_under_the_threshold() {
    let mut bans = 0;
    let counted = std::cell::RefCell::new(&mut bans);
    check(150, any::<u64>(), |seed| {
        let mut dice = Dice::new(seed);
        let terms = Terms {
            jitter: 5_000,
            ..terms(u32::try_from(dice.below(9) + 2).unwrap(), dice.pick(&[5_000, 20_000, 61_000]))
        };
        let mut world = World::new(dice.below(5) + 1, terms, true);
        for _ in 0..400 {
            world.now += dice.pick(&[0, 50, 300, 900, 2_500]);
            let isolate = dice.below(world.isolates.len() as u64) as usize;
            world.offend(isolate, nth(dice.pick(&[0, 0, 0, 1, 1, 2, 3])))?;
            world.report(&mut dice)?;
        }
        **counted.borrow_mut() += world.clients.values().map(|client| client.bans.len()).sum::<usize>();
        Ok(())
    });
    assert!(bans > 1_000, "{bans}");
}

/// Without mishaps a client that is over the threshold is banned within what
/// a lease and a report take, however it spreads over isolates.
#[test]
fn who_is_over_the_threshold_is_banned_in_time() {
    let late = std::cell::RefCell::new(Vec::new());
    check(150, any::<u64>(), |seed| {
        let mut dice = Dice::new(seed);
        let threshold = u32::try_from(dice.below(40) + 2).unwrap();
        let window = 60_000;
        let mut world = World::new(dice.below(12) + 1, terms(threshold, window), false);
        // A lease, a report, and a step of this world.
        let delay = u64::try_from(LEASE.as_millis()).unwrap() + 1_000 + 600;
        let client = nth(1);
        for _ in 0..400 {
            world.now += dice.pick(&[50, 200, 600]);
            let isolate = dice.below(world.isolates.len() as u64) as usize;
            world.offend(isolate, client)?;
            world.report(&mut dice)?;
            let Some(known) = world.clients.get(&client) else { continue };
            let ended =
                known.bans.values().map(|ban| ban.until.millis() - at(0).millis()).max().unwrap_or_default();
            if ended > world.now {
                continue;
            }
            // Offences that have lain within the window for long enough.
            let from = (world.now - delay.min(world.now))
                .saturating_sub(window - window / 60 - 2 * delay)
                .max(ended);
            let over =
                known.offended.iter().filter(|time| **time > from && **time + delay <= world.now).count();
            prop_assert!(
                over < threshold as usize,
                "{over} of {threshold} at {}: {:?}",
                world.now,
                known.offended
            );
        }
        late.borrow_mut().extend(world.clients[&client].bans.keys().copied());
        Ok(())
    });
    assert!(late.borrow().len() > 300);
}

/// With the objects gone, each isolate counts by itself, and reports later.
#[test]
fn without_the_objects_each_isolate_bans_by_itself() {
    let mut world = World::new(2, terms(5, 60_000), false);
    for n in 0..12 {
        world.now += 100;
        world.offend(n % 2, nth(1)).unwrap();
        for isolate in &mut world.isolates {
            for (shard, _) in isolate.offences.reports(at(world.now)) {
                isolate.offences.conclude(shard, None, at(world.now));
            }
        }
    }
    assert!(world.is_banned(0, nth(1)) && world.is_banned(1, nth(1)));
    assert_eq!(world.clients[&nth(1)].offended.len(), 10);
    // First what had failed, then what came since.
    for _ in 0..2 {
        world.now += 3_000;
        world.report(&mut Dice::new(1)).unwrap();
    }
    let banned =
        |bans: &mut LimiterBans, rows: &crate::fake::MemoryRows| bans.banned(rows, nth(1), at(5_000));
    let shard = edgeweir::stages::rate_limit::shard_of(nth(1));
    let ban: Ban = world.limiters.with(shard, banned).unwrap().unwrap();
    assert!(ban.since < Timestamp::from_millis(at(2_000).millis()));
}
