//! The bans of the control plane.

use edgeweir::control::bans::{BansState, key_of, network_of};
use edgeweir::control::plane::handle;
use edgeweir::control::publication::{Step, next_step};
use edgeweir::control::state::State;
use edgeweir::platform::BanKind;
use edgeweir::policy::manifest::Manifest;
use edgeweir::stages::bans::BanSet;
use edgeweir::stages::ip_filter::prefix::Prefix;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::memory::MemoryStore;
use super::{at, audit, outcome};
use crate::fake::{START, check};

/// As the module does that knows of bans.
fn ask_at(store: &MemoryStore, action: &str, mut fields: Value, now: edgeweir::time::Timestamp) -> Value {
    fields["version"] = json!(3);
    fields["module"] = json!("0.3.0");
    super::ask_at(store, action, fields, now)
}

fn push(store: &MemoryStore, base: &str, document: &str) -> Value {
    let fields = json!({"base": base, "document": document, "author": "ada", "role": "operator"});
    ask_at(store, "push", fields, at(0))
}

fn ban_at(store: &MemoryStore, networks: &[&str], seconds: u64, now: u64) -> Value {
    let bans: Vec<Value> = networks
        .iter()
        .map(|network| json!({"network": network, "duration": seconds * 1_000, "reason": "because"}))
        .collect();
    ask_at(store, "ban", json!({"bans": bans, "author": "ada", "role": "operator"}), at(now))
}

fn unban_at(store: &MemoryStore, networks: &[&str], now: u64) -> Value {
    let order = json!({"networks": networks, "author": "bob", "role": "operator", "message": "sorry"});
    ask_at(store, "unban", order, at(now))
}

fn report_at(store: &MemoryStore, bans: &[(&str, u64, u64)], now: u64) -> Value {
    let bans: Vec<Value> = bans
        .iter()
        .map(|(network, since, until)| {
            json!({"network": network, "since": START + since, "until": START + until, "cause": "scanner", "count": 1})
        })
        .collect();
    ask_at(store, "report-bans", json!({"bans": bans}), at(now))
}

fn networks(store: &MemoryStore, now: u64) -> Vec<String> {
    let list = ask_at(store, "bans", json!({}), at(now));
    let bans = list["result"]["bans"].as_array().unwrap().clone();
    bans.iter().map(|ban| ban["network"].as_str().unwrap().to_owned()).collect()
}

/// The bans of the manifest that an isolate would get now.
fn published(store: &MemoryStore, now: u64) -> Option<BanSet> {
    let active = ask_at(store, "active", json!({}), at(now));
    let manifest = &active["result"]["manifest"];
    let manifest = Manifest::parse(manifest["value"].as_str().unwrap(), None).unwrap();
    let bans = manifest.beside.bans?;
    Some(BanSet::parse(&bans.set, bans.generation).unwrap())
}

fn sequence(store: &MemoryStore) -> u64 {
    State::load(store).unwrap().sequence
}

fn guarded() -> MemoryStore {
    let store = MemoryStore::default();
    let document = json!({"version": 1, "guard_list": ["198.51.100.7", "2001:db8:9::/48"]}).to_string();
    assert_eq!(outcome(&push(&store, "r0", &document)), "r1");
    store
}

#[test]
fn a_persons_ban_is_listed_written_down_and_in_the_manifest_at_once() {
    let store = guarded();
    let before = sequence(&store);
    let done = ban_at(&store, &["192.0.2.7", "2001:db8:1::/64"], 3_600, 500)["result"].clone();
    assert_eq!(done["networks"], json!(["192.0.2.7/32", "2001:db8:1::/64"]));
    assert_eq!((&done["generation"], &done["state"]), (&json!(1), &json!("pending")));
    assert_eq!(done["sequence"], json!(sequence(&store)));
    assert!(sequence(&store) > before);
    let list = ask_at(&store, "bans", json!({}), at(600))["result"].clone();
    assert_eq!(
        list["bans"][0],
        json!({"network": "192.0.2.7/32", "until": "2026-01-01T01:00:00.000Z", "since": "2026-01-01T00:00:00.500Z",
               "reason": "because", "by": "ada"})
    );
    assert_eq!((&list["total"], &list["more"]), (&json!(2), &json!(false)));
    let set = published(&store, 600).unwrap();
    assert_eq!((set.generation(), set.len()), (1, 2));
    let entries = audit(&store);
    let entry = &entries[entries.len() - 2];
    assert_eq!(
        (&entry["action"], &entry["network"], &entry["until"], &entry["message"], &entry["outcome"]),
        (
            &json!("ban"),
            &json!("192.0.2.7/32"),
            &json!("2026-01-01T01:00:00.000Z"),
            &json!("because"),
            &json!("accepted")
        )
    );
    // Time that passes needs no write: it is not listed, and nothing is
    // published.
    let stored = store.disk.borrow().clone();
    assert_eq!(networks(&store, 3_600_000), [""; 0]);
    assert_eq!(set.find("192.0.2.7".parse().unwrap(), at(3_600_000)).count(), 0);
    assert_eq!(store.disk.borrow().bans, stored.bans);
}

