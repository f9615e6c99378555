//! The stages of a request's journey, one file each: its configuration as it
//! stands in the policy, its compiled form, and one verb that decides.

pub mod bans;
pub mod cache;
pub mod canary;
pub mod identity;
pub mod ip_filter;
pub mod rate_limit;
pub mod respond;
pub mod route;
pub mod target;
pub mod upstream;

use serde::Deserialize;

/// What a rule or stage does with its verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Acts on it.
    #[default]
    Enforce,
    /// Counts and logs it, and never acts on it.
    Shadow,
    /// Is not evaluated.
    Off,
}

impl Mode {
    /// The mode of a rule inside a stage: the weaker of the two.
    #[must_use]
    pub const fn within(self, stage: Self) -> Self {
        match (stage, self) {
            (Self::Off, _) | (_, Self::Off) => Self::Off,
            (Self::Shadow, _) | (_, Self::Shadow) => Self::Shadow,
            (Self::Enforce, Self::Enforce) => Self::Enforce,
        }
    }
}
