//! Stage 11, canary: which version answers?
//!
//! 1. Every client has a **unit**, a number that stays: from the sticky
//!    cookie, else from a hash of its network.
//! 2. Unit and weights alone choose the variant, by weighted rendezvous
//!    hashing (highest random weight; Thaler and Ravishankar 1998, weighted
//!    form by Schindelhauer and Schomaker 2005). So shares are the weights,
//!    and when a weight changes, clients move only from variants that lost
//!    weight or to variants that gained it.
//! 3. The cookie holds the unit and not the variant: a change of weights acts
//!    on everybody, and a client can choose its unit but not a variant that
//!    has no weight.
//! 4. Before the cache, since the variant is part of the cache key.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{COOKIE, SET_COOKIE};
use serde::Deserialize;
use siphasher::sip::SipHasher13;

use super::Mode;
use super::identity::Identity;
use crate::exchange::{Edit, Head, cookie, is_token};
use crate::policy::decode::{Problems, Trail};
use crate::policy::units::{HUNDRED_PERCENT, Name, Percent, Span, repeated};

/// `routes[].canary` in the policy.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CanaryConfig {
    /// Default `enforce`. In `shadow` the variant is chosen and logged, and
    /// the route's upstream answers.
    #[cfg_attr(feature = "schema", schemars(extend("default" = "enforce")))]
    pub mode: Mode,
    /// Keeps a client's unit in a cookie. Default none: the unit follows the
    /// client's network.
    pub sticky: Option<StickyConfig>,
    /// Two or more; the weights add up to 100.
    #[cfg_attr(feature = "schema", schemars(length(min = 2, max = 32)))]
    pub variants: Vec<VariantConfig>,
}

/// `canary.sticky`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StickyConfig {
    /// The cookie's name, a token.
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::token"))]
    pub cookie: String,
    /// How long a browser keeps it, 1s to 366d. Default 1d.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schemars(schema_with = "crate::policy::schema::optional_span::<1_000, 31_622_400_000>", extend("default" = "1d")))]
    pub max_age: Option<Span>,
}

/// `canary.variants[]`.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct VariantConfig {
    /// Its name in logs and cache keys; unique in its stage.
    pub name: Name,
    /// The upstream that answers.
    pub upstream: Name,
    /// Its share of clients, in percent.
    pub weight: Percent,
}

/// The compiled stage.
#[derive(Clone, Debug)]
pub struct CanaryStage {
    /// Enforce or shadow.
    pub mode: Mode,
    sticky: Option<Sticky>,
    /// The variants.
    pub variants: Vec<Variant>,
    route: String,
}

#[derive(Clone, Debug)]
struct Sticky {
    cookie: String,
    max_age: Duration,
}

/// A compiled variant.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// The index of its upstream.
    pub upstream: usize,
    /// Its share of clients, in hundredths of a percent.
    pub weight: u32,
    salt: u64,
}

/// What was chosen.
#[derive(Clone, Debug)]
pub struct Choice<'a> {
    /// The variant.
    pub variant: &'a Variant,
    /// The cookie to set, where the client has none.
    pub set_cookie: Option<Edit>,
}

impl CanaryConfig {
    /// Checks and compiles; `None` when it is off.
    pub fn compile(
        &self,
        path: &Trail<'_>,
        route: &str,
        upstreams: &BTreeMap<Name, usize>,
        problems: &mut Problems,
    ) -> Option<CanaryStage> {
        let variants_at = path.entry("variants");
        for index in repeated(self.variants.iter().map(|variant| &variant.name)) {
            let name = self.variants.get(index).map(|variant| format!("\"{}\"", variant.name));
            let expected = "expected a name of its own in the stage";
            problems.add(variants_at.item(index).entry("name"), name.unwrap_or_default(), expected);
        }
        let mut variants = Vec::with_capacity(self.variants.len());
        for (index, variant) in self.variants.iter().enumerate() {
            let at = variants_at.item(index);
            let upstream = upstreams.get(&variant.upstream).copied();
            if upstream.is_none() {
                let expected = "expected the name of one of \"upstreams\"";
                problems.add(at.entry("upstream"), format!("\"{}\"", variant.upstream), expected);
            }
            variants.push(Variant {
                name: variant.name.0.clone(),
                upstream: upstream.unwrap_or_default(),
                weight: variant.weight.0,
                salt: hash(0, variant.name.as_str().as_bytes()),
            });
        }
        let sum: u32 = self.variants.iter().map(|variant| variant.weight.0).fold(0, u32::saturating_add);
        if self.variants.len() < 2 || self.variants.len() > 32 {
            problems.add(variants_at, self.variants.len().to_string(), "variants; expected 2 to 32");
        } else if sum != HUNDRED_PERCENT {
            let percent = format!("{}.{:02}", sum.wrapping_div(100), sum.wrapping_rem(100));
            problems.add(variants_at, percent, "percent in all; expected weights that add up to 100");
        }
        let sticky = self.sticky.as_ref().map(|sticky| {
            let at = path.entry("sticky");
            if !is_token(&sticky.cookie) || sticky.cookie.len() > 64 {
                let expected = "expected a token (RFC 6265, 4.1.1) of at most 64 characters";
                problems.add(at.entry("cookie"), format!("{:?}", sticky.cookie), expected);
            }
            let max_age = sticky.max_age.map_or(Duration::from_secs(86_400), |span| span.0);
            if max_age.as_secs() == 0 {
                problems.add(at.entry("max_age"), format!("{max_age:?}"), "expected \"1s\" to \"366d\"");
            }
            Sticky { cookie: sticky.cookie.clone(), max_age }
        });
        let stage = CanaryStage { mode: self.mode, sticky, variants, route: route.to_owned() };
        (self.mode != Mode::Off).then_some(stage)
    }
}

