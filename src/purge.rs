//! Purges: which stored answers are void although they are fresh.
//!
//! 1. A purge has a sequence, a scope and a strength: hard takes a stored
//!    answer away, soft makes it stale.
//! 2. A stored answer is void if a purge that matches it is newer than what was
//!    known when its request to the origin, or its last revalidation, *began*.
//!    So an answer that was under way while somebody purged does not bring the
//!    old content back.
//! 3. A purge of a URL holds for whatever is stored for it: every variant, every
//!    selection by `Vary`, every route. URLs are compared in one form
//!    ([`url`]), which takes for the same what origins do.
//! 4. When in doubt, void: a stored answer too few costs a request, one too many
//!    shows what somebody has taken away. A scope that a later version added
//!    counts as everything, and so does a list that cannot be read.
//! 5. The list is bounded, and a purge leaves it after [`KEPT`]. What leaves is
//!    not forgotten: whatever began before it counts as purged.

mod index;
mod list;
mod tags;
pub mod url;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

pub use self::index::Purges;
pub use self::list::{Damage, RECORDS_LIMIT, TEXT_LIMIT, encode};
pub use self::tags::{TAG_EXPECTED, TAG_LIMIT, TAGS_LIMIT, TooManyTags, parse_tag, tags_of};
use self::url::{prefix_form, url_form};

/// How long a purge stays in the list. After that, what began before it is void
/// whether it matched or not.
pub const KEPT: Duration = Duration::from_secs(7 * 86_400);

/// What is purged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// One URL, as [`url::parse_url`] gives it.
    Url(String),
    /// Every URL that begins like that, as [`url::parse_prefix`] gives it.
    Prefix(String),
    /// Every answer of that tag, as [`parse_tag`] gives it.
    Tag(String),
    /// Everything.
    All,
}

impl Scope {
    /// The label used everywhere.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Url(_) => "url",
            Self::Prefix(_) => "prefix",
            Self::Tag(_) => "tag",
            Self::All => "all",
        }
    }

    /// The URL, the prefix or the tag.
    #[must_use]
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Url(text) | Self::Prefix(text) | Self::Tag(text) => Some(text),
            Self::All => None,
        }
    }

    /// Whether all that `other` matches is matched by this one, too.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            // Of most this is seen at once, and a list is long.
            (Self::Prefix(prefix), Self::Url(text) | Self::Prefix(text))
                if !text.starts_with(prefix.trim_end_matches(['/', '?'])) =>
            {
                false
            }
            (Self::Prefix(prefix), Self::Url(url)) => url_form(url).starts_with(&*prefix_form(prefix)),
            (Self::Prefix(prefix), Self::Prefix(longer)) => {
                prefix_form(longer).starts_with(&*prefix_form(prefix))
            }
            _ => self == other,
        }
    }
}

/// One purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purge {
    /// Its place in the order of purges; no two are the same.
    pub sequence: u64,
    /// What is purged.
    pub scope: Scope,
    /// Whether it only makes stale.
    pub soft: bool,
}

impl Purge {
    /// Whether `earlier` says nothing any more beside this one.
    #[must_use]
    pub fn replaces(&self, earlier: &Self) -> bool {
        let is_newer = self.sequence >= earlier.sequence;
        is_newer && (!self.soft || earlier.soft) && self.scope.covers(&earlier.scope)
    }
}

/// A stored answer, as far as purges ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Its URL, as [`url::url_of`] gives it.
    pub url: &'a str,
    /// Its tags, as [`tags_of`] gives them.
    pub tags: &'a [String],
    /// What [`Purges::newest`] said when its request to the origin, or its last
    /// revalidation, began: before the request was sent.
    pub began: u64,
}

/// What a purge did to a stored answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Void {
    /// It is stale and may be revalidated, or served where stale answers may;
    /// else it is as if it were not there.
    pub soft: bool,
}

/// The purges of an isolate. All its snapshots share it, so that one that is
/// asked for here acts on the requests that are under way.
#[derive(Debug, Default)]
pub struct Live(RefCell<Rc<Purges>>);

impl Live {
    /// The newest list there is.
    #[must_use]
    pub fn purges(&self) -> Rc<Purges> {
        Rc::clone(&self.0.borrow())
    }

    /// Takes a list in, unless a newer one is here. One that cannot be read
    /// voids all that began before `sequence`, the one that it came under.
    ///
    /// # Errors
    /// It cannot be read; says why.
    pub fn hold(&self, text: &str, sequence: u64) -> Result<(), Damage> {
        let held = self.purges();
        // Most manifests bring the list that is here.
        if held.is_of(text) {
            return held.damage().map_or(Ok(()), Err);
        }
        let purges = Purges::read(text, sequence);
        let damage = purges.damage();
        if purges.newest() >= held.newest() {
            self.0.replace(Rc::new(purges));
        }
        damage.map_or(Ok(()), Err)
    }
}