#[test]
fn what_cannot_be_banned_is_refused_and_written_down() {
    let store = guarded();
    for (network, reason) in [
        ("198.51.100.7", "guarded"),
        ("198.51.100.0/24", "guarded"),
        ("2001:db8:9:1::/64", "guarded"),
        ("2001:db8::/32", "guarded"),
        ("0.0.0.0/0", "malformed"),
        ("192.0.0.0/7", "malformed"),
        ("2000::/18", "malformed"),
        ("192.0.2.1/24", "malformed"),
        ("nonsense", "malformed"),
    ] {
        let answer = ban_at(&store, &["203.0.113.1", network], 60, 0);
        assert_eq!(outcome(&answer), reason, "{network}");
        assert_eq!(audit(&store).last().unwrap()["reason"], reason);
    }
    assert_eq!(networks(&store, 0), [""; 0]);
    let ends = |end: Value| {
        let ban = json!({"network": "203.0.113.1", "until": end, "reason": ""});
        outcome(&ask_at(
            &store,
            "ban",
            json!({"bans": [ban], "author": "ada", "role": "operator"}),
            at(5_500),
        ))
    };
    assert_eq!(ends(json!(START + 5_500)), "malformed");
    assert_eq!(ends(json!(START + 5_999)), "malformed");
    assert_eq!(ends(json!(START + 367 * 86_400_000)), "malformed");
    assert_eq!(ends(json!(null)), "malformed");
    assert_eq!(ends(json!(START + 6_000)), "");
    let reader =
        json!({"bans": [{"network": "203.0.113.2", "duration": 1_000}], "author": "rita", "role": "reader"});
    assert_eq!(outcome(&ask_at(&store, "ban", reader, at(0))), "needs-operator");
}

#[test]
fn a_ban_is_lifted_as_it_was_made_and_stays_lifted() {
    let store = guarded();
    ban_at(&store, &["192.0.2.7", "192.0.2.0/24"], 60, 0);
    assert_eq!(outcome(&unban_at(&store, &["192.0.2.8"], 1_000)), "no-such-ban");
    assert_eq!(outcome(&unban_at(&store, &["192.0.2.7", "192.0.2.8"], 1_000)), "no-such-ban");
    assert_eq!(networks(&store, 1_000).len(), 2);
    let done = unban_at(&store, &["192.0.2.7/32"], 2_000)["result"].clone();
    assert_eq!((&done["networks"], &done["generation"]), (&json!(["192.0.2.7/32"]), &json!(2)));
    assert_eq!(networks(&store, 2_000), ["192.0.2.0/24"]);
    let set = published(&store, 2_000).unwrap();
    let network: Prefix = "192.0.2.7".parse().unwrap();
    assert!(!set.has(network) && set.lifted(network).is_some());
    assert_eq!(outcome(&unban_at(&store, &["192.0.2.7"], 2_500)), "no-such-ban");
    let entry = audit(&store).into_iter().rev().find(|entry| entry["outcome"] == "accepted").unwrap();
    assert_eq!(
        (&entry["action"], &entry["author"], &entry["message"]),
        (&json!("unban"), &json!("bob"), &json!("sorry"))
    );
    // A trigger that had banned it before hears of it; one that bans it anew
    // does.
    let early = report_at(&store, &[("192.0.2.7/32", 1_000, 300_000)], 3_000);
    assert_eq!(early["result"]["dropped"], json!(["192.0.2.7/32"]));
    let late = report_at(&store, &[("192.0.2.7/32", 2_500, 300_000)], 3_000);
    assert_eq!(late["result"]["dropped"], json!([]));
    assert_eq!(networks(&store, 3_000), ["192.0.2.0/24", "192.0.2.7/32"]);
    // When it would have ended, nobody needs to know any more.
    ban_at(&store, &["203.0.113.9"], 60, 61_000);
    assert!(published(&store, 61_000).unwrap().lifted(network).is_none());
}

