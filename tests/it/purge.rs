//! Purges: which stored answers are void.

mod forms;
mod list;

use edgeweir::purge::url::{parse_prefix, parse_url, url_of};
use edgeweir::purge::{Live, Purge, Purges, Scope, Stored, Void, encode, parse_tag};
use proptest::prelude::*;

use crate::fake::check;

pub fn url(text: &str) -> Scope {
    Scope::Url(parse_url(text).unwrap())
}

pub fn prefix(text: &str) -> Scope {
    Scope::Prefix(parse_prefix(text).unwrap())
}

pub fn tag(text: &str) -> Scope {
    Scope::Tag(parse_tag(text).unwrap())
}

pub fn hard(sequence: u64, scope: Scope) -> Purge {
    Purge { sequence, scope, soft: false }
}

pub fn soft(sequence: u64, scope: Scope) -> Purge {
    Purge { sequence, scope, soft: true }
}

const HARD: Option<Void> = Some(Void { soft: false });
const SOFT: Option<Void> = Some(Void { soft: true });

/// What becomes of the answer at that path of `https://a.example`.
fn judged(purges: &Purges, path: &str, tags: &[&str], began: u64) -> Option<Void> {
    let tags: Vec<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
    purges.judge(&Stored { url: &url_of("https", "a.example", path), tags: &tags, began })
}

#[test]
fn rule_2_what_began_before_is_void_and_what_began_after_is_not() {
    let purges = Purges::new(&[hard(7, url("https://a.example/x"))]);
    assert_eq!(purges.newest(), 7);
    assert_eq!(judged(&purges, "/x", &[], 0), HARD);
    assert_eq!(judged(&purges, "/x", &[], 6), HARD);
    assert_eq!(judged(&purges, "/x", &[], 7), None);
    assert_eq!(judged(&purges, "/x", &[], 8), None);
    assert_eq!(judged(&purges, "/y", &[], 0), None);
    assert_eq!(judged(&Purges::default(), "/x", &[], 0), None);
}

#[test]
fn rule_1_hard_beats_soft_and_soft_only_makes_stale() {
    let both = [hard(5, tag("news")), soft(9, url("https://a.example/x"))];
    let purges = Purges::new(&both);
    assert_eq!(judged(&purges, "/x", &["news"], 4), HARD);
    // The hard one was before it began.
    assert_eq!(judged(&purges, "/x", &["news"], 5), SOFT);
    assert_eq!(judged(&purges, "/x", &[], 0), SOFT);
    assert_eq!(judged(&purges, "/y", &["news"], 0), HARD);
    assert_eq!(judged(&purges, "/x", &["news"], 9), None);
    let all = Purges::new(&[soft(3, Scope::All), hard(2, Scope::All)]);
    assert_eq!((judged(&all, "/", &[], 1), judged(&all, "/", &[], 2)), (HARD, SOFT));
}

#[test]
fn rule_3_a_prefix_holds_what_begins_with_it() {
    for (text, held, others) in [
        ("https://a.example/", &["/", "/x", "/x?q"][..], &[][..]),
        (
            "https://a.example/blog/",
            &["/blog/", "/blog", "/blog/x", "//blog//x", "/blog?q=1", "/%62log/x"],
            &["/blog-2", "/", "/Blog/x"],
        ),
        ("https://a.example/blog", &["/blog", "/blog/", "/blog-2", "/blog?q"], &["/blo", "/"]),
        ("https://a.example/blog?", &["/blog?q=1", "/blog/?a&b"], &["/blog", "/blog/x?q", "/blog-2?q"]),
        ("https://a.example/%c3%a4", &["/%C3%A4", "/%c3%a4/x"], &["/a"]),
    ] {
        let purges = Purges::new(&[hard(7, prefix(text))]);
        for path in held {
            assert_eq!(judged(&purges, path, &[], 6), HARD, "{text} {path}");
        }
        for path in others {
            assert_eq!(judged(&purges, path, &[], 6), None, "{text} {path}");
        }
    }
    // Of another scheme, host and port.
    let purges = Purges::new(&[hard(7, prefix("https://a.example/"))]);
    for (scheme, authority) in
        [("http", "a.example"), ("https", "a.example.org"), ("https", "a.example:8443")]
    {
        let url = url_of(scheme, authority, "/x");
        assert_eq!(purges.judge(&Stored { url: &url, tags: &[], began: 0 }), None);
    }
}

/// Texts that share beginnings.
fn paths() -> impl Strategy<Value = String> {
    "(/[ab]{1,2}){0,3}/?"
}

fn scopes() -> impl Strategy<Value = Scope> {
    let at = |path: &str| format!("https://a.example{}", if path.is_empty() { "/" } else { path });
    prop_oneof![
        4 => (paths(), prop::option::of("[ab]=[1-3]")).prop_map(move |(path, query)| {
            let query = query.map(|query| format!("?{query}")).unwrap_or_default();
            url(&format!("{}{query}", at(&path)))
        }),
        4 => (paths(), any::<bool>()).prop_map(move |(path, queries)| {
            prefix(&format!("{}{}", at(&path), if queries { "?" } else { "" }))
        }),
        2 => "[abAB]{1,2}".prop_map(|text| tag(&text)),
        1 => Just(Scope::All),
    ]
}

pub fn purges() -> impl Strategy<Value = Vec<Purge>> {
    let purge = (scopes(), any::<bool>(), 1_u64..60);
    prop::collection::vec(purge, 0..30).prop_map(|list| {
        let purge = |(scope, soft, sequence)| Purge { sequence, scope, soft };
        list.into_iter().map(purge).collect()
    })
}

