//! Parts that are put together (RFC 9111, 3.4; RFC 9110, 15.3.7.3).

use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::joining::{Around, described, meeting};
use edgeweir::stages::cache::range::{Part, Span};
use edgeweir::stages::cache::vary::Selector;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG};
use proptest::prelude::*;

use super::{Fields, at, lines};
use crate::fake::check;

const LIMIT: u64 = 1_000;
const TAG: (&str, &str) = ("ETag", "\"a\"");

fn joined(stored: &Entry, new: &Entry, limit: u64) -> Option<(Entry, Around)> {
    let (part, around) = meeting(stored, new, limit)?;
    Some((edgeweir::stages::cache::joining::joined(stored, new.clone(), part), around))
}

fn part(first: u64, last: u64, complete: Option<u64>, fields: Fields<'_>) -> Entry {
    Entry {
        status: 206,
        fields: lines(fields),
        part: Some(Part { span: Span { first, last }, complete }),
        lifetime: 60,
        received: at(0),
        authorized: true,
        shared: true,
        ..Entry::default()
    }
}

fn spans(old: (u64, u64), new: (u64, u64)) -> Option<(u64, u64, Around)> {
    let (old, new) = (part(old.0, old.1, Some(100), &[TAG]), part(new.0, new.1, Some(100), &[TAG]));
    let (entry, around) = joined(&old, &new, LIMIT)?;
    let span = entry.part.unwrap().span;
    Some((span.first, span.last, around))
}

#[test]
fn section_3_4_parts_that_join_or_overlap() {
    let around = |before, after| Around { before, after };
    for (old, new, both) in [
        ((0, 4), (5, 9), (0, 9, around(5, 0))),
        ((5, 9), (0, 4), (0, 9, around(0, 5))),
        ((0, 6), (5, 9), (0, 9, around(5, 0))),
        ((2, 9), (0, 4), (0, 9, around(0, 5))),
        ((0, 9), (3, 5), (0, 9, around(3, 4))),
        ((3, 5), (0, 9), (0, 9, around(0, 0))),
        ((3, 5), (3, 5), (3, 5, around(0, 0))),
    ] {
        assert_eq!(spans(old, new), Some(both), "{old:?} {new:?}");
    }
    // What lies between them is not known.
    for (old, new) in [((0, 4), (6, 9)), ((6, 9), (0, 4))] {
        assert_eq!(spans(old, new), None, "{old:?} {new:?}");
    }
}

#[test]
fn section_3_4_only_under_one_strong_validator() {
    let old = part(0, 4, Some(10), &[TAG]);
    for fields in [
        &[][..],
        &[("ETag", "\"b\"")],
        &[("ETag", "W/\"a\"")],
        &[("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")],
        &[TAG, ("Content-Encoding", "gzip")],
    ] {
        assert_eq!(joined(&old, &part(5, 9, Some(10), fields), LIMIT), None, "{fields:?}");
    }
    let weak = &[("ETag", "W/\"a\"")];
    assert_eq!(joined(&part(0, 4, Some(10), weak), &part(5, 9, Some(10), weak), LIMIT), None);
    let dated = &[("Last-Modified", "Thu, 01 Jan 2015 00:00:00 GMT")];
    assert_eq!(joined(&part(0, 4, Some(10), dated), &part(5, 9, Some(10), dated), LIMIT), None);
    // Nor where they cannot be parts of one, or are for others.
    assert_eq!(joined(&old, &part(5, 9, Some(11), &[TAG]), LIMIT), None);
    assert_eq!(joined(&part(0, 20, None, &[TAG]), &part(5, 9, Some(10), &[TAG]), LIMIT), None);
    let other =
        Entry { selected_by: vec![(Selector::Field("a".to_owned()), None)], ..part(5, 9, Some(10), &[TAG]) };
    assert_eq!(joined(&old, &other, LIMIT), None);
    let whole = Entry { part: None, status: 200, ..old.clone() };
    assert_eq!((joined(&whole, &old, LIMIT), joined(&old, &whole, LIMIT)), (None, None));
}

