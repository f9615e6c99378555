//! Warming: the gateway asks itself for a URL, as a client would.
//!
//! 1. An operator asked for it, so no rule about addresses and no limit is in
//!    its way; everything from the route on is as it is for a client, the
//!    cache's own rules among it.
//! 2. Only what a route serves is asked for. Where a route takes every host and
//!    forwards to the request's own, any URL would do, so there only the host
//!    of the admin API is asked for: nobody gets a proxy to wherever he likes.
//! 3. The origin is told the operator's address.
//! 4. Nothing of the answer goes to the operator but its status and what
//!    became of it.

use std::net::IpAddr;

use http::header::HOST;

use super::answers::Way;
use super::{Acting, Isolate, Journey};
use crate::control;
use crate::error::{Reason, Reject};
use crate::exchange::{Edit, Head, Reply};
use crate::platform::Platform;
use crate::policy::Route;
use crate::stages::cache::CACHE_STATUS;
use crate::stages::identity::Identity;
use crate::stages::target::parse;
use crate::stages::{Mode, upstream};
use crate::text;

/// A URL to ask for. It travels as one line, with tabs between: address, host,
/// variant, URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The URL: printable ASCII.
    pub url: String,
    /// The variant of a canary that is to answer.
    pub variant: Option<String>,
    /// Who asked for it.
    pub address: IpAddr,
    /// The host of the admin API.
    pub host: String,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there.
    Hit,
    /// It is now.
    Stored,
    /// It is not.
    NotStored,
}

impl Outcome {
    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stored => "stored",
            Self::NotStored => "not-stored",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Hit, Self::Stored, Self::NotStored].into_iter().find(|outcome| outcome.as_str() == text)
    }
}

/// The answer about a URL, without the answer to it. It travels as one line,
/// with tabs between: outcome, status, why, Cache-Status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warmed {
    /// What became of it.
    pub outcome: Outcome,
    /// The status of the answer.
    pub status: Option<u16>,
    /// Why it is not stored.
    pub why: Option<String>,
    /// `Cache-Status`.
    pub said: Option<String>,
}

/// A part of a line that may be empty.
fn part(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl Job {
    /// The line.
    #[must_use]
    pub fn encode(&self) -> String {
        let variant = self.variant.as_deref().unwrap_or_default();
        [&text::address(self.address), &self.host, variant, &self.url].join("\t")
    }

    /// From the line.
    #[must_use]
    pub fn decode(line: &str) -> Option<Self> {
        let mut parts = line.splitn(4, '\t');
        let address = parts.next()?.parse().ok()?;
        let (host, variant, url) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { url: url.to_owned(), variant: part(variant), address, host: host.to_owned() })
    }
}

impl Warmed {
    /// Nothing came of it, and why.
    #[must_use]
    pub fn not(why: &str) -> Self {
        Self { outcome: Outcome::NotStored, status: None, why: Some(why.to_owned()), said: None }
    }

    /// The line.
    #[must_use]
    pub fn encode(&self) -> String {
        let status = self.status.map(|status| status.to_string()).unwrap_or_default();
        let why = self.why.as_deref().unwrap_or_default();
        [self.outcome.as_str(), &status, why, self.said.as_deref().unwrap_or_default()].join("\t")
    }

    /// From the line.
    #[must_use]
    pub fn decode(line: &str) -> Option<Self> {
        let mut parts = line.splitn(4, '\t');
        Some(Self {
            outcome: Outcome::parse(parts.next()?)?,
            status: parts.next()?.parse().ok(),
            why: part(parts.next()?),
            said: part(parts.next()?),
        })
    }

    /// By what the answer's Cache-Status says, which is ours.
    fn by(status: u16, said: Option<String>) -> Self {
        let parts = || said.as_deref().unwrap_or_default().split("; ").skip(1);
        let has = |name: &str| parts().any(|part| part == name);
        let outcome = if has("hit") || has("collapsed") {
            Outcome::Hit
        } else if has("stored") {
            Outcome::Stored
        } else {
            Outcome::NotStored
        };
        let detail = parts().find_map(|part| part.strip_prefix("detail=")).map(str::to_owned);
        let why = detail.filter(|_| outcome == Outcome::NotStored);
        Self { outcome, status: Some(status), why, said }
    }
}

/// Asks for the URL of the head, which is that of the job. What is stored is
/// whole when the platform says so, not before.
pub async fn warm<P: Platform>(
    acting: &Acting<'_>,
    isolate: &Isolate,
    platform: &P,
    head: &P::Request,
    job: &Job,
    fresh: u128,
) -> Warmed {
    let mut journey = Journey::new(acting, isolate, platform, head);
    match journey.travel_to_warm(job, fresh).await {
        Err(reject) => Warmed { status: Some(reject.status()), ..Warmed::not(reject.reason.as_str()) },
        Ok(Reply::Answer(answer)) => {
            Warmed { status: Some(answer.status), ..Warmed::not(Reason::NoRoute.as_str()) }
        }
        Ok(Reply::Native(response, edits)) => {
            let status = platform.status(&response);
            platform.discard(response);
            let said = journey.edits.iter().chain(&edits).find_map(|edit| match edit {
                Edit::Set(name, value) | Edit::Append(name, value) if *name == CACHE_STATUS => {
                    Some(value.clone())
                }
                _ => None,
            });
            Warmed::by(status, said)
        }
    }
}

impl<P: Platform> Journey<'_, P> {
    async fn travel_to_warm(&mut self, job: &Job, fresh: u128) -> Result<Reply<P::Response>, Reject> {
        let gateway = self.gateway;
        if !self.acting.available {
            return Err(Reject::new(Reason::NoPolicy));
        }
        let host_field = self.head.field(&HOST);
        let target = parse(self.head.url(), host_field.as_deref())?;
        if control::is_ours(&target.path) {
            return Err(Reject::new(Reason::NoRoute));
        }
        let (address, stage) = (job.address, &gateway.identity);
        let network = stage.network(address);
        let identity = Identity { peer: address, address, network, ..stage.unknown(fresh) };
        let (index, route) = gateway.find_route(&target, self.head)?;
        let Some(cache) = &route.cache else { return Err(Reject::new(Reason::NotCached)) };
        let (upstream, variant) = variant_of(route, job.variant.as_deref());
        let is_open = gateway.upstreams.get(upstream).is_some_and(upstream::Upstream::is_own_host)
            && gateway.router.matcher(index).is_some_and(|matcher| matcher.takes_any_host());
        if is_open && *job.host != *target.authority() {
            return Err(Reject::new(Reason::NoRoute));
        }
        let way = Way { route, upstream, variant, target: &target, identity: &identity };
        let state = self.look(cache, &way).await?;
        self.ask_origin(state, &way).await
    }
}

/// The variants of a route by which answers are told apart, and their
/// upstreams; one without a name where there are none.
#[must_use]
pub fn variants(route: &Route) -> Vec<(usize, Option<&str>)> {
    match &route.canary {
        Some(canary) if canary.mode == Mode::Enforce => {
            canary.variants.iter().map(|variant| (variant.upstream, Some(variant.name.as_str()))).collect()
        }
        _ => vec![(route.upstream, None)],
    }
}

fn variant_of<'r>(route: &'r Route, name: Option<&str>) -> (usize, Option<&'r str>) {
    let found = variants(route).into_iter().find(|(_, variant)| *variant == name);
    found.unwrap_or((route.upstream, None))
}
