//! The servers of feeds, and bodies that are read piece by piece.

use std::time::Duration;

use super::binding::{failure, timer};
use super::glue;
use super::origin::Edge;
use super::task::{Outcome, wait};
use crate::error::{Dependency, PlatformError};
use crate::platform::{BodyError, FeedHead, FeedRequest, FeedSource, PIECE_LIMIT, Pieces};

/// What the servers of feeds are told about who asks (RFC 9110, 10.1.5).
const USER_AGENT: &str = concat!("user-agent:Edgeweir/", env!("CARGO_PKG_VERSION"));

impl Pieces for Edge {
    async fn next_piece(&self, deadline: Duration) -> Result<Option<Vec<u8>>, BodyError> {
        glue::next_piece(u32::try_from(PIECE_LIMIT).unwrap_or(u32::MAX), timer(deadline));
        match wait().await {
            Outcome::Done(_) => Ok(Some(glue::bytes())),
            Outcome::Nothing => Ok(None),
            Outcome::TimedOut => Err(BodyError::TimedOut),
            Outcome::Failed(_) => Err(BodyError::Broken),
        }
    }

    fn stop_reading(&self) {
        glue::stop_reading();
    }
}

impl FeedSource for Edge {
    async fn open_feed(
        &self,
        request: &FeedRequest<'_>,
        deadline: Duration,
    ) -> Result<FeedHead, PlatformError> {
        let mut lines = vec![request.url.to_owned(), USER_AGENT.to_owned()];
        lines.extend(request.if_none_match.map(|tag| format!("if-none-match:{tag}")));
        lines.extend(request.if_modified_since.map(|date| format!("if-modified-since:{date}")));
        glue::open_feed(&lines.join("\n"), timer(deadline))
            .map_err(|error| failure(Dependency::Feed, &error))?;
        let answer = wait().await.of(Dependency::Feed)?;
        answer.as_deref().and_then(head).ok_or_else(|| PlatformError::failed(Dependency::Feed, "no response"))
    }
}

/// From what `openFeed` resumes with. No field holds a line break.
fn head(text: &str) -> Option<FeedHead> {
    let mut lines = text.split('\n');
    let status = lines.next()?.parse().ok()?;
    let mut field = || lines.next().filter(|value| !value.is_empty()).map(str::to_owned);
    Some(FeedHead { status, location: field(), etag: field(), last_modified: field() })
}