#[test]
fn triggers_never_change_what_a_person_decided() {
    let store = guarded();
    ban_at(&store, &["192.0.2.7"], 60, 0);
    report_at(
        &store,
        &[("192.0.2.7/32", 100, 600_000), ("198.51.100.7/32", 0, 600_000), ("2001:db8:9::/64", 0, 600_000)],
        100,
    );
    let list = ask_at(&store, "bans", json!({}), at(100))["result"]["bans"].clone();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["by"]), (1, &json!("ada")));
    // Of triggers the later end stands.
    let dropped = report_at(&store, &[("198.51.100.7/32", 0, 600_000)], 200)["result"]["dropped"].clone();
    assert_eq!(dropped, json!(["198.51.100.7/32"]));
    report_at(&store, &[("203.0.113.1/32", 0, 60_000)], 200);
    report_at(&store, &[("203.0.113.1/32", 50, 90_000), ("203.0.113.1/32", 60, 70_000)], 300);
    let list = ask_at(&store, "bans", json!({"address": "203.0.113.1"}), at(300))["result"]["bans"].clone();
    assert_eq!(
        list,
        json!([{"network": "203.0.113.1/32", "until": "2026-01-01T00:01:30.000Z", "since": "2026-01-01T00:00:00.050Z",
                "reason": "trigger scanner reached its threshold", "by": "trigger scanner", "count": 1}])
    );
    // A person's word takes its place.
    ban_at(&store, &["203.0.113.1"], 5, 1_000);
    let list = ask_at(&store, "bans", json!({"address": "203.0.113.1"}), at(1_000))["result"]["bans"].clone();
    assert_eq!(list[0]["by"], "ada");
}

/// A flood of reports is collected once in five seconds, by alarm.
#[test]
fn reports_are_collected_when_it_is_time() {
    let store = guarded();
    let published_first = sequence(&store);
    report_at(&store, &[("192.0.2.1/32", 0, 600_000)], 100);
    // Nothing was collected yet: the alarm does it now.
    assert_eq!(sequence(&store), published_first);
    let state = State::load(&store).unwrap();
    assert_eq!((next_step(&state, at(100)), store.disk.borrow().alarm), (Step::Collect, Some(at(100))));
    collect(&store, 100);
    assert_eq!(published(&store, 100).unwrap().len(), 1);
    let after_first = sequence(&store);
    for n in 0..100 {
        let network = format!("203.0.113.{n}/32");
        report_at(&store, &[(&network, 0, 600_000)], 200 + n);
    }
    assert_eq!(sequence(&store), after_first);
    let state = State::load(&store).unwrap();
    assert_eq!(state.collect, Some(at(5_100)));
    assert!(!matches!(next_step(&state, at(5_099)), Step::Collect));
    assert_eq!(next_step(&state, at(5_100)), Step::Collect);
    collect(&store, 5_100);
    let set = published(&store, 5_100).unwrap();
    assert_eq!((set.len(), set.generation()), (101, 2));
    // The same again is no other set.
    report_at(&store, &[("192.0.2.1/32", 0, 600_000)], 6_000);
    assert_eq!(State::load(&store).unwrap().collect, None);
    // What was published before is not kept.
    assert_eq!(store.disk.borrow().objects.len(), 2);
}

