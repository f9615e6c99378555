//! What a client is told about limits.
//!
//! The fields are those of draft-ietf-httpapi-ratelimit-headers-11. There is
//! no partition key (`pk`) in them: what tells clients apart may be an address.

use std::time::Duration;

use http::header::{ACCEPT, HeaderName};

use super::algorithm::Decision;
use super::{LimitRule, seconds_up};
use crate::error::{Reason, Reject};
use crate::exchange::{Edit, Head, list, trim};
use crate::text::push_decimal;

/// What a refused client gets.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusal {
    /// The status; `None` for 429.
    pub status: Option<u16>,
    /// What it is told.
    pub message: Option<String>,
    /// Whether there are X-RateLimit fields.
    pub x_ratelimit: bool,
}

impl LimitRule {
    /// The `RateLimit-Policy` and `RateLimit` fields (3 and 4 of the draft):
    /// quota and window; what remains, and the seconds within which no more
    /// than that can be used.
    #[must_use]
    pub fn fields(&self, decision: &Decision) -> Vec<Edit> {
        let mut state = String::with_capacity(self.id.len().saturating_add(32));
        state.push('"');
        state.push_str(&self.id);
        state.push_str("\";r=");
        push_decimal(&mut state, decision.remaining.into());
        state.push_str(";t=");
        push_decimal(&mut state, seconds_up(self.quota.more_after(decision)));
        let mut fields = Vec::with_capacity(5);
        fields.push(Edit::Set(HeaderName::from_static("ratelimit-policy"), self.policy_field.clone()));
        fields.push(Edit::Set(HeaderName::from_static("ratelimit"), state));
        if self.refusal.x_ratelimit {
            let mut field = |name: &'static str, value: u64| {
                fields.push(Edit::Set(HeaderName::from_static(name), value.to_string()));
            };
            field("x-ratelimit-limit", self.quota.max().into());
            field("x-ratelimit-remaining", decision.remaining.into());
            field("x-ratelimit-reset", seconds_up(decision.full_after));
        }
        fields
    }

    /// The refusal of a request.
    #[must_use]
    pub fn refusal(&self, decision: &Decision, head: &impl Head) -> Reject {
        // A cost that never fits gets no better by waiting.
        let never = decision.retry_after == Duration::MAX;
        let seconds = if never { decision.full_after } else { decision.retry_after };
        let reject = Reject::new(Reason::RateLimited)
            .retry_after(seconds_up(seconds).max(1))
            .status_of_its_own(self.refusal.status)
            .as_page(prefers_html(head));
        match &self.refusal.message {
            Some(message) => reject.detail(message.clone()),
            None => reject,
        }
    }

    /// What a refused client is told.
    #[must_use]
    pub fn message(&self) -> Option<&str> {
        self.refusal.message.as_deref()
    }

    /// The status of a refusal.
    #[must_use]
    pub fn refusal_status(&self) -> u16 {
        self.refusal.status.unwrap_or(Reason::RateLimited.status())
    }

    /// What is known of a refusal by the runtime's own limiter.
    #[must_use]
    pub const fn refused_by_platform(&self) -> Decision {
        let window = self.quota.window();
        Decision { allowed: false, remaining: 0, retry_after: window, full_after: window }
    }

    /// The refusal of a request that lacks a part of the key.
    #[must_use]
    pub fn missing_part(&self) -> Reject {
        Reject::new(Reason::MissingKey).detail(format!("The request lacks what \"{}\" counts by.", self.id))
    }
}

/// Whether the client would rather have a page than JSON: its `Accept` names
/// HTML, and JSON with no greater weight (RFC 9110, 12.5.1).
fn prefers_html(head: &impl Head) -> bool {
    let Some(accept) = head.field(&ACCEPT) else { return false };
    let weight_of = |kinds: &[&str]| {
        let weights = list(&accept).filter_map(|range| {
            let mut parts = range.split(';').map(trim);
            let kind = parts.next()?;
            kinds.iter().any(|name| kind.eq_ignore_ascii_case(name)).then(|| {
                let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
                weight.and_then(|weight| weight.parse::<f32>().ok()).unwrap_or(1.0)
            })
        });
        weights.fold(0.0_f32, f32::max)
    };
    let html = weight_of(&["text/html", "application/xhtml+xml"]);
    html > 0.0 && html >= weight_of(&["application/json", "application/problem+json"])
}
