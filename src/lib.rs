//! Edgeweir: an edge gateway. A WebAssembly module that runs at the CDN edge,
//! in front of any origin, and decides about every request before it is
//! forwarded.
//!
//! The journey of a request, in [`gateway`]:
//!
//! 1. [identity](stages::identity): who is calling?
//! 2. [control]: is it for us (`/_weir/…`)?
//! 3. entry: may this address speak to anything? ([bans](stages::bans), global
//!    [`ip_filter`](stages::ip_filter) and [`rate_limit`](stages::rate_limit))
//! 4. [route](stages::route): which rules apply, by the
//!    [target](stages::target) that will be sent?
//! 5. [`ip_filter`](stages::ip_filter): may it speak here?
//! 6. validate (head): to come.
//! 7. [`rate_limit`](stages::rate_limit): does it speak too often?
//! 8. auth: to come.
//! 9. `rate_limit` by identity: to come.
//! 10. validate (body): to come.
//! 11. [canary](stages::canary): which version answers?
//! 12. [cache](stages::cache): do we have the answer?
//! 13. [upstream](stages::upstream): what does the origin get?
//! 14. [cache](stages::cache): may we keep the answer?
//! 15. [respond](stages::respond): what does the client see?
//! 16. [observe]: what happened?
//!
//! Everything but `cloudflare` is pure: it decides about values, `now` among
//! them, and compiles and runs on the host. `cloudflare` exists on wasm32 only.
//!
//! In reading order: [`exchange`], [`error`], [`time`], [`platform`] (the
//! ports), [`addresses`] and [`feeds`], [`policy`] (the document and its compiled form), [`stages`],
//! [`gateway`], [`purge`], [`explain`], [`replay`].

pub mod addresses;
pub mod admin;
pub mod control;
pub mod error;
pub mod exchange;
pub mod explain;
pub mod feeds;
pub mod gateway;
pub mod observe;
pub mod platform;
pub mod policy;
pub mod purge;
pub mod replay;
pub mod stages;
pub mod text;
pub mod time;

#[cfg(target_arch = "wasm32")]
pub mod cloudflare;

/// The demo policy, built in for the local environment.
pub const DEMO_POLICY: &str = include_str!("../policies/demo.json");
