//! Stage 2, control: is it for us? What lies under `/_weir/`.
//!
//! Below it the control plane, as pure as the stages: [`plane`] decides about
//! [messages](message), [`publication`] brings what was decided to the policy
//! store. The `Control` object only moves texts and rows.

pub mod adopt;
pub mod answer;
pub mod bans;
pub mod change;
pub mod change_sets;
pub mod client;
pub mod feeds;
pub mod mend;
pub mod message;
pub mod plane;
pub mod publication;
pub mod purges;
pub mod sets;
pub mod sets_kept;
pub mod state;

use std::hash::Hasher as _;
use std::time::Duration;

use http::Method;
use serde::Serialize;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::admin::tokens::Token;
use crate::error::{Reason, Reject};
use crate::exchange::Answer;
use crate::policy::manifest::{Alert, MODULE_VERSION};
use crate::stages::identity::Identity;
use crate::stages::rate_limit::CounterKey;
use crate::stages::rate_limit::algorithm::Quota;
use crate::stages::respond;

/// How long the `Control` object may take to answer.
pub const CONTROL_WAIT: Duration = Duration::from_secs(15);

/// Whether a path, in normal form, is ours and never an origin's.
#[must_use]
pub fn is_ours(path: &str) -> bool {
    path == "/_weir" || path.starts_with("/_weir/")
}

/// How the isolate is.
#[derive(Clone, Copy, Debug)]
pub struct Health<'a> {
    /// Whether there is a policy to act on.
    pub available: bool,
    /// Why it acts on a policy that is not the one it should; `None` when it
    /// does not. Not public.
    pub degraded: Option<&'a str>,
    /// The revision it acts on.
    pub revision: &'a str,
    /// What an operator should look at. How many is public, what is not.
    pub alerts: &'a [Alert],
}

impl Health<'_> {
    /// `ok`, `degraded`, or `unavailable` where there is no policy.
    ///
    /// Degraded is whatever acts on something older than it should: a policy,
    /// or the list of a feed that fails. It answers 200 all the same: it still
    /// does its work, and no balancer should take it out for that.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        match (self.available, self.degraded) {
            (false, _) => "unavailable",
            (true, Some(_)) => "degraded",
            (true, None) if !self.alerts.is_empty() => "degraded",
            (true, None) => "ok",
        }
    }
}

#[derive(Serialize)]
struct HealthText<'a> {
    status: &'a str,
    version: &'a str,
    revision: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alerts: Option<usize>,
    #[serde(skip_serializing_if = "<[Alert]>::is_empty")]
    alert_list: &'a [Alert],
}

/// Answers a request for us that is not the admin API's. With `is_reader` the
/// client may know why the isolate is degraded, and what the alerts are.
///
/// # Errors
/// [`Reason::NoSuchEndpoint`].
pub fn answer(method: &Method, path: &str, health: &Health<'_>, is_reader: bool) -> Result<Answer, Reject> {
    if path != "/_weir/health" || ![Method::GET, Method::HEAD].contains(method) {
        return Err(Reject::new(Reason::NoSuchEndpoint));
    }
    let text = HealthText {
        status: health.status(),
        version: MODULE_VERSION,
        revision: health.revision,
        reason: health.degraded.filter(|_| is_reader),
        alerts: Some(health.alerts.len()).filter(|alerts| *alerts > 0),
        alert_list: if is_reader { health.alerts } else { &[] },
    };
    Ok(respond::json(if health.available { 200 } else { 503 }, &text))
}

/// The limit of a client's requests for us: so generous that only a flood
/// meets it. Whoever brings a good token is a script, or many people.
#[must_use]
pub fn quota(token: Option<&Token>) -> Quota {
    let (max, burst) = if token.is_some() { (100, 500) } else { (20, 60) };
    Quota::new(max, Duration::from_secs(1), burst)
}

/// The counter of requests for us: of whoever brings a good token, else of the
/// client's network.
#[must_use]
pub fn counter(identity: &Identity, token: Option<&Token>) -> CounterKey {
    let mut hasher = SipHasher13::new_with_keys(0x6564_6765_7765_6972, 0x636f_6e74_726f_6c31);
    match token {
        Some(token) => {
            // No network is written like that.
            hasher.write(b"token ");
            hasher.write(token.name.as_bytes());
        }
        None => hasher.write(identity.network.to_string().as_bytes()),
    }
    CounterKey(hasher.finish128().as_u128())
}
