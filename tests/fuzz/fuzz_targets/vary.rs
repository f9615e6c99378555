//! An answer is selected for the request that it was stored for, and for those
//! that say the same; for others only where it is in the language that they
//! prefer above all. A normal form is its own, and a reduced field is one of few.
#![no_main]

use edgeweir::exchange::PlainHead;
use edgeweir::stages::cache::CacheStage;
use edgeweir::stages::cache::entry::Entry;
use edgeweir::stages::cache::normalise::Normalise;
use edgeweir::stages::cache::vary::{Selector, is_selected, normal, selectors, values};
use http::header::{
    ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_LANGUAGE, COOKIE, HeaderName, USER_AGENT, VARY,
};
use libfuzzer_sys::fuzz_target;
use std::rc::Rc;

const CUSTOM: HeaderName = HeaderName::from_static("x-kind");

fn head(line: &str) -> PlainHead {
    let names = [ACCEPT_ENCODING, ACCEPT_LANGUAGE, USER_AGENT, COOKIE, CUSTOM];
    let fields = names.into_iter().zip(line.split('\t')).filter(|(_, value)| !value.is_empty());
    PlainHead {
        method: http::Method::GET,
        url: "http://a/".to_owned(),
        fields: fields.map(|(name, value)| (name, value.to_owned())).collect(),
        ..PlainHead::default()
    }
}

fuzz_target!(|text: &str| {
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    let (vary, language, here, there) = (next(), next(), next(), next());
    let (here, there) = (head(here), head(there));
    // A member that has parameters and no name is none.
    let is_list = !vary.split(',').any(|member| member.trim_start().starts_with(';'));
    for name in [ACCEPT_ENCODING, ACCEPT_LANGUAGE, CUSTOM].into_iter().filter(|_| is_list) {
        let once = normal(&name, vary);
        assert_eq!(normal(&name, &once), once, "{name}");
    }
    let reduced = Normalise { device: true, encoding: true, languages: vec!["en".into(), "de-CH".into()] };
    for head in [&here, &there] {
        let said = reduced.value(&ACCEPT_LANGUAGE, head).expect("always one");
        assert!(["en", "de-CH"].contains(&said.as_str()));
        let agent = reduced.value(&USER_AGENT, head).expect("always one");
        assert!(agent.starts_with("Mozilla/5.0 (compatible; Edgeweir; "));
    }
    let own = Selector::parse("cookie:kind").into_iter().collect::<Vec<_>>();
    for stage in [
        CacheStage::default(),
        CacheStage { normalise: Rc::new(reduced), selectors: own, ..CacheStage::default() },
    ] {
        let fields = vec![(VARY, vary.to_owned()), (CONTENT_LANGUAGE, language.to_owned())];
        let Ok(selectors) = selectors(&fields, &stage, None) else { return };
        let Ok(selected_by) = values(selectors.clone(), &here, &stage) else { return };
        let Some(entry) = Entry::decode(LEAST) else { panic!("the least entry is one") };
        let entry = Entry { fields, selected_by, ..entry };
        assert!(is_selected(&entry, &here, &stage), "not for the one that it was stored for");
        let same = values(selectors, &there, &stage).is_ok_and(|other| other == entry.selected_by);
        let in_language = entry
            .selected_by
            .iter()
            .any(|(selector, _)| *selector == Selector::field(&ACCEPT_LANGUAGE));
        assert!(!same || is_selected(&entry, &there, &stage));
        assert!(same || in_language || !is_selected(&entry, &there, &stage), "for another");
    }
});

const LEAST: &str = include_str!("../seeds/entry/least");
