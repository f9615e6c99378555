//! Importing lists and refreshing feeds, through the admin API.

use edgeweir::control::change_sets::{ATTEMPTS, Author};
use edgeweir::control::message::{PROTOCOL, Role};
use edgeweir::control::sets::StoredSetsState;
use edgeweir::exchange::PlainHead;
use edgeweir::feeds::publish::{Candidate, IMPORT, publish};
use edgeweir::feeds::run::scheduled;
use edgeweir::feeds::{Format, HostBits, Limits, Parser};
use edgeweir::observe::record::Verdict;
use edgeweir::platform::{BodyError, Clock};
use serde_json::{Value, json};

use super::sets::{import_samples, present, sets_of};
use super::{Admin, refused};
use crate::fake::feeds::Served;
use crate::fake::{Fault, Response, With, all, block_on};

const TEXT: (&str, &str) = ("Content-Type", "text/plain");

fn put(target: &str) -> PlainHead {
    Admin::head("operator", "PUT", &format!("/address-sets/{target}")).with(TEXT.0, TEXT.1)
}

fn import(admin: &Admin, target: &str, list: &str) -> Response {
    admin.send_bytes(&put(target), Ok(list.as_bytes())).0
}

/// What was imported, without what changes from case to case.
fn imported(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{}", response.body);
    response.json()
}

/// Label of the problem, and of what is wrong with the list.
fn list_reason(response: &Response) -> (u16, String, String) {
    let (status, label) = refused(response);
    let problem = response.json();
    assert!(problem["detail"].is_string(), "{problem}");
    (status, label, problem["list_reason"].as_str().unwrap_or_default().to_owned())
}

fn invalid(reason: &str) -> (u16, String, String) {
    (422, "invalid-list".to_owned(), reason.to_owned())
}

/// The prefixes of a stored set.
fn held(admin: &Admin, name: &str) -> Vec<String> {
    let sets = present(admin);
    let id = sets.id(name).unwrap_or_else(|| panic!("no set {name}"));
    sets.index.entries().filter(|(_, set)| *set == id).map(|(prefix, _)| prefix.to_string()).collect()
}

fn hosts(count: usize) -> String {
    (0..count).map(|number| format!("198.51.{}.{}\n", number / 256, number % 256)).collect()
}

/// Acts on this feed of the set `lists`.
fn with_feed(more: &Value) -> Admin {
    let mut feed = json!({"url": "https://lists.example/x?key=hunter2"});
    feed.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let guard = json!(["203.0.113.0/24"]);
    Admin::acting_on(
        &json!({"version": 1, "address_sets": {"lists": {"stored": true, "feed": feed}}, "guard_list": guard}),
    )
}

