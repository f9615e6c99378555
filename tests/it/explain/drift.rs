//! The journey and its explanation, side by side over random policies and
//! requests.

use std::cell::RefCell;
use std::collections::BTreeSet;

use edgeweir::exchange::{Edit, Head};
use edgeweir::explain::STAGES;
use edgeweir::explain::explanation::{Explanation, Outcome};
use edgeweir::observe::record::{Record, Verdict};
use edgeweir::policy::compile;
use edgeweir::stages::target::parse;
use http::header::HOST;
use proptest::prelude::*;

use super::explained;
use super::worlds::{Dice, bans, policy, request};
use crate::fake::{Fault, Gate, Response, StoreEvent, check, edit};

/// A decision, as a record notes it.
type Noted = (String, String, Option<String>, Option<String>, bool);

fn noted(record: &Record) -> Vec<Noted> {
    let notes = record.stages.iter().map(|stage| {
        (
            stage.stage.to_owned(),
            stage.verdict.to_owned(),
            stage.rule.clone(),
            stage.prefix.clone(),
            stage.shadow,
        )
    });
    notes.collect()
}

/// What the record of an explained request has to note.
fn to_note(explanation: &Explanation) -> Vec<Noted> {
    let mut notes = Vec::new();
    for stage in &explanation.stages {
        let name = stage.stage.to_owned();
        if stage.verdict == "guarded" {
            let shadow = stage.shadow && stage.stage == "entry.bans";
            notes.push((name, stage.verdict.to_owned(), stage.rule.clone(), stage.prefix.clone(), shadow));
            continue;
        }
        if let Some(who) = stage.identity.as_ref().filter(|who| ["short", "garbled"].contains(&who.chain)) {
            notes.push((name.clone(), who.chain.to_owned(), None, None, false));
        }
        if let Some(would) = stage.would.as_ref().filter(|would| would.differs) {
            notes.push((
                name.clone(),
                would.verdict.to_owned(),
                would.rule.clone(),
                would.prefix.clone(),
                true,
            ));
        }
        let decides =
            stage.stage.ends_with("ip_filter") || (stage.stage == "entry.bans" && stage.rule.is_some());
        if ["allow", "deny"].contains(&stage.verdict) && decides {
            let (rule, prefix) = (stage.rule.clone(), stage.prefix.clone());
            notes.push((name.clone(), stage.verdict.to_owned(), rule, prefix, stage.shadow));
        }
        for rule in stage.rules.iter().filter(|rule| rule.verdict != "not-reached") {
            notes.push((name.clone(), rule.verdict.to_owned(), Some(rule.rule.clone()), None, rule.shadow));
        }
        if stage.stage == "canary" && stage.shadow {
            notes.push((name, stage.verdict.to_owned(), stage.rule.clone(), None, true));
        }
    }
    notes
}

fn gate(dice: &mut Dice) -> Gate {
    let mut gate = Gate::new(&policy(dice));
    if dice.chance(3) {
        gate = gate.with_bans(1, &bans(dice));
    }
    let control = dice.pick(&["max-age=60", "max-age=60", "no-store", "max-age=3"]);
    let vary = dice.pick(&["", "X-Team", "Accept-Language"]);
    gate.platform.origin(move |_| {
        let response = Response::new(200).with("Cache-Control", control);
        if vary.is_empty() { response } else { response.with("Vary", vary) }
    });
    gate
}

/// What has to come about for the comparison to say something.
const MET: [&str; 26] = [
    "Forwarded",
    "Cached",
    "Refused",
    "Answered",
    "banned",
    "address-denied",
    "rate-limited",
    "no-route",
    "invalid-target",
    "invalid-host",
    "loop",
    "client-address",
    "not-cached",
    "no-such-endpoint",
    "hit",
    "bypass",
    "method",
    "uri-miss",
    "hit-for-miss",
    "cookie",
    "chain",
    "on_missing",
    "not-read",
    "walked",
    "short",
    "garbled",
];

