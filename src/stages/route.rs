//! Stage 4, route: which rules apply?
//!
//! 1. A route matches a request when its hosts, path, methods and header
//!    fields all do; what it leaves out matches everything.
//! 2. The path is matched in its normal form, see [`super::target`]; a literal
//!    segment also takes itself with path parameters (`/admin;x`).
//! 3. Of several that match, the most specific wins: priority, then host
//!    (exact, longest `*.` suffix, any), then the number of literal segments,
//!    then of parameters, then no final wildcard, then methods, then the
//!    number of header fields.
//! 4. Two routes that are equally specific and can match one request are a
//!    policy error: order in the document decides nothing.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use http::Method;
use http::header::HeaderName;
use serde::Deserialize;

use super::target::{EncodedSet, Target, normal_pattern, parse_authority};
use crate::exchange::{Head, is_token};
use crate::policy::decode::{Problems, Trail};
use crate::policy::units::{FieldValues, Name};

/// `routes[].match` in the policy.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct MatchConfig {
    /// Host names, exact or with a leading `*.` that stands for one label or
    /// more; a port narrows it to that port. Default any.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::hosts"))]
    pub hosts: Vec<String>,
    /// Literal segments, `{name}` for any one segment, a final `/*` for any
    /// rest (also none). Default `/*`.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::path", extend("default" = "/*")))]
    pub path: Option<String>,
    /// Methods. Default any.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::methods"))]
    pub methods: Vec<String>,
    /// Header fields that must have exactly this value. Default none.
    pub headers: FieldValues,
    /// Escapes that the path may hold. Default none: a request that holds one
    /// is refused.
    pub allow_encoded: Vec<AllowEncoded>,
}

/// An escape that origins read in more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub enum AllowEncoded {
    /// An encoded slash.
    #[serde(rename = "%2F")]
    Slash,
    /// An encoded backslash.
    #[serde(rename = "%5C")]
    Backslash,
    /// An encoded NUL.
    #[serde(rename = "%00")]
    Nul,
}

/// How specific a route is; the greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    priority: i32,
    host: u32,
    literals: usize,
    parameters: usize,
    no_wildcard: bool,
    methods: bool,
    headers: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    segments: Vec<Segment>,
    wildcard: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum HostPattern {
    Any,
    /// The part behind `*.`.
    Suffix(String),
    /// `host` or `host:port`.
    Exact(String),
}

