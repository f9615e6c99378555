//! Stage 16, observe: what happened? One record a request.

pub mod record;