#[test]
fn the_journey_does_what_the_explanation_says() {
    let met = RefCell::new(BTreeSet::new());
    check(300, any::<u64>(), |seed| {
        let mut dice = Dice::new(seed);
        let gate = gate(&mut dice);
        let frequent: Vec<_> = (0..3).map(|_| request(&mut dice)).collect();
        for _ in 0..15 {
            gate.platform.advance(dice.pick(&[0, 1, 400, 3_000]));
            let asked = if dice.chance(6) { dice.pick(&frequent) } else { request(&mut dice) };
            let head = asked.head(&gate.snapshot.gateway.identity);
            let explanation = explained(&gate, &asked);
            let looked_up = gate.platform.store_events.borrow().len();
            let sent = gate.sent_count();
            let (response, record) = gate.send(&head);

            met.borrow_mut().insert(format!("{:?}", record.verdict));
            let labels = [record.reason, record.cache];
            met.borrow_mut().extend(labels.into_iter().flatten().map(str::to_owned));
            for stage in &explanation.stages {
                let labels = [
                    stage.cache.as_ref().and_then(|stored| stored.because),
                    stage.canary.as_ref().map(|choice| choice.from),
                    stage.identity.as_ref().map(|who| who.source),
                    stage.identity.as_ref().map(|who| who.chain),
                ];
                met.borrow_mut().extend(labels.into_iter().flatten().map(str::to_owned));
            }

            let at = format!("{record:#?}\n{}", explanation.text());
            let names: Vec<&str> = explanation.stages.iter().map(|stage| stage.stage).collect();
            prop_assert_eq!(&names, &STAGES, "{}", at);
            let with_cache = explanation.stages.iter().find_map(|stage| stage.cache.as_ref());
            let lookup = explanation.verdict == Outcome::CachedPossible;
            let verdict = match record.verdict {
                Verdict::Forwarded if lookup => Outcome::CachedPossible,
                Verdict::Refused if lookup && record.reason == Some("not-cached") => Outcome::CachedPossible,
                Verdict::Forwarded => Outcome::Forwarded,
                Verdict::Cached => Outcome::CachedPossible,
                Verdict::Refused => Outcome::Refused,
                Verdict::Answered => Outcome::Answered,
                Verdict::Failed => panic!("nothing fails here: {at}"),
            };
            prop_assert_eq!(explanation.verdict, verdict, "{}", at);
            if [Outcome::Refused, Outcome::Answered].contains(&verdict) {
                prop_assert_eq!(explanation.status, Some(response.status), "{}", at);
                prop_assert_eq!(explanation.reason, record.reason, "{}", at);
            }
            if verdict == Outcome::Refused {
                if response.field("Content-Type").as_deref() == Some("application/problem+json") {
                    let body = response.json();
                    prop_assert_eq!(explanation.detail.as_deref(), body["detail"].as_str(), "{}", at);
                }
                let retry_after = explanation.retry_after.map(|seconds| seconds.to_string());
                prop_assert_eq!(retry_after, response.field("Retry-After"), "{}", at);
            }
            prop_assert_eq!(&explanation.route, &record.route, "{}", at);
            prop_assert_eq!(noted(&record), to_note(&explanation), "{}", at);
            if !record.stages.iter().any(|stage| stage.stage == "canary") {
                prop_assert_eq!(&explanation.variant, &record.variant, "{}", at);
            }
            let who = explanation.stages[0].identity.as_ref();
            prop_assert_eq!(who.map(|who| who.address.clone()), record.client.clone(), "{}", at);
            if let Some(who) = who {
                prop_assert_eq!(Some(&who.request_id.value), record.request_id.as_ref(), "{}", at);
            }
            prop_assert_eq!(explanation.request.host.is_some(), record.host.is_some(), "{}", at);

            // The cache: the key that is looked up, or the reason why none is.
            let events = gate.platform.store_events.borrow()[looked_up..].to_vec();
            let keys: Vec<&String> = events
                .iter()
                .filter_map(|event| if let StoreEvent::Lookup(key) = event { Some(key) } else { None })
                .collect();
            match with_cache {
                Some(stored) if stored.because.is_none() => {
                    // Behind the primary key a part or another variant may
                    // have been looked for.
                    let primary = keys.first().copied();
                    prop_assert!(primary == Some(&stored.key) && keys.len() <= 2, "{}", at);
                }
                Some(stored) => {
                    let label = if stored.because == Some("hit-for-miss") {
                        Some("uri-miss")
                    } else {
                        stored.because
                    };
                    prop_assert_eq!(label, record.cache, "{}", at);
                    prop_assert!(keys.is_empty(), "{}", at);
                    prop_assert!(label != Some("bypass") || !stored.fields.is_empty(), "{}", at);
                }
                None => prop_assert!(keys.is_empty() && record.cache.is_none(), "{}", at),
            }
            for event in &events {
                if let StoreEvent::Keep { key, .. } = event {
                    let stored = with_cache.unwrap();
                    // A secondary key is the primary one with a mark in it.
                    let place = stored.key.strip_prefix("https://cache.edgeweir.invalid/").unwrap();
                    prop_assert!(stored.may_store && key.ends_with(place), "{}", at);
                }
            }

            // The origin: what it got is what was said.
            let got = gate.platform.sent.borrow()[sent..].to_vec();
            let said = explanation.stages.last().unwrap().upstream.as_ref();
            if let Some(got) = got.first() {
                let said = said.unwrap();
                prop_assert_eq!(&said.url, &got.url, "{}", at);
                prop_assert_eq!(Some(&said.name), record.upstream.as_ref(), "{}", at);
                prop_assert_eq!(explanation.upstream.as_ref(), Some(&said.name));
                prop_assert_eq!(u128::from(said.first_byte_ms), got.first_byte.as_millis(), "{}", at);
                let edits = said.edits.iter().map(|edit| {
                    let name = edit.field.parse().unwrap();
                    let value = edit.value.clone().unwrap_or_default();
                    match edit.op {
                        "set" => Edit::Set(name, value),
                        "append" => Edit::Append(name, value),
                        _ => Edit::Remove(name),
                    }
                });
                let mut fields = head.fields.clone();
                edit(&mut fields, &edits.collect::<Vec<_>>());
                fields.retain(|(name, _)| *name != HOST);
                prop_assert_eq!(&fields, &got.fields, "{}", at);
            } else {
                prop_assert!(said.is_none() || record.verdict == Verdict::Cached, "{}", at);
            }
        }
        Ok(())
    });
    for label in MET {
        assert!(met.borrow().contains(label), "never met: {label}");
    }
}