/// Runs what the alarm would, as far as the store goes; gives what the log is
/// told.
fn collect(store: &MemoryStore, now: u64) -> Vec<String> {
    use crate::fake::block_on;
    struct Nothing;
    impl edgeweir::platform::ManifestStore for Nothing {
        async fn put_part(&self, _: &str, _: &[u8]) -> Result<(), edgeweir::error::PlatformError> {
            Ok(())
        }
        async fn put_active(&self, _: &str, _: &str) -> Result<(), edgeweir::error::PlatformError> {
            Ok(())
        }
        async fn delete_part(&self, _: &str) -> Result<(), edgeweir::error::PlatformError> {
            Ok(())
        }
        async fn read_active(
            &self,
        ) -> Result<Option<edgeweir::platform::Stored>, edgeweir::error::PlatformError> {
            Ok(None)
        }
    }
    struct Fixed(u64);
    impl edgeweir::platform::Clock for Fixed {
        fn now(&self) -> edgeweir::time::Timestamp {
            at(self.0)
        }
    }
    let guard = edgeweir::control::publication::Guard::default();
    let failed = block_on(edgeweir::control::publication::publish(store, &Nothing, &Fixed(now), &guard));
    assert_eq!(failed.unwrap(), None);
    guard.take_notes()
}

#[test]
fn a_page_goes_on_where_the_last_one_ended() {
    let store = guarded();
    let all =
        ["10.0.0.0/8", "10.0.0.0/16", "192.0.2.1/32", "192.0.2.2/32", "2001:db8:1::/64", "2001:db8:2::/48"];
    ban_at(&store, &all, 60, 0);
    let mut seen: Vec<String> = Vec::new();
    loop {
        let page = json!({"limit": 2, "after": seen.last()});
        let page = ask_at(&store, "bans", page, at(0))["result"].clone();
        let bans = page["bans"].as_array().unwrap();
        seen.extend(bans.iter().map(|ban| ban["network"].as_str().unwrap().to_owned()));
        assert_eq!(page["total"], 6);
        if page["more"] == false {
            break;
        }
    }
    assert_eq!(seen, all);
    let holding = ask_at(&store, "bans", json!({"address": "10.0.0.9"}), at(0))["result"]["bans"].clone();
    assert_eq!(holding.as_array().unwrap().len(), 2);
    let none = ask_at(&store, "bans", json!({"address": "2001:db8:9::1"}), at(0))["result"]["bans"].clone();
    assert_eq!(none, json!([]));
}

/// A hundred thousand, and no more: the earliest ends of triggers leave, those
/// of people never do.
#[test]
fn the_list_is_bounded_and_no_flood_lifts_what_a_person_decided() {
    use edgeweir::platform::{BanRow, ControlStore, Write};
    let store = guarded();
    let row = |n: u32| {
        let network = Prefix::host(std::net::Ipv4Addr::from_bits(0x0b00_0000 + n).into());
        let until = 100_000 + u64::from(n);
        let text = json!({"network": network.to_string(), "until": "", "since": "", "reason": "", "by": "trigger s",
            "cause": "s", "since_ms": START, "until_ms": START + until * 1_000});
        let short = format!("{} s ", START + until * 1_000);
        BanRow {
            key: key_of(network),
            kind: BanKind::Automatic,
            until: at(until * 1_000),
            short,
            text: text.to_string(),
        }
    };
    store.apply((0..99_998).map(|n| Write::Ban(row(n))).collect()).unwrap();
    ban_at(&store, &["192.0.2.7"], 60, 0);
    let has = |n: u32| store.disk.borrow().bans.contains_key(&row(n).key);
    let count = || store.disk.borrow().bans.len();
    report_at(&store, &[("203.0.113.1/32", 0, 900_000_000)], 1_000);
    assert_eq!((count(), has(0)), (100_000, true));
    // One more: whoever ends first goes, the new one where that is it.
    report_at(&store, &[("203.0.113.2/32", 0, 900_000_000), ("203.0.113.3/32", 0, 50_000_000)], 1_000);
    assert_eq!((count(), has(0), has(1)), (100_000, false, true));
    assert!(!store.disk.borrow().bans.contains_key(&key_of("203.0.113.3".parse().unwrap())));
    // A person's takes the place of a trigger's, too.
    ban_at(&store, &["203.0.113.9", "203.0.113.10"], 5, 1_000);
    assert_eq!((count(), has(1), has(2), has(3)), (100_000, false, false, true));
    let people = store.disk.borrow().bans.contains_key(&key_of("192.0.2.7".parse().unwrap()));
    assert!(people);
    assert_eq!(published(&store, 1_000).unwrap().len(), 100_000);
}

