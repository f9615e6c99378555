//! What the stages decided, in the words of an explanation.

use http::header::{CONNECTION, HeaderName};

use super::explanation::{
    Choice, EditText, Hop, KeyText, Limit, ListOrigin, PassedOver, QuotaText, RequestId, Sent, Stage, State,
    Stored, Weight, Who, Would,
};
use crate::exchange::{Edit, Head, PlainHead};
use crate::policy::Gateway;
use crate::stages::Mode;
use crate::stages::cache::ask::Ask;
use crate::stages::cache::bypass_token::BYPASS;
use crate::stages::cache::plan::{Credentials, plan};
use crate::stages::cache::{CacheStage, REQUEST_FIELDS};
use crate::stages::canary::{self, CanaryStage};
use crate::stages::identity::{ChainState, Identity, IdentityStage, parse_node};
use crate::stages::ip_filter::{IpDecision, IpFilterStage, IpVerdict, Sets};
use crate::stages::rate_limit::algorithm::Decision;
use crate::stages::rate_limit::key::Subject;
use crate::stages::rate_limit::{CounterKey, KeyPart, LimitRule};
use crate::stages::target::Target;
use crate::stages::upstream::UpstreamRequest;
use crate::time::{Timestamp, millis_of};

/// The longest value of a field that is repeated, in bytes.
const VALUE_LIMIT: usize = 256;

/// The most routes that are named as passed over.
const PASSED_OVER_LIMIT: usize = 5;

/// Whether a field carries credentials: its value is for nobody's eyes.
fn is_sensitive(name: &HeaderName) -> bool {
    const PARTS: [&str; 11] = [
        "authorization",
        "cookie",
        "token",
        "secret",
        "api-key",
        "apikey",
        "password",
        "session",
        "credential",
        "signature",
        "cache-bypass",
    ];
    let name = name.as_str().replace('_', "-");
    PARTS.iter().any(|part| name.contains(part))
}

pub(crate) fn shown(name: &HeaderName, value: &str) -> String {
    if is_sensitive(name) {
        return format!("(redacted, {} bytes)", value.len());
    }
    let short = crate::error::clip(value, VALUE_LIMIT);
    if short.len() == value.len() { value.to_owned() } else { format!("{short}…") }
}

pub(super) fn who(stage: &IdentityStage, identity: &Identity, head: &PlainHead) -> Who {
    let chain = stage.chain_field();
    let peer_source = || match head.field(&stage.peer_field) {
        Some(_) => ("peer", Some(stage.peer_field.to_string())),
        None => ("on_missing", None),
    };
    let (source, field) = match identity.chain {
        ChainState::Walked => ("chain", Some(chain.to_string())),
        ChainState::NotRead | ChainState::Short | ChainState::Garbled => peer_source(),
    };
    let chain_text = head.field(&chain).filter(|_| identity.chain != ChainState::NotRead);
    // Kept where identity kept it: what is not made of this request's bits.
    let kept = identity.trusted_peer
        && head.field(&stage.request_id_field).is_some_and(|id| id == identity.request_id.as_str());
    Who {
        address: identity.address.to_string(),
        network: identity.network.to_string(),
        source,
        field,
        chain: identity.chain.as_str(),
        hops: chain_text.map(|text| hops(stage, identity, &text)).unwrap_or_default(),
        platform: head.metadata,
        request_id: RequestId {
            verdict: if kept { "kept" } else { "new" },
            field: stage.request_id_field.to_string(),
            value: identity.request_id.clone(),
        },
        trace_continued: identity.trace.continued,
    }
}

/// The chain from the peer to the client.
fn hops(stage: &IdentityStage, identity: &Identity, field: &str) -> Vec<Hop> {
    let peer = Hop { address: identity.peer.to_string(), trusted: identity.trusted_peer };
    let walked = stage.hops(field).into_iter().map(|(node, trusted)| {
        let name = || crate::error::clip(&node, VALUE_LIMIT).to_owned();
        Hop { address: parse_node(&node).map_or_else(name, |address| address.to_string()), trusted }
    });
    std::iter::once(peer).chain(walked).collect()
}

pub(super) fn filter(
    name: &'static str,
    filter: &IpFilterStage,
    decision: &IpDecision<'_>,
    would: Option<IpVerdict<'_>>,
    sets: &Sets<'_>,
) -> Stage {
    let verdict = decision.verdict;
    let label = |verdict: IpVerdict<'_>| {
        if verdict.unavailable { "unavailable" } else { verdict.action.as_str() }
    };
    let would = would.map(|shadow| Would {
        verdict: label(shadow),
        rule: shadow.rule.map(str::to_owned),
        prefix: shadow.prefix.map(|prefix| prefix.to_string()),
        address_set: shadow.address_set.map(str::to_owned),
        differs: shadow != verdict,
    });
    let note = match (verdict.rule, verdict.unavailable) {
        (_, true) => Some("a stored address set that the rule names is not there"),
        (None, false) => Some("no rule names the client: the default"),
        (Some(_), false) => None,
    };
    Stage {
        stage: name,
        verdict: label(verdict),
        rule: verdict.rule.map(str::to_owned),
        prefix: verdict.prefix.map(|prefix| prefix.to_string()),
        address_set: verdict.address_set.map(str::to_owned),
        list: verdict.address_set.and_then(|name| sets.stored_set(name)).map(|set| ListOrigin {
            since: Timestamp::from_seconds(set.since).to_string(),
            source: set.source.clone(),
        }),
        tags: decision.tags.iter().map(|tag| (*tag).to_owned()).collect(),
        shadow: filter.mode() == Mode::Shadow,
        note: note.map(str::to_owned),
        would,
        ..Stage::default()
    }
}

