//! Whether an answer that has just arrived is stored, and as what (RFC 9111,
//! 3, 4.3.3, 4.3.4).

use http::Method;
use http::header::{
    AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, DATE, EXPIRES, HeaderName, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, SET_COOKIE,
};

use super::age::{age_value, initial_age};
use super::directives::{Directives, LONGEST, seconds};
use super::entry::Entry;
use super::freshness::lifetime;
use super::key::Index;
use super::plan::{Credentials, Plan};
use super::range::{Part, content_range};
use super::staleness::Allowance;
use super::storability::{forbids_storing, is_shared, may_be_due_to_the_request};
use super::validation::has_validator;
use super::vary::Selector;
use super::{CacheStage, NotStored, date, fields, lifetimes, targeted, vary};
use crate::exchange::{Head, join_lines, trim};
use crate::stages::upstream::imitations;
use crate::time::Timestamp;

/// An answer of the origin.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields, without those that ended with the connection.
    pub fields: Vec<(HeaderName, String)>,
    /// When its request was sent.
    pub sent: Timestamp,
    /// When its head arrived.
    pub received: Timestamp,
    /// The newest purge that was known when its request was sent.
    pub began: u64,
}

/// Which directives count, and whether they come from a targeted field.
///
/// # Errors
/// The route does not store answers with that status.
fn directives(
    status: u16,
    fields: &[(HeaderName, String)],
    stage: &CacheStage,
) -> Result<(Directives, bool), NotStored> {
    let (directives, targeted) = said(fields, stage);
    match lifetimes::given(&stage.lifetimes, status) {
        None => Ok((directives, targeted)),
        Some(given) if given.seconds == 0 => Err(NotStored::Lifetime),
        Some(given) => Ok((given.applied(directives), targeted)),
    }
}

/// The directives of the first valid field.
fn said(fields: &[(HeaderName, String)], stage: &CacheStage) -> (Directives, bool) {
    let mut targets = stage.targets.iter().filter_map(|name| join_lines(fields, name));
    match targets.find_map(|field| targeted::parse(&field)) {
        Some(directives) => (directives, true),
        None => {
            let field = join_lines(fields, &CACHE_CONTROL);
            (field.as_deref().map(Directives::parse).unwrap_or_default(), false)
        }
    }
}

/// What is stored of an answer. `index` is about the URI's entries, where there
/// are some.
///
/// # Errors
/// Says why nothing is.
pub fn conclude(
    head: &impl Head,
    plan: &Plan,
    stage: &CacheStage,
    answer: Answer,
    index: Option<&Index>,
) -> Result<Entry, NotStored> {
    // 3: the request's method and its directives allow it.
    if !plan.store {
        return Err(NotStored::Request);
    }
    let Answer { status, mut fields, sent, received, began } = answer;
    // 304 answers a condition; what is no final status is no answer.
    if !(200..=599).contains(&status) || status == 304 {
        return Err(NotStored::Status);
    }
    // RFC 9110, 15.5.13, 15.5.17, and whatever else a range or a condition has
    // brought about: it is no answer to those who ask without one.
    if (plan.ranged && may_be_due_to_the_request(status)) || (status == 412 && has_condition(head)) {
        return Err(NotStored::Request);
    }
    let (directives, targeted) = directives(status, &fields, stage)?;
    if forbids_storing(&directives, status) {
        return Err(NotStored::Directive);
    }
    if !is_shared(&directives, plan.credentials) {
        return Err(NotStored::Credentials);
    }
    // By all that it says: what is not stored selects it all the same.
    let selectors = vary::selectors(&fields, stage, index);
    let ignored = vary::ignored(&fields, stage);
    fields::retain_stored(&mut fields, &directives);
    if !stage.allow_set_cookie && join_lines(&fields, &SET_COOKIE).is_some() {
        return Err(NotStored::SetCookie);
    }
    if is_garbled(&fields) {
        return Err(NotStored::Head);
    }
    let part = part(status, &fields)?;
    let selected_by = vary::values(selectors?, head, stage)?;
    let length = join_lines(&fields, &CONTENT_LENGTH);
    if length.is_some_and(|length| seconds(trim(&length)).is_none_or(|size| size > stage.max_body)) {
        return Err(NotStored::Size);
    }
    // What other fields tell apart begins another generation: where those of
    // before select again one day, the answers of then would come back.
    let same = index.filter(|index| index.tells_apart_by(&selected_by));
    let since = same.map_or(received, |index| index.since);
    if is_imitated(head, &selected_by, stage) {
        return Err(NotStored::Request);
    }
    let entry = Entry {
        status,
        selected_by,
        ignored,
        part,
        since,
        began,
        ..timed(status, fields, &directives, targeted, sent, received, stage)
    };
    is_worth_storing(&entry, &directives)?;
    // RFC 9110, 9.3.3: an answer to POST needs a lifetime of its own.
    if head.method() == Method::POST && !is_explicit(&entry, &directives) {
        return Err(NotStored::Freshness);
    }
    Ok(entry)
}

