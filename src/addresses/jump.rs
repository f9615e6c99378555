//! How far before an entry the nearest stands that encloses it, in a few bits.
//!
//! Rounded down, in the manner of a floating-point number. To go on from
//! between the two is as good as from the outer one: sorted by where they
//! begin, whatever encloses an entry encloses or equals each entry that stands
//! between it and that one, so a walk from there passes it, too. The rest of
//! the way is at most half as long each time.

/// A distance with so many bits behind the leading one, in at most `limit`.
/// 0 is none.
pub(super) const fn encode(distance: usize, bits: u32, limit: u32) -> u32 {
    let Some(exponent) = distance.checked_ilog2() else { return 0 };
    let Some(shift) = exponent.checked_sub(bits) else { return distance as u32 };
    // Below 32 + 1, shifted by few bits.
    let code = (shift.saturating_add(1) << bits) | (distance >> shift) as u32 & mask(bits);
    if code < limit { code } else { limit }
}

const fn mask(bits: u32) -> u32 {
    (1_u32 << bits).saturating_sub(1)
}

/// The distance, at most the encoded one.
#[inline(always)]
pub(super) const fn decode(code: u32, bits: u32) -> usize {
    let (exponent, rest) = (code >> bits, (code & mask(bits)) as usize);
    match exponent.checked_sub(1) {
        None => rest,
        Some(shift) => ((1 << bits) | rest) << (shift & 31),
    }
}

/// How far before entry `number` the nearest open one stands, which encloses
/// it; closes those that end before it, and opens it.
pub(super) fn distance<T: Ord>(open: &mut Vec<(usize, T)>, number: usize, first: &T, last: T) -> usize {
    while open.last().is_some_and(|(_, end)| end < first) {
        open.pop();
    }
    let distance = open.last().map_or(0, |(outer, _)| number.saturating_sub(*outer));
    open.push((number, last));
    distance
}
