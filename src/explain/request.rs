//! What is to be explained: a request as somebody would describe it.

use std::fmt;

use http::Method;
use http::header::{HOST, HeaderName};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::error::Problem;
use crate::exchange::{
    BotScore, Code, Label, PlainHead, RequestMetadata, TlsVersion, is_token, join_lines, trim,
};
use crate::policy::decode::{Problems, decode, parse};
use crate::policy::units::Address;
use crate::stages::identity::IdentityStage;
use crate::stages::target::TARGET_LIMIT;

/// The longest URL, in bytes: more than the longest target, so that one that
/// is too long can be explained.
const URL_LIMIT: usize = TARGET_LIMIT + 4 * 1024;

/// The longest method, in bytes.
const METHOD_LIMIT: usize = 64;

/// The most header lines.
const LINES_LIMIT: usize = 128;

/// The most bytes of all header lines together.
const HEADERS_LIMIT: usize = 64 * 1024;

/// The largest text of an [`ExplainRequest`], in bytes; escapes in it count
/// as they are written.
pub const REQUEST_LIMIT: usize = 512 * 1024;

/// A request to explain.
#[derive(Clone, Debug, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// The method, at most 64 bytes. Default `GET`.
    #[serde(default = "get", deserialize_with = "method")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::admin::openapi::method"))]
    pub method: Method,
    /// The URL: `http://` or `https://`, host, and the target as the client
    /// sends it, at most 20 KiB. It is taken as it is: what no client could
    /// send is refused as it would be on the wire.
    #[serde(deserialize_with = "url")]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::admin::openapi::url"))]
    pub url: String,
    /// The client's address, as if the platform had given it, in place of what
    /// `headers` say. Default: what `headers` say.
    #[serde(default)]
    pub client: Option<Address>,
    /// What the platform would say about the client: its country, as an ISO
    /// 3166-1 alpha-2 code. Default unknown.
    #[serde(default)]
    pub country: Option<Code>,
    /// Its continent. Default unknown.
    #[serde(default)]
    pub continent: Option<Code>,
    /// The number of its autonomous system. Default unknown.
    #[serde(default)]
    pub asn: Option<u32>,
    /// The version of TLS that it would speak. Default unknown.
    #[serde(default)]
    pub tls_version: Option<TlsVersion>,
    /// The cipher suite, by the platform's name. Default unknown.
    #[serde(default)]
    pub tls_cipher: Option<Label>,
    /// The score of the platform's bot management, 1 (a bot) to 99 (a human).
    /// Default unknown.
    #[serde(default)]
    pub bot_score: Option<BotScore>,
    /// Whether the platform would know it for a bot that says who it is.
    /// Default unknown.
    #[serde(default)]
    pub verified_bot: Option<bool>,
    /// What kind of such a bot, by the platform's name. Default unknown.
    #[serde(default)]
    pub verified_bot_category: Option<Label>,
    /// Header lines: an object, or a list of `[name, value]`. At most 128
    /// lines and 64 KiB. Default none but `Host`, which is the URL's.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::admin::openapi::headers"))]
    pub headers: Lines,
}

/// Header lines in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(pub Vec<(HeaderName, String)>);

