//! The host tests: every stage by itself, and the whole journey over a
//! platform in memory with a settable clock and faults. Modules are named as
//! in `src/`.
//!
//! Properties run on a generator with a fixed seed, so a run can be repeated.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test that cannot go on fails"
)]

mod addresses;
mod admin;
mod bans;
mod cache;
mod canary;
mod control;
mod diff;
mod exchange;
mod explain;
mod fake;
mod feeds;
mod gateway;
mod identity;
mod ip_filter;
mod manifest;
mod needs;
mod policy;
mod purge;
mod rate_limit;
mod record;
mod replay;
mod respond;
mod route;
mod schema;
mod snapshot;
mod target;
mod text;
mod time;
mod upstream;
