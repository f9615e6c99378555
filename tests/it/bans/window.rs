//! Offences in a window.

use std::time::Duration;

use edgeweir::stages::bans::window::{BUCKETS, Window};
use proptest::collection::vec;
use proptest::prelude::*;

use super::at;
use crate::fake::check;

/// Never more than lie within the window, and all of those that lie within it
/// less one bucket.
#[test]
fn a_count_is_exact_up_to_one_bucket() {
    let steps = vec((0..9_000_u64, 1..4_u32), 1..80);
    check(1_000, (1_000..90_000_u64, steps), |(window, steps)| {
        let span = Duration::from_millis(window);
        let bucket = window.div_ceil(BUCKETS);
        let (mut counted, mut now, mut all) = (Window::default(), 0, Vec::new());
        for (passes, count) in steps {
            now += passes;
            counted.add(span, at(now), count, at(now));
            all.push((now, count));
            let within = |span: u64| {
                all.iter().filter(|(time, _)| time + span > now).map(|(_, count)| count).sum::<u32>()
            };
            let sum = counted.sum(span, at(now));
            prop_assert!(sum <= within(window), "{sum} of {}", within(window));
            prop_assert!(sum >= within(window - bucket), "{sum} of {}", within(window - bucket));
        }
        prop_assert_eq!(counted.sum(span, at(now + window)), 0);
        Ok(())
    });
}

#[test]
fn what_comes_late_counts_where_it_belongs() {
    let span = Duration::from_secs(60);
    let mut window = Window::default();
    window.add(span, at(30_000), 2, at(50_000));
    window.add(span, at(10_000), 3, at(50_000));
    assert_eq!(window.sum(span, at(50_000)), 5);
    assert_eq!(window.sum(span, at(71_000)), 2);
    // Over before it came, and ahead of a clock that is late.
    window.add(span, at(0), 9, at(71_000));
    assert_eq!(window.sum(span, at(71_000)), 2);
    window.add(span, at(99_000), 4, at(72_000));
    assert_eq!(window.sum(span, at(72_000)), 6);
    window.clear();
    assert_eq!(window.sum(span, at(72_000)), 0);
}

/// A clock that went back counts nothing that lies ahead.
#[test]
fn what_lies_ahead_says_nothing() {
    let span = Duration::from_secs(60);
    let mut window = Window::default();
    window.add(span, at(600_000), 7, at(600_000));
    assert_eq!(window.sum(span, at(300_000)), 0);
    assert_eq!(window.sum(span, at(600_500)), 7);
}
