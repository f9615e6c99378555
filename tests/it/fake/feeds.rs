//! Bodies that are read piece by piece, and servers of feeds: scripted, slow
//! or broken as told.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use edgeweir::error::{Dependency, PlatformError};
use edgeweir::platform::{BodyError, FeedHead, FeedRequest, FeedSource, PIECE_LIMIT, Pieces};

use super::{FakePlatform, Fault, Turn};

/// A piece of a body, or how it ends early.
pub type Piece = Result<Vec<u8>, BodyError>;

/// What a server was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub url: String,
    pub if_none_match: Option<String>,
    pub if_modified_since: Option<String>,
}

/// What it answers.
#[derive(Clone, Debug)]
pub struct Served {
    pub head: FeedHead,
    pub body: Vec<Piece>,
    pub fault: Option<Fault>,
}

impl Served {
    pub fn status(status: u16) -> Self {
        Self { head: FeedHead { status, ..FeedHead::default() }, body: Vec::new(), fault: None }
    }

    pub fn list(text: &str) -> Self {
        let body = text.as_bytes().chunks(100).map(|piece| Ok(piece.to_vec())).collect();
        Self { body, ..Self::status(200) }
    }

    pub fn to(location: &str) -> Self {
        let head = FeedHead { status: 302, location: Some(location.to_owned()), ..FeedHead::default() };
        Self { head, ..Self::status(302) }
    }

    pub fn etag(mut self, tag: &str) -> Self {
        self.head.etag = Some(tag.to_owned());
        self
    }

    pub fn last_modified(mut self, date: &str) -> Self {
        self.head.last_modified = Some(date.to_owned());
        self
    }

    pub fn ending(mut self, error: BodyError) -> Self {
        self.body.push(Err(error));
        self
    }

    pub fn failing(fault: Fault) -> Self {
        Self { fault: Some(fault), ..Self::status(0) }
    }
}

type Script = Box<dyn Fn(&Asked) -> Served>;

/// The servers of feeds, and the body that is read.
pub struct FakeFeeds {
    script: RefCell<Script>,
    pub asked: RefCell<Vec<Asked>>,
    /// How long a head takes, and a piece.
    pub head_takes: Cell<u64>,
    pub piece_takes: Cell<u64>,
    /// What the next request's body is, in place of `body`.
    pub pieces: RefCell<Option<Vec<Piece>>>,
    reading: RefCell<VecDeque<Piece>>,
    /// How many pieces were read.
    pub read: Cell<usize>,
    /// How often a body was let go of.
    pub stopped: Cell<usize>,
}

impl Default for FakeFeeds {
    fn default() -> Self {
        Self {
            script: RefCell::new(Box::new(|_| Served::status(404))),
            asked: RefCell::default(),
            head_takes: Cell::new(0),
            piece_takes: Cell::new(0),
            pieces: RefCell::default(),
            reading: RefCell::default(),
            read: Cell::new(0),
            stopped: Cell::new(0),
        }
    }
}

impl FakeFeeds {
    /// Servers answer like this from now on.
    pub fn serve(&self, script: impl Fn(&Asked) -> Served + 'static) {
        *self.script.borrow_mut() = Box::new(script);
    }

    pub fn urls(&self) -> Vec<String> {
        self.asked.borrow_mut().drain(..).map(|asked| asked.url).collect()
    }

    pub(super) fn open(&self, pieces: Vec<Piece>) {
        *self.reading.borrow_mut() = pieces.into();
    }

    /// How many pieces nobody has read.
    pub fn left(&self) -> usize {
        self.reading.borrow().len()
    }
}

impl Pieces for FakePlatform {
    async fn next_piece(&self, deadline: Duration) -> Result<Option<Vec<u8>>, BodyError> {
        Turn(false).await;
        assert!(!deadline.is_zero());
        let takes = Duration::from_millis(self.feeds.piece_takes.get());
        self.advance(u64::try_from(takes.min(deadline).as_millis()).unwrap());
        if takes > deadline {
            self.feeds.open(Vec::new());
            return Err(BodyError::TimedOut);
        }
        self.feeds.read.set(self.feeds.read.get() + 1);
        let piece = self.feeds.reading.borrow_mut().pop_front();
        let piece = piece.transpose();
        assert!(piece.iter().flatten().all(|piece| piece.len() <= PIECE_LIMIT));
        piece
    }

    fn stop_reading(&self) {
        self.feeds.open(Vec::new());
        self.feeds.stopped.set(self.feeds.stopped.get() + 1);
    }
}

impl FeedSource for FakePlatform {
    async fn open_feed(
        &self,
        request: &FeedRequest<'_>,
        deadline: Duration,
    ) -> Result<FeedHead, PlatformError> {
        Turn(false).await;
        assert!(!deadline.is_zero());
        let asked = Asked {
            url: request.url.to_owned(),
            if_none_match: request.if_none_match.map(str::to_owned),
            if_modified_since: request.if_modified_since.map(str::to_owned),
        };
        self.feeds.asked.borrow_mut().push(asked.clone());
        let takes = Duration::from_millis(self.feeds.head_takes.get());
        self.advance(u64::try_from(takes.min(deadline).as_millis()).unwrap());
        if takes > deadline {
            return Err(Fault::TimesOut.error(Dependency::Feed));
        }
        let served = (self.feeds.script.borrow())(&asked);
        if let Some(fault) = served.fault {
            return Err(fault.error(Dependency::Feed));
        }
        self.feeds.open(served.body);
        Ok(served.head)
    }
}
