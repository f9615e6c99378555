//! The purges of the control plane.

use edgeweir::control::plane::handle;
use edgeweir::control::purges::ORDER_LIMIT;
use edgeweir::control::state::State;
use edgeweir::policy::manifest::Manifest;
use edgeweir::purge::url::url_of;
use edgeweir::purge::{KEPT, Purges, RECORDS_LIMIT, Stored, TEXT_LIMIT, Void};
use edgeweir::time::millis_of;
use serde_json::{Value, json};

use super::memory::MemoryStore;
use super::{at, audit, document, outcome};
use crate::fake::START;

const HARD: Option<Void> = Some(Void { soft: false });
const SOFT: Option<Void> = Some(Void { soft: true });

/// As the module does that knows of purges.
fn ask_at(store: &MemoryStore, action: &str, mut fields: Value, now: u64) -> Value {
    fields["version"] = json!(3);
    fields["module"] = json!("0.3.0");
    super::ask_at(store, action, fields, at(now))
}

fn push(store: &MemoryStore, base: &str, name: &str, now: u64) {
    let fields = json!({"base": base, "document": document(name), "author": "ada", "role": "operator"});
    assert!(outcome(&ask_at(store, "push", fields, now)).starts_with('r'));
}

fn active() -> MemoryStore {
    let store = MemoryStore::default();
    push(&store, "r0", "one", 0);
    store
}

fn purge_at(store: &MemoryStore, mut order: Value, now: u64) -> Value {
    for (name, value) in [("author", "ada"), ("role", "operator"), ("message", "a typo")] {
        order.as_object_mut().unwrap().entry(name).or_insert(json!(value));
    }
    ask_at(store, "purge", order, now)
}

fn tags(tags: &[&str]) -> Value {
    json!({ "tags": tags })
}

/// The list that an isolate would get now.
fn published(store: &MemoryStore, now: u64) -> Option<Purges> {
    let active = ask_at(store, "active", json!({}), now);
    let manifest = Manifest::parse(active["result"]["manifest"]["value"].as_str().unwrap(), None).unwrap();
    let purges = Purges::read(&manifest.beside.purges?, manifest.sequence);
    assert_eq!(purges.damage(), None);
    assert!(purges.newest() <= manifest.sequence);
    Some(purges)
}

fn listed(store: &MemoryStore, now: u64) -> Vec<Value> {
    ask_at(store, "purges", json!({}), now)["result"]["purges"].as_array().unwrap().clone()
}

/// Scope, value and whether it is soft, newest first.
fn short(store: &MemoryStore, now: u64) -> Vec<String> {
    let text = |purge: &Value| {
        let soft = if purge["soft"] == true { " soft" } else { "" };
        format!("{} {}{soft}", purge["scope"].as_str().unwrap(), purge["value"].as_str().unwrap_or("-"))
    };
    listed(store, now).iter().map(text).collect()
}

fn sequence(store: &MemoryStore) -> u64 {
    State::load(store).unwrap().sequence
}

fn judged(purges: &Purges, target: &str, tags: &[&str], began: u64) -> Option<Void> {
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    purges.judge(&Stored { url: &url_of("https", "a.example", target), tags: &tags, began })
}

