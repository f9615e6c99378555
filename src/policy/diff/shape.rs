//! What the parts of a document are, as far as comparing them goes.

use serde::Deserialize;
use serde::de::value::{Error, StrDeserializer};
use serde_json::Value;

use crate::policy::units::{FieldName, Percent, Size, Span};
use crate::stages::identity::parse_address;
use crate::stages::ip_filter::prefix::Prefix;
use crate::stages::{route, upstream};

/// How a value is compared.
#[derive(Debug)]
pub enum Shape {
    /// An object with these members; others are [`Shape::Plain`].
    Object(&'static [(&'static str, Shape)]),
    /// An object by names of the user's.
    Named(&'static Shape),
    /// An object by names of header fields, which have no case.
    Fields,
    /// A list of objects that have an id in this member.
    List {
        /// The member.
        id: &'static str,
        /// Whether their order means something.
        ordered: bool,
        /// Each of them.
        item: &'static Shape,
    },
    /// A list whose order means nothing.
    Set(Form),
    /// One value.
    Scalar(Form),
    /// Compared as it stands.
    Plain,
}

/// Which spellings of a value mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Only the same one.
    Text,
    /// A duration.
    Span,
    /// A size.
    Size,
    /// The name of a header field.
    FieldName,
    /// A prefix.
    Prefix,
    /// An IP address.
    Address,
    /// A percentage.
    Percent,
    /// A host of `match`.
    Host,
    /// A path of `match`.
    Path,
    /// The URL of an origin.
    Origin,
    /// A whole number.
    Number,
}

const IP_FILTER: Shape = Shape::Object(&[(
    "rules",
    Shape::List {
        id: "id",
        ordered: true,
        item: &Shape::Object(&[
            ("prefixes", Shape::Set(Form::Prefix)),
            ("address_sets", Shape::Set(Form::Text)),
            ("countries", Shape::Set(Form::Text)),
            ("continents", Shape::Set(Form::Text)),
            ("asns", Shape::Set(Form::Number)),
            ("tags", Shape::Set(Form::Text)),
            ("percent", Shape::Scalar(Form::Percent)),
        ]),
    },
)]);

const RATE_LIMIT: Shape = Shape::Object(&[(
    "rules",
    Shape::List {
        id: "id",
        ordered: true,
        // The order of the parts of a key is part of the counter's name.
        item: &Shape::Object(&[
            ("key", Shape::Plain),
            ("tags", Shape::Set(Form::Text)),
            ("exempt_tags", Shape::Set(Form::Text)),
            ("count_status", Shape::Set(Form::Number)),
            ("cost_header", Shape::Scalar(Form::FieldName)),
            ("cost", Shape::Object(&[("header", Shape::Scalar(Form::FieldName))])),
            ("window", Shape::Scalar(Form::Span)),
            ("deadline", Shape::Scalar(Form::Span)),
        ]),
    },
)]);

const CANARY: Shape = Shape::Object(&[
    ("sticky", Shape::Object(&[("max_age", Shape::Scalar(Form::Span))])),
    (
        "variants",
        Shape::List {
            id: "name",
            ordered: false,
            item: &Shape::Object(&[("weight", Shape::Scalar(Form::Percent))]),
        },
    ),
]);

const CACHE: Shape = Shape::Object(&[
    ("tiers", Shape::Set(Form::Text)),
    ("max_body", Shape::Scalar(Form::Size)),
    ("heuristic", Shape::Object(&[("limit", Shape::Scalar(Form::Span))])),
    // The first valid one counts.
    ("targets", Shape::Plain),
    ("stale_if_error", Shape::Scalar(Form::Span)),
    ("stale_while_revalidate", Shape::Scalar(Form::Span)),
    // The first rule for a status counts.
    ("lifetimes", Shape::Plain),
    (
        "vary",
        Shape::Object(&[
            ("ignore", Shape::Set(Form::FieldName)),
            // The first is the default.
            ("languages", Shape::Plain),
        ]),
    ),
    (
        "bypass",
        Shape::Object(&[
            ("headers", Shape::Set(Form::Text)),
            ("cookies", Shape::Set(Form::Text)),
            ("query", Shape::Set(Form::Text)),
        ]),
    ),
    (
        "key",
        Shape::Object(&[
            (
                "query",
                Shape::Object(&[("include", Shape::Set(Form::Text)), ("exclude", Shape::Set(Form::Text))]),
            ),
            ("headers", Shape::Set(Form::FieldName)),
            ("cookies", Shape::Set(Form::Text)),
        ]),
    ),
    (
        "credentials",
        Shape::Object(&[("headers", Shape::Set(Form::FieldName)), ("cookies", Shape::Set(Form::Text))]),
    ),
]);

