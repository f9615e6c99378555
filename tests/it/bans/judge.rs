//! Which of several bans decides.

use std::net::{IpAddr, Ipv4Addr};

use edgeweir::policy::compile;
use edgeweir::stages::Mode;
use edgeweir::stages::bans::set::{Entry, encode};
use edgeweir::stages::bans::{Ban, BanSet, BanTable};
use edgeweir::stages::ip_filter::prefix::Prefix;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;

use super::at;
use crate::fake::{START, check};

/// A few networks that nest, causes of every kind, and ends around now.
fn ban() -> impl Strategy<Value = (Prefix, u64, &'static str, bool)> {
    let cause = prop_oneof![Just("manual"), Just("on"), Just("shadow"), Just("gone")];
    (0..4_u32, 29..=32_u8, 0..8_u64, cause, any::<bool>()).prop_map(|(n, length, end, cause, shadow)| {
        let address = IpAddr::V4(Ipv4Addr::from_bits(0xc000_0200 + n));
        let network = Prefix::containing(address, length).unwrap();
        (network, end * 1_000, cause, shadow && cause != "manual")
    })
}

/// A ban never acts past its end or outside its network, what acts goes before
/// what is noted, and of those the latest end decides.
#[test]
fn the_latest_end_of_those_that_act_decides() {
    let inputs = (vec(ban(), 0..6), vec(ban(), 0..6), 0..8_000_u64, 0..3_usize, 0..4_u32);
    check(3_000, inputs, |(in_set, held, now, mode, client)| {
        let mode = ["enforce", "shadow", "off"][mode];
        let policy = json!({"version": 1, "bans": {"mode": mode, "triggers": [
            {"id": "on", "statuses": [404], "threshold": 1},
            {"id": "shadow", "mode": "shadow", "statuses": [404], "threshold": 1},
        ]}});
        let stage = compile(&policy.to_string()).unwrap().bans;
        let mut entries: Vec<Entry> = in_set
            .iter()
            .map(|(network, end, cause, _)| Entry {
                network: *network,
                until: (START + end) / 1_000,
                cause: (*cause).into(),
            })
            .collect();
        entries.sort_by_key(|entry| entry.network);
        entries.dedup_by_key(|entry| entry.network);
        let set = BanSet::decode(&encode(entries.clone(), Vec::new()), 1).unwrap();
        let mut table = BanTable::new(100, 7);
        for (network, end, cause, shadow) in held {
            let until = at(end);
            table.hold(Ban { network, since: at(0), until, cause: cause.into(), shadow }, None, at(0));
        }
        let address = IpAddr::V4(Ipv4Addr::from_bits(0xc000_0200 + client));
        let all = entries
            .iter()
            .map(|entry| (entry.network, entry.until * 1_000 - START, entry.cause.to_string(), false))
            .chain(
                table
                    .iter()
                    .map(|ban| (ban.network, ban.until.millis() - START, ban.cause.to_string(), ban.shadow)),
            );
        let best = all
            .filter(|(network, end, ..)| network.contains(address) && *end > now)
            .filter_map(|(_, end, cause, shadow)| match stage.action(&cause, shadow) {
                Mode::Enforce => Some((true, end)),
                Mode::Shadow => Some((false, end)),
                Mode::Off => None,
            })
            .max();
        let found = stage.judge(address, Some(&set), &table, at(now));
        prop_assert_eq!(found.as_ref().map(|found| (!found.shadow, found.until.millis() - START)), best);
        prop_assert!(found.is_none_or(|found| found.prefix.contains(address) && found.until > at(now)));
        Ok(())
    });
}