impl HostPattern {
    fn matches(&self, target: &Target<'_>) -> bool {
        match self {
            Self::Any => true,
            Self::Suffix(suffix) => target
                .host
                .strip_suffix(suffix.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            Self::Exact(host) if has_port(host) => {
                *host == format!("{}:{}", target.host, target.effective_port())
            }
            Self::Exact(host) => *host == target.host,
        }
    }
}

/// A compiled `match`.
#[derive(Clone, Debug)]
pub struct Matcher {
    hosts: Vec<HostPattern>,
    pattern: Pattern,
    methods: Vec<Method>,
    headers: Vec<(HeaderName, String)>,
    priority: i32,
    /// Escapes that the path may hold.
    pub allowed: EncodedSet,
}

/// The longest pattern, in segments.
const SEGMENT_LIMIT: usize = 64;

impl MatchConfig {
    /// Checks and compiles.
    pub fn compile(&self, priority: i32, path: &Trail<'_>, problems: &mut Problems) -> Matcher {
        let at = path.entry("match");
        let mut hosts: Vec<HostPattern> = Vec::new();
        for (index, host) in self.hosts.iter().enumerate() {
            match parse_host_pattern(host) {
                Some(pattern) if hosts.contains(&pattern) => {
                    problems.add(at.entry("hosts").item(index), format!("{host:?}"), "expected each host once");
                }
                Some(pattern) => hosts.push(pattern),
                None => problems.add(
                    at.entry("hosts").item(index),
                    format!("{host:?}"),
                    "expected a host name such as \"api.example.com\", \"*.example.com\" or \"example.com:8443\"",
                ),
            }
        }
        if hosts.is_empty() {
            hosts.push(HostPattern::Any);
        }
        let text = self.path.as_deref().unwrap_or("/*");
        let pattern = parse_pattern(text).unwrap_or_else(|expected| {
            problems.add(at.entry("path"), format!("{text:?}"), expected);
            Pattern { segments: Vec::new(), wildcard: true }
        });
        let mut methods: Vec<Method> = Vec::new();
        for (index, method) in self.methods.iter().enumerate() {
            match Method::from_bytes(method.as_bytes()) {
                Ok(parsed)
                    if is_token(method)
                        && method.to_ascii_uppercase() == *method
                        && !methods.contains(&parsed) =>
                {
                    methods.push(parsed);
                }
                _ => problems.add(
                    at.entry("methods").item(index),
                    format!("{method:?}"),
                    "expected a method in capitals such as \"GET\", each once",
                ),
            }
        }
        let mut headers = self.headers.0.clone();
        headers.sort_by(|a, b| a.0.as_str().cmp(b.0.as_str()));
        let allowed = self.allow_encoded.iter().fold(EncodedSet::default(), |set, encoded| {
            set.and(match encoded {
                AllowEncoded::Slash => EncodedSet::SLASH,
                AllowEncoded::Backslash => EncodedSet::BACKSLASH,
                AllowEncoded::Nul => EncodedSet::NUL,
            })
        });
        Matcher { hosts, pattern, methods, headers, priority, allowed }
    }
}

fn has_port(host: &str) -> bool {
    host.contains(':') && !host.ends_with(']')
}

fn parse_host_pattern(text: &str) -> Option<HostPattern> {
    if let Some(suffix) = text.strip_prefix("*.") {
        let (host, port) = parse_authority(suffix)?;
        return (port.is_none() && !suffix.contains(':')).then_some(HostPattern::Suffix(host));
    }
    let (host, port) = parse_authority(text)?;
    Some(HostPattern::Exact(port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"))))
}

/// One text for all spellings of a host of `match` that mean the same.
#[must_use]
pub fn normal_host(text: &str) -> Option<String> {
    parse_host_pattern(text).map(|host| match host {
        HostPattern::Any => "*".to_owned(),
        HostPattern::Suffix(suffix) => format!("*.{suffix}"),
        HostPattern::Exact(host) => host,
    })
}

/// One text for all spellings of a path of `match` that mean the same: the
/// names of parameters mean nothing.
#[must_use]
pub fn normal_path(text: &str) -> Option<String> {
    let pattern = parse_pattern(text).ok()?;
    let mut normal = String::new();
    for segment in &pattern.segments {
        normal.push('/');
        normal.push_str(match segment {
            Segment::Literal(literal) => literal,
            Segment::Parameter => "{}",
        });
    }
    normal.push_str(if pattern.wildcard { "/*" } else { "" });
    Some(normal)
}

/// The parameters of a path of `match`, and which segment each is, from 0.
#[must_use]
pub fn parameters(text: &str) -> Vec<(Name, usize)> {
    let segments = text.split('/').filter(|part| !part.is_empty()).enumerate();
    let named = segments.filter_map(|(index, part)| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some((Name(name.to_owned()), index))
    });
    named.collect()
}

fn parse_pattern(text: &str) -> Result<Pattern, &'static str> {
    const EXPECTED: &str = "expected a path such as \"/v1/users/{id}\" or \"/static/*\": it begins with a slash, \
        \"*\" stands only at the end, \"{name}\" is a whole segment, and it has no query and no dot segments";
    let (body, wildcard) = match text.strip_suffix("/*") {
        Some(body) => (body, true),
        None => (text, false),
    };
    let mut segments = Vec::new();
    for part in body.strip_prefix('/').unwrap_or_default().split('/').filter(|part| !part.is_empty()) {
        let name = part.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        segments.push(match name {
            Some(name) if is_token(name) => Segment::Parameter,
            Some(_) => return Err(EXPECTED),
            None if part.contains(['{', '}', '*', '?']) => return Err(EXPECTED),
            None => {
                let normal = normal_pattern(&format!("/{part}")).ok_or(EXPECTED)?;
                Segment::Literal(normal.strip_prefix('/').unwrap_or_default().to_owned())
            }
        });
    }
    let rooted = body.starts_with('/') || (body.is_empty() && wildcard);
    if !rooted || segments.len() > SEGMENT_LIMIT {
        return Err(EXPECTED);
    }
    Ok(Pattern { segments, wildcard })
}

impl Pattern {
    fn matches(&self, path: &str) -> bool {
        // Some origins cut path parameters (`;…`) off a segment, others do
        // not; a literal takes both.
        let bare = |part: &'_ str| part.split(';').next().unwrap_or_default().len();
        let mut parts = path.split('/').filter(|part| bare(part) > 0);
        for segment in &self.segments {
            let fits = match (segment, parts.next()) {
                (Segment::Literal(literal), Some(part)) => {
                    literal == part || part.get(..bare(part)) == Some(literal)
                }
                (Segment::Parameter, Some(_)) => true,
                (_, None) => false,
            };
            if !fits {
                return false;
            }
        }
        self.wildcard || parts.next().is_none()
    }

