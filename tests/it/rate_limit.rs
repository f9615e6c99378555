//! Stage 7: counting, by itself.

mod account;
mod algorithm;
mod gcra;
mod holder;
mod message;
mod simulation;
mod table;
mod windows;