#[test]
fn with_people_alone_there_is_an_end_of_it() {
    use edgeweir::platform::{BanRow, ControlStore, Write};
    let store = guarded();
    let row = |n: u32| {
        let network = Prefix::host(std::net::Ipv4Addr::from_bits(0x0b00_0000 + n).into());
        let text = json!({"network": network.to_string(), "until": "", "since": "", "reason": "", "by": "ada",
            "cause": "manual", "since_ms": START, "until_ms": START + 60_000});
        let short = format!("{} manual ", START + 60_000);
        BanRow {
            key: key_of(network),
            kind: BanKind::Manual,
            until: at(60_000),
            short,
            text: text.to_string(),
        }
    };
    store.apply((0..100_000).map(|n| Write::Ban(row(n))).collect()).unwrap();
    assert_eq!(outcome(&ban_at(&store, &["203.0.113.9"], 5, 1_000)), "too-many-bans");
    // One that is there already takes no place.
    assert_eq!(outcome(&ban_at(&store, &["11.0.0.0"], 5, 1_000)), "");
    report_at(&store, &[("203.0.113.1/32", 0, 900_000_000)], 1_000);
    assert_eq!(store.disk.borrow().bans.len(), 100_000);
}

/// What is stored survives the death of the object at any point.
#[test]
fn a_death_at_any_point_leaves_all_of_it_or_nothing() {
    for fuse in 0..40 {
        let store = guarded();
        ban_at(&store, &["192.0.2.1"], 600, 0);
        store.fuse.set(Some(fuse));
        let order = json!({"version": 3, "action": "ban", "author": "ada", "role": "operator",
            "bans": [{"network": "192.0.2.2", "duration": 600_000, "reason": "r"}, {"network": "192.0.2.3", "duration": 600_000}]});
        let answered = handle(&store, &order.to_string(), at(100)).is_ok();
        store.dead.set(false);
        store.fuse.set(None);
        let known = networks(&store, 200).len();
        assert!([1, 3].contains(&known) && (!answered || known == 3), "{fuse}: {known}");
        // Whatever the state, the alarm brings the manifest to it.
        collect(&store, 2_000);
        assert_eq!(published(&store, 2_000).unwrap().len(), known, "{fuse}");
        let entries = audit(&store).iter().filter(|entry| entry["action"] == "ban").count();
        assert_eq!(entries, known, "{fuse}");
    }
}

#[test]
fn keys_sort_as_networks_do() {
    let network = || {
        (any::<bool>(), any::<u128>(), 0..=128_u8).prop_map(|(is_v6, bits, length)| {
            let address = if is_v6 {
                std::net::Ipv6Addr::from_bits(bits).into()
            } else {
                std::net::IpAddr::V4(std::net::Ipv4Addr::from_bits(bits as u32))
            };
            Prefix::containing(address, if is_v6 { length } else { length % 33 }).unwrap()
        })
    };
    check(2_000, (network(), network()), |(one, other)| {
        prop_assert_eq!(key_of(one).cmp(&key_of(other)), one.cmp(&other));
        prop_assert_eq!(network_of(&key_of(one)), Some(one));
        Ok(())
    });
    for bad in ["", "4", "4/", "400000000/33", "4zz/08", "6é/064", "5"] {
        assert_eq!(network_of(bad), None, "{bad}");
    }
}

#[test]
fn before_a_policy_there_can_be_bans() {
    let store = MemoryStore::default();
    let done = ban_at(&store, &["192.0.2.7"], 60, 0)["result"].clone();
    assert_eq!((&done["generation"], &done["sequence"]), (&json!(1), &json!(0)));
    push(&store, "r0", "{\"version\": 1}");
    assert_eq!(published(&store, 0).unwrap().len(), 1);
    assert_eq!(BansState::load(&store).unwrap().unwrap().generation, 1);
}

