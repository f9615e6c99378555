//! Bindings and variables of the Worker, and the runtime's errors as ours.

use wasm_bindgen::{JsCast, JsValue};

use super::glue;
use crate::error::{Dependency, PlatformError};

/// The KV namespace of the policy.
pub const STATE: &str = "STATE";

/// The namespace of the single writer.
pub const CONTROL: &str = "CONTROL";

/// The static assets.
pub const ASSETS: &str = "ASSETS";

/// The namespace of the counter objects.
pub const LIMITER: &str = "LIMITER";

/// The KV namespace of the tier `global`.
pub const CACHE: &str = "CACHE";

/// The namespace of the objects that collapse misses across isolates.
pub const COLLAPSER: &str = "COLLAPSER";

/// A variable; `None` when it is not there or empty. A JSON variable is given
/// as its text.
#[must_use]
pub fn variable(name: &str) -> Option<String> {
    glue::variable(name).filter(|text| !text.trim().is_empty())
}

/// A binding that should be there and is not.
#[must_use]
pub fn missing(dependency: Dependency, name: &str) -> PlatformError {
    PlatformError::failed(dependency, format!("the binding {name} is missing"))
}

/// What the runtime threw, in our terms.
#[must_use]
pub fn failure(dependency: Dependency, error: &JsValue) -> PlatformError {
    let cause = error
        .dyn_ref::<js_sys::Error>()
        .and_then(|error| error.message().as_string())
        .or_else(|| error.as_string())
        .unwrap_or_else(|| "an error without a message".to_owned());
    PlatformError::failed(dependency, cause)
}

/// Milliseconds for a timer.
#[must_use]
pub fn timer(span: std::time::Duration) -> u32 {
    // The longest that the runtime's timers take (WHATWG HTML, 8.7): beyond
    // it they fire at once.
    const LONGEST: u32 = i32::MAX as u32;
    u32::try_from(span.as_millis()).unwrap_or(LONGEST).min(LONGEST)
}
