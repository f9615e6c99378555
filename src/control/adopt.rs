//! The first revision of an environment that has a policy and never pushed one.
//!
//! A deployment writes its first policy into the policy store itself, and a
//! variable or the demo may stand in for one. Bans, purges and stored sets
//! travel with a revision of `Control`'s, so the first of them makes that
//! policy the first revision: what acts stays what it is, and what was asked
//! for acts, too.
//!
//! 1. What the policy store holds is the policy, and `Control` reads it there.
//! 2. Holds it none, the Worker offers what it acts on in its place; not where
//!    the store failed, since then nobody knows that there is none.
//! 3. A revision that came meanwhile stands, and so does a refusal: the change
//!    itself is kept, and waits for a policy to be pushed.

use super::answer::{Acknowledgement, PublicationState};
use super::client;
use super::message::{Action, PROTOCOL, Push, Role, encode_request};
use super::plane::decide;
use super::state::State;
use crate::error::PlatformError;
use crate::platform::{Clock, ControlClient, ControlStore, ManifestStore};
use crate::policy::manifest::Manifest;
use crate::policy::snapshot::Snapshot;

/// The author of such a revision.
pub const AUTHOR: &str = "edgeweir";

/// How long the object may take.
const WAIT: std::time::Duration = std::time::Duration::from_secs(5);

fn first(document: String, from: &str) -> Action {
    Action::Push(Push {
        base: "r0".to_owned(),
        document,
        parts: Vec::new(),
        message: format!("taken over from {from}, with the first address set, ban or purge"),
        author: AUTHOR.to_owned(),
        role: Role::Operator,
    })
}

/// Takes over what the policy store holds, where there is no revision yet.
pub(super) async fn from_policy_store(
    store: &impl ControlStore,
    manifests: &impl ManifestStore,
    clock: &impl Clock,
) -> Result<(), PlatformError> {
    if State::load(store)?.active > 0 {
        return Ok(());
    }
    // A store that fails is asked again with the next change.
    let Ok(Some((value, metadata))) = manifests.read_active().await else { return Ok(()) };
    let Ok(manifest) = Manifest::parse(&value, metadata.as_deref()) else { return Ok(()) };
    if manifest.parts.is_empty() {
        let push = first(manifest.policy, "the policy store");
        decide(store, &encode_request(&push), clock.now(), PROTOCOL)?;
    }
    Ok(())
}

/// Offers what the isolate acts on in the place of a policy; `None` where it
/// acts on none such, or the object would not have it.
pub async fn from_snapshot(control: &impl ControlClient, snapshot: &Snapshot) -> Option<Acknowledgement> {
    let push = first(snapshot.stand_in.as_deref()?.to_owned(), &format!("the {} policy", snapshot.revision));
    client::ask(control, &push, WAIT).await.ok()
}

/// Gives a change that no policy carries yet one to travel with: its sequence
/// and state are then those of the first revision.
pub async fn carry(
    control: &impl ControlClient,
    snapshot: &Snapshot,
    sequence: &mut u64,
    state: &mut PublicationState,
) {
    if *sequence == 0
        && let Some(first) = from_snapshot(control, snapshot).await
    {
        (*sequence, *state) = (first.sequence, first.state);
    }
}