#[test]
fn a_purge_is_listed_written_down_and_in_the_manifest() {
    let store = active();
    assert!(published(&store, 0).is_none());
    let before = sequence(&store);
    let order = json!({"urls": ["https://A.example/x?b&a"], "prefixes": ["https://a.example/blog/"], "tags": ["News"]});
    let done = purge_at(&store, order, 500)["result"].clone();
    let newest = done["newest"].as_u64().unwrap();
    assert_eq!(
        (&done["purged"], &done["state"], &done["overflowed"]),
        (&json!(3), &json!("pending"), &json!(false))
    );
    assert_eq!((&done["sequence"], sequence(&store)), (&json!(newest), newest));
    assert!(newest > before);
    assert!(store.disk.borrow().alarm.is_some());
    // What comes back is what is published.
    let purges = published(&store, 600).unwrap();
    assert_eq!(purges, Purges::read(done["list"].as_str().unwrap(), 0));
    assert_eq!(purges.newest(), newest);
    for (target, tags) in [("/x?a&b", &[][..]), ("/blog/1", &[]), ("/other", &["news"])] {
        assert_eq!(judged(&purges, target, tags, before), HARD, "{target}");
        assert_eq!(judged(&purges, target, tags, newest), None, "{target}");
    }
    assert_eq!(judged(&purges, "/other", &[], before), None);
    let purge = &listed(&store, 600)[2];
    let expected = json!({"sequence": newest - 2, "scope": "url", "value": "https://a.example/x?a&b", "soft": false,
        "time": "2026-01-01T00:00:00.500Z", "by": "ada"});
    assert_eq!(purge, &expected);
    let entry = audit(&store).pop().unwrap();
    let purged = "url https://A.example/x?b&a, prefix https://a.example/blog/, tag News";
    for (member, value) in [
        ("action", "purge"),
        ("outcome", "accepted"),
        ("author", "ada"),
        ("message", "a typo"),
        ("purged", purged),
    ] {
        assert_eq!(entry[member], value, "{entry}");
    }
}

#[test]
fn sequences_only_grow_whatever_the_clock_does() {
    let store = active();
    let mut last = 0;
    for (now, order) in [
        (5_000, tags(&["a", "b", "c"])),
        (5_000, tags(&["a"])),
        (10, tags(&["b"])),
        (10, json!({"all": true})),
    ] {
        let newest = purge_at(&store, order, now)["result"]["newest"].as_u64().unwrap();
        assert!(newest > last && newest >= START);
        last = newest;
        assert_eq!(published(&store, now).unwrap().newest(), newest);
    }
    // Whoever publishes something else goes on above it.
    push(&store, "r1", "two", 10);
    assert!(sequence(&store) > last);
    assert_eq!(published(&store, 10).unwrap().newest(), last);
}

#[test]
fn what_a_newer_purge_holds_leaves() {
    let store = active();
    let url = "https://a.example/blog/1";
    for (order, list) in [
        (json!({"urls": [url, url], "tags": ["a"]}), &["tag a", "url https://a.example/blog/1"][..]),
        // A soft one replaces no hard one.
        (
            json!({"urls": [url], "soft": true}),
            &["url https://a.example/blog/1 soft", "tag a", "url https://a.example/blog/1"],
        ),
        (json!({"urls": [url]}), &["url https://a.example/blog/1", "tag a"]),
        (json!({"prefixes": ["https://a.example/blog/"]}), &["prefix https://a.example/blog/", "tag a"]),
        (json!({"prefixes": ["https://a.example/b"]}), &["prefix https://a.example/b", "tag a"]),
        (
            json!({"all": true, "soft": true, "tags": ["b"]}),
            &["all - soft", "prefix https://a.example/b", "tag a"],
        ),
        (json!({"tags": ["A"]}), &["tag a", "all - soft", "prefix https://a.example/b"]),
        (json!({"all": true}), &["all -"]),
    ] {
        assert_eq!(outcome(&purge_at(&store, order, 0)), "");
        assert_eq!(short(&store, 0), list);
    }
}

#[test]
fn what_cannot_be_purged_is_refused_and_written_down() {
    let store = active();
    for order in [
        json!({}),
        json!({"urls": ["https://a.example/", "/x"]}),
        json!({"prefixes": ["https://a.exam"]}),
        json!({"tags": ["a b"]}),
        json!({"tags": (0..=ORDER_LIMIT).map(|n| n.to_string()).collect::<Vec<_>>()}),
    ] {
        assert_eq!(outcome(&purge_at(&store, order, 0)), "malformed");
        assert_eq!(audit(&store).last().unwrap()["reason"], "malformed");
    }
    assert_eq!(outcome(&purge_at(&store, json!({"all": true, "role": "reader"}), 0)), "needs-operator");
    let entry = audit(&store).pop().unwrap();
    assert_eq!((&entry["outcome"], &entry["purged"]), (&json!("refused"), &json!("all")));
    assert!(published(&store, 0).is_none());
    // Of an order that is much longer than its entry the beginning is kept.
    let long: Vec<String> = (0..ORDER_LIMIT).map(|n| format!("{n}-{}", "ä".repeat(100))).collect();
    purge_at(&store, json!({"tags": long, "soft": true}), 0);
    let purged = audit(&store).pop().unwrap()["purged"].as_str().unwrap().to_owned();
    assert!(purged.starts_with("soft, tag 0-ä") && purged.len() <= 500, "{purged}");
}

