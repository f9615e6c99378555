//! An explanation for a person: the answer first, then one line a stage.

use std::fmt::Write as _;

use super::explanation::{Choice, Explanation, KeyText, Limit, Sent, Stage, State, Stored, Who};
use crate::error::printable;
use crate::exchange::RequestMetadata;

impl Explanation {
    /// The text, lines ended by line feeds.
    #[must_use]
    pub fn text(&self) -> String {
        let mut answer = self.verdict.as_str().to_owned();
        // Writing to a String cannot fail.
        if let Some(status) = self.status {
            let _ = write!(answer, " {status}");
        }
        if let Some(reason) = self.reason {
            let _ = write!(answer, " {reason}");
        }
        if let Some(seconds) = self.retry_after {
            let _ = write!(answer, ", retry after {seconds} s");
        }
        if let Some(upstream) = &self.upstream {
            let _ = write!(answer, " to {upstream}");
        }
        let _ = write!(answer, ", by policy {}", self.revision);
        if self.uncertain {
            answer.push_str("; a counter is unknown and was taken to let it pass");
        }
        let mut lines = vec![format!("{} {}", self.request.method, self.request.url), answer];
        lines.extend(self.stages.iter().map(|stage| {
            let shadow = if stage.shadow { " (shadow)" } else { "" };
            let verdict = format!("{}{shadow}", stage.verdict);
            format!("  {:<17} {verdict:<11} {}", stage.stage, facts(stage)).trim_end().to_owned()
        }));
        printable(&lines)
    }
}

fn facts(stage: &Stage) -> String {
    let mut facts: Vec<String> = Vec::new();
    if let Some(reason) = stage.reason {
        facts.push(reason.to_owned());
    }
    if let Some(rule) = &stage.rule {
        facts.push(match stage.stage {
            "route" | "canary" => rule.clone(),
            _ => format!("rule {rule}"),
        });
    }
    if let Some(prefix) = &stage.prefix {
        facts.push(of_set(prefix, stage.address_set.as_deref()));
    }
    if let Some(list) = &stage.list {
        facts.push(format!("since {} from {}", list.since, list.source));
    }
    facts.extend(stage.note.clone());
    facts.extend(stage.would.as_ref().filter(|would| would.differs).map(|would| {
        let rule = would.rule.as_deref().unwrap_or("the default");
        let prefix = would.prefix.as_deref().map(|prefix| of_set(prefix, would.address_set.as_deref()));
        let prefix = prefix.map(|prefix| format!(", {prefix}")).unwrap_or_default();
        format!("with the shadow rules: {} by {rule}{prefix}", would.verdict)
    }));
    facts.extend(stage.identity.as_ref().map(who));
    facts.extend(stage.rules.iter().map(limit));
    facts.extend(stage.passed_over.iter().map(|over| format!("not {}: another {}", over.route, over.field)));
    facts.extend(stage.canary.as_ref().map(canary));
    facts.extend(stage.cache.as_ref().map(cache));
    facts.extend(stage.upstream.as_ref().map(upstream));
    facts.join("; ")
}

fn of_set(prefix: &str, set: Option<&str>) -> String {
    match set {
        Some(set) => format!("{prefix} of set {set}"),
        None => prefix.to_owned(),
    }
}

fn who(who: &Who) -> String {
    let field = who.field.as_deref().unwrap_or("the policy's on_missing");
    let mut text = format!("{} by {field}, counted as {}", who.address, who.network);
    if !who.hops.is_empty() {
        let hops: Vec<&str> = who.hops.iter().map(|hop| hop.address.as_str()).collect();
        let _ = write!(text, ", over {}", hops.join(" < "));
    }
    if ["short", "garbled"].contains(&who.chain) {
        let _ = write!(text, ", since the chain is {}", who.chain);
    }
    let _ = write!(text, ", request id {}", who.request_id.verdict);
    let facts = platform(&who.platform);
    if !facts.is_empty() {
        let _ = write!(text, "; {}", facts.join(", "));
    }
    text
}

fn platform(metadata: &RequestMetadata) -> Vec<String> {
    let bot = metadata.verified_bot.map(|verified| {
        let what = if verified { "a verified bot" } else { "no verified bot" };
        let category = metadata.verified_bot_category.map(|category| format!(" ({category})"));
        format!("{what}{}", category.unwrap_or_default())
    });
    let category = || Some(format!("bot category {}", metadata.verified_bot_category?));
    let facts = [
        metadata.country.map(|country| format!("country {country}")),
        metadata.continent.map(|continent| format!("continent {continent}")),
        metadata.asn.map(|asn| format!("AS{asn}")),
        metadata.tls_version.map(|version| version.to_string()),
        metadata.tls_cipher.map(|cipher| cipher.to_string()),
        metadata.bot_score.map(|score| format!("bot score {}", score.get())),
        bot.or_else(category),
    ];
    facts.into_iter().flatten().collect()
}

fn limit(limit: &Limit) -> String {
    let shadow = if limit.shadow { " (shadow)" } else { "" };
    let quota = limit.quota;
    let key: Vec<String> = limit.key.iter().map(key_part).collect();
    let state = match &limit.state {
        Some(State::Known { remaining, retry_after_ms: 0, .. }) => format!("{remaining} left"),
        Some(State::Known { retry_after_ms, .. }) => format!("0 left, again in {}", span(*retry_after_ms)),
        Some(State::Unknown { unknown }) => format!("unknown, {unknown}"),
        None => "not asked".to_owned(),
    };
    let burst = if quota.burst == quota.max { String::new() } else { format!(", {} at once", quota.burst) };
    format!(
        "{}{shadow} {}: {state} of {} in {}{burst}, {} by {}",
        limit.rule,
        limit.verdict,
        quota.max,
        span(quota.window_ms),
        limit.counting,
        key.join(" + "),
    )
}

fn key_part(key: &KeyText) -> String {
    format!("{} {}", key.part, key.value.as_deref().unwrap_or("(absent)"))
}

/// Milliseconds, in the unit that a person would take.
fn span(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        _ if millis.is_multiple_of(1_000) => format!("{} s", millis.wrapping_div(1_000)),
        _ => format!("{}.{} s", millis.wrapping_div(1_000), millis.wrapping_rem(1_000).wrapping_div(100)),
    }
}

fn canary(choice: &Choice) -> String {
    let weights: Vec<String> =
        choice.weights.iter().map(|weight| format!("{} {} %", weight.variant, weight.percent)).collect();
    let from = match (choice.from, &choice.cookie) {
        ("cookie", Some(cookie)) => format!("cookie {cookie}"),
        _ => "the client's network".to_owned(),
    };
    let sets = if choice.sets_cookie { ", sets the cookie" } else { "" };
    format!("unit {} from {from} among {}{sets}", choice.unit, weights.join(", "))
}

fn cache(stored: &Stored) -> String {
    let mut text = match stored.because {
        Some(because) if stored.fields.is_empty() => format!("{because}, "),
        Some(because) => format!("{because} ({}), ", stored.fields.join(", ")),
        None => String::new(),
    };
    if let Some(token) = stored.token {
        let _ = write!(text, "the token of Weir-Cache-Bypass: {token}, ");
    }
    let keeps = match (stored.may_store, stored.only_shared) {
        (true, false) => "may be kept",
        (true, true) => "may be kept if it says that it is shared",
        (false, _) => "is not kept",
    };
    let _ = write!(text, "the answer {keeps}, key {}", stored.key);
    text
}

fn upstream(sent: &Sent) -> String {
    format!("{} to {}, {} fields changed", sent.name, sent.url, sent.edits.len())
}
