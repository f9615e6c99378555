//! The `Control` object, as isolates and the admin API call it.

use std::time::Duration;

use super::binding::{self, CONTROL, failure, timer};
use super::glue;
use super::origin::Edge;
use super::task::wait;
use crate::control::client::NoControl;
use crate::error::{Dependency, PlatformError};
use crate::platform::ControlClient;

/// The name of the one object of an environment.
pub const NAME: &str = "control-v1";

impl ControlClient for Edge {
    async fn call(&self, message: &str, deadline: Duration) -> Result<String, PlatformError> {
        if !glue::is_bound(CONTROL) {
            return NoControl.call(message, deadline).await;
        }
        glue::ask(CONTROL, NAME, message, timer(deadline))
            .map_err(|error| failure(Dependency::Control, &error))?;
        let answer = wait().await.of(Dependency::Control)?;
        answer.ok_or_else(|| binding::missing(Dependency::Control, CONTROL))
    }
}
