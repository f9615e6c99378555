//! Bindings and variables of the Worker, and the runtime's errors as ours.

use wasm_bindgen::{JsCast, JsValue};
use worker::Env;

use super::glue;
use crate::error::{Dependency, PlatformError};

/// The KV namespace of the policy.
pub const STATE: &str = "STATE";

/// The namespace of the counter objects.
pub const LIMITER: &str = "LIMITER";

/// A binding; `None` when it is not there.
#[must_use]
pub fn get(env: &Env, name: &str) -> Option<JsValue> {
    let env: &JsValue = env.as_ref();
    js_sys::Reflect::get(env, &JsValue::from_str(name))
        .ok()
        .filter(|value| !value.is_undefined() && !value.is_null())
}

/// A variable; `None` when it is not there or empty. A JSON variable is given
/// as its text.
#[must_use]
pub fn variable(env: &Env, name: &str) -> Option<String> {
    let value = get(env, name)?;
    let text = match value.as_string() {
        Some(text) => text,
        None => js_sys::JSON::stringify(&value).ok()?.as_string()?,
    };
    (!text.trim().is_empty()).then_some(text)
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
    if glue::is_timeout(error) {
        PlatformError::timed_out(dependency, cause)
    } else {
        PlatformError::failed(dependency, cause)
    }
}

/// Milliseconds for a timer.
#[must_use]
pub fn timer(span: std::time::Duration) -> u32 {
    u32::try_from(span.as_millis()).unwrap_or(u32::MAX)
}