/// The path of an answer, its tags, and when it began.
pub fn answers() -> impl Strategy<Value = (String, Vec<String>, u64)> {
    let query = prop::option::of("[ab]=[1-3]");
    let path = (paths(), query).prop_map(|(path, query)| {
        let path = if path.is_empty() { "/".to_owned() } else { path };
        query.map_or_else(|| path.clone(), |query| format!("{path}?{query}"))
    });
    (path, prop::collection::vec("[ab]{1,2}", 0..3), 0_u64..60)
}

/// By looking at each purge, as the rules say it.
pub fn scan(list: &[Purge], url: &str, tags: &[String], began: u64) -> Option<Void> {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    // With and without the final slash.
    let bare = path.strip_suffix('/').unwrap_or(path);
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let matches = |scope: &Scope| match scope {
        Scope::All => true,
        Scope::Tag(tag) => tags.contains(tag),
        Scope::Url(purged) => purged == url,
        Scope::Prefix(prefix) => match prefix.strip_suffix('?') {
            Some(path) => path.strip_suffix('/').unwrap_or(path) == bare && !query.is_empty(),
            None => [bare.to_owned(), format!("{bare}/")].iter().any(|form| form.starts_with(prefix)),
        },
    };
    let newer = |soft: bool| {
        list.iter().any(|purge| purge.soft == soft && purge.sequence > began && matches(&purge.scope))
    };
    if newer(false) { HARD } else { newer(true).then_some(Void { soft: true }) }
}

#[test]
fn the_index_says_what_a_scan_says() {
    check(3_000, (purges(), prop::collection::vec(answers(), 1..8)), |(list, answers)| {
        let index = Purges::new(&list);
        let read = Purges::read(&encode(list.iter()), 99);
        for (path, tags, began) in answers {
            let url = url_of("https", "a.example", &path);
            let stored = Stored { url: &url, tags: &tags, began };
            prop_assert_eq!(index.judge(&stored), scan(&list, &url, &tags, began), "{} {:?}", url, list);
            prop_assert_eq!(read.judge(&stored), index.judge(&stored));
        }
        Ok(())
    });
}

/// Who asks why is told a purge of the list that is reason enough by itself.
#[test]
fn the_culprit_is_one_that_voids_it() {
    check(3_000, (purges(), prop::collection::vec(answers(), 1..8)), |(list, answers)| {
        let index = Purges::new(&list);
        for (path, tags, began) in answers {
            let url = url_of("https", "a.example", &path);
            let stored = Stored { url: &url, tags: &tags, began };
            let culprit = index.culprit(&stored);
            let void = culprit.as_ref().map(|purge| Void { soft: purge.soft });
            prop_assert_eq!(void, index.judge(&stored), "{} {:?}", url, list);
            let Some(purge) = culprit else { continue };
            let is_listed = list.iter().any(|known| {
                let same = (known.sequence, known.soft, known.scope.as_str());
                same == (purge.sequence, purge.soft, purge.scope.as_str())
            });
            prop_assert!(is_listed, "{:?} of {:?}", purge, list);
            prop_assert_eq!(Purges::new(&[purge]).judge(&stored), void);
        }
        Ok(())
    });
}

/// What a newer purge replaces, nobody misses.
#[test]
fn without_what_was_replaced_the_same_is_void() {
    check(3_000, (purges(), prop::collection::vec(answers(), 1..8)), |(list, answers)| {
        let needed: Vec<Purge> = list
            .iter()
            .enumerate()
            .filter(|(place, purge)| {
                // Of two that replace each other, one stays.
                let replaces = |(other, by): (usize, &Purge)| {
                    other != *place && by.replaces(purge) && (!purge.replaces(by) || other < *place)
                };
                !list.iter().enumerate().any(replaces)
            })
            .map(|(_, purge)| purge.clone())
            .collect();
        for (path, tags, began) in answers {
            let url = url_of("https", "a.example", &path);
            prop_assert_eq!(scan(&list, &url, &tags, began), scan(&needed, &url, &tags, began));
        }
        Ok(())
    });
}

#[test]
fn an_isolate_takes_in_newer_lists_only_and_none_twice() {
    let text = |sequence| encode([hard(sequence, url("https://a.example/x"))].iter());
    let live = Live::default();
    assert_eq!(live.purges().newest(), 0);
    assert_eq!(live.hold(&text(7), 100), Ok(()));
    let held = live.purges();
    assert_eq!(live.hold(&text(7), 101), Ok(()));
    assert!(std::rc::Rc::ptr_eq(&held, &live.purges()), "it was read again");
    assert_eq!(live.hold(&text(5), 102), Ok(()));
    assert_eq!(live.purges().newest(), 7);
    assert_eq!(live.hold(&text(9), 103), Ok(()));
    assert_eq!(live.purges().newest(), 9);
    // What a request holds while it is under way stays as it is.
    assert_eq!(held.newest(), 7);
}

#[test]
fn rule_4_a_list_that_cannot_be_read_voids_all_that_began_before_it() {
    let live = Live::default();
    live.hold(&encode([hard(7, tag("news"))].iter()), 7).unwrap();
    for text in ["{", "{\"records\":[{}]}", "[]"] {
        let damage = live.hold(text, 20).unwrap_err();
        assert!(damage.to_string().contains("counts as purged"), "{damage}");
    }
    let purges = live.purges();
    assert_eq!(purges.newest(), 20);
    assert_eq!((judged(&purges, "/x", &[], 19), judged(&purges, "/x", &[], 20)), (HARD, None));
    // The same again is still damaged; a later one that can be read is not.
    assert!(live.hold("[]", 21).is_err());
    live.hold(&encode([hard(22, tag("news"))].iter()), 22).unwrap();
    assert_eq!(judged(&live.purges(), "/x", &[], 0), None);
}