#[test]
fn every_format_is_imported() {
    for (query, text, prefixes) in [
        (
            "",
            "# a\n198.51.100.0/24\n2001:db8:7::/48 ; b\n203.0.113.0 - 203.0.113.5\n",
            &["198.51.100.0/24", "203.0.113.0/30", "203.0.113.4/31", "2001:db8:7::/48"][..],
        ),
        ("?format=netset", "198.51.100.0/24\n198.51.100.7\n", &["198.51.100.0/24"]),
        ("?format=spamhaus_drop", "; Spamhaus\n1.10.16.0/20 ; SBL256894\n", &["1.10.16.0/20"]),
        (
            "?format=spamhaus_json",
            "{\"cidr\":\"1.10.16.0/20\",\"sblid\":\"SBL256894\"}\n{\"type\":\"metadata\",\"records\":1}\n",
            &["1.10.16.0/20"],
        ),
        (
            "?format=aws",
            "{\"prefixes\":[{\"ip_prefix\":\"3.4.12.4/32\"}],\"ipv6_prefixes\":[{\"ipv6_prefix\":\"2600:1f01:4874::/47\"}]}",
            &["3.4.12.4/32", "2600:1f01:4874::/47"],
        ),
        (
            "?format=google",
            "{\"prefixes\":[{\"ipv4Prefix\":\"8.8.4.0/24\"},{\"ipv6Prefix\":\"2001:4860::/32\"}]}",
            &["8.8.4.0/24", "2001:4860::/32"],
        ),
        (
            "?format=cloudflare",
            "{\"result\":{\"ipv4_cidrs\":[\"173.245.48.0/20\"],\"ipv6_cidrs\":[\"2400:cb00::/32\"]},\"success\":true}",
            &["173.245.48.0/20", "2400:cb00::/32"],
        ),
        ("?format=csv&column=2", "a,198.51.100.0/24\nb,192.0.2.1\n", &["192.0.2.1/32", "198.51.100.0/24"]),
        ("?format=csv&column=net", "id,net\n1,198.51.100.0/24\n", &["198.51.100.0/24"]),
    ] {
        let admin = Admin::acting_on(&json!({"version": 1}));
        let answer = imported(&import(&admin, &format!("lists{query}"), text));
        let v4 = prefixes.iter().filter(|prefix| prefix.contains('.')).count();
        assert_eq!(held(&admin, "lists"), prefixes, "{query}");
        assert_eq!(
            (&answer["name"], &answer["changed"], &answer["before"]),
            (&json!("lists"), &json!(true), &json!(0))
        );
        assert_eq!(
            (&answer["prefixes"], &answer["v4"], &answer["v6"]),
            (&json!(prefixes.len()), &json!(v4), &json!(prefixes.len() - v4))
        );
        assert_eq!((&answer["generation"], &answer["state"]), (&json!(1), &json!("pending")), "{query}");
    }
}

#[test]
fn a_list_is_read_as_it_comes_and_whole() {
    let admin = Admin::new();
    let answer = imported(&import(&admin, "lists?message=the+first", &hosts(3_000)));
    assert_eq!((&answer["read"], &answer["prefixes"]), (&json!(3_000), &json!(3_000)));
    assert!(admin.gate.platform.feeds.read.get() > 30);
    assert_eq!(admin.audit().last().unwrap(), "operator|import lists|accepted|-");
    let listed = admin.get("reader", "/address-sets").json();
    let set = listed["sets"].as_array().unwrap().iter().find(|set| set["name"] == "lists").unwrap();
    assert_eq!((&set["source"], &set["prefixes"]), (&json!("import"), &json!(3_000)));
    assert!(set.get("feed").is_none());
    // The isolate need not wait for its interval to see it.
    assert!(admin.gate.isolate.changed.get().is_some());
}

#[test]
fn the_same_list_makes_no_generation() {
    let admin = Admin::new();
    let first = imported(&import(&admin, "lists", &hosts(10)));
    admin.gate.isolate.changed.set(None);
    let shuffled: String = hosts(10).lines().rev().map(|line| format!("{line} # again\n")).collect();
    let second = imported(&import(&admin, "lists", &shuffled));
    assert_eq!((&first["changed"], &second["changed"]), (&json!(true), &json!(false)));
    assert_eq!((&second["generation"], &second["before"]), (&first["generation"], &json!(10)));
    assert_eq!(second["sequence"], first["sequence"]);
    assert_eq!(admin.audit().iter().filter(|line| line.contains("import lists")).count(), 1);
    assert!(admin.gate.isolate.changed.get().is_none());
}