#[test]
fn nothing_moves() {
    check(100, any::<u64>(), |seed| {
        let mut dice = Dice::new(seed);
        let world = policy(&mut dice);
        let requests: Vec<_> = (0..12).map(|_| request(&mut dice)).collect();
        // One gateway is asked all the time, its twin never.
        let (asked, left_alone) = (Gate::new(&world), Gate::new(&world));
        for request in &requests {
            let head = request.head(&asked.snapshot.gateway.identity);
            let first = explained(&asked, request);
            for other in &requests {
                explained(&asked, other);
            }
            prop_assert_eq!(&first, &explained(&asked, request));
            let (response, record) = asked.send(&head);
            let (twin, twins_record) = left_alone.send(&head);
            prop_assert_eq!(record, twins_record);
            prop_assert_eq!(response, twin);
        }
        prop_assert_eq!(&*asked.platform.takes.borrow(), &*left_alone.platform.takes.borrow());
        prop_assert_eq!(&*asked.platform.sent.borrow(), &*left_alone.platform.sent.borrow());
        prop_assert_eq!(&*asked.platform.store_events.borrow(), &*left_alone.platform.store_events.borrow());
        Ok(())
    });
}

/// A counter that cannot be read makes nothing certain that is not: the walk
/// goes on, and says so.
#[test]
fn a_counter_that_fails_is_unknown() {
    check(100, any::<u64>(), |seed| {
        let mut dice = Dice::new(seed);
        let gate = Gate::new(&policy(&mut dice));
        for _ in 0..5 {
            let request = request(&mut dice);
            gate.platform.counter_fault.set(None);
            let known = explained(&gate, &request);
            gate.platform.counter_fault.set(Some(Fault::Fails));
            let explanation = explained(&gate, &request);
            let rules: Vec<_> = explanation.stages.iter().flat_map(|stage| &stage.rules).collect();
            for rule in &rules {
                let unknown = rule.verdict == "unknown";
                prop_assert_eq!(unknown, rule.counting == "exact" && rule.verdict != "not-reached");
            }
            let uncertain = rules.iter().any(|rule| rule.verdict == "unknown" && !rule.shadow);
            prop_assert_eq!(explanation.uncertain, uncertain);
            if !uncertain {
                prop_assert_eq!(explanation.verdict, known.verdict);
            }
        }
        Ok(())
    });
}

/// The candidates are in the order in which routes are chosen.
#[test]
fn the_first_candidate_whose_fields_fit_is_the_route() {
    check(200, any::<u64>(), |seed| {
        let mut dice = Dice::new(seed);
        let gateway = compile(&policy(&mut dice).to_string()).unwrap();
        for _ in 0..10 {
            let head = request(&mut dice).head(&gateway.identity);
            let Ok(target) = parse(&head.url, head.field(&HOST).as_deref()) else {
                continue;
            };
            let fits = |index: &usize| {
                let fields = gateway.router.matcher(*index).unwrap().fields();
                fields.iter().all(|(name, value)| head.field(name).is_some_and(|field| field == *value))
            };
            let candidates = gateway.router.candidates(&target, head.method());
            prop_assert_eq!(candidates.into_iter().find(fits), gateway.router.find(&target, &head));
        }
        Ok(())
    });
}