const MATCH: Shape = Shape::Object(&[
    ("hosts", Shape::Set(Form::Host)),
    ("path", Shape::Scalar(Form::Path)),
    ("methods", Shape::Set(Form::Text)),
    ("headers", Shape::Fields),
    ("allow_encoded", Shape::Set(Form::Text)),
]);

/// `routes[]`.
pub(super) const ROUTE: Shape = Shape::Object(&[
    ("match", MATCH),
    ("ip_filter", IP_FILTER),
    ("rate_limit", RATE_LIMIT),
    ("canary", CANARY),
    ("cache", CACHE),
]);

/// The document. A test holds it against the JSON Schema: every list has to
/// be here.
pub const POLICY: Shape = Shape::Object(&[
    ("admin", Shape::Object(&[("hosts", Shape::Set(Form::Host))])),
    (
        "refresh",
        Shape::Object(&[("interval", Shape::Scalar(Form::Span)), ("max_stale", Shape::Scalar(Form::Span))]),
    ),
    (
        "identity",
        Shape::Object(&[
            (
                "client_address",
                Shape::Object(&[
                    ("header", Shape::Scalar(Form::FieldName)),
                    ("trusted_hops", Shape::Set(Form::Prefix)),
                    ("on_missing", Shape::Object(&[("address", Shape::Scalar(Form::Address))])),
                ]),
            ),
            ("request_id", Shape::Object(&[("header", Shape::Scalar(Form::FieldName))])),
        ]),
    ),
    (
        "upstreams",
        Shape::Named(&Shape::Object(&[
            ("origin", Shape::Scalar(Form::Origin)),
            ("timeouts", Shape::Object(&[("first_byte", Shape::Scalar(Form::Span))])),
        ])),
    ),
    ("guard_list", Shape::Set(Form::Prefix)),
    (
        "address_sets",
        Shape::Named(&Shape::Object(&[
            ("prefixes", Shape::Set(Form::Prefix)),
            (
                "feed",
                Shape::Object(&[
                    ("interval", Shape::Scalar(Form::Span)),
                    ("max_bytes", Shape::Scalar(Form::Size)),
                ]),
            ),
        ])),
    ),
    (
        "bans",
        Shape::Object(&[(
            "triggers",
            Shape::List {
                id: "id",
                ordered: false,
                item: &Shape::Object(&[
                    ("limits", Shape::Set(Form::Text)),
                    ("statuses", Shape::Set(Form::Number)),
                    ("window", Shape::Scalar(Form::Span)),
                    ("duration", Shape::Scalar(Form::Span)),
                    ("max_duration", Shape::Scalar(Form::Span)),
                    ("jitter", Shape::Scalar(Form::Percent)),
                    ("forget_after", Shape::Scalar(Form::Span)),
                ]),
            },
        )]),
    ),
    ("ip_filter", IP_FILTER),
    ("rate_limit", RATE_LIMIT),
    (
        "defaults",
        Shape::Object(&[
            ("ip_filter", IP_FILTER),
            ("rate_limit", RATE_LIMIT),
            ("canary", CANARY),
            ("cache", CACHE),
        ]),
    ),
    ("routes", Shape::List { id: "id", ordered: false, item: &ROUTE }),
]);

impl Shape {
    /// The shape of a member of an object.
    #[must_use]
    pub fn member(&self, name: &str) -> &Self {
        match self {
            Self::Object(members) => {
                let member = members.iter().find(|(known, _)| *known == name);
                member.map_or(&Self::Plain, |(_, shape)| shape)
            }
            Self::Named(item) => item,
            _ => &Self::Plain,
        }
    }
}

impl Form {
    /// One text for all spellings that mean the same; `None` where the value
    /// is none of this form.
    pub(super) fn normal(self, value: &Value) -> Option<String> {
        if self == Self::Percent {
            return Percent::deserialize(value).ok().map(|percent| percent.0.to_string());
        }
        if self == Self::Number {
            return value.as_u64().map(|number| number.to_string());
        }
        let text = value.as_str()?;
        match self {
            Self::Text | Self::Percent | Self::Number => Some(text.to_owned()),
            Self::Span => read::<Span>(text).map(|span| span.0.as_millis().to_string()),
            Self::Size => read::<Size>(text).map(|size| size.0.to_string()),
            Self::FieldName => read::<FieldName>(text).map(|name| name.0.as_str().to_owned()),
            Self::Prefix => text.parse::<Prefix>().ok().map(|prefix| prefix.to_string()),
            Self::Address => parse_address(text).map(|address| address.to_string()),
            Self::Host => route::normal_host(text),
            Self::Path => route::normal_path(text),
            Self::Origin => upstream::normal_origin(text),
        }
    }
}

fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Option<T> {
    T::deserialize(StrDeserializer::<Error>::new(text)).ok()
}