/// Whether the request writes a field with `_` for `-` that selects, is a
/// credential, or is kept from the origin. CGI, WSGI and others read both as
/// the same, so the origin may have answered what stands there.
fn is_imitated(head: &impl Head, selected_by: &[(Selector, Option<String>)], stage: &CacheStage) -> bool {
    let selecting = selected_by.iter().filter_map(|(selector, _)| match selector {
        Selector::Field(name) => HeaderName::from_bytes(name.as_bytes()).ok(),
        Selector::Cookie(_) => None,
    });
    let known = stage.ignored.iter().chain(&stage.credential_fields).cloned();
    let mut names = selecting.chain(known).chain(stage.normalise.fields());
    names.any(|name| imitations(&name).iter().any(|name| head.field(name).is_some()))
}

/// Whether a field holds bytes that are no UTF-8 (obs-text; RFC 9110, 5.5). They
/// reach us as another character: the stored answer would say something else,
/// and two entity tags would be one.
fn is_garbled(fields: &[(HeaderName, String)]) -> bool {
    fields.iter().any(|(_, value)| value.contains(vary::GARBLED))
}

fn has_condition(head: &impl Head) -> bool {
    [IF_NONE_MATCH, IF_MODIFIED_SINCE].iter().any(|name| head.field(name).is_some())
}

/// 3.3: a part is stored only if it says which one it is. On any other answer
/// Content-Range means nothing (RFC 9110, 14.4).
fn part(status: u16, fields: &[(HeaderName, String)]) -> Result<Option<Part>, NotStored> {
    if status != 206 {
        return Ok(None);
    }
    // Several ranges at once come without the field.
    let range = join_lines(fields, &CONTENT_RANGE).ok_or(NotStored::Partial)?;
    content_range(&range).map(Some).ok_or(NotStored::Partial)
}

/// Everything that directives and dates say.
fn timed(
    status: u16,
    mut fields: Vec<(HeaderName, String)>,
    directives: &Directives,
    targeted: bool,
    sent: Timestamp,
    received: Timestamp,
    stage: &CacheStage,
) -> Entry {
    // RFC 9110, 6.6.1: without a Date that is one, the time of arrival is it.
    let date = join_lines(&fields, &DATE).and_then(|text| date::parse_loosely(trim(&text), received));
    let age = age_value(join_lines(&fields, &AGE).as_deref());
    let initial_age = initial_age(age, date, sent, received);
    // Who is served from here gets the age of now, and no other.
    fields.retain(|(name, _)| *name != AGE);
    // And whoever hands the answer on says when it came, where it does not.
    if join_lines(&fields, &DATE).is_none() {
        fields.push((DATE, date::format(received)));
    }
    let lifetime = match lifetimes::given(&stage.lifetimes, status) {
        Some(given) => given.lifetime(initial_age),
        None => lifetime(status, &fields, directives, targeted, date, received, stage.heuristic).seconds(),
    };
    Entry {
        status,
        received,
        initial_age,
        // 1.2.2: an age of 2^31 and more is stale, whatever the lifetime.
        lifetime: lifetime.min(LONGEST),
        validate_always: directives.no_cache.is_whole(),
        stale: Allowance::of(directives),
        immutable: directives.immutable,
        authorized: is_shared(directives, Credentials::Authorization),
        shared: is_shared(directives, Credentials::Identity),
        fields,
        ..Entry::default()
    }
}