/// A rule of `rate_limit`, before its counter is looked at.
pub(super) fn limit(
    rule: &LimitRule,
    subject: &Subject<'_, PlainHead>,
    key: Option<CounterKey>,
    cost: u32,
) -> Limit {
    // Here what a header field holds is shown, unless it is a credential:
    // whoever asks has sent it.
    let parts = rule.key().iter().zip(rule.parts(subject)).map(|(part, (name, value))| match part {
        KeyPart::Header(name) => KeyText {
            part: name.0.to_string(),
            value: subject.head.field(&name.0).map(|value| shown(&name.0, &value)),
        },
        _ => KeyText { part: name, value },
    });
    Limit {
        rule: rule.id.clone(),
        verdict: "unknown",
        shadow: rule.mode == Mode::Shadow,
        algorithm: rule.quota.algorithm().as_str(),
        counting: rule.counting.as_str(),
        on_failure: rule.on_failure.as_str(),
        quota: QuotaText {
            max: rule.quota.max(),
            window_ms: millis_of(rule.quota.window()),
            burst: rule.quota.burst(),
        },
        cost,
        key: parts.collect(),
        counter: key.map(|key| format!("{:032x}", key.0)).unwrap_or_default(),
        state: None,
    }
}

/// Notes what the counter said.
pub(super) fn judged(limit: &mut Limit, decision: &Decision) {
    limit.verdict = if decision.allowed { "allow" } else { "refuse" };
    limit.state = Some(State::of(decision));
}

/// The routes before the chosen one.
pub(super) fn passed_over(
    gateway: &Gateway,
    target: &Target<'_>,
    head: &PlainHead,
    chosen: Option<usize>,
) -> Vec<PassedOver> {
    let candidates = gateway.router.candidates(target, head.method());
    let better = candidates.into_iter().take_while(|index| Some(*index) != chosen);
    let passed = better.filter_map(|index| {
        let fields = gateway.router.matcher(index)?.fields();
        let (name, _) =
            fields.iter().find(|(name, value)| head.field(name).is_none_or(|field| field != *value))?;
        Some(PassedOver { route: gateway.routes.get(index)?.id.clone(), field: name.to_string() })
    });
    passed.take(PASSED_OVER_LIMIT).collect()
}

pub(super) fn choice(
    stage: &CanaryStage,
    choice: &canary::Choice<'_>,
    identity: &Identity,
    head: &PlainHead,
    gateway: &Gateway,
) -> Choice {
    let (unit, is_kept) = stage.unit(identity, head);
    let upstream = gateway.upstreams.get(choice.variant.upstream);
    Choice {
        variant: choice.variant.name.clone(),
        upstream: upstream.map(|upstream| upstream.name.clone()).unwrap_or_default(),
        unit: format!("{unit:08x}"),
        from: if is_kept { "cookie" } else { "network" },
        cookie: stage.cookie_name().map(str::to_owned),
        sets_cookie: choice.set_cookie.is_some() && stage.mode == Mode::Enforce,
        weights: stage
            .variants
            .iter()
            .map(|variant| Weight {
                variant: variant.name.clone(),
                percent: f64::from(variant.weight) / 100.0,
            })
            .collect(),
    }
}

pub(super) fn stored(
    ask: &Ask<'_>,
    head: &PlainHead,
    own_cookie: Option<&str>,
    key: String,
    is_unstorable: bool,
    stage: &CacheStage,
) -> Stored {
    let because = match ask.plan.skip {
        Some(skip) => Some(skip.as_str()),
        None if is_unstorable => Some("hit-for-miss"),
        None => None,
    };
    // A field is a cause if it would be one alone.
    let alone = |name: &HeaderName| {
        let lines = head.fields.iter().filter(|(field, _)| field == name).cloned().collect::<Vec<_>>();
        let alone = PlainHead { fields: lines, ..PlainHead::default() };
        plan(&alone, stage, own_cookie).skip.is_some()
    };
    let fields = REQUEST_FIELDS.iter().chain(stage.bypass.headers.iter().map(|(name, _)| name));
    let mut names: Vec<String> = fields.filter(|name| alone(name)).map(HeaderName::to_string).collect();
    if stage.bypass.has_parameter(&head.url) {
        names.push("query".to_owned());
    }
    if ask.plan.by_token {
        names.push(BYPASS.to_string());
    }
    if ask.is_robbed {
        names.push(CONNECTION.to_string());
    }
    if ask.is_foreign {
        names.push("x-forwarded-host or x-forwarded-proto".to_owned());
    }
    Stored {
        key,
        because,
        fields: if ask.plan.skip.is_some() { names } else { Vec::new() },
        token: None,
        may_store: ask.plan.store,
        only_shared: ask.plan.credentials != Credentials::None,
        only_if_cached: ask.plan.only_if_cached,
        max_body: stage.max_body,
    }
}

pub(super) fn sent(name: &str, request: &UpstreamRequest) -> Sent {
    let edits = request.edits.iter().map(|edit| {
        let (op, field, value) = match edit {
            Edit::Set(name, value) => ("set", name, Some(value)),
            Edit::Append(name, value) => ("append", name, Some(value)),
            Edit::Remove(name) => ("remove", name, None),
        };
        EditText { op, field: field.to_string(), value: value.map(|value| shown(field, value)) }
    });
    Sent {
        name: name.to_owned(),
        url: request.url.clone(),
        first_byte_ms: millis_of(request.first_byte),
        edits: edits.collect(),
    }
}
