//! Runs by schedule, over the pure control plane on memory.

use edgeweir::control::client;
use edgeweir::control::feeds::FeedStates;
use edgeweir::control::message::Action;
use edgeweir::control::sets::{CHANGE_LIMIT, SetsStatus};
use edgeweir::feeds::publish::account;
use edgeweir::feeds::run::scheduled;
use edgeweir::feeds::schedule::{RUN_LIMIT, RUN_TIME};
use edgeweir::platform::BodyError;
use edgeweir::policy::manifest::Alert;
use serde_json::{Value, json};
use std::time::Duration;

use crate::control::{audit, document, push};
use crate::fake::feeds::Served;
use crate::fake::{Fault, Gate, block_on, check};

const MINUTE: u64 = 60_000;
const RUN: u64 = 5 * MINUTE;

/// An isolate that acts on these feeds, by name and more than the URL.
fn with(feeds: &[(&str, Value)]) -> Gate {
    let sets: serde_json::Map<String, Value> = feeds
        .iter()
        .map(|(name, more)| {
            let mut feed = json!({"url": format!("https://lists.example/{name}")});
            feed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            ((*name).to_owned(), json!({"stored": true, "feed": feed}))
        })
        .collect();
    let gate = Gate::new(&json!({"version": 1, "address_sets": sets, "guard_list": ["203.0.113.0/24"]}));
    push(&gate.platform.control, "r0", &document("a"));
    gate
}

fn hosts(count: usize) -> String {
    (0..count).map(|number| format!("198.51.{}.{}\n", number / 256, number % 256)).collect()
}

/// Runs, and gives the lines of the log without their times.
fn run(gate: &Gate) -> Vec<String> {
    let lines = block_on(scheduled(&gate.platform, &gate.snapshot));
    lines
        .iter()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!((&line["schema"], &line["event"]), (&json!(1), &json!("feed")));
            assert!(line["time"].is_string());
            let text = |name: &str| line[name].as_str().unwrap_or("-").to_owned();
            format!("{} {} {}", text("name"), text("state"), text("reason"))
        })
        .collect()
}

fn status(gate: &Gate) -> SetsStatus {
    block_on(client::ask(&gate.platform, &Action::Sets, Duration::MAX)).unwrap()
}

fn states(gate: &Gate) -> FeedStates {
    block_on(client::ask(&gate.platform, &Action::Feeds, Duration::MAX)).unwrap()
}

/// The sets as `name prefixes`.
fn sets(gate: &Gate) -> Vec<String> {
    status(gate).present.sets.iter().map(|set| format!("{} {}", set.name, set.v4 + set.v6)).collect()
}

fn alerts(gate: &Gate) -> Vec<String> {
    let text = gate.platform.control.disk.borrow().values["state"].clone();
    let state: Value = serde_json::from_str(&text).unwrap();
    let alerts = state["alerts"].as_array().cloned().unwrap_or_default();
    alerts
        .iter()
        .map(|alert| format!("{} {}", alert["name"].as_str().unwrap(), alert["reason"].as_str().unwrap()))
        .collect()
}

#[test]
fn all_lists_of_a_run_make_one_generation() {
    let gate = with(&[("a", json!({})), ("b", json!({})), ("c", json!({}))]);
    gate.platform.feeds.serve(|asked| Served::list(&hosts(asked.url.len())).etag(&asked.url));
    assert_eq!(run(&gate), [""; 0]);
    assert_eq!(sets(&gate), ["a 23", "b 23", "c 23"]);
    assert_eq!(status(&gate).present.generation, 1);
    let entry = audit(&gate.platform.control).pop().unwrap();
    assert_eq!(
        (&entry["author"], &entry["action"]),
        (&json!("schedule"), &json!("refresh: 3 sets changed (a, b, c)"))
    );
    gate.platform.feeds.urls();
    // Nothing is due for a while.
    for _ in 0..11 {
        gate.platform.advance(RUN);
        assert_eq!(run(&gate), [""; 0]);
    }
    assert_eq!(gate.platform.feeds.urls(), [""; 0]);
    // Then the servers are asked whether anything has changed.
    gate.platform.feeds.serve(|asked| match asked.if_none_match.as_deref() {
        Some(tag) if tag.ends_with('b') => Served::list(&hosts(24)).etag("new"),
        Some(_) => Served::status(304),
        None => panic!("{asked:?}"),
    });
    gate.platform.advance(RUN);
    assert_eq!(run(&gate), [""; 0]);
    assert_eq!(
        (sets(&gate), status(&gate).present.generation),
        (vec!["a 23".to_owned(), "b 24".to_owned(), "c 23".to_owned()], 2)
    );
    let entry = audit(&gate.platform.control).pop().unwrap();
    assert_eq!(entry["action"], "refresh b");
    assert_eq!(states(&gate).of("b").unwrap().validators.etag.as_deref(), Some("new"));
    assert_eq!(states(&gate).of("a").unwrap().validators.etag.as_deref(), Some("https://lists.example/a"));
    // A server without validators gives the same list: no generation.
    gate.platform.feeds.serve(|asked| Served::list(&hosts(if asked.url.ends_with('b') { 24 } else { 23 })));
    gate.platform.advance(12 * RUN);
    assert_eq!(run(&gate), [""; 0]);
    assert_eq!(status(&gate).present.generation, 2);
    assert_eq!(states(&gate).of("a").unwrap().validators.etag, None);
}