#[test]
fn what_may_not_be_a_list_is_refused_and_the_last_good_one_stays() {
    let admin = with_feed(&json!({}));
    imported(&import(&admin, "lists", &hosts(100)));
    let large = "198.51.100.1\n".repeat(1_000);
    for (query, text, reason) in [
        ("", "", "empty"),
        ("", "# nothing\n", "empty"),
        ("", "<html>maintenance</html>", "malformed"),
        ("", "198.51.100.1\n198.51.100.300\n", "malformed"),
        ("?format=aws", "{\"prefixes\":[", "malformed"),
        ("", "198.51.100.7/24\n", "host-bits"),
        ("", "0.0.0.0/0\n", "short-prefix"),
        ("", "8.0.0.0/7\n", "short-prefix"),
        ("", "2000::/3\n", "short-prefix"),
        ("", "10.1.2.3\n198.51.100.1\n", "private"),
        ("", "127.0.0.1\n", "private"),
        ("", "203.0.113.200\n198.51.100.1\n", "guarded"),
        ("?allow_private=true", "203.0.112.0/20\n", "guarded"),
        ("", &hosts(49), "shrunk"),
        ("", &hosts(151), "grown"),
        ("?max_change=0", &hosts(101), "grown"),
        ("?max_prefixes=99", &hosts(100), "oversized"),
        ("?max_prefixes=1", &large, "oversized"),
    ] {
        let response = import(&admin, &format!("lists{query}"), text);
        assert_eq!(list_reason(&response), invalid(reason), "{query} {text:.40}");
        assert_eq!(held(&admin, "lists").len(), 100, "{query}");
        let last = admin.audit().pop().unwrap();
        assert!(last.ends_with("|refused|invalid-list"), "{last}");
    }
    assert_eq!(present(&admin).generation, 1);
    // And what may be when somebody says so.
    for (query, text, count) in [
        ("?host_bits=mask&max_change=100", "198.51.100.7/24\n".to_owned(), 1),
        ("?allow_private=true", "10.1.2.3\n".to_owned(), 1),
        ("?max_change=10000", hosts(101), 101),
    ] {
        let answer = imported(&import(&admin, &format!("lists{query}"), &text));
        assert_eq!(answer["prefixes"], count, "{query}");
    }
}

#[test]
fn the_feed_of_the_policy_says_what_the_query_does_not() {
    let admin = with_feed(&json!({
        "format": "csv", "column": "ip", "host_bits": "mask", "max_prefixes": 50, "max_change": 10, "allow_private": true
    }));
    imported(&import(&admin, "lists", "ip,x\n10.0.0.7/24,1\n"));
    assert_eq!(held(&admin, "lists"), ["10.0.0.0/24"]);
    let many: String =
        std::iter::once("ip\n".to_owned()).chain((0..51).map(|host| format!("10.0.0.{host}\n"))).collect();
    assert_eq!(list_reason(&import(&admin, "lists", &many)), invalid("oversized"));
    assert_eq!(list_reason(&import(&admin, "lists", "ip\n10.0.0.1\n10.0.0.2\n")), invalid("grown"));
    // The query goes first.
    imported(&import(&admin, "lists?column=1&max_change=100", "198.51.100.1\n198.51.100.2\n"));
    assert_eq!(
        list_reason(&import(&admin, "lists?format=netset&host_bits=refuse", "10.0.0.7/24\n10.1.0.0\n")),
        invalid("host-bits")
    );
    assert_eq!(
        list_reason(&import(&admin, "lists?allow_private=false", "ip\n10.0.0.1\n10.0.0.2\n")),
        invalid("private")
    );
    imported(&import(&admin, "lists?format=netset", "10.0.0.7\n10.0.1.7\n"));
    // Another set has no feed, and the defaults.
    assert_eq!(list_reason(&import(&admin, "other", "10.0.0.1\n")), invalid("private"));
}

