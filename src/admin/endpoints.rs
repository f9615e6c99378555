//! The endpoints of the admin API, as data: the API dispatches by this table,
//! and its OpenAPI document is made of it.

mod bans;
mod cache;
mod limits;
mod lists;
mod policy;

use http::Method;

use super::problem::Refusal;
use crate::control::message::Role;

/// The version's prefix.
pub const PREFIX: &str = "/_weir/admin/v1";

/// What an endpoint does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// Gives a document.
    Policy,
    /// Makes a document the active one.
    Push,
    /// Checks a document.
    Validate,
    /// Compares a document with a revision.
    DiffDocument,
    /// Compares two revisions.
    DiffRevisions,
    /// Brings an old content back.
    Rollback,
    /// Lists revisions.
    History,
    /// Explains a request.
    Explain,
    /// Replays an access log.
    Replay,
    /// Lists the audit log.
    Audit,
    /// Says how everything is.
    Health,
    /// The OpenAPI document.
    OpenApi,
    /// The JSON Schema of the policy.
    Schema,
    /// Lists the stored address sets.
    AddressSets,
    /// Removes one.
    RemoveSet,
    /// Brings an earlier generation of them back.
    RollbackSets,
    /// Tells what is known of an address.
    Address,
    /// Imports a list into a stored set.
    ImportSet,
    /// Fetches the feed of one.
    RefreshSet,
    /// Lists bans.
    Bans,
    /// Bans networks.
    Ban,
    /// Lifts bans.
    Unban,
    /// Lists purges.
    Purges,
    /// Purges stored answers.
    Purge,
    /// Says what is stored for a request.
    LookInCache,
    /// Asks for URLs, so that they are stored.
    Warm,
    /// Lists the counters that are used most.
    Limits,
    /// Says what counters say.
    LookAtLimits,
    /// Sets counters back.
    ResetLimits,
}

/// What a parameter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number.
    Number,
    /// The name of a revision.
    Revision,
    /// One of these.
    Choice(&'static [&'static str]),
    /// A network; it may stand there several times.
    Networks,
    /// A header line; it may stand there several times.
    Headers,
}

impl Kind {
    /// Whether such a parameter may stand there several times.
    #[must_use]
    pub const fn repeats(self) -> bool {
        matches!(self, Self::Networks | Self::Headers)
    }
}

/// A parameter of the query.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What it means.
    pub description: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Whether it has to be there.
    pub required: bool,
}

/// How a change names its base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Not at all.
    None,
    /// `If-None-Match` gives 304.
    Revalidation,
    /// `If-Match` names the active revision; `If-None-Match: *` says there is
    /// none.
    Base,
}

/// One endpoint.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// The method.
    pub method: &'static str,
    /// The path below [`PREFIX`]. A segment in braces, such as `{name}`, is
    /// any one segment; at most one of them.
    pub path: &'static str,
    /// What it does.
    pub call: Call,
    /// The least role that may.
    pub role: Role,
    /// Whether it changes anything, so that a refusal is written down.
    pub changes: bool,
    /// One line about it.
    pub summary: &'static str,
    /// The parameters of the query.
    pub parameters: &'static [Parameter],
    /// What conditions it reads.
    pub precondition: Precondition,
    /// The name of the body's schema; empty for none.
    pub body: &'static str,
    /// The status of success.
    pub status: u16,
    /// The name of the answer's schema.
    pub answer: &'static str,
    /// Whether `Accept: text/plain` gives a text for people.
    pub has_text: bool,
    /// How it can refuse, beyond what every endpoint like it can.
    pub refusals: &'static [Refusal],
}

const LIMIT: Parameter = Parameter {
    name: "limit",
    description: "At most so many, 1 to 100; what lies outside is clipped. Default 100.",
    kind: Kind::Number,
    required: false,
};

const MESSAGE: Parameter = Parameter {
    name: "message",
    description: "Why, at most 500 bytes; the rest is cut off.",
    kind: Kind::Text,
    required: false,
};

/// The body of an import: a list of any type.
pub const LIST: &str = "List";

const fn parameter(name: &'static str, kind: Kind, description: &'static str) -> Parameter {
    Parameter { name, description, kind, required: false }
}

const PLAIN: Endpoint = Endpoint {
    method: "GET",
    path: "",
    call: Call::Health,
    role: Role::Reader,
    changes: false,
    summary: "",
    parameters: &[],
    precondition: Precondition::None,
    body: "",
    status: 200,
    answer: "",
    has_text: false,
    refusals: &[],
};

/// The endpoints by resource.
const GROUPS: [&[Endpoint]; 5] =
    [&policy::ENDPOINTS, &lists::ENDPOINTS, &bans::ENDPOINTS, &cache::ENDPOINTS, &limits::ENDPOINTS];

/// How many there are.
const COUNT: usize = {
    let mut count: usize = 0;
    let mut groups = GROUPS.as_slice();
    while let [group, others @ ..] = groups {
        count = count.saturating_add(group.len());
        groups = others;
    }
    count
};

/// All endpoints.
pub const ENDPOINTS: [Endpoint; COUNT] = {
    let mut all = [PLAIN; COUNT];
    let mut place = all.as_mut_slice();
    let mut groups = GROUPS.as_slice();
    while let [group, others @ ..] = groups {
        place = fill(place, group);
        groups = others;
    }
    all
};

/// Puts a group where there is room; gives what is left.
const fn fill<'a>(place: &'a mut [Endpoint], group: &[Endpoint]) -> &'a mut [Endpoint] {
    let Some((here, rest)) = place.split_at_mut_checked(group.len()) else { return &mut [] };
    here.copy_from_slice(group);
    rest
}

/// What a method and a path lead to.
#[derive(Clone, Debug)]
pub enum Found {
    /// An endpoint, and the segment that stands for the one in braces.
    Endpoint(&'static Endpoint, Option<String>),
    /// The path exists with these methods.
    OtherMethods(Vec<&'static str>),
    /// Nothing.
    Nothing,
}

/// Whether a path is this one, and what stands in it for the segment in
/// braces.
fn fits<'a>(pattern: &str, path: &'a str) -> Option<Option<&'a str>> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return (pattern == path).then_some(None);
    };
    let (_, after) = rest.split_once('}')?;
    let segment = path.strip_prefix(before)?.strip_suffix(after)?;
    (!segment.is_empty() && !segment.contains('/')).then_some(Some(segment))
}

/// Finds the endpoint. A HEAD is a GET whose body nobody sends.
#[must_use]
pub fn find(method: &Method, path: &str) -> Found {
    let Some(below) = path.strip_prefix(PREFIX) else {
        return Found::Nothing;
    };
    let asked = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let mut methods = Vec::new();
    for endpoint in &ENDPOINTS {
        let Some(segment) = fits(endpoint.path, below) else { continue };
        if endpoint.method == asked {
            return Found::Endpoint(endpoint, segment.map(str::to_owned));
        }
        methods.push(endpoint.method);
        if endpoint.method == "GET" {
            methods.push("HEAD");
        }
    }
    if methods.is_empty() { Found::Nothing } else { Found::OtherMethods(methods) }
}
