//! What belongs to a manifest, until all of it is there and is swapped in.

use std::hash::Hasher as _;
use std::rc::Rc;
use std::time::Duration;

use siphasher::sip::SipHasher13;
use siphasher::sip128::SipHasher13 as SipHasher128;

use super::{Doubt, Holder, Part, Refused, Snapshot, Turn};
use crate::addresses::StoredSets;
use crate::platform::Stored;
use crate::policy::compile::{Gateway, compile};
use crate::policy::manifest::{BansRef, Manifest, PartRef};
use crate::stages::bans::BanSet;
use crate::stages::ip_filter::BoundSets;
use crate::time::Timestamp;

/// How many requests load the same sets at once: who has taken over, and who
/// hangs. Sets at their limits are 48 MB while they are read.
const MOST_LOADERS: usize = 2;

/// A manifest that is newer than what is held and good in itself. Requests
/// that saw the same one share it: fifty of them may wait for its sets.
#[derive(Debug)]
pub(in crate::policy) struct Candidate {
    pub(in crate::policy) manifest: Manifest,
    pub(in crate::policy) gateway: Rc<Gateway>,
    /// The hash of the document.
    document: u128,
    /// The hash of value and metadata.
    hash: u64,
    /// The length of the value, and its metadata.
    shown: (usize, Option<String>),
}

impl Holder {
    /// Whether this or something newer is held, and whole.
    pub(in crate::policy) fn is_held(&self, sequence: u64) -> bool {
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

    /// A turn at loading the sets of a generation for whoever asks, where
    /// nobody has one, or has had it for `patience`.
    pub(in crate::policy) fn begin_loading(
        &mut self,
        generation: u64,
        now: Timestamp,
        until: Timestamp,
        patience: Duration,
    ) -> Option<Turn> {
        self.loading.begin(generation, now, until, patience, MOST_LOADERS)
    }

    /// Takes note that loading has ended, and with what. Gives the sets that
    /// all share.
    pub(in crate::policy) fn end_loading(
        &mut self,
        turn: Turn,
        sets: Option<StoredSets>,
    ) -> Option<Rc<StoredSets>> {
        self.loading.end(turn);
        let sets = sets?;
        // Another one may have been faster.
        if let Some(here) = self.sets_of(sets.generation) {
            return Some(here);
        }
        let sets = Rc::new(sets);
        if self.loaded.as_ref().is_none_or(|loaded| loaded.generation < sets.generation) {
            self.loaded = Some(Rc::clone(&sets));
        }
        Some(sets)
    }

    /// Reads a manifest that a source showed and compiles its policy: `None`
    /// when it is no newer than what is held.
    pub(in crate::policy) fn weigh(
        &mut self,
        (value, metadata): &Stored,
    ) -> Result<Option<Rc<Candidate>>, Refused> {
        let metadata = metadata.as_deref();
        // Most of what is read is what is held: that is known from its
        // metadata and its length, without hashing and parsing a megabyte.
        if let (Some((length, held)), Some(metadata)) = (&self.taken, metadata)
            && (*length, held.as_str()) == (value.len(), metadata)
            && self.without_sets.is_none()
        {
            return Ok(None);
        }
        let hash = fingerprint(value, metadata);
        if let Some((refused, why)) = &self.refused
            && *refused == hash
        {
            return Err(why.clone());
        }
        if let Some(candidate) = self.candidate.upgrade().filter(|candidate| candidate.hash == hash) {
            return Ok((!self.is_held(candidate.manifest.sequence)).then_some(candidate));
        }
        let manifest = match Manifest::parse(value, metadata) {
            Ok(manifest) if self.is_held(manifest.sequence) => return Ok(None),
            Ok(manifest) => manifest,
            Err(error) => {
                let doubt = if error.sequence.is_some() { Doubt::Authentic } else { Doubt::Doubtful };
                return Err(self.refuse(hash, error.sequence, Refused { doubt, reason: error.reason }));
            }
        };
        let (gateway, document) = self.compiled(&manifest, hash)?;
        let shown = (value.len(), metadata.map(str::to_owned));
        let candidate = Rc::new(Candidate { manifest, gateway, document, hash, shown });
        self.candidate = Rc::downgrade(&candidate);
        Ok(Some(candidate))
    }

    fn refuse(&mut self, hash: u64, sequence: Option<u64>, refused: Refused) -> Refused {
        if let Some(sequence) = sequence
            && self.unusable.as_ref().is_none_or(|(highest, _)| *highest <= sequence)
        {
            self.unusable = Some((sequence, refused.reason.clone()));
        }
        self.refused = Some((hash, refused.clone()));
        refused
    }

    /// The policy of a manifest, compiled; the one that is held where it is
    /// the same document. And the hash of the document.
    fn compiled(&mut self, manifest: &Manifest, hash: u64) -> Result<(Rc<Gateway>, u128), Refused> {
        let document = SipHasher128::new().hash(manifest.policy.as_bytes()).as_u128();
        if let Some(current) = self.current.as_ref().filter(|_| self.document == Some(document)) {
            return Ok((Rc::clone(&current.gateway), document));
        }
        let gateway = compile(&manifest.policy).map_err(|error| {
            let reason = format!("revision {} does not compile: {error}", manifest.revision);
            self.refuse(hash, Some(manifest.sequence), Refused { doubt: Doubt::Authentic, reason })
        })?;
        Ok((Rc::new(gateway), document))
    }

    /// The parts that are held already.
    pub(in crate::policy) fn held_part(&self, part: &PartRef) -> Option<Part> {
        self.parts.iter().find(|(held, _)| held == part).cloned()
    }

    /// Swaps a manifest in, with all that belongs to it; or without its stored
    /// sets, and the reason. Meanwhile another request may have swapped in a
    /// newer one, which then stays.
    pub(in crate::policy) fn take(
        &mut self,
        candidate: &Candidate,
        parts: Vec<Part>,
        sets: Result<Option<Rc<StoredSets>>, String>,
    ) {
        let Candidate { manifest, gateway, document, shown: (length, metadata), .. } = candidate;
        if self.is_held(manifest.sequence) {
            // What was loaded for this one alone is not kept.
            let generation = manifest.beside.sets.as_ref().map(|sets| sets.generation);
            self.loaded.take_if(|loaded| Some(loaded.generation) == generation);
            return;
        }
        let (sets, without_sets) = match sets {
            Ok(sets) => (sets, None),
            Err(reason) => (None, Some(reason)),
        };
        let (bans, without_bans) = self.bans_of(manifest.beside.bans.as_ref());
        self.without_bans = without_bans;
        let purges = manifest.beside.purges.as_deref().map(|text| self.purges.hold(text, manifest.sequence));
        self.without_purges = purges.and_then(Result::err).map(|damage| damage.to_string());
        self.parts = parts;
        self.document = Some(*document);
        self.taken = metadata.clone().map(|metadata| (*length, metadata));
        self.without_sets = without_sets;
        self.loaded = None;
        self.current = Some(Rc::new(Snapshot {
            stored: sets.map(|sets| BoundSets::new(sets, &gateway.sets)),
            gateway: Rc::clone(gateway),
            revision: manifest.revision.clone(),
            sequence: Some(manifest.sequence),
            bans,
            live_purges: Rc::clone(&self.purges),
            alerts: manifest.beside.alerts.clone(),
            stand_in: None,
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

fn fingerprint(value: &str, metadata: Option<&str>) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(value.as_bytes());
    hasher.write(metadata.unwrap_or_default().as_bytes());
    hasher.finish()
}