fn hash(key: u64, bytes: &[u8]) -> u64 {
    SipHasher13::new_with_keys(key, 0x6361_6e61_7279_3031).hash(bytes)
}

impl CanaryStage {
    /// The name of the sticky cookie.
    #[must_use]
    pub fn cookie_name(&self) -> Option<&str> {
        self.sticky.as_ref().map(|sticky| sticky.cookie.as_str())
    }

    /// The client's unit, and whether it comes from the sticky cookie; else it
    /// comes from the client's network.
    #[must_use]
    pub fn unit(&self, identity: &Identity, head: &impl Head) -> (u32, bool) {
        let kept = self.sticky.as_ref().and_then(|sticky| {
            head.field(&COOKIE).and_then(|field| cookie(&field, &sticky.cookie).and_then(parse_unit))
        });
        (kept.unwrap_or_else(|| self.unit_of(identity)), kept.is_some())
    }

    /// The variant that answers everybody, where only one has a weight.
    #[must_use]
    pub fn only(&self) -> Option<&Variant> {
        let mut weighted = self.variants.iter().filter(|variant| variant.weight > 0);
        weighted.next().filter(|_| weighted.next().is_none())
    }

    /// Chooses. `None` only when there is no variant, which a checked policy
    /// rules out.
    #[must_use]
    pub fn choose(&self, identity: &Identity, head: &impl Head, secure: bool) -> Option<Choice<'_>> {
        let (unit, is_kept) = self.unit(identity, head);
        let variant = pick(&self.variants, unit)?;
        let set_cookie = match (&self.sticky, is_kept) {
            (Some(sticky), false) => Some(Edit::Append(
                SET_COOKIE,
                format!(
                    "{}={unit:08x}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{}",
                    sticky.cookie,
                    sticky.max_age.as_secs(),
                    if secure { "; Secure" } else { "" }
                ),
            )),
            _ => None,
        };
        Some(Choice { variant, set_cookie })
    }

    #[expect(clippy::cast_possible_truncation, reason = "any 32 bits of the hash will do")]
    fn unit_of(&self, identity: &Identity) -> u32 {
        let route = hash(0, self.route.as_bytes());
        match identity.network.address() {
            std::net::IpAddr::V4(v4) => hash(route, &v4.octets()) as u32,
            std::net::IpAddr::V6(v6) => hash(route, &v6.octets()) as u32,
        }
    }
}

/// The unit in a sticky cookie: eight lower-case hex digits, as we set them.
#[must_use]
pub fn parse_unit(text: &str) -> Option<u32> {
    let good =
        text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    good.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

/// The variant with the least `-ln(u) / weight`, where `u` is a hash of unit
/// and variant, uniform over (0, 1): each is the first arrival of a Poisson
/// process of rate `weight`, so each comes first with its share.
fn pick(variants: &[Variant], unit: u32) -> Option<&Variant> {
    let arrival = |variant: &Variant| {
        // 53 bits, all that a double holds; one half added, so never 0 or 1.
        #[expect(clippy::cast_precision_loss)]
        let uniform = ((hash(variant.salt, &unit.to_le_bytes()) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        -uniform.ln() / f64::from(variant.weight)
    };
    // A variant without weight never arrives; with no weights at all, which a
    // checked policy rules out, the first answers.
    variants
        .iter()
        .filter(|variant| variant.weight > 0)
        .min_by(|a, b| arrival(a).total_cmp(&arrival(b)))
        .or_else(|| variants.first())
}