#[test]
fn a_feed_that_shrinks_keeps_its_list_and_is_an_alert_until_it_is_good() {
    let gate = with(&[("a", json!({"interval": "5m"})), ("b", json!({"interval": "5m"}))]);
    gate.platform.feeds.serve(|_| Served::list(&hosts(100)).etag("\"1\""));
    run(&gate);
    gate.platform.feeds.serve(|asked| {
        if asked.url.ends_with('a') {
            Served::list(&hosts(3)).etag("\"2\"")
        } else {
            Served::list(&hosts(120))
        }
    });
    gate.platform.advance(RUN);
    assert_eq!(run(&gate), ["a failing shrunk"]);
    // The others go on.
    assert_eq!(
        (sets(&gate), alerts(&gate)),
        (vec!["a 100".to_owned(), "b 120".to_owned()], vec!["a shrunk".to_owned()])
    );
    // Still so: no news, and the server is asked about the last good list.
    gate.platform.advance(RUN);
    gate.platform.feeds.asked.take();
    assert_eq!(run(&gate), [""; 0]);
    let asked = gate.platform.feeds.asked.take();
    assert_eq!(
        asked.iter().find(|asked| asked.url.ends_with('a')).unwrap().if_none_match.as_deref(),
        Some("\"1\"")
    );
    assert_eq!(states(&gate).of("a").unwrap().failure.as_ref().unwrap().attempts, 2);
    // For another reason.
    gate.platform
        .feeds
        .serve(|asked| if asked.url.ends_with('a') { Served::status(500) } else { Served::status(304) });
    gate.platform.advance(RUN);
    assert_eq!(
        (run(&gate), alerts(&gate)),
        (
            vec!["a failing feed-status".to_owned(), "b failing feed-status".to_owned()],
            vec!["a feed-status".to_owned(), "b feed-status".to_owned()]
        )
    );
    // And good again.
    gate.platform.feeds.serve(|_| Served::list(&hosts(110)));
    gate.platform.advance(RUN);
    assert_eq!(
        (run(&gate), alerts(&gate)),
        (vec!["a recovered -".to_owned(), "b recovered -".to_owned()], vec![])
    );
    assert_eq!(sets(&gate), ["a 110", "b 110"]);
}

#[test]
fn every_way_to_fail_keeps_the_last_good_list() {
    let gate = with(&[("a", json!({"interval": "5m", "max_bytes": "10KiB", "max_prefixes": 500}))]);
    gate.platform.feeds.serve(|_| Served::list(&hosts(100)));
    run(&gate);
    for (served, reason) in [
        (Served::status(404), "feed-status"),
        (Served::to("http://lists.example/a"), "feed-redirect"),
        (Served::to("https://10.0.0.1/a"), "feed-redirect"),
        (Served::failing(Fault::Fails), "feed-unreachable"),
        (Served::failing(Fault::TimesOut), "feed-timeout"),
        (Served::list(&hosts(100)).ending(BodyError::Broken), "feed-unreachable"),
        (Served::list(&hosts(100)).ending(BodyError::TimedOut), "feed-timeout"),
        (Served::list(""), "empty"),
        (Served::list("<html>"), "malformed"),
        (Served::list("198.51.100.7/24\n"), "host-bits"),
        (Served::list(&hosts(501)), "oversized"),
        (Served::list(&"# nothing\n".repeat(2_000)), "oversized"),
        (Served::list(&hosts(40)), "shrunk"),
        (Served::list(&hosts(200)), "grown"),
        (Served::list("0.0.0.0/0\n"), "short-prefix"),
        (Served::list("10.0.0.0/8\n"), "private"),
        (Served::list("203.0.113.9\n"), "guarded"),
    ] {
        gate.platform.feeds.serve(move |_| served.clone());
        gate.platform.advance(RUN);
        let news = run(&gate);
        assert!(news.is_empty() || news == [format!("a failing {reason}")], "{news:?}");
        assert_eq!((sets(&gate), alerts(&gate)), (vec!["a 100".to_owned()], vec![format!("a {reason}")]));
    }
    assert_eq!(status(&gate).present.generation, 1);
}

