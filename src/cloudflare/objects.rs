//! The Durable Objects: load, decide, store. The decision lives in the pure
//! part that it serves.

pub mod collapser;
#[expect(missing_docs, reason = "the methods that #[durable_object] adds")]
pub mod control;
#[expect(missing_docs, reason = "the methods that #[durable_object] adds")]
pub mod limiter;
