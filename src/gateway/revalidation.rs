//! What `stale-while-revalidate` promises (RFC 5861, 3): after an answer that
//! was stale, the origin is asked whether it still holds.

use std::rc::Rc;

use http::header::{CONNECTION, HeaderName};

use super::storing::{Place, Times, arrival, kept};
use super::{Isolate, Journey};
use crate::error::PlatformError;
use crate::exchange::Edit;
use crate::platform::{Clock, Found, Keep, Platform, ResponseStore};
use crate::policy::Gateway;
use crate::purge::Live;
use crate::stages::cache::CacheStage;
use crate::stages::cache::conclude::freshen;
use crate::stages::cache::entry::Entry;
use crate::stages::cache::global;
use crate::stages::cache::key::{self, Index};
use crate::stages::cache::plan::Plan;
use crate::stages::cache::staleness::is_failure;
use crate::stages::cache::storability::blames_the_request;
use crate::stages::cache::validation::{confirms, has_validator};
use crate::stages::respond;
use crate::stages::upstream::UpstreamRequest;

/// A stored answer about which the origin is asked.
#[derive(Clone, Debug)]
pub struct Revalidation {
    /// What the origin gets.
    pub request: UpstreamRequest,
    /// The stage by which it is stored.
    pub stage: CacheStage,
    /// What the request allowed that got the stale answer.
    pub plan: Plan,
    /// The primary key of its URI.
    pub primary: String,
    /// Its key.
    pub key: String,
    /// Its head.
    pub entry: Rc<Entry>,
    /// The entry under the primary key.
    pub index: Option<Index>,
    /// Fields of the origin's that are for this gateway alone.
    pub ended_here: Vec<HeaderName>,
    /// The purges that the isolate knows.
    pub purges: Rc<Live>,
}

impl Isolate {
    /// Whether there is something to ask about after the response.
    #[must_use]
    pub fn has_revalidations(&self) -> bool {
        !self.revalidations.borrow().is_empty()
    }

    /// What is to be asked about next; whoever takes it calls [`revalidate`].
    #[must_use]
    pub fn next_revalidation(&self) -> Option<Revalidation> {
        self.revalidations.borrow_mut().pop_front()
    }
}

impl<P: Platform> Journey<'_, P> {
    /// The fields by which an origin says what a request has cost.
    pub(super) fn cost_fields(&self) -> Vec<HeaderName> {
        let stages = [Some(&self.gateway.entry_rate_limit), self.route_limits];
        let rules = stages.into_iter().flatten().flat_map(|stage| &stage.rules);
        rules.filter_map(|rule| rule.cost_header.clone()).collect()
    }
}

/// Asks the origin about a stored answer, and keeps what it says. `head` is
/// the request that got the stale answer.
///
/// # Errors
/// The origin or the store failed: what is stored stays, and is asked about
/// again later.
pub async fn revalidate<P: Clock + ResponseStore>(
    gateway: &Gateway,
    isolate: &Isolate,
    platform: &P,
    head: &P::Request,
    asked: Revalidation,
) -> Result<(), PlatformError> {
    let (sent, began) = (platform.now(), asked.purges.purges().newest());
    let response = platform.fetch(head, &asked.request).await?;
    let received = platform.now();
    let status = platform.status(&response);
    // A 304 that nobody has asked for says nothing about what is stored.
    let says_nothing = status == 304 && !has_validator(&asked.entry.fields);
    // What fails now may be asked again in a while; until then the stale
    // answer serves as long as its window is open. So it is with what blames the
    // request, which has the fields of the client that got the stale answer.
    if is_failure(status) || blames_the_request(status) || !(200..=599).contains(&status) || says_nothing {
        platform.discard(response);
        return Ok(());
    }
    let mut edits = Vec::new();
    let connection = platform.field(&response, &CONNECTION);
    respond::hop_by_hop(connection.as_deref(), &gateway.identity.request_id_field, &mut edits);
    let mut gone = asked.ended_here.clone();
    gone.extend(
        edits.into_iter().filter_map(|edit| if let Edit::Remove(name) = edit { Some(name) } else { None }),
    );
    let news = arrival(platform, &response, &gone, Times { sent, received, began });
    if status == 304 {
        let is_same = confirms(&news.fields, &asked.entry);
        match freshen(&asked.entry, news, asked.plan.credentials, &asked.stage) {
            Ok(entry) if is_same => {
                if let Ok(text) = isolate.text(&asked.stage, &entry) {
                    let place = Place { key: &asked.key, primary: &asked.primary };
                    let keep = place.keep(&entry, &text, &asked.stage, isolate);
                    renew(isolate, platform, &asked, &keep, &Rc::new(entry), &response).await?;
                }
            }
            // What must not be kept any more is not served any more either.
            Err(_) if is_same => isolate.remove(platform, &asked.stage, vec![asked.key.clone()]),
            _ => {}
        }
        platform.discard(response);
    } else {
        let index = asked.index.as_ref();
        let entry = kept(isolate, head, &gateway.identity, &asked.stage, &asked.plan, news, index);
        let response = match entry {
            Ok((entry, text)) => {
                let key = key::place(&asked.primary, asked.index.as_ref(), &entry);
                let place = Place { key: &key, primary: &asked.primary };
                let keep = place.keep(&entry, &text, &asked.stage, isolate);
                isolate.keep(platform, response, &keep, &Rc::new(entry), None)
            }
            // The origin has another answer by now, which is not to be kept:
            // the old one is none any more (RFC 9111, 4.3.3).
            Err(_) => {
                isolate.remove(platform, &asked.stage, vec![asked.key.clone()]);
                response
            }
        };
        platform.discard(response);
    }
    isolate.revalidated.borrow_mut().unmark(&asked.key);
    Ok(())
}

/// Brings what was asked about up to date, in each tier that has it. Only that
/// is confirmed: somebody may have replaced it by now.
async fn renew<P: ResponseStore + Clock>(
    isolate: &Isolate,
    platform: &P,
    asked: &Revalidation,
    keep: &Keep<'_>,
    entry: &Rc<Entry>,
    confirmed_by: &P::Response,
) -> Result<(), PlatformError> {
    if keep.memory.is_some() {
        isolate.renew_near(&asked.key, &asked.entry, entry);
    }
    // What all locations keep is read where the location keeps nothing.
    let found = match global::name(&asked.key) {
        _ if keep.retention.is_some() => platform.lookup(&asked.key).await?,
        Some(name) if keep.global.is_some() => platform.lookup_global(&name, &asked.key).await?,
        _ => None,
    };
    let Some(Found { entry: text, response: stored, .. }) = found else { return Ok(()) };
    let text = if keep.retention.is_some() { Some(text.as_str()) } else { global::entry(&text, &asked.key) };
    let same = text.and_then(Entry::decode).as_ref() == Some(&*asked.entry);
    let stored = if same {
        isolate.keep(platform, stored, &Keep { memory: None, ..*keep }, entry, Some(confirmed_by))
    } else {
        stored
    };
    platform.discard(stored);
    Ok(())
}