    /// Whether some path matches both.
    fn overlaps(&self, other: &Self) -> bool {
        let clash = self.segments.iter().zip(&other.segments).any(|pair| match pair {
            (Segment::Literal(own), Segment::Literal(others)) => own != others,
            _ => false,
        });
        let reach = |from: &Self, to: &Self| from.wildcard || from.segments.len() >= to.segments.len();
        !clash && reach(self, other) && reach(other, self)
    }

    fn literals(&self) -> usize {
        self.segments.iter().filter(|segment| matches!(segment, Segment::Literal(_))).count()
    }
}

impl Matcher {
    fn rank(&self, host: &HostPattern) -> Rank {
        let literals = self.pattern.literals();
        Rank {
            priority: self.priority,
            host: match host {
                HostPattern::Any => 0,
                HostPattern::Suffix(suffix) => {
                    u32::try_from(suffix.len()).unwrap_or(u32::MAX).saturating_add(1)
                }
                HostPattern::Exact(host) if has_port(host) => u32::MAX,
                HostPattern::Exact(_) => u32::MAX.saturating_sub(1),
            },
            literals,
            parameters: self.pattern.segments.len().saturating_sub(literals),
            no_wildcard: !self.pattern.wildcard,
            methods: !self.methods.is_empty(),
            headers: self.headers.len(),
        }
    }

    /// Whether it takes whatever host a request names.
    #[must_use]
    pub fn takes_any_host(&self) -> bool {
        self.hosts.contains(&HostPattern::Any)
    }

    /// The header fields that a request must have, with their values.
    #[must_use]
    pub fn fields(&self) -> &[(HeaderName, String)] {
        &self.headers
    }

    fn matches(&self, path: &str, head: &impl Head) -> bool {
        self.pattern.matches(path)
            && (self.methods.is_empty() || self.methods.contains(head.method()))
            && self.headers.iter().all(|(name, value)| head.field(name).is_some_and(|field| field == *value))
    }

