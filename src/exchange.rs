//! The heads of requests and responses, as values. Bodies stay opaque: they
//! belong to the platform and pass by untouched.

mod metadata;

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use http::Method;
use http::header::HeaderName;

pub use self::metadata::{BotScore, Code, Label, RequestMetadata, TlsVersion};

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

    /// What the platform knows about the request. Asked only where a rule reads
    /// it.
    fn metadata(&self) -> RequestMetadata {
        RequestMetadata::default()
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
    /// What the platform knows about it.
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
