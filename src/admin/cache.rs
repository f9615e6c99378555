//! `/cache`: what is stored for a request, in the location and the isolate
//! that answers. Bodies stay where they are, and so do the values of cookies
//! and credentials.

use http::header::{HOST, HeaderName};
use serde::Serialize;

use super::Request;
use super::calls::Done;
use super::problem::{Problem, Refusal};
use crate::exchange::{Head as _, PlainHead};
use crate::explain::request::{Lines, is_url, parse_method};
use crate::explain::{ExplainRequest, shown};
use crate::gateway::inspect::{Asked, Held, Seen, tiers};
use crate::gateway::warm::variants;
use crate::platform::Platform;
use crate::policy::Route;
use crate::purge::Stored;
use crate::purge::url::url_of;
use crate::stages::cache::ask::{Ask, ask};
use crate::stages::cache::entry::Entry;
use crate::stages::cache::judge::{Lookup, judge};
use crate::stages::cache::vary::Selector;
use crate::stages::cache::{CacheStage, Tier, key};
use crate::stages::target::{Target, parse};
use crate::time::Timestamp;

/// What is stored for a request.
#[derive(Clone, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CacheReport {
    /// The URL.
    pub url: String,
    /// The method.
    pub method: String,
    /// The policy that the isolate acts on.
    pub revision: String,
    /// The location that answers, by the platform's code. What other locations
    /// have is not known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colo: Option<String>,
    /// The isolate that answers: `memory` is its own.
    pub isolate: String,
    /// The route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Why the cache is not asked for such a request: a refusal (`no-route`,
    /// `invalid-target`, …), `no-cache` where the route has none, or the `fwd`
    /// label of `Cache-Status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<&'static str>,
    /// What each tier has, near to far, for each variant of the route.
    pub tiers: Vec<TierReport>,
}

/// What a tier has.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TierReport {
    /// The tier.
    pub tier: &'static str,
    /// The variant, where a canary chooses one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The upstream that answers where nothing is stored.
    pub upstream: String,
    /// `stored`, `none`, `other` where what is stored is for other values of
    /// `selected_by`, or `failed`.
    pub state: &'static str,
    /// The key: of the answer, or the primary one.
    pub key: String,
    /// The last answer could not be kept, so the store is not asked for a
    /// minute (hit-for-miss).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unstorable: bool,
    /// What selects among the answers to the URL: request fields, and cookies
    /// as `cookie:NAME`. The values are those of the request that this answer
    /// was for; none where it lacked the field. Only those of fields that say
    /// what a client understands are shown, such as `Accept-Language`: of any
    /// other one may be somebody's credential.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub selected_by: Vec<FieldText>,
    /// What failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<StoredAnswer>,
}

/// A field and its value; what is secret is left out, and what is long is cut.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "StoredField"))]
pub struct FieldText {
    /// Its name.
    pub name: String,
    /// Its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A stored answer.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct StoredAnswer {
    /// What becomes of such a request here: `hit`, `hit-stale`, or why the
    /// origin is asked, as `fwd` of `Cache-Status`; `purged` where a purge has
    /// taken it away.
    pub serves: &'static str,
    /// Its status.
    pub status: u16,
    /// Its head, as it is stored.
    pub fields: Vec<FieldText>,
    /// How many bytes its body has, as it is encoded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it arrived or was last confirmed, as in RFC 3339.
    pub received: String,
    /// Its age in seconds; missing where it has not arrived yet by this clock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<u64>,
    /// Its lifetime in seconds.
    pub lifetime: u64,
    /// For how many more seconds it is fresh; below zero where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    /// The bytes that it has, where it is a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<String>,
    /// The tags by which it can be purged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The newest purge that was known when the origin was asked.
    pub began: u64,
    /// The purge that makes it void.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purged_by: Option<PurgedBy>,
}

/// A purge that makes an answer void.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PurgedBy {
    /// Its place in the order of purges.
    pub sequence: u64,
    /// `url`, `prefix`, `tag` or `all`.
    pub scope: &'static str,
    /// The URL, the prefix or the tag, as it is compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Whether it only makes stale.
    pub soft: bool,
}

/// A request that is made up for a look.
struct Look<'a> {
    head: &'a PlainHead,
    target: &'a Target<'a>,
    route: &'a Route,
    stage: &'a CacheStage,
    ask: Ask<'a>,
}

