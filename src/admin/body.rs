//! What a request brings: its body, and what stands in its query.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};

use super::Request;
use super::problem::{Problem, Refusal};
use crate::exchange::{Head, trim};
use crate::platform::{BodyError, Platform};

/// How long a body may take to come.
const BODY_WAIT: Duration = Duration::from_secs(30);

impl<P: Platform> Request<'_, P> {
    /// The body as JSON text, at most `limit` bytes.
    pub(super) async fn body(&self, limit: usize) -> Result<String, Problem> {
        let kind = self.head.field(&CONTENT_TYPE);
        if !kind.as_deref().is_some_and(is_json) {
            return Err(Problem::new(Refusal::UnsupportedMediaType));
        }
        if self.head.field(&CONTENT_ENCODING).is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
            return Err(
                Problem::new(Refusal::UnsupportedMediaType).detail("Send the body without an encoding.")
            );
        }
        let bytes = self.platform.read_body(limit, BODY_WAIT).await.map_err(|error| match error {
            BodyError::TooLarge => {
                Problem::new(Refusal::TooLarge).detail(format!("At most {limit} bytes are read here."))
            }
            BodyError::TimedOut => Problem::new(Refusal::SlowBody)
                .detail(format!("It has to be here within {} seconds.", BODY_WAIT.as_secs())),
            BodyError::Broken => Problem::new(Refusal::InvalidBody).detail("The body broke off."),
        })?;
        String::from_utf8(bytes)
            .map_err(|_| Problem::new(Refusal::InvalidBody).detail("The body is not UTF-8 (RFC 8259, 8.1)."))
    }
}

/// Whether a Content-Type is JSON in UTF-8.
fn is_json(field: &str) -> bool {
    let mut parts = field.split(';').map(trim);
    let essence = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"));
    let is_utf8 = |parameter: &str| {
        parameter.split_once('=').is_none_or(|(name, value)| {
            !name.eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    };
    essence && parts.all(is_utf8)
}

/// A value of a query without its escapes (WHATWG URL, 5.1: `+` is a space);
/// `None` when that is not UTF-8.
#[must_use]
pub fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let mut ahead = rest.clone();
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                match (digit(ahead.next()), digit(ahead.next())) {
                    (Some(high), Some(low)) => {
                        bytes.push(u8::try_from(high.wrapping_mul(16).wrapping_add(low)).ok()?);
                        rest = ahead;
                    }
                    _ => bytes.push(b'%'),
                }
            }
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}
