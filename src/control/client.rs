//! What an isolate asks the `Control` object.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::answer::{ActivePolicy, Done, PartBytes, decode_answer, encode_answer};
use super::message::{Action, Active, PROTOCOL, PartOf, encode_request};
use crate::error::{Dependency, PlatformError};
use crate::platform::ControlClient;

/// Where there is no `Control` object: it holds no policy.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoControl;

impl ControlClient for NoControl {
    async fn call(&self, _: &str, _: Duration) -> Result<String, PlatformError> {
        Ok(encode_answer(PROTOCOL, Ok(ActivePolicy { none: true, ..ActivePolicy::default() })))
    }
}

/// The newest policy, unless it is the one under the sequence `have`.
///
/// # Errors
/// The object failed, or refused.
pub async fn active(
    control: &impl ControlClient,
    have: Option<u64>,
    deadline: Duration,
) -> Result<ActivePolicy, PlatformError> {
    ask(control, &Action::Active(Active { have }), deadline).await
}

/// The bytes of a part. Whoever asks compares them with the hash.
///
/// # Errors
/// The object failed, or does not have it.
pub async fn part(
    control: &impl ControlClient,
    hash: &str,
    deadline: Duration,
) -> Result<Vec<u8>, PlatformError> {
    let part: PartBytes = ask(control, &Action::Part(PartOf { hash: hash.to_owned() }), deadline).await?;
    unhex(&part.part).ok_or_else(|| PlatformError::failed(Dependency::Control, "the part is not hex"))
}

/// Says which module this is, and the sequence that it acts on.
///
/// # Errors
/// The object failed, or refused.
pub async fn seen(
    control: &impl ControlClient,
    have: Option<u64>,
    deadline: Duration,
) -> Result<(), PlatformError> {
    ask::<Done>(control, &Action::Seen(Active { have }), deadline).await.map(|_| ())
}

async fn ask<T: DeserializeOwned>(
    control: &impl ControlClient,
    action: &Action,
    deadline: Duration,
) -> Result<T, PlatformError> {
    let text = control.call(&encode_request(action), deadline).await?;
    let failed = |cause: String| PlatformError::failed(Dependency::Control, cause);
    decode_answer(&text)
        .map_err(failed)?
        .map_err(|refused| failed(format!("refused: {}", refused.reason.as_str())))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes()
        .chunks_exact(2)
        .map(|pair| match *pair {
            [high, low] => Some(digit(high)?.wrapping_shl(4) | digit(low)?),
            _ => None,
        })
        .collect()
}
