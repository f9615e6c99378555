//! Which version answers: shares, and who moves when weights change.

use std::net::Ipv4Addr;

use edgeweir::exchange::{Edit, PlainHead};
use edgeweir::policy::{Gateway, compile};
use edgeweir::stages::Mode;
use edgeweir::stages::canary::CanaryStage;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fake::{With, check, get};

fn policy(canary: &Value) -> Value {
    json!({
        "version": 1,
        "upstreams": {"u": {"origin": "http://u.example"}, "v": {"origin": "http://v.example"}},
        "routes": [{"id": "r", "upstream": "u", "canary": canary}],
    })
}

fn gateway(canary: &Value) -> Gateway {
    compile(&policy(canary).to_string()).unwrap_or_else(|error| panic!("{error}"))
}

/// Weights in hundredths of a percent, for variants `a`, `b`, ….
fn variants(weights: &[u32]) -> Value {
    let variant = |(index, weight): (usize, &u32)| json!({"name": format!("v{index}"), "upstream": "u", "weight": f64::from(*weight) / 100.0});
    weights.iter().enumerate().map(variant).collect()
}

fn problems(canary: &Value) -> Vec<String> {
    compile(&policy(canary).to_string())
        .map_or_else(|error| error.problems.into_iter().map(|problem| problem.path).collect(), |_| Vec::new())
}

fn by_cookie(weights: &[u32]) -> CanaryStage {
    gateway(&json!({"sticky": {"cookie": "w"}, "variants": variants(weights)}))
        .routes
        .remove(0)
        .canary
        .unwrap()
}

fn chosen(stage: &CanaryStage, unit: u32) -> String {
    let head = get("/").with("Cookie", &format!("w={unit:08x}"));
    stage.choose(&someone("192.0.2.1"), &head, true).unwrap().variant.name.clone()
}

fn someone(address: &str) -> edgeweir::stages::identity::Identity {
    let identity = compile("{\"version\":1}").unwrap().identity;
    identity.identify(&get("/").from(address), 1).unwrap()
}