/// A trigger's ban that was made a moment ago, of which nobody has said so yet.
#[test]
fn a_client_is_let_go_of_whose_ban_is_not_known_yet() {
    let store = guarded();
    let lift = |network: &str, now: u64| {
        let order = json!({"networks": [network], "clients": [network], "author": "bob", "role": "operator"});
        ask_at(&store, "unban", order, at(now))
    };
    let (text, network): (_, Prefix) = ("192.0.2.7/32", "192.0.2.7".parse().unwrap());
    let done = lift(text, 2_000)["result"].clone();
    assert_eq!((&done["networks"], &done["unheard"]), (&json!([text]), &json!([text])));
    assert_eq!(done["generation"], 1);
    // Isolates let go as of every ban that is lifted.
    assert!(published(&store, 2_000).unwrap().lifted(network).is_some());
    assert_eq!(networks(&store, 2_000), [""; 0]);
    let entry = audit(&store).pop().unwrap();
    assert_eq!(
        (&entry["action"], &entry["network"], &entry["outcome"]),
        (&json!("unban"), &json!(text), &json!("accepted"))
    );
    // What was made before does not come back, what is made later acts.
    let early = report_at(&store, &[(text, 1_500, 300_000)], 3_000);
    assert_eq!((&early["result"]["dropped"], networks(&store, 3_000)), (&json!([text]), vec![]));
    let late = report_at(&store, &[(text, 2_001, 300_000)], 4_000);
    assert_eq!((&late["result"]["dropped"], networks(&store, 4_000)), (&json!([]), vec![text.to_owned()]));
    // Now it is known, and lifted as such.
    let done = lift(text, 5_000)["result"].clone();
    assert_eq!((&done["networks"], &done["unheard"]), (&json!([text]), &Value::Null));
    // For as long as the ban would have lasted, and ten minutes at least.
    assert_eq!(lift(text, 200_000)["result"]["unheard"], json!([text]));
    collect(&store, 799_000);
    ban_at(&store, &["203.0.113.9"], 60, 799_000);
    assert!(published(&store, 799_000).unwrap().lifted(network).is_some());
    ban_at(&store, &["203.0.113.8"], 60, 801_000);
    assert!(published(&store, 801_000).unwrap().lifted(network).is_none());
}

/// Only what a trigger may have banned, and what nothing else bans.
#[test]
fn what_no_trigger_can_have_banned_is_no_ban() {
    let store = guarded();
    ban_at(&store, &["10.1.0.0/16"], 60, 0);
    let order = |network: &str, clients: Value| json!({"networks": [network], "clients": clients, "author": "bob", "role": "operator"});
    let answer = ask_at(&store, "unban", order("10.1.3.4/32", json!(["10.1.3.4/32"])), at(1_000));
    assert_eq!(outcome(&answer), "no-such-ban");
    let detail = answer["refused"]["detail"].as_str().unwrap();
    assert!(detail.contains("as a part of 10.1.0.0/16"), "{detail}");
    let answer = ask_at(&store, "unban", order("192.0.2.0/24", json!([])), at(1_000));
    assert_eq!(outcome(&answer), "no-such-ban");
    assert_eq!(networks(&store, 1_000), ["10.1.0.0/16"]);
    // When that has ended, it is none of its parts any more.
    let answer = ask_at(&store, "unban", order("10.1.3.4/32", json!(["10.1.3.4/32"])), at(61_000));
    assert_eq!(answer["result"]["unheard"], json!(["10.1.3.4/32"]));
}