impl<P: Platform> Request<'_, P> {
    pub(super) async fn look_in_cache(&self) -> Done<P> {
        let wrong = |detail: String| Problem::new(Refusal::BadRequest).detail(detail);
        let url = self.query("url")?.filter(|url| is_url(url));
        let url =
            url.ok_or_else(|| wrong("Expected \"url\" to be such as https://www.example.com/.".to_owned()))?;
        let method = self.query("method")?;
        let method = parse_method(method.as_deref().unwrap_or("GET"));
        let method = method.ok_or_else(|| wrong("Expected \"method\" to be such as GET.".to_owned()))?;
        let mut headers = Lines::default();
        for line in self.queries("header")? {
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            headers.add(name, value).map_err(|expected| wrong(format!("\"header\": {expected}.")))?;
        }
        let asked = ExplainRequest { method, headers, ..ExplainRequest::get(&url) };
        let head = asked.head(&self.snapshot.gateway.identity);
        Ok(Self::json(200, &self.cache_report(&head).await))
    }

    /// What is stored for a request, here.
    pub(super) async fn cache_report(&self, head: &PlainHead) -> CacheReport {
        let gateway = &self.snapshot.gateway;
        let mut report = CacheReport {
            url: head.url.clone(),
            method: head.method.to_string(),
            revision: self.snapshot.revision.clone(),
            colo: self.platform.colo(),
            isolate: self.isolate.id.clone(),
            ..CacheReport::default()
        };
        let host = head.field(&HOST);
        let target = match parse(&head.url, host.as_deref()) {
            Ok(target) if !crate::control::is_ours(&target.path) => target,
            Ok(_) => return CacheReport { because: Some("control"), ..report },
            Err(reject) => return CacheReport { because: Some(reject.reason.as_str()), ..report },
        };
        let (_, route) = match gateway.find_route(&target, head) {
            Ok(found) => found,
            Err(reject) => return CacheReport { because: Some(reject.reason.as_str()), ..report },
        };
        report.route = Some(route.id.clone());
        let Some(stage) = &route.cache else { return CacheReport { because: Some("no-cache"), ..report } };
        let identity = gateway.identity.identify(head, self.fresh);
        let identity = identity.unwrap_or_else(|_| gateway.identity.unknown(self.fresh));
        let own_cookie = route.canary.as_ref().and_then(|canary| canary.cookie_name());
        let ask = ask(head, &target, &identity, &gateway.identity, stage, own_cookie);
        report.because = ask.plan.skip.map(|skip| skip.as_str());
        let look = Look { head, target: &target, route, stage, ask };
        for (upstream, variant) in variants(route) {
            let name = gateway.upstreams.get(upstream).map_or("", |upstream| upstream.name.as_str());
            for tier in tiers(stage) {
                report.tiers.push(self.tier_report(&look, tier, name, variant).await);
            }
        }
        report
    }

    async fn tier_report(
        &self,
        look: &Look<'_>,
        tier: Tier,
        upstream: &str,
        variant: Option<&str>,
    ) -> TierReport {
        let Look { head, target, route, stage, ask } = look;
        let as_stored = stage.target(&ask.plan, target.as_sent);
        let url = (ask.scheme, &*target.authority(), &*as_stored);
        let environment = &self.isolate.environment;
        let primary = key::primary(environment, &route.id, upstream, variant.unwrap_or_default(), url);
        let asked = Asked { head: *head, plan: &ask.plan, stage, primary: &primary };
        let seen = self.isolate.inspect(self.platform, tier, &asked).await;
        let now = self.platform.now();
        let mut report = TierReport {
            tier: name_of(tier),
            variant: variant.map(str::to_owned),
            upstream: upstream.to_owned(),
            state: "none",
            unstorable: self.isolate.is_unstorable(&primary, now),
            key: primary.clone(),
            selected_by: Vec::new(),
            error: None,
            answer: None,
        };
        match seen {
            Err(error) => {
                report.state = "failed";
                report.error = Some(error.to_string());
            }
            Ok(Seen::Nothing) => {}
            Ok(Seen::Other(selectors)) => {
                report.state = "other";
                report.selected_by =
                    selectors.into_iter().map(|name| FieldText { name, value: None }).collect();
            }
            Ok(Seen::Held(held)) => {
                report.state = "stored";
                let by = held.entry.selected_by.iter();
                report.selected_by = by.map(|one| selected(one, stage)).collect();
                report.answer = Some(self.stored_answer(look, &held, url, now));
                report.key = held.key;
            }
        }
        report
    }

    fn stored_answer(
        &self,
        look: &Look<'_>,
        held: &Held,
        (scheme, authority, as_stored): (&str, &str, &str),
        now: Timestamp,
    ) -> StoredAnswer {
        let entry = &held.entry;
        let tags = crate::gateway::tags(&entry.fields).unwrap_or_default();
        let url = url_of(scheme, authority, as_stored);
        let purges = self.snapshot.purges();
        let purged_by = purges.culprit(&Stored { url: &url, tags: &tags, began: entry.began });
        let judged = judge(&look.ask.plan, look.head, entry, look.stage, now);
        let serves = match (judged, purged_by.as_ref().map(|purge| purge.soft)) {
            (_, Some(false)) => "purged",
            (Lookup::Fresh { .. } | Lookup::Stale { .. }, Some(true)) => "stale",
            (Lookup::Fresh { .. }, None) => "hit",
            (Lookup::Stale { .. }, None) => "hit-stale",
            (Lookup::Revalidate(forward) | Lookup::Miss(forward), _) => forward.as_str(),
        };
        let age = entry.age(now);
        let signed = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        StoredAnswer {
            serves,
            status: entry.status,
            fields: entry
                .fields
                .iter()
                .map(|(name, value)| FieldText {
                    name: name.to_string(),
                    value: Some(if tells_who(name, entry, look.stage) {
                        redacted(value)
                    } else {
                        shown(name, value)
                    }),
                })
                .collect(),
            size: held.size,
            received: entry.received.to_string(),
            age,
            lifetime: entry.lifetime,
            ttl: age.map(|age| signed(entry.lifetime).saturating_sub(signed(age))),
            part: entry.part.map(|part| {
                let complete = part.complete.map_or_else(|| "*".to_owned(), |size| size.to_string());
                format!("bytes {}-{}/{complete}", part.span.first, part.span.last)
            }),
            tags,
            began: entry.began,
            purged_by: purged_by.map(|purge| PurgedBy {
                sequence: purge.sequence,
                scope: purge.scope.as_str(),
                value: purge.scope.value().map(str::to_owned),
                soft: purge.soft,
            }),
        }
    }
}

