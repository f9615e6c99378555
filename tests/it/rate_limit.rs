//! Stage 7: counting, by itself.

mod algorithm;
mod gcra;
mod message;
mod table;
mod windows;
