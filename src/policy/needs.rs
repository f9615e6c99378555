//! The least version of the module that a document needs.
//!
//! An environment runs several versions of the module at once while one is
//! being deployed. A document that uses a field of version 0.2.0 must not
//! reach a module of version 0.1.0, which would refuse it.

use std::fmt;

use serde_json::Value;

/// `major.minor.patch`, to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// The first version that reads policies.
    pub const FIRST: Self = Self(0, 1, 0);

    /// From its text; `None` when it is not three numbers.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.').map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| part.parse().ok()).flatten()
        });
        Some(Self(parts.next()??, parts.next()??, parts.next()??))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// The least version of the module that compiles the document.
#[must_use]
pub fn least_module(document: &Value) -> Version {
    let refresh = document.get("refresh");
    let is_control =
        refresh.and_then(|refresh| refresh.get("source")).is_some_and(|source| source == "control");
    let has_failure = refresh.is_some_and(|refresh| refresh.get("on_failure").is_some());
    if document.get("admin").is_some() || is_control || has_failure {
        Version(0, 2, 0)
    } else {
        Version::FIRST
    }
}