#[test]
fn a_wrong_question_is_answered_before_anything_is_read() {
    for target in [
        "lists?format=auto",
        "lists?format=",
        "lists?format=csv",
        "lists?column=1",
        "lists?format=csv&column=0",
        "lists?format=csv&column=1001",
        "lists?host_bits=keep",
        "lists?max_change=10001",
        "lists?max_change=-1",
        "lists?max_change=x",
        "lists?max_prefixes=0",
        "lists?max_prefixes=2000001",
        "lists?allow_private=yes",
        "lists?max_bytes=1",
        "lists?format=aws&format=aws",
        "a.b",
        "a%20b",
        &"x".repeat(65),
    ] {
        let admin = Admin::new();
        let response = import(&admin, target, &hosts(3));
        assert_eq!(refused(&response), (400, "bad-request".to_owned()), "{target}");
        assert_eq!(admin.gate.platform.feeds.read.get(), 0, "{target}");
    }
    for (name, value, status, label) in [
        ("Content-Encoding", "gzip", 415, "unsupported-media-type"),
        ("Content-Encoding", "br, gzip", 415, "unsupported-media-type"),
        ("Content-Type", "multipart/form-data; boundary=x", 415, "unsupported-media-type"),
        ("Content-Type", " Multipart/Mixed", 415, "unsupported-media-type"),
        ("Content-Length", "67108865", 413, "too-large"),
    ] {
        let admin = Admin::new();
        let head = Admin::head("operator", "PUT", "/address-sets/lists").with(name, value);
        let (response, record) = admin.send_bytes(&head, Ok(hosts(3).as_bytes()));
        assert_eq!(refused(&response), (status, label.to_owned()), "{name}: {value}");
        assert!(response.json()["detail"].is_string());
        assert_eq!((record.verdict, admin.gate.platform.feeds.read.get()), (Verdict::Refused, 0));
    }
    for (name, value) in [
        ("Content-Type", "application/json"),
        ("Content-Type", "application/octet-stream"),
        ("Content-Encoding", "identity"),
        ("Content-Length", "67108864"),
    ] {
        let head = Admin::head("operator", "PUT", "/address-sets/lists").with(name, value);
        let (response, _) = Admin::new().send_bytes(&head, Ok(hosts(3).as_bytes()));
        assert_eq!(response.status, 200, "{name}: {value}");
    }
}

#[test]
fn nothing_is_read_of_whom_may_not() {
    for name in ["", "nobody", "reader", "late"] {
        let admin = Admin::new();
        let head = Admin::head(name, "PUT", "/address-sets/lists");
        let (response, _) = admin.send_bytes(&head, Ok(hosts(3).as_bytes()));
        assert!([401, 403].contains(&response.status), "{name}");
        assert_eq!(admin.gate.platform.feeds.read.get(), 0, "{name}");
        let (response, _) = admin.send(Admin::head(name, "POST", "/address-sets/drop/refresh"), "");
        assert!([401, 403].contains(&response.status), "{name}");
        assert!(admin.gate.platform.feeds.asked.borrow().is_empty(), "{name}");
    }
}

#[test]
fn a_body_that_does_not_arrive_changes_nothing() {
    for (error, status, label) in
        [(BodyError::TimedOut, 408, "slow-body"), (BodyError::Broken, 400, "invalid-body")]
    {
        let admin = Admin::new();
        let pieces = vec![Ok(hosts(3).into_bytes()), Err(error)];
        *admin.gate.platform.feeds.pieces.borrow_mut() = Some(pieces);
        let response = import(&admin, "lists", "");
        assert_eq!(refused(&response), (status, label.to_owned()));
        assert_eq!(present(&admin).generation, 2);
        assert!(admin.audit().last().unwrap().ends_with(&format!("|refused|{label}")));
    }
}

#[test]
fn a_client_that_trickles_is_ended() {
    let admin = Admin::new();
    admin.gate.platform.feeds.piece_takes.set(20_001);
    assert_eq!(refused(&import(&admin, "lists", &hosts(300))), (408, "slow-body".to_owned()));
    // As fast as may be for a piece, and too slow in all.
    let admin = Admin::new();
    admin.gate.platform.feeds.piece_takes.set(19_000);
    assert_eq!(refused(&import(&admin, "lists", &hosts(3_000))), (408, "slow-body".to_owned()));
    assert!(admin.gate.platform.feeds.read.get() <= 10);
    assert_eq!(admin.gate.platform.feeds.left(), 0);
    let admin = Admin::new();
    admin.gate.platform.feeds.piece_takes.set(100);
    imported(&import(&admin, "lists", &hosts(3_000)));
}

#[test]
fn a_body_is_no_longer_than_may_be() {
    let admin = Admin::new();
    // The same piece again and again: comments, which hold nothing.
    let piece = [b"#".repeat(999), b"\n".to_vec()].concat().repeat(200);
    let pieces = (0..400).map(|_| Ok(piece.clone())).collect();
    *admin.gate.platform.feeds.pieces.borrow_mut() = Some(pieces);
    let response = import(&admin, "lists", "");
    assert_eq!(refused(&response), (413, "too-large".to_owned()));
    assert!(admin.gate.platform.feeds.read.get() < 340);
    // A document is held whole, so it may be less.
    let admin = Admin::new();
    let pieces = (0..400).map(|_| Ok(b" ".repeat(200_000))).collect();
    *admin.gate.platform.feeds.pieces.borrow_mut() = Some(pieces);
    assert_eq!(list_reason(&import(&admin, "lists?format=aws", "")), invalid("oversized"));
}