#[test]
fn a_failing_feed_is_left_alone_for_longer_and_longer() {
    let gate = with(&[("a", json!({"interval": "1h"}))]);
    gate.platform.feeds.serve(|_| Served::status(500));
    let mut tries = Vec::new();
    for run_number in 0..36 {
        run(&gate);
        if !gate.platform.feeds.urls().is_empty() {
            tries.push(run_number * 5);
        }
        gate.platform.advance(RUN);
    }
    assert_eq!(tries, [0, 5, 15, 35, 75, 135]);
}

#[test]
fn another_url_forgets_what_was_known() {
    let gate = with(&[("a", json!({}))]);
    gate.platform.feeds.serve(|_| Served::list(&hosts(10)).etag("\"1\""));
    run(&gate);
    let moved = with(&[("a", json!({"url": "https://elsewhere.example/"}))]);
    *moved.platform.control.disk.borrow_mut() = gate.platform.control.disk.take();
    moved.platform.feeds.serve(|asked| {
        assert_eq!((asked.url.as_str(), &asked.if_none_match), ("https://elsewhere.example/", &None));
        Served::status(500)
    });
    assert_eq!(run(&moved), ["a failing feed-status"]);
    let states = states(&moved);
    let state = states.of("a").unwrap();
    assert_eq!((state.validators.etag.as_ref(), state.changed), (None, None));
}

#[test]
fn what_somebody_imported_or_took_away_is_fetched_whole() {
    let gate = with(&[("a", json!({"interval": "5m"}))]);
    gate.platform.feeds.serve(|_| Served::list(&hosts(10)).etag("\"1\""));
    run(&gate);
    for change in ["import", "remove"] {
        crate::admin::sets::import(
            &gate.platform.control,
            change,
            &crate::admin::sets::sets_of(if change == "import" { &["a"] } else { &[] }),
        );
        gate.platform.feeds.asked.take();
        gate.platform.advance(RUN);
        gate.platform.feeds.serve(|_| Served::list("198.51.100.0/24\n").etag("\"1\""));
        run(&gate);
        assert_eq!(gate.platform.feeds.asked.take()[0].if_none_match, None, "{change}");
        assert_eq!(sets(&gate), ["a 1"], "{change}");
        // From now on it is what the server said of it.
        gate.platform.advance(RUN);
        run(&gate);
        assert_eq!(gate.platform.feeds.asked.take()[0].if_none_match.as_deref(), Some("\"1\""), "{change}");
    }
}

#[test]
fn a_feed_that_the_policy_has_lost_is_forgotten() {
    let gate = with(&[("a", json!({})), ("b", json!({}))]);
    gate.platform.feeds.serve(|_| Served::status(500));
    run(&gate);
    assert_eq!(alerts(&gate), ["a feed-status", "b feed-status"]);
    for (names, left) in [(&["b"][..], &["b feed-status"][..]), (&[], &[])] {
        let feeds: Vec<(&str, Value)> = names.iter().map(|name| (*name, json!({}))).collect();
        let mut later = with(&feeds);
        later.snapshot.alerts = vec![Alert {
            kind: "feed".to_owned(),
            name: "b".to_owned(),
            reason: "feed-status".to_owned(),
            since: String::new(),
        }];
        *later.platform.control.disk.borrow_mut() = gate.platform.control.disk.borrow().clone();
        assert_eq!(run(&later), [""; 0]);
        assert_eq!(alerts(&later), left);
        *gate.platform.control.disk.borrow_mut() = later.platform.control.disk.take();
    }
    // Without feeds nobody is asked.
    let none = with(&[]);
    none.platform.control_fault.set(Some(Fault::Fails));
    assert_eq!(run(&none), [""; 0]);
}