fn set_cookie(stage: &CanaryStage, head: &PlainHead, secure: bool) -> Option<String> {
    match stage.choose(&someone("192.0.2.1"), head, secure).unwrap().set_cookie {
        Some(Edit::Append(name, value)) if name == http::header::SET_COOKIE => Some(value),
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn rule_1_the_unit_stays_with_the_cookie_else_with_the_network() {
    let stage = by_cookie(&[5_000, 5_000]);
    let head = get("/");
    let first = stage.choose(&someone("192.0.2.1"), &head, true).unwrap();
    let Some(Edit::Append(_, cookie)) = first.set_cookie else { panic!("no cookie") };
    let value = cookie.split(';').next().unwrap().to_owned();
    for from in ["203.0.113.1", "203.0.113.2", "2001:db8::1"] {
        let head = get("/").with("Cookie", &value);
        let again = stage.choose(&someone(from), &head, true).unwrap();
        assert_eq!(again.variant.name, first.variant.name);
        assert!(again.set_cookie.is_none());
    }
    // One IPv6 customer is one client.
    let plain = gateway(&json!({"variants": variants(&[5_000, 5_000])})).routes.remove(0).canary.unwrap();
    let name = |from: &str| plain.choose(&someone(from), &head, true).unwrap().variant.name.clone();
    assert_eq!(name("2001:db8:1:2::1"), name("2001:db8:1:2:ffff::9"));
    assert_eq!(plain.cookie_name(), None);
    assert_eq!(stage.cookie_name(), Some("w"));
}

#[test]
fn rule_3_the_cookie_holds_the_unit() {
    let stage = by_cookie(&[5_000, 5_000]);
    let value = set_cookie(&stage, &get("/"), true).unwrap();
    let unit = value.strip_prefix("w=").unwrap().split(';').next().unwrap();
    assert!(unit.len() == 8 && u32::from_str_radix(unit, 16).is_ok(), "{value}");
    assert_eq!(value, format!("w={unit}; Path=/; Max-Age=86400; HttpOnly; SameSite=Lax; Secure"));
    assert!(!set_cookie(&stage, &get("/"), false).unwrap().contains("Secure"));
}

#[test]
fn rule_3_a_cookie_that_is_not_ours_is_replaced() {
    let stage = by_cookie(&[5_000, 5_000]);
    for bad in [
        "w=",
        "w=0",
        "w=000000000",
        "w=0000000g",
        "w=ABCDEF01",
        "w=+1234567",
        "w=é1234567",
        "x=00000000",
        "w",
        "stable",
        "w=v1",
    ] {
        assert!(set_cookie(&stage, &get("/").with("Cookie", bad), true).is_some(), "{bad}");
    }
    assert!(set_cookie(&stage, &get("/").with("Cookie", "a=b; w=00000000"), true).is_none());
}

#[test]
fn rule_3_nobody_chooses_a_variant_without_weight() {
    let stage = by_cookie(&[10_000, 0]);
    check(2_000, any::<u32>(), |unit| {
        prop_assert_eq!(chosen(&stage, unit), "v0");
        Ok(())
    });
}

/// Within five standard deviations, over clients and over cookies.
#[test]
fn rule_2_shares_are_the_weights() {
    let count = 4_000_u32;
    for weights in
        [vec![9_500, 500], vec![5_000, 5_000], vec![1, 9_999], vec![2_500; 4], vec![7_000, 2_000, 900, 99, 1]]
    {
        let stage = gateway(&json!({"variants": variants(&weights)})).routes.remove(0).canary.unwrap();
        let sticky = by_cookie(&weights);
        let identity = compile("{\"version\":1}").unwrap().identity;
        let mut seen = [vec![0_u32; weights.len()], vec![0_u32; weights.len()]];
        for index in 0..count {
            let address = Ipv4Addr::from_bits(index.wrapping_mul(40_503) ^ 0x0a00_0000).to_string();
            let client = identity.identify(&get("/").from(&address), 1).unwrap();
            let names = [
                stage.choose(&client, &get("/"), true).unwrap().variant.name.clone(),
                chosen(&sticky, index),
            ];
            for (seen, name) in seen.iter_mut().zip(names) {
                seen[name[1..].parse::<usize>().unwrap()] += 1;
            }
        }
        for seen in seen {
            for (count_of_it, weight) in seen.iter().zip(&weights) {
                let share = f64::from(*weight) / 10_000.0;
                let (mean, deviation) =
                    (f64::from(count) * share, (f64::from(count) * share * (1.0 - share)).sqrt());
                assert!(
                    (f64::from(*count_of_it) - mean).abs() <= 5.0 * deviation + 1.0,
                    "{weights:?}: {seen:?}"
                );
            }
        }
    }
}

fn weights(count: usize) -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0_u32..=10_000, count - 1).prop_map(|mut cuts| {
        cuts.sort_unstable();
        let starts = std::iter::once(0).chain(cuts.clone());
        cuts.iter().copied().chain([10_000]).zip(starts).map(|(end, start)| end - start).collect()
    })
}

/// Relative to the others, a variant that lost weight gains nobody from one
/// that did not, and one that gained loses nobody.
#[test]
fn rule_2_clients_move_only_from_losers_or_to_gainers() {
    let both = (2_usize..6).prop_flat_map(|count| (weights(count), weights(count)));
    check(256, (both, prop::collection::vec(any::<u32>(), 40)), |((before, after), units)| {
        let (old, new) = (by_cookie(&before), by_cookie(&after));
        for unit in units {
            let (from, to) = (chosen(&old, unit), chosen(&new, unit));
            if from != to {
                let index = |name: &str| name[1..].parse::<usize>().unwrap();
                let (lost, gained) = (index(&from), index(&to));
                prop_assert!(
                    after[lost] < before[lost] || after[gained] > before[gained],
                    "{} to {}",
                    from,
                    to
                );
            }
        }
        Ok(())
    });
}

#[test]
fn rule_2_a_rollout_step_by_step_moves_nobody_back() {
    let units: Vec<u32> = (0..500).map(|index: u32| index.wrapping_mul(2_654_435_761)).collect();
    let mut moved = vec![false; units.len()];
    for next in (0..=10_000).step_by(500) {
        let stage = by_cookie(&[10_000 - next, next]);
        for (unit, moved) in units.iter().zip(&mut moved) {
            let is_next = chosen(&stage, *unit) == "v1";
            assert!(is_next || !*moved);
            *moved |= is_next;
        }
    }
    assert!(moved.iter().all(|moved| *moved));
}

