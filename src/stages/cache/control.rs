//! The Cache-Control field (RFC 9111, 5.2), read strictly: what is not
//! understood is `None` or noted as invalid, never guessed.

use crate::exchange::Quoting;

/// The directives that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// `no-store` (5.2.1.5, 5.2.2.5).
    pub no_store: bool,
    /// `no-cache`, with or without field names (5.2.1.4, 5.2.2.4).
    pub no_cache: bool,
    /// `private`, with or without field names (5.2.2.7).
    pub private: bool,
    /// `only-if-cached` (5.2.1.7).
    pub only_if_cached: bool,
    /// `max-age` in seconds (5.2.1.1, 5.2.2.1).
    pub max_age: Option<u64>,
    /// `s-maxage` in seconds (5.2.2.10).
    pub s_maxage: Option<u64>,
    /// `min-fresh` in seconds (5.2.1.3).
    pub min_fresh: Option<u64>,
    /// A number is not a number, or one directive stands there twice with
    /// different ones (4.2.1: then consider the response stale).
    pub invalid: bool,
}

/// The longest lifetime, in seconds: 2^31 stands for "very long" (1.2.2).
const LONGEST: u64 = 1 << 31;

impl CacheControl {
    /// Reads the combined field value.
    #[must_use]
    pub fn parse(field: &str) -> Self {
        // A quoted string without an end would hide what follows it.
        let mut control = Self { invalid: !quotes_end(field), ..Self::default() };
        for directive in split_quoted(field) {
            let (name, value) = match directive.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (directive, None),
            };
            match name.to_ascii_lowercase().as_str() {
                "no-store" => control.no_store = true,
                "no-cache" => control.no_cache = true,
                "private" => control.private = true,
                "only-if-cached" => control.only_if_cached = true,
                "max-age" => control.invalid |= !set(&mut control.max_age, value),
                "s-maxage" => control.invalid |= !set(&mut control.s_maxage, value),
                "min-fresh" => control.invalid |= !set(&mut control.min_fresh, value),
                _ => {}
            }
        }
        control
    }
}

/// Sets a number once; `false` when it is none, or another than before.
fn set(slot: &mut Option<u64>, value: Option<&str>) -> bool {
    match (value.and_then(seconds), *slot) {
        (Some(seconds), None) => {
            *slot = Some(seconds);
            true
        }
        (Some(seconds), Some(before)) => seconds == before,
        (None, _) => false,
    }
}

/// delta-seconds (1.2.2): digits only; what is too large is very long.
#[must_use]
pub fn seconds(text: &str) -> Option<u64> {
    let good = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().unwrap_or(LONGEST).min(LONGEST))
}

fn quotes_end(field: &str) -> bool {
    let mut quoting = Quoting::default();
    field.chars().for_each(|character| quoting.follow(character));
    !quoting.is_quoted()
}

/// List members, where a comma in a quoted string separates nothing.
fn split_quoted(field: &str) -> impl Iterator<Item = &str> {
    let mut quoting = Quoting::default();
    field
        .split(move |character: char| {
            let separates = character == ',' && !quoting.is_quoted();
            quoting.follow(character);
            separates
        })
        .map(crate::exchange::trim)
        .filter(|member| !member.is_empty())
}