/// One row that cannot be read keeps no policy back.
#[test]
fn a_damaged_row_of_a_ban_holds_up_nothing() {
    let store = guarded();
    ban_at(&store, &["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"], 3_600, 0);
    let key = |network: &str| key_of(network.parse().unwrap());
    let damage = |network: &str, short: Option<&str>, text: Option<&str>| {
        let mut disk = store.disk.borrow_mut();
        let row = disk.bans.get_mut(&key(network)).unwrap();
        if let Some(short) = short {
            short.clone_into(&mut row.short);
        }
        if let Some(text) = text {
            text.clone_into(&mut row.text);
        }
    };
    let whole = store.disk.borrow().bans[&key("192.0.2.1")].clone();
    // What is collected of it, and all of it, and what is shown of it.
    damage("192.0.2.1", Some("x"), None);
    damage("192.0.2.2", Some("12 34"), Some("{"));
    damage("192.0.2.3", None, Some("[]"));
    report_at(&store, &[("203.0.113.1/32", 0, 600_000)], 6_000);
    let notes = collect(&store, 6_000);
    let set = published(&store, 6_000).unwrap();
    let found: Vec<String> = set.entries().map(|hit| hit.network.to_string()).collect();
    assert_eq!(found, ["192.0.2.1/32", "192.0.2.3/32", "192.0.2.4/32", "203.0.113.1/32"]);
    // The first was written anew from the rest of it, the second is gone and
    // stands in the audit log, the third acts and is seen.
    assert_eq!(store.disk.borrow().bans[&key("192.0.2.1")], whole);
    assert!(!store.disk.borrow().bans.contains_key(&key("192.0.2.2")));
    let entry = audit(&store).pop().unwrap();
    assert_eq!(
        (&entry["action"], &entry["author"], &entry["reason"], &entry["network"]),
        (&json!("forget-ban"), &json!("control"), &json!("damaged"), &json!("192.0.2.2/32"))
    );
    let list = ask_at(&store, "bans", json!({}), at(6_000))["result"]["bans"].clone();
    assert_eq!(list[1]["network"], "192.0.2.3/32");
    assert_eq!(list[1]["until"], "2026-01-01T01:00:00.000Z");
    assert_eq!(list[1]["reason"], "what is stored of this ban is damaged");
    let one = ask_at(&store, "bans", json!({"address": "192.0.2.3"}), at(6_000))["result"]["bans"].clone();
    assert_eq!(one[0]["reason"], "what is stored of this ban is damaged");
    // The log is told once.
    let errors: Vec<Value> = notes.iter().map(|note| serde_json::from_str(note).unwrap()).collect();
    let errors: Vec<&str> = errors.iter().map(|note| note["error"].as_str().unwrap()).collect();
    assert_eq!(
        errors,
        [
            "damaged: the row of the ban of 192.0.2.1/32; it was written anew",
            "damaged: the row of the ban of 192.0.2.2/32; it was removed"
        ]
    );
    ban_at(&store, &["203.0.113.2"], 60, 12_000);
    assert_eq!(collect(&store, 12_000), [""; 0]);
    // It can be lifted, and a ban is written over it.
    assert_eq!(outcome(&unban_at(&store, &["192.0.2.3/32"], 13_000)), "");
    assert!(!published(&store, 13_000).unwrap().has("192.0.2.3".parse().unwrap()));
    damage("192.0.2.4", None, Some(""));
    assert_eq!(outcome(&ban_at(&store, &["192.0.2.4"], 60, 14_000)), "");
    assert_eq!(
        ask_at(&store, "bans", json!({"address": "192.0.2.4"}), at(14_000))["result"]["bans"][0]["by"],
        "ada"
    );
    // Reports go on, too.
    damage("192.0.2.4", None, Some(""));
    let taken =
        report_at(&store, &[("192.0.2.4/32", 15_000, 900_000), ("203.0.113.3/32", 0, 900_000)], 15_000);
    assert_eq!(taken["result"]["dropped"], json!([]));
    assert!(networks(&store, 15_000).contains(&"203.0.113.3/32".to_owned()));
}

#[test]
fn what_is_known_of_the_bans_is_collected_anew_where_it_is_damaged() {
    let store = guarded();
    ban_at(&store, &["192.0.2.1"], 3_600, 0);
    let before = published(&store, 0).unwrap().generation();
    for name in ["bans", "guard", "modules"] {
        store.disk.borrow_mut().values.insert(name.to_owned(), "{".to_owned());
    }
    // Somebody who asks gets nothing wrong, and the alarm mends it.
    let asked = json!({"version": 3, "module": "0.3.0", "action": "active"}).to_string();
    assert!(handle(&store, &asked, at(5_000)).is_err());
    assert_eq!(store.disk.borrow().alarm, Some(at(5_000)));
    let notes = collect(&store, 5_000);
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("damaged: the state of the bans"), "{notes:?}");
    let set = published(&store, 5_000).unwrap();
    assert!(set.generation() > before && set.has("192.0.2.1".parse().unwrap()));
    assert_eq!(collect(&store, 6_000), [""; 0]);
    // What triggers report while it is damaged is collected with the rest.
    store.disk.borrow_mut().values.insert("bans".to_owned(), "{".to_owned());
    report_at(&store, &[("203.0.113.1/32", 0, 600_000)], 20_000);
    collect(&store, 20_000);
    assert_eq!(published(&store, 20_000).unwrap().len(), 2);
}
