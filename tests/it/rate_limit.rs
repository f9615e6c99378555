//! Stage 7: counting, by itself.

mod account;
mod algorithm;
mod count;
mod gcra;
mod holder;
mod limiter;
mod message;
mod simulation;
mod table;
mod windows;