#[test]
fn what_the_plane_does_not_take_is_not_there() {
    // Whatever call it fails from on: nothing is half there.
    for calls in 0..8 {
        let admin = Admin::new();
        admin.gate.platform.control_fault.set(Some(Fault::TimesOut));
        admin.gate.platform.control_calls.set(calls);
        let response = import(&admin, "lists", &hosts(5));
        admin.gate.platform.control_fault.set(None);
        if response.status == 200 {
            assert_eq!(held(&admin, "lists").len(), 5);
            assert!(calls > 2);
            return;
        }
        assert_eq!(refused(&response), (503, "control-unavailable".to_owned()));
        assert_eq!(present(&admin).generation, 2, "{calls}");
        // Sent again, it is taken.
        imported(&import(&admin, "lists", &hosts(5)));
    }
    panic!("it never was");
}

#[test]
fn a_change_by_somebody_else_is_not_undone() {
    let admin = Admin::new();
    // Between reading the sets and changing them, somebody changes them: so
    // often that it is given up.
    for (often, succeeds) in [(1, true), (ATTEMPTS - 1, true), (ATTEMPTS, false)] {
        let left = std::cell::Cell::new(often);
        admin.gate.platform.before_call(move |store, message| {
            if message.contains("\"action\":\"set-sets\"") && left.get() > 0 {
                left.set(left.get() - 1);
                import_samples(store);
            }
        });
        let before = admin.audit().len();
        let response = import(&admin, &format!("lists{often}"), &hosts(5));
        admin.gate.platform.before_call(|_, _| {});
        // What is tried anew is no outcome: one entry says what became of it.
        assert_eq!(admin.audit().len(), before + 1, "{often}");
        if succeeds {
            imported(&response);
            assert_eq!(held(&admin, "other"), ["10.0.1.0/24"]);
        } else {
            assert_eq!(refused(&response), (412, "stale-base".to_owned()));
            let problem = response.json();
            assert_eq!(problem["title"], "What the change is based on has changed meanwhile");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.starts_with("the stored address sets have changed: "), "{detail}");
            assert!(!detail.contains("policy"), "{detail}");
        }
    }
}

#[test]
fn a_race_ends_where_it_takes_too_long() {
    let admin = Admin::new();
    let platform = &admin.gate.platform;
    let rounds = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = std::rc::Rc::clone(&rounds);
    platform.before_call(move |store, message| {
        if message.contains("\"action\":\"set-sets\"") {
            counted.set(counted.get() + 1);
            import_samples(store);
        }
    });
    platform.call_takes.set(1_000);
    let response = import(&admin, "lists", &hosts(5));
    platform.before_call(|_, _| {});
    assert_eq!(refused(&response), (412, "stale-base".to_owned()));
    assert!((2..10).contains(&rounds.get()), "{}", rounds.get());
}

