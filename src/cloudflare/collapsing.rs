//! The `Collapser` objects, asked as the counters are: the message travels in a
//! field.

use std::time::Duration;

use super::binding::{COLLAPSER, failure, timer};
use super::glue;
use super::origin::Edge;
use super::task::wait;
use crate::error::{Dependency, PlatformError};
use crate::platform::Collapse;
use crate::stages::cache::collapser::{Answer, End, FIELD, Id, Lead, Message, RENEWAL, RENEWALS};

/// How many steps the time for an answer has. When many miss at once, which is
/// what this is for, an isolate may notice an answer late that came in time.
const STEPS: u32 = 5;

/// Every location has its own: what one keeps, the others do not see. And an
/// object is made near who first asks for it.
fn name(id: Id) -> String {
    format!("v1-{}-{}", glue::location(), id.shard())
}

impl Collapse for Edge {
    async fn collapse(&self, message: &Message, deadline: Duration) -> Result<Answer, PlatformError> {
        let failed = |error| failure(Dependency::Collapser, &error);
        let name = name(message.id());
        glue::take(COLLAPSER, &name, FIELD, &message.encode(), timer(deadline), STEPS).map_err(failed)?;
        let text = wait().await.of(Dependency::Collapser)?.unwrap_or_default();
        let unread = || PlatformError::failed(Dependency::Collapser, format!("not an answer: {text}"));
        let answer = Answer::decode(&text).ok_or_else(unread)?;
        if let Answer::Lead(number) = answer {
            let lead = Lead { id: message.id(), number };
            let ends = [End::Stored, End::Unstorable, End::Lost].map(|end| Message::End(lead, end).encode());
            let messages = [Message::Renew(lead).encode(), ends.join("\n")].join("\n");
            glue::lead(COLLAPSER, &name, FIELD, &messages, timer(RENEWAL), RENEWALS).map_err(failed)?;
        }
        Ok(answer)
    }

    fn end_lead(&self, _: Lead, end: End) {
        glue::end_lead(match end {
            End::Stored => 0,
            End::Unstorable => 1,
            End::Lost => 2,
        });
    }
}
