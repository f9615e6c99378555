//! What differs between two documents, as an operator means it.
//!
//! 1. Routes, rules and variants are the same where their id or name is, at
//!    whatever position; upstreams and address sets where their key is.
//! 2. Order is a change only where it means something: in the rules of
//!    `ip_filter` and `rate_limit`. Sets (prefixes, hosts, methods …) have
//!    none.
//! 3. What is written differently and means the same (`"60s"` and `"1m"`) is a
//!    change that is marked as equivalent.
//! 4. A change of `defaults` is reported as such, and again for each route
//!    that it acts on.
//! 5. The documents need not be good ones: whatever is no policy is compared
//!    as JSON.
//! 6. The list is bounded, and so is each of its entries.

mod compare;
mod shape;

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::decode::shown;

pub use self::shape::{Form, POLICY, Shape};

/// The most changes that are listed; what is left is counted.
pub const MAX_CHANGES: usize = 500;

/// The most members of a set that are listed; what is left is counted.
pub const MAX_MEMBERS: usize = 20;

/// What kind of change it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ChangeKind"))]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It stands in the second document only.
    Added,
    /// It stands in the first document only.
    Removed,
    /// It stands in both, with another value.
    Changed,
    /// The same things stand in another order, which means something.
    Reordered,
    /// How many changes are not listed.
    More,
}

impl Kind {
    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Changed => "changed",
            Self::Reordered => "reordered",
            Self::More => "more",
        }
    }
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Change {
    /// What happened.
    pub kind: Kind,
    /// Where, as problems name it, but with ids for positions:
    /// `routes["api"].rate_limit.rules["per-client"].max`. Empty for the
    /// document itself.
    pub path: String,
    /// What stood there, as JSON, shortened. For [`Kind::Reordered`] the ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// What stands there now, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// The members that a set gained and lost, in place of the two above.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Members>,
    /// Both mean the same.
    #[serde(skip_serializing_if = "is_false")]
    pub equivalent: bool,
    /// It does not stand in the route itself: `defaults` changed, and act on
    /// it.
    #[serde(skip_serializing_if = "is_false")]
    pub by_defaults: bool,
    /// For [`Kind::More`]: how many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<usize>,
}

/// What a set gained and lost, at most [`MAX_MEMBERS`] each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Members {
    /// What it gained, as written, in the order of its normal form.
    pub added: Vec<String>,
    /// How many more it gained.
    pub more_added: usize,
    /// What it lost.
    pub removed: Vec<String>,
    /// How many more it lost.
    pub more_removed: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
const fn is_false(value: &bool) -> bool {
    !*value
}

impl Change {
    fn new(kind: Kind, path: &str) -> Self {
        Self {
            kind,
            path: path.to_owned(),
            before: None,
            after: None,
            members: None,
            equivalent: false,
            by_defaults: false,
            count: None,
        }
    }

    fn between(path: &str, before: &Value, after: &Value) -> Self {
        Self { before: Some(shown(before)), after: Some(shown(after)), ..Self::new(Kind::Changed, path) }
    }

    /// One line for people.
    #[must_use]
    pub fn line(&self) -> String {
        if self.kind == Kind::More {
            return format!("and {} more", self.count.unwrap_or_default());
        }
        let path = if self.path.is_empty() { "(document)" } else { &self.path };
        let mut line = format!("{} {path}: ", self.kind.as_str());
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => {
                line.push_str(before);
                line.push_str(" -> ");
                line.push_str(after);
            }
            (Some(only), None) | (None, Some(only)) => line.push_str(only),
            (None, None) => {}
        }
        if let Some(members) = &self.members {
            let lists =
                [("+", &members.added, members.more_added), ("-", &members.removed, members.more_removed)];
            let mut parts = Vec::new();
            for (sign, listed, more) in lists {
                parts.extend(listed.iter().map(|member| format!("{sign}{member}")));
                if more > 0 {
                    parts.push(format!("{sign}{more} more"));
                }
            }
            line.push_str(&parts.join(", "));
        }
        if self.equivalent {
            line.push_str(" (means the same)");
        }
        if self.by_defaults {
            line.push_str(" (by \"defaults\")");
        }
        line
    }
}

/// Collects changes, at most [`MAX_CHANGES`] of them.
#[derive(Debug, Default)]
struct Changes {
    list: Vec<Change>,
    more: usize,
}

impl Changes {
    /// Notes a change, which is made only when there is room for it.
    fn add(&mut self, change: impl FnOnce() -> Change) {
        if self.list.len() < MAX_CHANGES {
            self.list.push(change());
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    fn into_vec(mut self) -> Vec<Change> {
        if self.more > 0 {
            self.list.push(Change { count: Some(self.more), ..Change::new(Kind::More, "") });
        }
        self.list
    }
}

/// What differs from the first document to the second. Equal documents, and
/// such that differ only in an order that means nothing, give nothing. At most
/// [`MAX_CHANGES`], then one entry that counts the rest.
#[must_use]
pub fn diff(before: &Value, after: &Value) -> Vec<Change> {
    let mut changes = Changes::default();
    compare::compare(&POLICY, "", before, after, &mut changes);
    compare::by_defaults(before, after, &mut changes);
    changes.into_vec()
}

/// `path["id"]`.
fn at_id(path: &str, id: &str) -> String {
    let mut at = path.to_owned();
    // Writing to a String cannot fail.
    let _ = write!(at, "[{}]", shown(&Value::from(id)));
    at
}
