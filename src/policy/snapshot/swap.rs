//! What belongs to a manifest, until all of it is there and is swapped in.

use std::rc::Rc;

use siphasher::sip128::SipHasher13 as SipHasher128;

use super::{FIRST_READ, Holder, Part, Refused, Snapshot, fingerprint};
use crate::addresses::StoredSets;
use crate::platform::Stored;
use crate::policy::compile::{Gateway, compile};
use crate::policy::manifest::{BansRef, Manifest};
use crate::stages::bans::BanSet;
use crate::stages::ip_filter::BoundSets;
use crate::time::Timestamp;

/// A compiled policy, and the hash of its document.
pub(in crate::policy) struct Compiled {
    pub(in crate::policy) gateway: Rc<Gateway>,
    document: u128,
}

impl Holder {
    /// Whether this or something newer is held, and whole.
    pub(super) fn is_held(&self, sequence: u64) -> bool {
        self.have().is_some_and(|have| sequence < have || sequence == have && self.without_sets.is_none())
    }

    /// Whether there is a policy, with its sets.
    pub(in crate::policy) fn has_all(&self) -> bool {
        self.current.is_some() && self.without_sets.is_none()
    }

    /// The sets of a generation, if they are here.
    pub(in crate::policy) fn sets_of(&self, generation: u64) -> Option<Rc<StoredSets>> {
        let held = self.current.as_ref().and_then(|current| current.stored.as_ref()).map(|bound| &bound.sets);
        let mut here = held.into_iter().chain(&self.loaded);
        here.find(|sets| sets.generation == generation).map(Rc::clone)
    }

    /// Whether whoever asks is to load the sets of a generation: nobody else
    /// does.
    pub(in crate::policy) fn begin_loading(&mut self, generation: u64, now: Timestamp) -> bool {
        // A request that died at it ends nothing.
        let is_loading = self.loading.is_some_and(|(other, begun)| {
            other == generation && now >= begun && now.since(begun) < FIRST_READ
        });
        if !is_loading {
            self.loading = Some((generation, now));
        }
        !is_loading
    }

    /// Takes note that loading has ended, and with what.
    pub(in crate::policy) fn end_loading(&mut self, sets: Option<StoredSets>) -> Option<Rc<StoredSets>> {
        self.loading = None;
        if let Some(sets) = sets {
            self.loaded = Some(Rc::new(sets));
        }
        self.loaded.clone()
    }

    /// The policy of a manifest, compiled; the one that is held where it is
    /// the same document.
    pub(in crate::policy) fn compiled(
        &mut self,
        manifest: &Manifest,
        value: &str,
        metadata: Option<&str>,
    ) -> Result<Compiled, Refused> {
        let document = SipHasher128::new().hash(manifest.policy.as_bytes()).as_u128();
        if let Some(current) = self.current.as_ref().filter(|_| self.document == Some(document)) {
            return Ok(Compiled { gateway: Rc::clone(&current.gateway), document });
        }
        let gateway = compile(&manifest.policy).map_err(|error| {
            let reason = format!("revision {} does not compile: {error}", manifest.revision);
            let refused = Refused { authentic: true, reason };
            self.refuse(fingerprint(value, metadata), Some(manifest.sequence), refused)
        })?;
        Ok(Compiled { gateway: Rc::new(gateway), document })
    }

    /// Swaps a manifest in, with all that belongs to it; or without its stored
    /// sets, and the reason. Meanwhile another request may have swapped in a
    /// newer one, which then stays.
    pub(in crate::policy) fn take(
        &mut self,
        manifest: Manifest,
        compiled: Compiled,
        parts: Vec<Part>,
        sets: Result<Option<Rc<StoredSets>>, String>,
        (value, metadata): &Stored,
    ) {
        if self.is_held(manifest.sequence) {
            return;
        }
        let Compiled { gateway, document } = compiled;
        let (sets, without_sets) = match sets {
            Ok(sets) => (sets, None),
            Err(reason) => (None, Some(reason)),
        };
        let (bans, without_bans) = self.bans_of(manifest.beside.bans.as_ref());
        self.without_bans = without_bans;
        self.parts = parts;
        self.document = Some(document);
        self.taken = metadata.clone().map(|metadata| (value.len(), metadata));
        self.without_sets = without_sets;
        self.loaded = None;
        self.current = Some(Rc::new(Snapshot {
            stored: sets.map(|sets| BoundSets::new(sets, &gateway.sets)),
            gateway,
            revision: manifest.revision,
            sequence: Some(manifest.sequence),
            bans,
            alerts: manifest.beside.alerts,
        }));
    }

    /// The bans of a manifest; those that are held where they are the same, or
    /// where these cannot be read, and why. A policy must not wait for that.
    fn bans_of(&self, reference: Option<&BansRef>) -> (Option<Rc<BanSet>>, Option<String>) {
        let held = self.current.as_ref().and_then(|current| current.bans.clone());
        let Some(BansRef { generation, set }) = reference else { return (None, None) };
        if held.as_ref().is_some_and(|held| held.generation() == *generation) {
            return (held, None);
        }
        match BanSet::parse(set, *generation) {
            Ok(bans) => (Some(Rc::new(bans)), None),
            Err(damage) => (held, Some(format!("generation {generation}: {damage}"))),
        }
    }
}
