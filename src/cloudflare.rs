//! The adapter: the ports of [`crate::platform`] on the runtime, and the
//! events that it raises. No decision is made here, and no runtime type or
//! error leaves it.

pub mod admin;
pub mod binding;
pub mod collapsing;
pub mod control_client;
pub mod counters;
pub mod event;
pub mod feeds;
pub mod glue;
pub mod head;
pub mod isolate;
pub mod objects;
pub mod origin;
pub mod policy_store;
pub mod response_store;
pub mod task;
