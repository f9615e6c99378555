//! `/cache/warm`: URLs are asked for as clients would, so that their answers
//! are stored where that is done.

use std::time::Duration;

use http::header::{ACCEPT_ENCODING, HeaderName};
use serde::{Deserialize, Serialize};

use super::Request;
use super::cache::CacheReport;
use super::calls::{Done, read};
use super::problem::{Problem, Refusal};
use super::tokens::Token;
use crate::error::{Problem as Fault, clip};
use crate::exchange::PlainHead;
use crate::explain::ExplainRequest;
use crate::explain::request::{Lines, REQUEST_LIMIT};
use crate::gateway::warm::{Job, Outcome, Warmed, variants};
use crate::platform::Platform;
use crate::stages::target::parse;

/// The most URLs of one call.
pub const URLS_LIMIT: usize = 100;

/// The longest URL, in bytes.
const URL_LIMIT: usize = 4_096;

/// How long all of them may take; what has not come by then is told so.
const DEADLINE: Duration = Duration::from_secs(20);

/// What a browser says that it decodes.
const DECODES: &str = "gzip, deflate, br, zstd";

/// The body of `POST /cache/warm`.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct WarmRequest {
    /// The URLs, with scheme and query; 1 to 100, each at most 4,096 bytes.
    #[cfg_attr(feature = "schema", schemars(length(min = 1, max = 100)))]
    pub urls: Vec<String>,
    /// Request fields, which select among the answers to a URL: an object, or a
    /// list of `[name, value]`. At most 128 lines and 64 KiB. Without
    /// `Accept-Encoding` that of browsers is sent; an empty value sends none.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::admin::openapi::headers"))]
    pub headers: Lines,
}

/// What became of them.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WarmReport {
    /// The location that was warmed, by the platform's code; others are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub colo: Option<String>,
    /// The isolate whose memory was warmed.
    pub isolate: String,
    /// In the order of the URLs; one for each variant of a canary.
    pub results: Vec<WarmResult>,
}

/// What became of a URL.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WarmResult {
    /// The URL.
    pub url: String,
    /// The variant that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// `hit` where it was there, `stored` where it is now, else `not-stored`.
    pub outcome: &'static str,
    /// The status of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it is not stored: a refusal (`no-route`, `upstream-timeout`, …), the
    /// `detail` of `Cache-Status`, `body` where that was too large or broke
    /// off, `deadline`, or `failed` where the request could not be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What the answer says in `Cache-Status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_status: Option<String>,
}