/// Each is refused only since another one was taken: all are, in the end.
#[test]
fn imports_of_other_names_at_once_all_succeed() {
    let admin = Admin::new();
    let platform = &admin.gate.platform;
    let names: Vec<String> = (0..8).map(|number| format!("set{number}")).collect();
    let imports = names.iter().zip(1..).map(|(name, count)| {
        let parser = Parser::new(&Format::Netset, HostBits::Refuse, Limits { bytes: 1_000, prefixes: 100 });
        let mut parser = parser;
        parser.push(hosts(count).as_bytes()).unwrap();
        let list = parser.finish().unwrap();
        async move {
            let change = format!("import {name}");
            let author = Author { name: "ada", role: Role::Operator, change: &change, message: "" };
            let candidate = Candidate { name, list, source: IMPORT, max_change: 50, allow_private: false };
            publish(platform, &author, None, &[], &[candidate], platform.now()).await
        }
    });
    let answers = all(imports.collect());
    let mut generations: Vec<u64> =
        answers.iter().map(|answer| answer.as_ref().unwrap().generation).collect();
    generations.sort_unstable();
    assert_eq!(generations, [3, 4, 5, 6, 7, 8, 9, 10]);
    for (name, count) in names.iter().zip(1..) {
        assert_eq!(held(&admin, name).len(), count, "{name}");
    }
    let written = admin.audit();
    assert_eq!(written.iter().filter(|entry| entry.ends_with("|accepted|-")).count(), written.len());
    // What was handed over in vain does not wait for an hour.
    let state = StoredSetsState::load(&platform.control).unwrap();
    assert_eq!(state.loose, []);
}

/// What somebody else put there meanwhile is what a list is held against.
#[test]
fn a_list_is_judged_again_when_somebody_was_faster() {
    let admin = Admin::new();
    imported(&import(&admin, "lists", &hosts(10)));
    let done = std::cell::Cell::new(false);
    admin.gate.platform.before_call(move |store, message| {
        if message.contains("\"action\":\"set-sets\"") && !done.replace(true) {
            import_samples(store);
        }
    });
    // The samples hold no set of that name: now it is a first one.
    let answer = imported(&import(&admin, "lists", &hosts(15)));
    admin.gate.platform.before_call(|_, _| {});
    assert_eq!(answer["before"], 0);
}

#[test]
fn there_is_no_room_for_more_than_may_be() {
    let admin = Admin::new();
    let names: Vec<String> = (0..256).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    super::sets::import(&admin.gate.platform.control, "import all", &sets_of(&names));
    assert_eq!(list_reason(&import(&admin, "lists", &hosts(5))), invalid("too-many-sets"));
    imported(&import(&admin, "s7", &hosts(1)));
}

#[test]
fn an_answer_of_another_kind_is_a_failure() {
    let admin = Admin::new();
    for says in [
        "{}",
        "{\"version\":3,\"result\":{\"present\":{\"generation\":9,\"parts\":[{\"hash\":\"x\",\"bytes\":1}]}}}",
    ] {
        *admin.gate.platform.control_says.borrow_mut() = Some(says.to_owned());
        assert_eq!(
            refused(&import(&admin, "lists", &hosts(5))),
            (503, "control-unavailable".to_owned()),
            "{says}"
        );
    }
    assert_eq!(PROTOCOL, 3);
}

fn refresh(admin: &Admin, name: &str) -> Response {
    admin.send(Admin::head("operator", "POST", &format!("/address-sets/{name}/refresh")), "").0
}

#[test]
fn a_feed_is_fetched_when_somebody_asks() {
    let admin = with_feed(&json!({"interval": "90m"}));
    admin.gate.platform.feeds.serve(|_| Served::list(&hosts(20)).etag("\"a\""));
    let answer = imported(&refresh(&admin, "lists"));
    assert_eq!(
        (&answer["changed"], &answer["read"], &answer["before"]),
        (&json!(true), &json!(20), &json!(0))
    );
    assert_eq!(admin.audit().last().unwrap(), "operator|refresh lists|accepted|-");
    let set = admin.get("reader", "/address-sets").json()["sets"][0].clone();
    assert_eq!(set["source"], "https://lists.example/x?key=hunter2");
    let feed = &set["feed"];
    assert_eq!((&feed["format"], &feed["interval"]), (&json!("netset"), &json!("90m")));
    assert!(
        feed["checked"].is_string() && feed["changed"].is_string() && feed.get("failure").is_none(),
        "{feed}"
    );
    // Whoever asks gets the list whatever was known of it.
    assert_eq!(imported(&refresh(&admin, "lists"))["changed"], false);
    assert!(admin.gate.platform.feeds.asked.borrow().iter().all(|asked| asked.if_none_match.is_none()));
    assert!(admin.gate.isolate.notes.borrow().is_empty());
}