impl ExplainRequest {
    /// Reads the JSON text.
    ///
    /// # Errors
    /// Everything that is wrong with it, with its path.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::default();
        if text.len() > REQUEST_LIMIT {
            problems.add(
                "",
                format!("{} bytes", text.len()),
                format!("expected at most {REQUEST_LIMIT} bytes"),
            );
            return Err(problems.into_vec());
        }
        let read = parse(text, &mut problems).and_then(|mut tree| {
            if tree.is_object() {
                return decode::<Self>(&mut tree, &mut problems);
            }
            // serde would read a list as the members in order.
            problems.add("", "", "expected an object");
            None
        });
        match read {
            Some((request, _)) if problems.is_empty() => Ok(request),
            _ => Err(problems.into_vec()),
        }
    }

    /// A GET of a URL.
    #[must_use]
    pub fn get(url: &str) -> Self {
        Self {
            method: Method::GET,
            url: url.to_owned(),
            client: None,
            country: None,
            continent: None,
            asn: None,
            tls_version: None,
            tls_cipher: None,
            bot_score: None,
            verified_bot: None,
            verified_bot_category: None,
            headers: Lines::default(),
        }
    }

    /// The head as the runtime would show it: the Host field bounds the
    /// authority, and the peer's field is what the platform sets.
    #[must_use]
    pub fn head(&self, stage: &IdentityStage) -> PlainHead {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
        let host =
            join_lines(&self.headers.0, &HOST).map_or_else(|| authority.to_owned(), |host| host.into_owned());
        // A client sends a path also where the URL has none.
        let slash = if target.is_empty() || target.starts_with('?') { "/" } else { "" };
        let url = format!("{scheme}://{host}{slash}{target}");
        let mut fields = vec![(HOST, host)];
        fields.extend(self.headers.0.iter().filter(|(name, _)| *name != HOST).cloned());
        if let Some(client) = &self.client {
            fields.retain(|(name, _)| *name != stage.peer_field);
            fields.push((stage.peer_field.clone(), client.0.to_string()));
        }
        let metadata = RequestMetadata {
            country: self.country,
            continent: self.continent,
            asn: self.asn,
            tls_version: self.tls_version,
            tls_cipher: self.tls_cipher,
            bot_score: self.bot_score,
            verified_bot: self.verified_bot,
            verified_bot_category: self.verified_bot_category,
        };
        PlainHead { method: self.method.clone(), url, fields, metadata }
    }
}

const fn get() -> Method {
    Method::GET
}

/// A method, if it is one that is explained.
#[must_use]
pub fn parse_method(text: &str) -> Option<Method> {
    let good = text.len() <= METHOD_LIMIT && is_token(text);
    good.then(|| Method::from_bytes(text.as_bytes()).ok()).flatten()
}

/// Whether a URL is one that is explained.
#[must_use]
pub fn is_url(text: &str) -> bool {
    let is_absolute = text.starts_with("http://") || text.starts_with("https://");
    is_absolute && text.len() <= URL_LIMIT
}

fn method<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Method, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_method(&text).ok_or_else(|| D::Error::custom("expected a method such as \"GET\", at most 64 bytes"))
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if is_url(&text) {
        return Ok(text);
    }
    Err(D::Error::custom(format!(
        "expected an absolute URL such as \"https://app.example.com/path?query\", at most {URL_LIMIT} bytes"
    )))
}

impl Lines {
    /// Adds a line.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), String> {
        let field = HeaderName::from_bytes(name.as_bytes()).ok().filter(|_| name.len() <= 128);
        let field = field.ok_or_else(|| {
            format!("expected names of header fields; {:?} is none", crate::error::clip(name, 100))
        })?;
        // As in a message: these bytes end a line, or are refused in one.
        if value.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
            return Err(format!("expected a value without control characters for \"{field}\""));
        }
        let lines = self.0.iter().map(|(name, value)| name.as_str().len().saturating_add(value.len()));
        let size = lines.fold(name.len().saturating_add(value.len()), usize::saturating_add);
        if self.0.len() >= LINES_LIMIT || size > HEADERS_LIMIT {
            return Err(format!(
                "expected at most {LINES_LIMIT} header lines and {HEADERS_LIMIT} bytes in all"
            ));
        }
        self.0.push((field, trim(value).to_owned()));
        Ok(())
    }
}

struct LinesVisitor;

impl<'de> Visitor<'de> for LinesVisitor {
    type Value = Lines;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of header fields, or a list of [name, value]")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Lines, A::Error> {
        let mut lines = Lines::default();
        while let Some((name, value)) = entries.next_entry::<String, String>()? {
            lines.add(&name, &value).map_err(Error::custom)?;
        }
        Ok(lines)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Lines, A::Error> {
        let mut lines = Lines::default();
        while let Some((name, value)) = items.next_element::<(String, String)>()? {
            lines.add(&name, &value).map_err(Error::custom)?;
        }
        Ok(lines)
    }
}

impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LinesVisitor)
    }
}