#[test]
fn a_purge_leaves_after_seven_days_and_what_began_before_it_is_void() {
    let store = active();
    let kept = millis_of(KEPT);
    let first =
        purge_at(&store, json!({"tags": ["a"], "soft": true}), 0)["result"]["newest"].as_u64().unwrap();
    let second = purge_at(&store, tags(&["b"]), 1_000)["result"]["newest"].as_u64().unwrap();
    let third = purge_at(&store, tags(&["c"]), kept + 999)["result"]["newest"].as_u64().unwrap();
    assert_eq!(short(&store, 0), ["tag c", "tag b", "all - soft"]);
    let purges = published(&store, kept).unwrap();
    assert_eq!((judged(&purges, "/", &[], first - 1), judged(&purges, "/", &[], first)), (SOFT, None));
    // With a new revision, too: it is published anyway.
    push(&store, "r1", "two", kept + 1_000);
    assert_eq!(short(&store, 0), ["tag c", "all -"]);
    let purges = published(&store, kept + 1_000).unwrap();
    assert_eq!(purges.newest(), third);
    assert_eq!((judged(&purges, "/", &[], second - 1), judged(&purges, "/", &[], second)), (HARD, None));
    let all = listed(&store, 0).pop().unwrap();
    assert_eq!(
        (&all["by"], &all["cause"], &all["sequence"]),
        (&json!("control"), &json!("expired"), &json!(second))
    );
    // What is of everything stays: there is one of either kind at most.
    let last = 9 * kept;
    let newest = purge_at(&store, tags(&["d"]), last)["result"]["newest"].as_u64().unwrap();
    assert_eq!(short(&store, 0), ["tag d", "all -"]);
    assert_eq!(listed(&store, 0)[1]["sequence"], third);
    push(&store, "r2", "three", 20 * kept);
    assert_eq!(
        (short(&store, 0), published(&store, 20 * kept).unwrap().newest()),
        (vec!["all -".to_owned()], newest)
    );
}

#[test]
fn what_does_not_fit_is_a_purge_of_everything() {
    let fill = |store: &MemoryStore, from: usize, count: usize, soft: bool, length: usize| {
        let tags: Vec<String> = (from..from + count).map(|n| format!("{n:0>length$}")).collect();
        purge_at(store, json!({"tags": tags, "soft": soft}), 0)["result"].clone()
    };
    let store = active();
    for from in (0..RECORDS_LIMIT).step_by(ORDER_LIMIT) {
        assert_eq!(fill(&store, from, ORDER_LIMIT, from > 0, 4)["overflowed"], false);
    }
    // One that is there already needs no room.
    assert_eq!(fill(&store, 0, 1, false, 4)["overflowed"], false);
    let done = fill(&store, RECORDS_LIMIT, 1, true, 4);
    assert_eq!((&done["overflowed"], &done["purged"]), (&json!(true), &json!(1)));
    assert_eq!(short(&store, 0), ["all -"]);
    let all = listed(&store, 0).pop().unwrap();
    assert_eq!((&all["cause"], &all["sequence"]), (&json!("overflow"), &done["newest"]));
    let purges = published(&store, 0).unwrap();
    let newest = done["newest"].as_u64().unwrap();
    assert_eq!((judged(&purges, "/", &[], newest - 1), judged(&purges, "/", &[], newest)), (HARD, None));
    // By length; and a soft one where all are.
    let store = active();
    assert_eq!(fill(&store, 0, 200, true, 250)["overflowed"], false);
    let done = fill(&store, 200, 50, true, 250);
    assert_eq!(done["overflowed"], true);
    assert_eq!(short(&store, 0), ["all - soft"]);
    assert!(done["list"].as_str().unwrap().len() < TEXT_LIMIT);
}