    /// Whether some request matches both; asked of equally specific ones.
    fn overlaps(&self, other: &Self) -> bool {
        let methods = self.methods.is_empty()
            || other.methods.is_empty()
            || self.methods.iter().any(|method| other.methods.contains(method));
        let headers = self.headers.iter().all(|(name, value)| {
            other.headers.iter().all(|(field, others)| field != name || value == others)
        });
        methods && headers && self.pattern.overlaps(&other.pattern)
    }
}

/// All routes' matchers, indexed by host.
#[derive(Clone, Debug, Default)]
pub struct Router {
    matchers: Vec<Matcher>,
    /// `host` or `host:port` to routes, most specific first, as below.
    exact: HashMap<String, Vec<(Rank, usize)>>,
    /// Whether any of them has a port.
    has_ports: bool,
    /// What follows `*.` to routes.
    suffix: HashMap<String, Vec<(Rank, usize)>>,
    /// Routes for any host.
    any: Vec<(Rank, usize)>,
}

impl Router {
    /// Builds the index; `ids` name the routes in problems.
    pub fn new(matchers: Vec<Matcher>, ids: &[String], problems: &mut Problems) -> Self {
        let mut by_host: HashMap<HostPattern, Vec<(Rank, usize)>> = HashMap::new();
        for (index, matcher) in matchers.iter().enumerate() {
            for host in &matcher.hosts {
                by_host.entry(host.clone()).or_default().push((matcher.rank(host), index));
            }
        }
        let mut ambiguous = Vec::new();
        for routes in by_host.values_mut() {
            routes.sort_by_key(|(rank, index)| (Reverse(*rank), *index));
            for group in routes.chunk_by(|a, b| a.0 == b.0) {
                find_overlaps(group, &matchers, &mut ambiguous);
            }
        }
        ambiguous.sort_unstable();
        ambiguous.dedup();
        for (earlier, later) in ambiguous {
            let name = |index: usize| ids.get(index).map(String::as_str).unwrap_or_default();
            problems.add(
                format!("routes[{later}].match"),
                format!("\"{}\"", name(later)),
                format!(
                    "expected one most specific route for every request; this one and \"{}\" are \
                     equally specific and can match the same request: change one, or give it a \"priority\"",
                    name(earlier)
                ),
            );
        }
        let mut router = Self { matchers, ..Self::default() };
        for (host, routes) in by_host {
            match host {
                HostPattern::Any => router.any = routes,
                HostPattern::Suffix(suffix) => drop(router.suffix.insert(suffix, routes)),
                HostPattern::Exact(host) => {
                    router.has_ports |= has_port(&host);
                    router.exact.insert(host, routes);
                }
            }
        }
        router
    }

    /// The fields that matching reads.
    pub fn wanted_fields(&self) -> impl Iterator<Item = &HeaderName> {
        self.matchers.iter().flat_map(|matcher| matcher.headers.iter().map(|(name, _)| name))
    }

    /// The matcher with that index.
    #[must_use]
    pub fn matcher(&self, index: usize) -> Option<&Matcher> {
        self.matchers.get(index)
    }