#[test]
fn a_run_ends_and_the_next_one_goes_on() {
    let names: Vec<String> = (0..80).map(|number| format!("f{number:02}")).collect();
    let feeds: Vec<(&str, Value)> = names.iter().map(|name| (name.as_str(), json!({}))).collect();
    let gate = with(&feeds);
    gate.platform.feeds.serve(|_| Served::list(&hosts(3)));
    let counts = [(); 3].map(|()| {
        run(&gate);
        gate.platform.advance(RUN);
        gate.platform.feeds.urls().len()
    });
    assert_eq!(counts, [RUN_LIMIT, RUN_LIMIT, 80 - 2 * RUN_LIMIT]);
    assert_eq!(sets(&gate).len(), 80);
    // Servers that hang take the time of a run, and no more of it.
    let gate = with(&feeds);
    gate.platform.feeds.head_takes.set(30_000);
    let begun = gate.platform.clock.get();
    run(&gate);
    assert_eq!(gate.platform.feeds.urls().len(), 4);
    assert!(gate.platform.clock.get() - begun <= u64::try_from(RUN_TIME.as_millis()).unwrap() + 30_000);
}

#[test]
fn a_plane_that_fails_is_told_in_the_log_and_made_up_for() {
    // Whatever call it fails from on.
    for calls in 0..8 {
        let gate = with(&[("a", json!({"interval": "5m"})), ("b", json!({"interval": "5m"}))]);
        gate.platform.feeds.serve(|asked| {
            if asked.url.ends_with('a') { Served::list(&hosts(10)) } else { Served::status(500) }
        });
        gate.platform.control_fault.set(Some(Fault::TimesOut));
        gate.platform.control_calls.set(calls);
        let news = run(&gate);
        gate.platform.control_fault.set(None);
        let is_whole = news == ["b failing feed-status"];
        assert!(is_whole || news.last().map(String::as_str) == Some("- interrupted -"), "{calls} {news:?}");
        // The next run does what this one did not.
        gate.platform.advance(RUN);
        run(&gate);
        assert_eq!(
            (sets(&gate), alerts(&gate)),
            (vec!["a 10".to_owned()], vec!["b feed-status".to_owned()]),
            "{calls}"
        );
        assert!(states(&gate).of("a").unwrap().checked.is_some());
        if is_whole {
            assert!(calls >= 5);
            return;
        }
    }
    panic!("it never was");
}

#[test]
fn an_answer_that_is_lost_makes_no_second_generation() {
    let gate = with(&[("a", json!({"interval": "5m"}))]);
    gate.platform.feeds.serve(|_| Served::list(&hosts(10)));
    // The generation is made, and nobody hears of it.
    gate.platform.before_call(|store, message| {
        if message.contains("\"action\":\"set-sets\"") {
            let now = edgeweir::time::Timestamp::from_millis(crate::fake::START);
            edgeweir::control::plane::handle(store, message, now).unwrap();
            store.dead.set(true);
        }
    });
    assert_eq!(run(&gate), ["- interrupted -"]);
    gate.platform.before_call(|_, _| {});
    gate.platform.control.dead.set(false);
    assert_eq!(sets(&gate), ["a 10"]);
    gate.platform.advance(RUN);
    assert_eq!(run(&gate), [""; 0]);
    assert_eq!(status(&gate).present.generation, 1);
    assert!(states(&gate).of("a").unwrap().checked.is_some());
}

/// What the audit log has no room for is left out by whole names.
#[test]
fn a_run_is_written_down_as_far_as_there_is_room() {
    let of = |names: &[String]| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        account("refresh", &names)
    };
    let named = |names: &[&str]| of(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    assert_eq!(named(&["drop"]), "refresh drop");
    assert_eq!(named(&["drop", "aws"]), "refresh: 2 sets changed (drop, aws)");
    check(400, proptest::collection::vec("[a-z]{1,64}", 2..257), |names| {
        let text = of(&names);
        assert!(text.len() <= CHANGE_LIMIT, "{text}");
        let listed = text.strip_prefix(&format!("refresh: {} sets changed (", names.len())).unwrap();
        let mut listed: Vec<&str> = listed.strip_suffix(')').unwrap().split(", ").collect();
        let is_cut = listed.pop_if(|last| *last == "…").is_some();
        assert!(!listed.is_empty());
        assert_eq!(names[..listed.len()], listed);
        assert_eq!(is_cut, listed.len() < names.len());
        // Nothing is left out that there is room for.
        if is_cut {
            let is_last = listed.len() + 1 == names.len();
            let more = names[listed.len()].len() + if is_last { 0 } else { 2 };
            assert!(text.len() + more > CHANGE_LIMIT, "{text}");
        }
        Ok(())
    });
}