#[test]
fn the_list_has_pages() {
    let store = active();
    purge_at(&store, tags(&["a", "b", "c"]), 0);
    let page = |fields: Value| ask_at(&store, "purges", fields, 0)["result"].clone();
    let first = page(json!({"limit": 2}));
    assert_eq!(
        (first["purges"].as_array().unwrap().len(), &first["more"], &first["total"]),
        (2, &json!(true), &json!(3))
    );
    let rest = page(json!({"limit": 2, "before": first["purges"][1]["sequence"]}));
    assert_eq!((&rest["purges"][0]["value"], &rest["more"]), (&json!("a"), &json!(false)));
    assert_eq!(page(json!({"limit": 0}))["purges"].as_array().unwrap().len(), 1);
    assert_eq!(page(json!({"before": 1})), json!({"purges": [], "more": false, "total": 3}));
}

#[test]
fn a_damaged_list_is_a_purge_of_everything_and_holds_nothing_up() {
    let store = active();
    let before = purge_at(&store, tags(&["a"]), 0)["result"]["newest"].as_u64().unwrap();
    let damage = || drop(store.disk.borrow_mut().values.insert("purges".to_owned(), "{".to_owned()));
    damage();
    // Somebody who asks gets nothing wrong, and the alarm mends it.
    let asked = json!({"version": 3, "module": "0.3.0", "action": "active"}).to_string();
    assert!(handle(&store, &asked, at(5_000)).is_err());
    assert_eq!(store.disk.borrow().alarm, Some(at(5_000)));
    let notes = edgeweir::control::mend::mend(&store, at(5_000)).unwrap();
    assert!(
        notes[0].starts_with("the purges: ") && notes[0].ends_with("; everything was purged"),
        "{notes:?}"
    );
    assert_eq!(edgeweir::control::mend::mend(&store, at(5_000)).unwrap(), [""; 0]);
    assert_eq!(listed(&store, 5_000)[0]["cause"], "damaged");
    let purges = published(&store, 5_000).unwrap();
    assert!(purges.newest() > before);
    assert_eq!(judged(&purges, "/", &[], before), HARD);
    // An order does not wait for that.
    damage();
    assert_eq!(outcome(&purge_at(&store, tags(&["b"]), 6_000)), "");
    assert_eq!(short(&store, 6_000), ["tag b", "all -"]);
}

#[test]
fn without_a_policy_there_is_nothing_to_publish_and_nothing_is_forgotten() {
    let store = MemoryStore::default();
    let done = purge_at(&store, tags(&["a"]), 0)["result"].clone();
    assert_eq!((&done["sequence"], &done["state"]), (&json!(0), &json!("pending")));
    push(&store, "r0", "one", 0);
    let purges = published(&store, 0).unwrap();
    assert_eq!(json!(purges.newest()), done["newest"]);
}

/// A module that cannot read the active policy gets an older one; what was
/// purged is purged there, too.
#[test]
fn purges_reach_a_module_that_is_behind() {
    let store = active();
    // Made by hand: no later version is known yet.
    {
        let mut disk = store.disk.borrow_mut();
        let row = disk.rows.iter().find(|((table, _), _)| table.as_str() == "revisions").unwrap();
        let row = (*row.0, row.1.clone());
        let later = row.1.replace("\"r1\"", "\"r2\"").replace("\"module\":\"0.1.0\"", "\"module\":\"9.0.0\"");
        assert!(later.contains("9.0.0"), "{later}");
        disk.rows.insert((row.0.0, 2), later);
        let state = disk.values["state"].replace("\"active\":1", "\"active\":2");
        disk.values.insert("state".to_owned(), state);
    }
    purge_at(&store, tags(&["a"]), 0);
    let manifest = |module: &str| {
        let answer = super::ask_at(&store, "active", json!({"version": 3, "module": module}), at(0));
        let value = answer["result"]["manifest"]["value"].as_str().unwrap().to_owned();
        serde_json::from_str::<Value>(&value).unwrap()
    };
    let behind = manifest("0.3.0");
    assert_eq!((&behind["revision"], &behind["purges"]["records"][0]["tag"]), (&json!("r1"), &json!("a")));
    // One that refuses what it does not know gets what it knows.
    assert!(manifest("0.2.0").get("purges").is_none());
}