/// The name of a tier, as the policy has it.
const fn name_of(tier: Tier) -> &'static str {
    match tier {
        Tier::Memory => "memory",
        Tier::Location => "location",
        Tier::Global => "global",
    }
}

/// A selector and its value. What a client chose may tell who it is, so all is
/// left out but what is known not to.
fn selected((selector, value): &(Selector, Option<String>), stage: &CacheStage) -> FieldText {
    let value = value.as_ref().map(|value| match open_field(selector, stage) {
        Some(name) => shown(&name, value),
        None => redacted(value),
    });
    FieldText { name: selector.to_string(), value }
}

fn redacted(value: &str) -> String {
    format!("(redacted, {} bytes)", value.len())
}

/// The field of a selector whose values many clients share: what they
/// understand, and what they are shown on. Not where the route says that it is
/// a credential.
fn open_field(selector: &Selector, stage: &CacheStage) -> Option<HeaderName> {
    const BEGINNINGS: [&str; 4] = ["accept", "access-control-request-", "sec-ch-", "sec-fetch-"];
    const NAMES: [&str; 8] = [
        "device-memory",
        "dpr",
        "origin",
        "save-data",
        "user-agent",
        "viewport-width",
        "width",
        "x-requested-with",
    ];
    let Selector::Field(name) = selector else { return None };
    let is_open = NAMES.contains(&name.as_str()) || BEGINNINGS.iter().any(|start| name.starts_with(start));
    let name = HeaderName::from_bytes(name.as_bytes()).ok().filter(|_| is_open)?;
    (!stage.credential_fields.contains(&name)).then_some(name)
}

/// Whether an answer repeats in that field what a client said about who it is:
/// by the name of a credential, or of what selected it.
fn tells_who(name: &HeaderName, entry: &Entry, stage: &CacheStage) -> bool {
    let selector = Selector::field(name);
    let selects = entry.selected_by.iter().any(|(known, _)| *known == selector);
    stage.credential_fields.contains(name) || (selects && open_field(&selector, stage).is_none())
}