impl<P: Platform> Request<'_, P> {
    pub(super) async fn warm(&self, token: &Token) -> Done<P> {
        let text = self.body(REQUEST_LIMIT).await?;
        let WarmRequest { urls, headers }: WarmRequest = read(&text)?;
        if urls.is_empty() || urls.len() > URLS_LIMIT {
            let detail = format!("Expected 1 to {URLS_LIMIT} URLs, not {}.", urls.len());
            return Err(Problem::new(Refusal::InvalidBody).detail(detail));
        }
        let fields = with_encoding(headers.0);
        let mut heads = Vec::with_capacity(urls.len());
        let mut faults = Vec::new();
        for (place, url) in urls.iter().enumerate() {
            match self.made_up(url, &fields) {
                Some(head) => heads.push(head),
                None => faults.push(Fault {
                    path: format!("urls[{place}]"),
                    value: format!("{:?}", clip(url, 200)),
                    expected: format!(
                        "expected a URL such as https://www.example.com/path?query, at most {URL_LIMIT} bytes"
                    ),
                }),
            }
        }
        if !faults.is_empty() {
            return Err(Problem::problems(Refusal::InvalidBody, faults));
        }
        let mut jobs = Vec::with_capacity(heads.len());
        let mut results = Vec::with_capacity(heads.len());
        for (url, head) in urls.iter().zip(&heads) {
            for variant in self.variants_of(head) {
                let (address, host) = (self.identity.address, self.target.authority().into_owned());
                jobs.push(Job { url: url.clone(), variant: variant.clone(), address, host }.encode());
                results.push((url, head, variant));
            }
        }
        let answers = self.platform.warm(&fields, &jobs, DEADLINE).await;
        let mut report = WarmReport {
            colo: self.platform.colo(),
            isolate: self.isolate.id.clone(),
            results: Vec::with_capacity(results.len()),
        };
        let answers = answers.into_iter().map(Some).chain(std::iter::repeat(None));
        for ((url, head, variant), answer) in results.into_iter().zip(answers) {
            let warmed = answer.flatten().and_then(|line| Warmed::decode(&line));
            let mut warmed = warmed.unwrap_or_else(|| Warmed::not("deadline"));
            // That it may be stored was known with the head; what came of the
            // body is seen now.
            if warmed.outcome == Outcome::Stored
                && !is_stored(&self.cache_report(head).await, variant.as_deref())
            {
                warmed = Warmed { outcome: Outcome::NotStored, why: Some("body".to_owned()), ..warmed };
            }
            let Warmed { outcome, status, why, said } = warmed;
            let outcome = outcome.as_str();
            let result = WarmResult { url: url.clone(), variant, outcome, status, why, cache_status: said };
            report.results.push(result);
        }
        self.done("warm", token, &summary(urls.len(), &report)).await;
        Ok(Self::json(200, &report))
    }

    /// The request for a URL, if it is one.
    fn made_up(&self, url: &str, fields: &[(HeaderName, String)]) -> Option<PlainHead> {
        let is_absolute = url.starts_with("http://") || url.starts_with("https://");
        // What is no printable ASCII is escaped in a URL; a fragment is never
        // sent.
        let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        let asked = ExplainRequest { headers: Lines(fields.to_vec()), ..ExplainRequest::get(url) };
        (is_absolute && is_plain && url.len() <= URL_LIMIT)
            .then(|| asked.head(&self.snapshot.gateway.identity))
    }

    /// The variants that answer for a URL, by name.
    fn variants_of(&self, head: &PlainHead) -> Vec<Option<String>> {
        let target = parse(&head.url, None);
        let route = target.and_then(|target| Ok(self.snapshot.gateway.find_route(&target, head)?.1));
        match route {
            Ok(route) => variants(route).into_iter().map(|(_, variant)| variant.map(str::to_owned)).collect(),
            // The journey says what is wrong with it.
            Err(_) => vec![None],
        }
    }
}

/// What became of a call, for the audit log: how many URLs, of which answers,
/// and where.
fn summary(urls: usize, report: &WarmReport) -> String {
    let count = |outcome: Outcome| {
        let of = report.results.iter().filter(|result| result.outcome == outcome.as_str()).count();
        (of > 0).then(|| format!("{of} {}", outcome.as_str()))
    };
    let outcomes: Vec<String> =
        [Outcome::Hit, Outcome::Stored, Outcome::NotStored].into_iter().filter_map(count).collect();
    let place = report.colo.as_ref().map_or_else(String::new, |colo| format!(" in {colo}"));
    format!("{urls} URLs{place}: {}", outcomes.join(", "))
}

/// Whether a tier has an answer of that variant.
fn is_stored(report: &CacheReport, variant: Option<&str>) -> bool {
    report.tiers.iter().any(|tier| tier.variant.as_deref() == variant && tier.answer.is_some())
}

/// The fields with the codings of browsers, unless they name some; an empty
/// value is none.
fn with_encoding(mut fields: Vec<(HeaderName, String)>) -> Vec<(HeaderName, String)> {
    if !fields.iter().any(|(name, _)| *name == ACCEPT_ENCODING) {
        fields.push((ACCEPT_ENCODING, DECODES.to_owned()));
    }
    fields.retain(|(name, value)| *name != ACCEPT_ENCODING || !value.is_empty());
    fields
}
