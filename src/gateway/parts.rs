//! Parts of answers that grow together as they come.

use std::rc::Rc;

use super::Journey;
use super::answers::{Candidate, Miss};
use super::storing::Place;
use crate::platform::{Keep, Platform};
use crate::stages::cache::entry::Entry;
use crate::stages::cache::joining::{described, joined, meeting};
use crate::stages::cache::key;

impl<'a, P: Platform> Journey<'a, P> {
    /// Keeps a part, together with the stored one where they belong together.
    pub(super) fn store_part(
        &self,
        miss: &Miss<'a, P::Response>,
        response: P::Response,
        new: Entry,
        stored: Option<Candidate<P::Response>>,
    ) -> P::Response {
        let size = new.part.map(|part| part.span.size());
        // What has left memory since may have been made void.
        let is_there = |stored: &Candidate<P::Response>| {
            stored.body.is_none_or(|body| self.isolate.memory.borrow().has(&stored.key, body))
        };
        let both = stored.as_ref().filter(|stored| is_there(stored));
        let both = both.and_then(|stored| {
            let (part, around) = meeting(&stored.entry, &new, miss.stage.max_body)?;
            Some((&stored.entry, part, around))
        });
        let (entry, around) = match both {
            Some((stored, part, around)) => (joined(stored, new, part), Some(around)),
            None => (new, None),
        };
        let entry = described(entry);
        // It could be read a moment ago, and grew by two numbers.
        let Some(text) = entry.encode() else { return response };
        let key = key::place(&miss.primary, miss.index.as_ref(), &entry);
        let place = Place { key: &key, primary: &miss.primary };
        let keep = Keep { size, ..place.keep(&entry, &text, miss.stage, self.isolate) };
        let entry = Rc::new(entry);
        match (stored, around) {
            (Some(stored), Some(around)) => {
                let (response, body) = self.platform.join(response, &keep, stored.response, around);
                self.isolate.expect(body, &keep, &entry);
                response
            }
            (stored, _) => {
                stored.into_iter().for_each(|stored| self.platform.discard(stored.response));
                self.isolate.keep(self.platform, response, &keep, &entry, None)
            }
        }
    }
}