/// Whether the origin names a lifetime.
fn is_explicit(entry: &Entry, directives: &Directives) -> bool {
    directives.s_maxage.or(directives.max_age).is_some() || entry.field(&EXPIRES).is_some()
}

/// 3: stored is what can be used again: while it is fresh, after the origin
/// has confirmed it, or stale.
fn is_worth_storing(entry: &Entry, directives: &Directives) -> Result<(), NotStored> {
    let lives = entry.lifetime > entry.initial_age && !entry.validate_always;
    // What says nothing about its lifetime is not kept for its validator
    // alone: that would be most of what is made for each request anew.
    let explicit = is_explicit(entry, directives) || directives.no_cache.is_whole();
    let confirmable = explicit && has_validator(&entry.fields);
    let outlives = !entry.stale.never && (entry.stale.while_revalidate > 0 || entry.stale.if_error.is_some());
    // A part is never asked for again by its validator.
    let reusable = if entry.part.is_some() { lives } else { lives || confirmable || (explicit && outlives) };
    if reusable { Ok(()) } else { Err(NotStored::Freshness) }
}

/// A stored answer after the origin has confirmed it by the fields of a 304,
/// or of the answer to a HEAD (3.2, 4.3.4). `credentials` are those of who
/// asked: their answer is merged into everybody's only where it may be shared.
///
/// # Errors
/// By what it says now it is not stored any more.
pub fn freshen(
    entry: &Entry,
    news: Answer,
    credentials: Credentials,
    stage: &CacheStage,
) -> Result<Entry, NotStored> {
    let Answer { fields: news, sent, received, began, .. } = news;
    let mut fields = super::validation::updated(&entry.fields, &news);
    let (directives, targeted) = directives(entry.status, &fields, stage)?;
    if forbids_storing(&directives, entry.status) {
        return Err(NotStored::Directive);
    }
    fields::retain_stored(&mut fields, &directives);
    if !stage.allow_set_cookie && join_lines(&fields, &SET_COOKIE).is_some() {
        return Err(NotStored::SetCookie);
    }
    if is_garbled(&fields) {
        return Err(NotStored::Head);
    }
    // A Vary that has changed is about the next whole answer: what selected
    // this one, selected it.
    let timed = timed(entry.status, fields, &directives, targeted, sent, received, stage);
    let fresh = Entry {
        selected_by: entry.selected_by.clone(),
        ignored: entry.ignored.clone(),
        since: entry.since,
        part: entry.part,
        began,
        // Nobody becomes an owner of it by a confirmation.
        authorized: timed.authorized && entry.authorized,
        shared: timed.shared && entry.shared,
        ..timed
    };
    // 3.5: it was for them before, but what has come now is theirs alone.
    if fresh.serves(credentials) { Ok(fresh) } else { Err(NotStored::Credentials) }
}

/// A stored answer with the fields of an answer that neither confirms it nor
/// is another one (4.3.5). What they say of its lifetime counts from when the
/// body arrived; and purges of that time hold.
///
/// # Errors
/// By what it says now it is not stored any more.
pub fn amend(
    entry: &Entry,
    news: Answer,
    credentials: Credentials,
    stage: &CacheStage,
) -> Result<Entry, NotStored> {
    let fresh = freshen(entry, news, credentials, stage)?;
    let Entry { received, initial_age, began, .. } = *entry;
    let lifetime = match lifetimes::given(&stage.lifetimes, entry.status) {
        Some(given) => given.lifetime(initial_age).min(LONGEST),
        None => fresh.lifetime,
    };
    Ok(Entry { received, initial_age, began, lifetime, ..fresh })
}