#[test]
fn a_feed_that_gives_no_list_is_told_why() {
    let admin = with_feed(&json!({"max_change": 10}));
    admin.gate.platform.feeds.serve(|_| Served::list(&hosts(20)));
    imported(&refresh(&admin, "lists"));
    for (served, expected) in [
        (Served::status(503), (502, "feed-unavailable", "feed-status")),
        (Served::status(304), (502, "feed-unavailable", "feed-status")),
        (Served::to("http://lists.example/"), (502, "feed-unavailable", "feed-redirect")),
        (Served::failing(Fault::Fails), (502, "feed-unavailable", "feed-unreachable")),
        (Served::failing(Fault::TimesOut), (502, "feed-unavailable", "feed-timeout")),
        (Served::list(&hosts(17)), (422, "invalid-list", "shrunk")),
        (Served::list(""), (422, "invalid-list", "empty")),
        (Served::list("<html>"), (422, "invalid-list", "malformed")),
        (Served::list("203.0.113.7\n"), (422, "invalid-list", "guarded")),
    ] {
        let what = format!("{served:?}");
        admin.gate.platform.feeds.serve(move |_| served.clone());
        let response = refresh(&admin, "lists");
        let (status, label, reason) = expected;
        assert_eq!(list_reason(&response), (status, label.to_owned(), reason.to_owned()), "{what}");
        assert_eq!(held(&admin, "lists").len(), 20, "{what}");
        // It is news in the log, once for each reason, without the URL.
        let notes = admin.gate.isolate.notes.take();
        let is_news = !what.contains("304");
        assert_eq!(notes.len(), usize::from(is_news), "{what}: {notes:?}");
        assert!(notes.iter().all(|note| note.contains(reason) && !note.contains("hunter2")), "{notes:?}");
        let failure = admin.get("reader", "/address-sets").json()["sets"][0]["feed"]["failure"].clone();
        assert_eq!(failure["reason"], reason, "{what}");
    }
    admin.gate.platform.feeds.serve(|_| Served::list(&hosts(20)));
    assert_eq!(imported(&refresh(&admin, "lists"))["changed"], false);
    let notes = admin.gate.isolate.notes.take();
    assert!(notes.len() == 1 && notes[0].contains("recovered"), "{notes:?}");
}

#[test]
fn a_set_without_a_feed_is_not_fetched() {
    let admin = Admin::new();
    for (name, status, label) in [("other", 409, "no-feed"), ("nothing", 404, "no-such-set")] {
        assert_eq!(refused(&refresh(&admin, name)), (status, label.to_owned()), "{name}");
    }
    let admin = Admin::acting_on(
        &json!({"version": 1, "address_sets": {"a": {"stored": true}, "b": {"prefixes": []}}}),
    );
    for name in ["a", "b"] {
        assert_eq!(refused(&refresh(&admin, name)), (409, "no-feed".to_owned()), "{name}");
    }
    assert!(admin.gate.platform.feeds.asked.borrow().is_empty());
}

/// The list is taken, and only that it was could not be noted.
#[test]
fn a_refresh_stands_without_its_note() {
    let admin = with_feed(&json!({}));
    admin.gate.platform.feeds.serve(|_| Served::list(&hosts(20)));
    for calls in 0..8 {
        admin.gate.platform.control_fault.set(Some(Fault::Fails));
        admin.gate.platform.control_calls.set(calls);
        let response = refresh(&admin, "lists");
        admin.gate.platform.control_fault.set(None);
        if response.status == 200 {
            assert_eq!(held(&admin, "lists").len(), 20);
            let feed = admin.get("reader", "/address-sets").json()["sets"][0]["feed"].clone();
            assert!(feed.get("checked").is_none(), "{feed}");
            // The next run notes it.
            block_on(scheduled(&admin.gate.platform, &admin.gate.snapshot));
            let feed = admin.get("reader", "/address-sets").json()["sets"][0]["feed"].clone();
            assert!(feed["checked"].is_string(), "{feed}");
            return;
        }
        assert_eq!(refused(&response), (503, "control-unavailable".to_owned()), "{calls}");
    }
    panic!("it never was");
}
