//! The heads of requests and responses, as values. Bodies stay opaque: they
//! belong to the platform and pass by untouched.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use http::Method;
use http::header::HeaderName;

/// The head of a request. On wasm32 a lazy view of the native request, so
/// that a field no rule asks for is never copied; on the host a plain value.
pub trait Head {
    /// The method, as sent.
    fn method(&self) -> &Method;

    /// The URL as the runtime shows it: scheme, then the Host field unchecked,
    /// then the target as sent. See [`crate::stages::target`].
    fn url(&self) -> &str;

    /// The value of a field; several lines are joined by `, `. `None` when
    /// the field is absent.
    fn field(&self, name: &HeaderName) -> Option<Cow<'_, str>>;

    /// Which of these fields are there, each once. All of them are among the
    /// gateway's wanted fields, so a view knows without asking for each.
    fn present(&self, names: &NameSet) -> Vec<HeaderName> {
        names.iter().filter(|name| self.field(name).is_some()).cloned().collect()
    }

    /// What the platform knows about where the request comes from. Asked only
    /// where a rule reads it.
    fn metadata(&self) -> RequestMetadata {
        RequestMetadata::default()
    }
}

/// What the platform says about a request, beside what the client sent. No
/// header changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestMetadata {
    /// The country of the address, as an ISO 3166-1 alpha-2 code.
    pub country: Option<Code>,
    /// Its continent.
    pub continent: Option<Code>,
    /// The number of the autonomous system that announces it.
    pub asn: Option<u32>,
}

impl RequestMetadata {
    /// From a text with a line each for country, continent and ASN; what is
    /// empty or is none is not known.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut lines = text.split('\n');
        let mut next = || lines.next().unwrap_or_default();
        Self { country: Code::parse(next()), continent: Code::parse(next()), asn: next().parse().ok() }
    }
}

/// Two upper-case letters, or a letter and a digit: a country or a continent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code([u8; 2]);

impl Code {
    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let code = <[u8; 2]>::try_from(text.as_bytes()).ok()?;
        let is_code = code.first().is_some_and(u8::is_ascii_uppercase)
            && code.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
        is_code.then_some(Self(code))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl<'de> serde::Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::invalid_value(
                serde::de::Unexpected::Str(&text),
                &"a code of two upper-case letters such as \"DE\"",
            )
        })
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Code {
    fn schema_name() -> Cow<'static, str> {
        "Code".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[A-Z][A-Z0-9]$"})
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of field names that is made once and asked often.
#[derive(Clone, Debug, Default)]
pub struct NameSet {
    names: HashSet<HeaderName, BuildHasherDefault<NameHasher>>,
}

impl NameSet {
    /// Whether a name is in it.
    #[must_use]
    pub fn contains(&self, name: &HeaderName) -> bool {
        self.names.contains(name)
    }

    /// The names, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &HeaderName> {
        self.names.iter()
    }
}

impl FromIterator<HeaderName> for NameSet {
    fn from_iter<I: IntoIterator<Item = HeaderName>>(names: I) -> Self {
        Self { names: names.into_iter().collect() }
    }
}

/// A quick hash for tables that hold a policy's own names and are asked for
/// names of this code: no stranger chooses what is in them.
#[derive(Debug, Default)]
pub struct NameHasher(u64);

impl Hasher for NameHasher {
    fn finish(&self) -> u64 {
        // The tables look at the low bits, and the high ones are the better.
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().fold(0, |word: u64, byte| (word << 8) | u64::from(*byte));
            self.write_u64(word);
        }
    }

    fn write_u64(&mut self, value: u64) {
        // Fibonacci hashing: the multiplier is 2^64 over the golden ratio.
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(value.into());
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }
}

/// A request head as a plain value: what `explain` and the tests use.
#[derive(Clone, Debug, Default)]
pub struct PlainHead {
    /// The method.
    pub method: Method,
    /// The URL, as [`Head::url`].
    pub url: String,
    /// Field lines in order.
    pub fields: Vec<(HeaderName, String)>,
    /// Where it comes from.
    pub metadata: RequestMetadata,
}

impl Head for PlainHead {
    fn method(&self) -> &Method {
        &self.method
    }

    fn url(&self) -> &str {
        &self.url
    }

    fn field(&self, name: &HeaderName) -> Option<Cow<'_, str>> {
        join_lines(&self.fields, name)
    }

    fn metadata(&self) -> RequestMetadata {
        self.metadata
    }
}

/// The combined value of a field (RFC 9110, 5.2): lines joined by `, `.
#[must_use]
pub fn join_lines<'a>(fields: &'a [(HeaderName, String)], name: &HeaderName) -> Option<Cow<'a, str>> {
    let mut lines = fields.iter().filter(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let first = lines.next()?;
    let mut joined = Cow::Borrowed(first);
    for line in lines {
        let joined = joined.to_mut();
        joined.push_str(", ");
        joined.push_str(line);
    }
    Some(joined)
}

/// One change to a native head on its way through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Replaces every line of the field.
    Set(HeaderName, String),
    /// Adds a line, after those that are there.
    Append(HeaderName, String),
    /// Removes every line of the field.
    Remove(HeaderName),
}

/// The members of a comma-separated list (RFC 9110, 5.6.1), trimmed, empty
/// ones left out. Quoted strings are not looked into: use it for lists of
/// tokens only.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(trim).filter(|member| !member.is_empty())
}

/// Follows quoted strings (RFC 9110, 5.6.4) from character to character.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quoting {
    quoted: bool,
    escaped: bool,
}

impl Quoting {
    /// Whether the next character is inside a quoted string.
    #[must_use]
    pub const fn is_quoted(&self) -> bool {
        self.quoted
    }

    /// Goes on by one character.
    pub fn follow(&mut self, character: char) {
        match character {
            _ if self.escaped => self.escaped = false,
            '\\' if self.quoted => self.escaped = true,
            '"' => self.quoted = !self.quoted,
            _ => {}
        }
    }
}

/// Without optional white space (RFC 9110, 5.6.3) at either end.
#[must_use]
pub fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Whether `text` is a token (RFC 9110, 5.6.2).
#[must_use]
pub fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The value of the first cookie with that name in a Cookie field (RFC 6265,
/// 4.2.1); a value in double quotes is given without them.
#[must_use]
pub fn cookie<'a>(field: &'a str, name: &str) -> Option<&'a str> {
    // Several Cookie lines reach the Worker joined by ", "; a comma cannot
    // stand in a cookie value (RFC 6265, 4.1.1), so both separate.
    field.split([';', ',']).map(trim).find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        let value = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
        (key == name).then_some(value)
    })
}

/// An answer of our own: small, whole, made here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Status code, 200 to 599.
    pub status: u16,
    /// Field lines.
    pub fields: Vec<(HeaderName, String)>,
    /// The body; empty for none.
    pub body: String,
}

/// What the client gets.
#[derive(Debug)]
pub enum Reply<R> {
    /// An answer of our own.
    Answer(Answer),
    /// A native response with changes to its head; the body is untouched.
    Native(R, Vec<Edit>),
}
