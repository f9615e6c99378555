//! A trigger: what counts as an offence, and on which terms it bans.

use std::rc::Rc;
use std::time::Duration;

use crate::policy::units::LimitName;
use crate::stages::Mode;

/// The most triggers: each has a bit.
pub const TRIGGERS_LIMIT: usize = 32;

/// A compiled trigger.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// Enforce or shadow.
    pub mode: Mode,
    /// The limits whose refusals it counts.
    pub limits: Vec<LimitName>,
    /// Whether it counts every refusal.
    pub refusals: bool,
    /// The statuses that it counts.
    pub statuses: Vec<u16>,
    /// On which terms it bans.
    pub terms: Rc<Terms>,
}

/// On which terms a trigger bans. They travel with what was counted, since a
/// `Limiter` object knows no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The trigger's id.
    pub id: Rc<str>,
    /// How many offences get a client banned; at least one.
    pub threshold: u32,
    /// Within which time.
    pub window: Duration,
    /// How long the first ban is.
    pub duration: Duration,
    /// By what each further one is longer; at least one.
    pub factor: u32,
    /// Beyond what none grows.
    pub max_duration: Duration,
    /// By up to how much one is longer at random, in hundredths of a percent.
    pub jitter: u32,
    /// How long after its end one still counts.
    pub forget_after: Duration,
    /// Counted, and never acted on.
    pub shadow: bool,
}

impl Terms {
    /// How long a ban is after so many `earlier` ones, in milliseconds:
    /// duration × factor ^ earlier, at most `max_duration`, and then up to
    /// `jitter` of it more, as `luck` says in parts of 2^64.
    #[must_use]
    pub fn length(&self, earlier: u32, luck: u64) -> u64 {
        let millis = |span: Duration| crate::time::millis_of(span);
        let most = millis(self.max_duration);
        // Growth ends where the cap does: beyond 64 steps nothing that grows
        // is below it.
        let grown = (0..earlier.min(64)).fold(millis(self.duration), |length, _| {
            if length >= most { length } else { length.saturating_mul(self.factor.into()) }
        });
        let capped = grown.min(most);
        let most_more = u128::from(capped).saturating_mul(self.jitter.into());
        let more = most_more.saturating_mul(luck.into()).wrapping_div(10_000) >> 64;
        capped.saturating_add(u64::try_from(more).unwrap_or_default())
    }
}