    /// The routes that some GET or HEAD of the target would take, whatever its
    /// header fields.
    pub fn readers<'a>(&'a self, target: &'a Target<'_>) -> impl Iterator<Item = usize> + 'a {
        let readers = self.matchers.iter().enumerate().filter(|(_, matcher)| {
            let reads = [Method::GET, Method::HEAD].iter().any(|method| matcher.methods.contains(method));
            (matcher.methods.is_empty() || reads)
                && matcher.pattern.matches(&target.path)
                && matcher.hosts.iter().any(|host| host.matches(target))
        });
        readers.map(|(index, _)| index)
    }

    /// The most specific route that matches, by index.
    #[must_use]
    pub fn find(&self, target: &Target<'_>, head: &impl Head) -> Option<usize> {
        let mut best: Option<(Rank, usize)> = None;
        self.by_host(target, |routes| {
            let found = routes.iter().find(|(_, index)| {
                self.matcher(*index).is_some_and(|matcher| matcher.matches(&target.path, head))
            });
            if let Some(found) = found
                && best.is_none_or(|best| found.0 > best.0)
            {
                best = Some(*found);
            }
        });
        best.map(|(_, index)| index)
    }

    /// The routes that a request of this method may take, the most specific
    /// first, whatever its header fields.
    #[must_use]
    pub fn candidates(&self, target: &Target<'_>, method: &Method) -> Vec<usize> {
        let mut ranked: Vec<(Rank, usize)> = Vec::new();
        self.by_host(target, |routes| {
            ranked.extend(routes.iter().filter(|(_, index)| {
                self.matcher(*index).is_some_and(|matcher| {
                    (matcher.methods.is_empty() || matcher.methods.contains(method))
                        && matcher.pattern.matches(&target.path)
                })
            }));
        });
        ranked.sort_by_key(|(rank, index)| (Reverse(*rank), *index));
        let mut seen = HashSet::new();
        ranked.into_iter().map(|(_, index)| index).filter(|index| seen.insert(*index)).collect()
    }

    /// Hands over the routes of every host pattern that takes the target.
    fn by_host(&self, target: &Target<'_>, mut consider: impl FnMut(&[(Rank, usize)])) {
        if !self.exact.is_empty() {
            if self.has_ports
                && let Some(routes) = self.exact.get(&format!("{}:{}", target.host, target.effective_port()))
            {
                consider(routes);
            }
            if let Some(routes) = self.exact.get(&target.host) {
                consider(routes);
            }
        }
        if !self.suffix.is_empty() {
            let mut rest = target.host.as_str();
            while let Some((_, suffix)) = rest.split_once('.') {
                if let Some(routes) = self.suffix.get(suffix) {
                    consider(routes);
                }
                rest = suffix;
            }
        }
        consider(&self.any);
    }
}

/// Pairs of one group of equally specific routes that overlap. Routes that
/// begin with different literals cannot, so only those that begin alike, or
/// with a parameter, are compared.
fn find_overlaps(group: &[(Rank, usize)], matchers: &[Matcher], ambiguous: &mut Vec<(usize, usize)>) {
    let shape = |index: usize| matchers.get(index).map(|matcher| matcher.pattern.segments.as_slice());
    let has_parameters =
        |index: usize| shape(index).is_some_and(|segments| segments.contains(&Segment::Parameter));
    let first = |index: usize| match matchers.get(index).and_then(|matcher| matcher.pattern.segments.first())
    {
        Some(Segment::Literal(literal)) => Some(literal.as_str()),
        _ => None,
    };
    let mut compare = |a: usize, b: usize| {
        if let (Some(one), Some(other)) = (matchers.get(a), matchers.get(b))
            && a != b
            && ambiguous.len() < crate::policy::MAX_PROBLEMS
            && one.overlaps(other)
        {
            ambiguous.push((a.min(b), a.max(b)));
        }
    };
    // Without parameters, equally specific patterns overlap when they are the
    // same: neighbours in order, so that ten thousand routes stay linear.
    if !group.iter().any(|(_, index)| has_parameters(*index)) {
        let mut by_shape: HashMap<Vec<&str>, Vec<usize>> = HashMap::new();
        for (_, index) in group {
            let literals = shape(*index).unwrap_or_default().iter().map(|segment| match segment {
                Segment::Literal(literal) => literal.as_str(),
                Segment::Parameter => "",
            });
            by_shape.entry(literals.collect()).or_default().push(*index);
        }
        for indices in by_shape.values() {
            for (position, a) in indices.iter().enumerate() {
                indices.iter().skip(position.saturating_add(1)).for_each(|b| compare(*a, *b));
            }
        }
        return;
    }
    let mut by_first: HashMap<Option<&str>, Vec<usize>> = HashMap::new();
    for (_, index) in group {
        by_first.entry(first(*index)).or_default().push(*index);
    }
    let open = by_first.get(&None).cloned().unwrap_or_default();
    for (literal, indices) in &by_first {
        for (position, a) in indices.iter().enumerate() {
            for b in indices.iter().skip(position.saturating_add(1)) {
                compare(*a, *b);
            }
            if literal.is_some() {
                for b in &open {
                    compare(*a, *b);
                }
            }
        }
    }
}
