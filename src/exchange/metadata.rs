//! What the platform says about a request, beside what the client sent.
//!
//! 1. It comes from the platform (`request.cf`): no header changes it.
//! 2. It is read in one crossing, and only where a rule asks for it.
//! 3. Each part is checked and bounded; what is missing, empty or no such value
//!    is not known, which is never an error.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected};
use serde::{Serialize, Serializer};

/// What the platform says about a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RequestMetadata {
    /// The country of the address, as an ISO 3166-1 alpha-2 code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<Code>,
    /// Its continent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continent: Option<Code>,
    /// The number of the autonomous system that announces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asn: Option<u32>,
    /// The version of TLS between the peer and the platform; not known without
    /// TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_version: Option<TlsVersion>,
    /// The cipher suite there, by the platform's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cipher: Option<Label>,
    /// How likely a human sent it, by the platform's bot management.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bot_score: Option<BotScore>,
    /// Whether the platform knows it for a bot that says who it is, such as a
    /// search engine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_bot: Option<bool>,
    /// What kind of such a bot it is, by the platform's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_bot_category: Option<Label>,
}

impl RequestMetadata {
    /// From a text with a line for each part, in the order above; what is
    /// empty or is none is not known.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut lines = text.split('\n');
        let mut next = || lines.next().unwrap_or_default();
        Self {
            country: Code::parse(next()),
            continent: Code::parse(next()),
            asn: next().parse().ok(),
            tls_version: TlsVersion::parse(next()),
            tls_cipher: Label::parse(next()),
            bot_score: next().parse().ok().and_then(BotScore::new),
            verified_bot: next().parse().ok(),
            verified_bot_category: Label::parse(next()),
        }
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A text of the platform's that is a value here.
macro_rules! texts {
    ($($type:ty, $expected:literal;)+) => { $(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).ok_or_else(|| D::Error::invalid_value(Unexpected::Str(&text), &$expected))
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )+ };
}

texts! {
    Code, "a code of two upper-case letters such as \"DE\"";
    TlsVersion, "one of \"TLSv1\", \"TLSv1.1\", \"TLSv1.2\", \"TLSv1.3\"";
    Label, "a name of 1 to 63 printable ASCII characters";
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

/// A version of TLS; later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 2246.
    V1_0,
    /// RFC 4346.
    V1_1,
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

impl TlsVersion {
    const ALL: [Self; 4] = [Self::V1_0, Self::V1_1, Self::V1_2, Self::V1_3];

    /// From the platform's name for it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// The platform's name for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V1_0 => "TLSv1",
            Self::V1_1 => "TLSv1.1",
            Self::V1_2 => "TLSv1.2",
            Self::V1_3 => "TLSv1.3",
        }
    }
}

/// The most bytes of a [`Label`].
const LABEL_LIMIT: usize = 63;

/// A name that the platform gives: 1 to 63 printable ASCII characters, held in
/// place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Label {
    bytes: [u8; LABEL_LIMIT],
    length: u8,
}

impl Label {
    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_name = !text.is_empty() && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let mut bytes = [0; LABEL_LIMIT];
        bytes.get_mut(..text.len()).filter(|_| is_name)?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: u8::try_from(text.len()).ok()? })
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.length.into()).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Label({:?})", self.as_str())
    }
}

/// How likely a human sent a request: 1 for surely a bot to 99 for surely a
/// human. The platform's 0 means that it did not look, so it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BotScore(#[cfg_attr(feature = "schema", schemars(range(min = 1, max = 99)))] u8);

impl BotScore {
    /// From its number.
    #[must_use]
    pub fn new(score: u8) -> Option<Self> {
        (1..=99).contains(&score).then_some(Self(score))
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl<'de> Deserialize<'de> for BotScore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let score = u64::deserialize(deserializer)?;
        u8::try_from(score)
            .ok()
            .and_then(Self::new)
            .ok_or_else(|| D::Error::invalid_value(Unexpected::Unsigned(score), &"a number from 1 to 99"))
    }
}

#[cfg(feature = "schema")]
mod schema {
    use std::borrow::Cow;

    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

    use super::{Code, LABEL_LIMIT, Label, TlsVersion};

    impl JsonSchema for Code {
        fn schema_name() -> Cow<'static, str> {
            "Code".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": "string", "pattern": "^[A-Z][A-Z0-9]$"})
        }
    }

    impl JsonSchema for TlsVersion {
        fn schema_name() -> Cow<'static, str> {
            "TlsVersion".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": "string", "enum": TlsVersion::ALL.map(TlsVersion::as_str)})
        }
    }

    impl JsonSchema for Label {
        fn schema_name() -> Cow<'static, str> {
            "Label".into()
        }

        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": "string", "pattern": "^[ -~]+$", "maxLength": LABEL_LIMIT})
        }
    }
}