#[test]
fn what_is_too_large_stays_apart() {
    let (old, new) = (part(0, 499, None, &[TAG]), part(500, 999, None, &[TAG]));
    assert!(joined(&old, &new, 1_000).is_some());
    assert_eq!(joined(&old, &new, 999), None);
    let most = u64::MAX;
    assert_eq!(joined(&part(0, most - 1, None, &[TAG]), &part(most - 1, most, None, &[TAG]), LIMIT), None);
}

#[test]
fn section_3_4_the_newer_head_counts() {
    let old = Entry {
        began: 3,
        ..part(0, 4, None, &[TAG, ("x-a", "old"), ("x-b", "old"), ("Date", "then"), ("Content-Length", "5")])
    };
    let new = Entry {
        received: at(9),
        lifetime: 7,
        began: 5,
        shared: false,
        ..part(5, 9, Some(20), &[TAG, ("x-a", "new"), ("Date", "now"), ("Content-Length", "5")])
    };
    let (entry, _) = joined(&old, &new, LIMIT).unwrap();
    assert_eq!((entry.received, entry.lifetime, entry.began), (at(9), 7, 3));
    assert_eq!((entry.authorized, entry.shared), (true, false));
    assert_eq!(entry.field(&"x-a".parse().unwrap()).as_deref(), Some("new"));
    assert_eq!(entry.field(&"x-b".parse().unwrap()).as_deref(), Some("old"));
    assert_eq!(entry.field(&DATE).as_deref(), Some("now"));
    let entry = described(entry);
    assert_eq!(entry.field(&CONTENT_LENGTH).as_deref(), Some("10"));
    assert_eq!(entry.field(&CONTENT_RANGE).as_deref(), Some("bytes 0-9/20"));
    assert_eq!((entry.status, entry.part.unwrap().complete), (206, Some(20)));
}

/// RFC 9110, 15.3.7.3: what is complete is a 200.
#[test]
fn section_15_3_7_3_all_of_it_is_the_whole() {
    let (entry, _) = joined(&part(0, 4, Some(10), &[TAG]), &part(5, 9, None, &[TAG]), LIMIT).unwrap();
    let whole = described(entry);
    assert_eq!((whole.status, whole.part), (200, None));
    assert_eq!(whole.field(&CONTENT_LENGTH).as_deref(), Some("10"));
    assert_eq!((whole.field(&CONTENT_RANGE), whole.field(&ETAG).as_deref()), (None, Some("\"a\"")));
    // Nobody knows whether that is all, or which one it is.
    for entry in [part(0, 9, None, &[TAG]), part(0, 9, Some(10), &[]), part(1, 9, Some(10), &[TAG])] {
        assert_eq!(described(entry).status, 206);
    }
}

/// Whatever is put together is what a whole answer would have had there.
#[test]
fn the_bytes_are_those_of_the_whole() {
    let body: Vec<u8> = (0..40).collect();
    let span = || (0..40_u64, 0..40_u64).prop_map(|(one, other)| (one.min(other), one.max(other)));
    let cut = |span: Span| &body[usize::try_from(span.first).unwrap()..=usize::try_from(span.last).unwrap()];
    check(2_000, (span(), span()), |(old, new)| {
        let (old, new) = (part(old.0, old.1, Some(40), &[TAG]), part(new.0, new.1, Some(40), &[TAG]));
        let Some((entry, around)) = joined(&old, &new, LIMIT) else { return Ok(()) };
        let (stored, fresh) = (cut(old.part.unwrap().span), cut(new.part.unwrap().span));
        let (before, after) =
            (usize::try_from(around.before).unwrap(), usize::try_from(around.after).unwrap());
        let both = [&stored[..before], fresh, &stored[stored.len() - after..]].concat();
        prop_assert_eq!(both, cut(entry.part.unwrap().span));
        Ok(())
    });
}