/// The order in the document means nothing.
#[test]
fn rule_2_the_choice_does_not_depend_on_the_order() {
    let variant = |name: &str, weight: u32| json!({"name": name, "upstream": "u", "weight": weight});
    let stage = |variants: Value| {
        gateway(&json!({"sticky": {"cookie": "w"}, "variants": variants})).routes.remove(0).canary.unwrap()
    };
    let one = stage(json!([variant("a", 30), variant("b", 70)]));
    let other = stage(json!([variant("b", 70), variant("a", 30)]));
    check(500, any::<u32>(), |unit| {
        prop_assert_eq!(chosen(&one, unit), chosen(&other, unit));
        Ok(())
    });
}

#[test]
fn a_bad_canary_is_a_problem_with_its_place() {
    let at = "routes[0].canary";
    let variant = |name: &str, weight: Value| json!({"name": name, "upstream": "u", "weight": weight});
    let many: Value = (0..33).map(|index| variant(&format!("v{index}"), json!(0))).collect();
    for (canary, paths) in [
        (json!({"variants": []}), vec!["variants"]),
        (json!({}), vec!["variants"]),
        (json!({"variants": [variant("a", json!(100))]}), vec!["variants"]),
        (json!({"variants": many}), vec!["variants"]),
        (json!({"variants": [variant("a", json!(50)), variant("b", json!(49.99))]}), vec!["variants"]),
        (json!({"variants": [variant("a", json!(50)), variant("b", json!(50.01))]}), vec!["variants"]),
        (json!({"variants": [variant("a", json!(50)), variant("a", json!(50))]}), vec!["variants[1].name"]),
        (
            json!({"variants": [variant("a", json!(50)), {"name": "b", "upstream": "w", "weight": 50}]}),
            vec!["variants[1].upstream"],
        ),
        (json!({"sticky": {"cookie": "a b"}, "variants": variants(&[5_000, 5_000])}), vec!["sticky.cookie"]),
        (json!({"sticky": {"cookie": ""}, "variants": variants(&[5_000, 5_000])}), vec!["sticky.cookie"]),
        (
            json!({"sticky": {"cookie": "a".repeat(65)}, "variants": variants(&[5_000, 5_000])}),
            vec!["sticky.cookie"],
        ),
        (
            json!({"sticky": {"cookie": "a", "max_age": "999ms"}, "variants": variants(&[5_000, 5_000])}),
            vec!["sticky.max_age"],
        ),
        (
            json!({"sticky": {"cookie": "a", "max_age": "367d"}, "variants": variants(&[5_000, 5_000])}),
            vec!["sticky.max_age"],
        ),
        (json!({"sticky": {}, "variants": variants(&[5_000, 5_000])}), vec!["sticky"]),
        (json!({"mode": "on", "variants": variants(&[5_000, 5_000])}), vec!["mode"]),
    ] {
        let expected: Vec<String> = paths.iter().map(|path| format!("{at}.{path}")).collect();
        assert_eq!(problems(&canary), expected, "{canary}");
    }
}

#[test]
fn weights_are_exact_to_two_decimals() {
    for good in ["33.33", "0.01", "99.99", "0", "100", "0.29", "1e1"] {
        let rest = format!("{:.2}", 100.0 - good.parse::<f64>().unwrap());
        let text = policy(&json!({"variants": "@"})).to_string();
        let text = text.replace("\"@\"", &format!(r#"[{{"name":"a","upstream":"u","weight":{good}}},{{"name":"b","upstream":"v","weight":{rest}}}]"#));
        assert!(compile(&text).is_ok(), "{good} {rest}: {:?}", compile(&text).err());
    }
    for bad in [
        json!(-1),
        json!(100.01),
        json!(101),
        json!(0.001),
        json!(33.333),
        json!("50"),
        json!(null),
        json!(1e300),
        json!(-0.01),
    ] {
        let found = problems(
            &json!({"variants": [{"name": "a", "upstream": "u", "weight": bad}, {"name": "b", "upstream": "u", "weight": 50}, {"name": "c", "upstream": "u", "weight": 50}]}),
        );
        assert_eq!(found, ["routes[0].canary.variants[0].weight"], "{bad}");
    }
}

#[test]
fn modes() {
    let stage = |mode: &str| {
        gateway(&json!({"mode": mode, "variants": variants(&[5_000, 5_000])})).routes.remove(0).canary
    };
    assert!(stage("off").is_none());
    assert_eq!(stage("shadow").unwrap().mode, Mode::Shadow);
    assert_eq!(stage("enforce").unwrap().mode, Mode::Enforce);
}
