//! Rejected attempts cost, and they cost nobody else.

use edgeweir::exchange::PlainHead;

use super::{Admin, refused};
use crate::control;
use crate::fake::{Response, With};

fn attempt(admin: &Admin, head: PlainHead) -> Response {
    admin.send(head, "").0
}

fn stranger(address: &str) -> PlainHead {
    Admin::head("nobody", "GET", "/policy").from(address)
}

#[test]
fn ten_attempts_then_one_every_six_seconds() {
    let admin = Admin::new();
    for _ in 0..10 {
        assert_eq!(attempt(&admin, stranger("192.0.2.1")).status, 401);
    }
    let response = attempt(&admin, stranger("192.0.2.1"));
    assert_eq!(refused(&response), (429, "too-many-rejections".to_owned()));
    assert_eq!(response.field("retry-after").unwrap(), "6");
    assert!(response.field("www-authenticate").is_none());
    admin.gate.platform.advance(5_999);
    let response = attempt(&admin, stranger("192.0.2.1"));
    assert_eq!((response.status, response.field("retry-after").unwrap()), (429, "1".to_owned()));
    admin.gate.platform.advance(1);
    assert_eq!(attempt(&admin, stranger("192.0.2.1")).status, 401);
    assert_eq!(attempt(&admin, stranger("192.0.2.1")).status, 429);
}

#[test]
fn what_passes_the_limit_is_not_written_down() {
    let admin = Admin::new();
    for _ in 0..50 {
        let (_, record) = admin.send(stranger("192.0.2.1"), "");
        // The access log has all of it.
        assert!(record.reason.is_some());
    }
    assert_eq!(admin.audit().len(), 3 + 10);
}

#[test]
fn each_network_has_a_limit_of_its_own() {
    let admin = Admin::new();
    for _ in 0..11 {
        attempt(&admin, stranger("2001:db8:0:1::1"));
    }
    // The same /64 is the same client.
    assert_eq!(attempt(&admin, stranger("2001:db8:0:1:ffff::2")).status, 429);
    assert_eq!(attempt(&admin, stranger("2001:db8:0:2::1")).status, 401);
    assert_eq!(attempt(&admin, stranger("192.0.2.2")).status, 401);
}

/// An office behind one address: one of them guesses tokens.
#[test]
fn a_good_token_passes_whatever_others_do_behind_the_address() {
    let admin = Admin::new();
    // So many that the limit of `/_weir/` itself is used up, too.
    let last = (0..200).map(|_| attempt(&admin, stranger("192.0.2.1"))).last().unwrap();
    assert_eq!(refused(&last), (429, "rate-limited".to_owned()));
    assert_eq!(admin.get("reader", "/policy").status, 200);
    assert_eq!(admin.push("operator", "\"r3\"", &control::document("four")).status, 201);
    // What a reader may not is still told as that, and written down.
    let response = admin.push("reader", "\"r4\"", &control::document("five"));
    assert_eq!(refused(&response), (403, "forbidden".to_owned()));
    assert_eq!(admin.audit().last().unwrap(), "reader|PUT /_weir/admin/v1/policy|refused|forbidden");
}

#[test]
fn the_holder_of_a_token_is_limited_too() {
    let admin = Admin::new();
    let (mut answered, mut limited) = (0, 0);
    for _ in 0..600 {
        match admin.get("reader", "/health").status {
            200 => answered += 1,
            429 => limited += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!((answered, limited), (500, 100));
    // By himself alone.
    assert_eq!(admin.get("owner", "/health").status, 200);
    assert_eq!(admin.gate.send(&crate::fake::get("/_weir/health")).0.status, 200);
}

#[test]
fn one_reader_cannot_fill_the_audit_log() {
    let admin = Admin::new();
    for _ in 0..50 {
        admin.push("reader", "\"r3\"", &control::document("four"));
    }
    assert_eq!(admin.audit().len(), 3 + 10);
    let response = admin.push("reader", "\"r3\"", &control::document("four"));
    assert_eq!(refused(&response), (429, "too-many-rejections".to_owned()));
    // What he may do he still may.
    assert_eq!(admin.get("reader", "/policy").status, 200);
    // Others are not affected.
    assert_eq!(attempt(&admin, stranger("192.0.2.1")).status, 401);
}

/// An expired token may be anybody's by now.
#[test]
fn an_expired_token_counts_for_the_address() {
    let admin = Admin::new();
    admin.gate.platform.advance(60_000);
    for _ in 0..10 {
        assert_eq!(attempt(&admin, Admin::head("late", "GET", "/policy")).status, 401);
    }
    assert_eq!(attempt(&admin, Admin::head("late", "GET", "/policy")).status, 429);
    assert_eq!(attempt(&admin, stranger("192.0.2.1")).status, 429);
    assert_eq!(attempt(&admin, Admin::head("late", "GET", "/policy").from("192.0.2.2")).status, 401);
}

/// An operator whose documents are refused is no attacker.
#[test]
fn refused_changes_are_not_counted() {
    let admin = Admin::new();
    for _ in 0..30 {
        assert_eq!(admin.push("operator", "\"r1\"", &control::document("four")).status, 412);
        assert_eq!(admin.push("operator", "\"r3\"", "{").status, 422);
        admin.gate.platform.advance(1_000);
    }
    assert_eq!(admin.audit().len(), 3 + 60);
}
