//! What an isolate asks the `Control` object.

use std::time::Duration;

use serde::de::DeserializeOwned;

use super::answer::{ActivePolicy, Done, PartBytes, Refused, decode_answer, encode_answer};
use super::message::{Action, Active, PROTOCOL, PartOf, encode_request};
use super::sets::{PartStored, PutPart};
use crate::error::{Dependency, PlatformError};
use crate::platform::ControlClient;
use crate::policy::manifest::{PartRef, hex, unhex};

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

/// Gives the object a part of the stored sets to come, made from generation
/// `base`; or why it does not take it.
///
/// # Errors
/// The object failed.
pub async fn put_part(
    control: &impl ControlClient,
    bytes: &[u8],
    base: u64,
    deadline: Duration,
) -> Result<Result<PartRef, Refused>, PlatformError> {
    let put = Action::PutPart(PutPart { part: hex(bytes), base: Some(base) });
    Ok(ask_or_refused::<PartStored>(control, &put, deadline).await?.map(|stored| stored.part))
}

/// The answer to an action; a refusal is a failure.
///
/// # Errors
/// The object failed, or refused.
pub async fn ask<T: DeserializeOwned>(
    control: &impl ControlClient,
    action: &Action,
    deadline: Duration,
) -> Result<T, PlatformError> {
    let failed = |refused: Refused| {
        PlatformError::failed(Dependency::Control, format!("refused: {}", refused.reason.as_str()))
    };
    ask_or_refused(control, action, deadline).await?.map_err(failed)
}

/// The answer to an action, or why it was refused.
///
/// # Errors
/// The object failed.
pub async fn ask_or_refused<T: DeserializeOwned>(
    control: &impl ControlClient,
    action: &Action,
    deadline: Duration,
) -> Result<Result<T, Refused>, PlatformError> {
    let text = control.call(&encode_request(action), deadline).await?;
    decode_answer(&text).map_err(|cause| PlatformError::failed(Dependency::Control, cause))
}
