//! The ports on memory: a clock that is set, an origin that is scripted,
//! counters and a response store that work or fail as told, and a log of
//! everything that was asked of them.

pub mod feeds;
mod limiters;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use edgeweir::error::{Dependency, PlatformError};
use edgeweir::exchange::{Edit, PlainHead, Reply, join_lines};
use edgeweir::gateway::revalidation::revalidate;
use edgeweir::gateway::settle::settle;
use edgeweir::gateway::{Acting, Bound, Isolate, handle};
use edgeweir::observe::record::Record;
use edgeweir::platform::{
    AdminPlatform, BodyError, Clock, Collapse, ControlClient, CounterPeek, Counters, Found, Keep,
    LimiterClient, Origin, PartRead, Pause, PolicyStore, ResponseStore,
};
use edgeweir::policy::compile;
use edgeweir::policy::manifest::sha256_hex;
use edgeweir::policy::snapshot::Snapshot;
use edgeweir::stages::bans::BanSet;
use edgeweir::stages::bans::set::{Entry, encode};
use edgeweir::stages::cache::collapser::{self, End, Leases};
use edgeweir::stages::cache::fields::{Body, Made};
use edgeweir::stages::cache::global;
use edgeweir::stages::cache::joining::Around;
use edgeweir::stages::cache::memory::BodyNumber;
use edgeweir::stages::cache::range::Span;
use edgeweir::stages::ip_filter::prefix::Prefix;
use edgeweir::stages::rate_limit::message::count::{Answer, Look, Message};
use edgeweir::stages::rate_limit::message::{Take, Taken};
use edgeweir::stages::rate_limit::{CounterKey, SHARDS};
use edgeweir::stages::upstream::UpstreamRequest;
use edgeweir::time::Timestamp;
use http::Method;
use http::header::{HOST, HeaderName};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};
use serde_json::Value;

pub use self::limiters::{Limiters, MemoryAccounts, MemoryRows};

use crate::control::memory::MemoryStore;

/// 2026-01-01T00:00:00Z, where the tests' clocks begin.
pub const START: u64 = 1_767_225_600_000;

/// Polls a future until it is ready. Nothing here waits for anything outside.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("the future is never ready");
}

/// Pending once, so that journeys of one isolate interleave at every port.
struct Turn(bool);

impl Future for Turn {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Runs two futures side by side.
pub fn both<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (Box::pin(a), Box::pin(b));
    let (mut from_a, mut from_b) = (None, None);
    block_on(std::future::poll_fn(move |context| {
        if from_a.is_none()
            && let Poll::Ready(output) = a.as_mut().poll(context)
        {
            from_a = Some(output);
        }
        if from_b.is_none()
            && let Poll::Ready(output) = b.as_mut().poll(context)
        {
            from_b = Some(output);
        }
        if from_a.is_some() && from_b.is_some() {
            return Poll::Ready((from_a.take().unwrap(), from_b.take().unwrap()));
        }
        Poll::Pending
    }))
}

/// Runs futures side by side.
pub fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    block_on(std::future::poll_fn(move |context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(done) = future.as_mut().poll(context)
            {
                *output = Some(done);
            }
        }
        if outputs.iter().all(Option::is_some) {
            return Poll::Ready(outputs.drain(..).flatten().collect());
        }
        Poll::Pending
    }))
}

/// Checks a property over generated values, from a fixed seed.
pub fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 2_000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    if let Err(error) = runner.run(&strategy, test) {
        panic!("{error}");
    }
}

/// How a dependency fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Fails,
    TimesOut,
}

impl Fault {
    fn error(self, dependency: Dependency) -> PlatformError {
        match self {
            Self::Fails => PlatformError::failed(dependency, "broken on purpose"),
            Self::TimesOut => PlatformError::timed_out(dependency, "late on purpose"),
        }
    }
}

/// A request as the origin gets it: the client's fields with all edits made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub method: Method,
    pub url: String,
    pub fields: Vec<(HeaderName, String)>,
    pub first_byte: Duration,
}

impl Sent {
    pub fn field(&self, name: &str) -> Option<String> {
        join_lines(&self.fields, &name.parse().unwrap()).map(std::borrow::Cow::into_owned)
    }
}

/// A response: the origin's, or the one that the client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub fields: Vec<(HeaderName, String)>,
    pub body: String,
}

impl Response {
    pub fn new(status: u16) -> Self {
        Self { status, fields: Vec::new(), body: "from the origin".to_owned() }
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.parse().unwrap(), value.to_owned()));
        self
    }

    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    pub fn field(&self, name: &str) -> Option<String> {
        join_lines(&self.fields, &name.parse().unwrap()).map(std::borrow::Cow::into_owned)
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What a response store was asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreEvent {
    Lookup(String),
    LookupGlobal(String),
    Keep { key: String, limit: u64 },
    KeepGlobal { name: String, retention: u64 },
    Remove(Vec<String>),
    RemoveGlobal(Vec<String>),
}

/// Field lines.
pub type Fields = Vec<(HeaderName, String)>;

type Script = Box<dyn Fn(&Sent) -> Response>;

/// Everything a journey needs, on memory.
pub struct FakePlatform {
    /// Several isolates may share it.
    pub clock: Rc<Cell<u64>>,
    script: RefCell<Script>,
    /// How long the origin takes.
    pub origin_takes: Cell<u64>,
    /// How long a counter takes.
    pub counter_takes: Cell<u64>,
    pub origin_fault: Cell<Option<Fault>>,
    pub counter_fault: Cell<Option<Fault>>,
    pub store_fault: Cell<Option<Fault>>,
    pub sent: RefCell<Vec<Sent>>,
    /// What was asked, rule by rule, and the messages.
    pub takes: RefCell<Vec<(Take, Duration)>>,
    pub messages: RefCell<Vec<Message>>,
    /// How often the runtime's limiter was asked, and how often it allows.
    pub platform_limits: RefCell<BTreeMap<(String, CounterKey), u32>>,
    pub platform_limit: Cell<u32>,
    pub store_events: RefCell<Vec<StoreEvent>>,
    /// What the location has; several isolates may share it.
    pub stored: Rc<RefCell<BTreeMap<String, (String, String)>>>,
    /// What all locations have, by name.
    pub global: RefCell<BTreeMap<String, (String, String)>>,
    pub global_fault: Cell<Option<Fault>>,
    /// Whether what is removed for all locations goes on being shown.
    pub global_lags: Cell<bool>,
    /// The objects that collapse misses; several isolates may share them.
    pub collapser: Rc<RefCell<Leases>>,
    pub collapser_fault: Cell<Option<Fault>>,
    /// What they were told.
    pub collapsed: RefCell<Vec<collapser::Message>>,
    /// The bodies that are kept in memory.
    pub bodies: RefCell<BTreeMap<BodyNumber, String>>,
    /// Those that come in after the response; `None` for one that does not.
    arriving: RefCell<Vec<(BodyNumber, Option<String>)>>,
    settling: RefCell<Vec<BodyNumber>>,
    next_body: Cell<u32>,
    /// Whether bodies break off on their way to memory.
    pub breaks_off: Cell<bool>,
    /// The Limiter objects; several isolates may share them.
    pub limiters: Rc<Limiters>,
    pub limiter_fault: Cell<Option<Fault>>,
    /// What happens to a message and its answer on the way, by turns; then
    /// nothing.
    pub limiter_mishaps: RefCell<VecDeque<Mishap>>,
    pub control: MemoryStore,
    pub control_fault: Cell<Option<Fault>>,
    /// How many calls the control plane takes before the fault begins.
    pub control_calls: Cell<u32>,
    /// How long a call to the control plane takes.
    pub call_takes: Cell<u64>,
    /// What the control plane says, whatever it is asked.
    pub control_says: RefCell<Option<String>>,
    /// The body of the next request.
    pub body: RefCell<Result<Vec<u8>, BodyError>>,
    /// The most bytes that were read of a body.
    pub body_limit: Cell<usize>,
    pub asset_fault: Cell<Option<Fault>>,
    /// Whether there are static assets.
    pub has_assets: Cell<bool>,
    pub feeds: feeds::FakeFeeds,
    /// The URLs that were asked for to be stored, and with which fields.
    pub warmed: RefCell<Vec<(Fields, String)>>,
    /// What becomes of them, in order; then nothing in time.
    pub warm_answers: RefCell<VecDeque<Option<String>>>,
    /// What somebody else does with the control plane before each call.
    before_call: RefCell<Meddler>,
}

type Meddler = Box<dyn Fn(&MemoryStore, &str)>;

impl Default for FakePlatform {
    fn default() -> Self {
        Self {
            clock: Rc::new(Cell::new(START)),
            script: RefCell::new(Box::new(|_| Response::new(200))),
            origin_takes: Cell::new(0),
            counter_takes: Cell::new(0),
            origin_fault: Cell::new(None),
            counter_fault: Cell::new(None),
            store_fault: Cell::new(None),
            sent: RefCell::default(),
            takes: RefCell::default(),
            messages: RefCell::default(),
            platform_limits: RefCell::default(),
            platform_limit: Cell::new(u32::MAX),
            store_events: RefCell::default(),
            stored: Rc::default(),
            global: RefCell::default(),
            global_fault: Cell::new(None),
            global_lags: Cell::new(false),
            collapser: Rc::default(),
            collapser_fault: Cell::new(None),
            collapsed: RefCell::default(),
            bodies: RefCell::default(),
            arriving: RefCell::default(),
            settling: RefCell::default(),
            next_body: Cell::new(0),
            breaks_off: Cell::new(false),
            limiters: Rc::default(),
            limiter_fault: Cell::new(None),
            limiter_mishaps: RefCell::default(),
            control: MemoryStore::default(),
            control_fault: Cell::new(None),
            control_calls: Cell::new(0),
            call_takes: Cell::new(0),
            control_says: RefCell::new(None),
            body: RefCell::new(Ok(Vec::new())),
            body_limit: Cell::new(0),
            asset_fault: Cell::new(None),
            has_assets: Cell::new(true),
            feeds: feeds::FakeFeeds::default(),
            warmed: RefCell::default(),
            warm_answers: RefCell::default(),
            before_call: RefCell::new(Box::new(|_, _| {})),
        }
    }
}

impl FakePlatform {
    /// The origin answers like this from now on.
    pub fn origin(&self, script: impl Fn(&Sent) -> Response + 'static) {
        *self.script.borrow_mut() = Box::new(script);
    }

    /// Before each call to the control plane from now on, somebody else does
    /// this.
    pub fn before_call(&self, meddler: impl Fn(&MemoryStore, &str) + 'static) {
        *self.before_call.borrow_mut() = Box::new(meddler);
    }

    pub fn advance(&self, millis: u64) {
        self.clock.set(self.clock.get() + millis);
    }

    /// Sets the clock back.
    pub fn set_back(&self, millis: u64) {
        self.clock.set(self.clock.get() - millis);
    }
}

impl Clock for FakePlatform {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.get())
    }
}

impl Counters for FakePlatform {
    async fn count(
        &self,
        shard: u128,
        message: &Message,
        deadline: Duration,
    ) -> Result<Answer, PlatformError> {
        Turn(false).await;
        self.advance(self.counter_takes.get());
        self.messages.borrow_mut().push(message.clone());
        if let Message::Count(count) = message {
            let takes = count.asks.iter().map(|ask| {
                (Take { key: ask.key, quota: ask.quota, cost: ask.cost, client: count.client }, deadline)
            });
            self.takes.borrow_mut().extend(takes);
        }
        if let Some(fault) = self.counter_fault.get() {
            return Err(fault.error(Dependency::Counter));
        }
        let answer = self.limiters.count(shard, &message.encode(), self.now())?;
        Ok(Answer::decode(&answer).unwrap())
    }

    async fn count_everywhere(&self, message: &Message, _: Duration) -> Vec<Result<Answer, PlatformError>> {
        Turn(false).await;
        (0..SHARDS)
            .map(|shard| match self.counter_fault.get() {
                Some(fault) => Err(fault.error(Dependency::Counter)),
                None => {
                    let answer = self.limiters.count(shard, &message.encode(), self.now())?;
                    Ok(Answer::decode(&answer).unwrap())
                }
            })
            .collect()
    }

    async fn platform_limit(
        &self,
        binding: &str,
        key: CounterKey,
        _: Duration,
    ) -> Result<bool, PlatformError> {
        Turn(false).await;
        if let Some(fault) = self.counter_fault.get() {
            return Err(fault.error(Dependency::Counter));
        }
        let mut asked = self.platform_limits.borrow_mut();
        let count = asked.entry((binding.to_owned(), key)).or_default();
        *count += 1;
        Ok(*count <= self.platform_limit.get())
    }
}

impl CounterPeek for FakePlatform {
    async fn peek(&self, client: Option<Prefix>, look: &Look, _: Duration) -> Result<Taken, PlatformError> {
        Turn(false).await;
        if let Some(fault) = self.counter_fault.get() {
            return Err(fault.error(Dependency::Counter));
        }
        let message = Message::Peek(client, vec![*look]);
        let answer = self.limiters.count(look.key.shard(), &message.encode(), self.now())?;
        let answer = Answer::decode(&answer).unwrap();
        Ok(Taken { decision: answer.results[0].decision, banned: answer.banned })
    }
}

/// What happens to a message on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    None,
    /// It does not arrive.
    Lost,
    /// It arrives, and the answer does not.
    AnswerLost,
    /// It arrives twice.
    Doubled,
}

impl LimiterClient for FakePlatform {
    async fn tell(&self, shard: u128, message: &str, _: Duration) -> Result<String, PlatformError> {
        Turn(false).await;
        if let Some(fault) = self.limiter_fault.get() {
            self.limiters.failed.set(self.limiters.failed.get() + 1);
            return Err(fault.error(Dependency::Counter));
        }
        let mishap = self.limiter_mishaps.borrow_mut().pop_front().unwrap_or(Mishap::None);
        let failed = Err(Fault::TimesOut.error(Dependency::Counter));
        match mishap {
            Mishap::Lost => failed,
            Mishap::AnswerLost => {
                self.limiters.tell(shard, message, self.now())?;
                failed
            }
            Mishap::Doubled => {
                self.limiters.tell(shard, message, self.now())?;
                self.limiters.tell(shard, message, self.now())
            }
            Mishap::None => self.limiters.tell(shard, message, self.now()),
        }
    }
}

impl Pause for FakePlatform {
    async fn pause(&self, span: Duration) {
        // Who waits at the same time waits for the same time.
        let until = self.clock.get() + u64::try_from(span.as_millis()).unwrap();
        Turn(false).await;
        self.clock.set(self.clock.get().max(until));
    }
}

/// The pure control plane on memory, in the place of the object.
impl ControlClient for FakePlatform {
    async fn call(&self, message: &str, _: Duration) -> Result<String, PlatformError> {
        Turn(false).await;
        self.advance(self.call_takes.get());
        match self.control_fault.get() {
            Some(fault) if self.control_calls.get() == 0 => return Err(fault.error(Dependency::Control)),
            Some(_) => self.control_calls.set(self.control_calls.get() - 1),
            None => {}
        }
        if let Some(says) = &*self.control_says.borrow() {
            return Ok(says.clone());
        }
        (self.before_call.borrow())(&self.control, message);
        edgeweir::control::plane::handle(&self.control, message, self.now())
    }
}

impl AdminPlatform for FakePlatform {
    async fn read_body(&self, limit: usize, _: Duration) -> Result<Vec<u8>, BodyError> {
        Turn(false).await;
        self.body_limit.set(limit);
        let body = self.body.borrow().clone()?;
        if body.len() > limit { Err(BodyError::TooLarge) } else { Ok(body) }
    }

    async fn asset(&self, path: &str, _: Duration) -> Result<Option<Response>, PlatformError> {
        Turn(false).await;
        if let Some(fault) = self.asset_fault.get() {
            return Err(fault.error(Dependency::Assets));
        }
        let file = format!("{}/www{path}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(file).ok().filter(|_| self.has_assets.get());
        let response = Response::new(200).with("Content-Type", "application/json").with("ETag", "\"abc\"");
        Ok(text.map(|text| response.with("Cache-Control", "public, max-age=0").body(&text)))
    }

    fn open_body(&self) {
        let cut = |body: Vec<u8>| body.chunks(1_000).map(|piece| Ok(piece.to_vec())).collect();
        let body = || self.body.borrow().clone().map_or_else(|error| vec![Err(error)], cut);
        let pieces = self.feeds.pieces.take().unwrap_or_else(body);
        self.feeds.open(pieces);
    }

    fn colo(&self) -> Option<String> {
        Some("ICN".to_owned())
    }

    async fn warm(
        &self,
        fields: &[(HeaderName, String)],
        jobs: &[String],
        _: Duration,
    ) -> Vec<Option<String>> {
        Turn(false).await;
        self.warmed.borrow_mut().extend(jobs.iter().map(|job| (fields.to_vec(), job.clone())));
        jobs.iter().map(|_| self.warm_answers.borrow_mut().pop_front().flatten()).collect()
    }
}

impl Origin for FakePlatform {
    type Request = PlainHead;
    type Response = Response;

    async fn fetch(
        &self,
        request: &PlainHead,
        upstream: &UpstreamRequest,
    ) -> Result<Response, PlatformError> {
        Turn(false).await;
        let mut fields = request.fields.clone();
        edit(&mut fields, &upstream.edits);
        // `fetch` takes Host from the URL.
        fields.retain(|(name, _)| *name != HOST);
        let sent = Sent {
            method: request.method.clone(),
            url: upstream.url.clone(),
            fields,
            first_byte: upstream.first_byte,
        };
        self.sent.borrow_mut().push(sent.clone());
        self.advance(self.origin_takes.get());
        match self.origin_fault.get() {
            Some(fault) => Err(fault.error(Dependency::Origin)),
            None => Ok((self.script.borrow())(&sent)),
        }
    }

    fn status(&self, response: &Response) -> u16 {
        response.status
    }

    fn field(&self, response: &Response, name: &HeaderName) -> Option<String> {
        join_lines(&response.fields, name).map(std::borrow::Cow::into_owned)
    }

    fn fields(&self, response: &Response) -> Vec<(HeaderName, String)> {
        response.fields.clone()
    }
}

impl ResponseStore for FakePlatform {
    async fn lookup(&self, key: &str) -> Result<Option<Found<Response>>, PlatformError> {
        Turn(false).await;
        self.store_events.borrow_mut().push(StoreEvent::Lookup(key.to_owned()));
        if let Some(fault) = self.store_fault.get() {
            return Err(fault.error(Dependency::ResponseStore));
        }
        let stored = self.stored.borrow();
        Ok(stored.get(key).map(|(entry, body)| Found {
            entry: entry.clone(),
            size: Some(body.len() as u64),
            response: Response::new(200).body(body),
        }))
    }

    async fn lookup_global(&self, name: &str, _: &str) -> Result<Option<Found<Response>>, PlatformError> {
        Turn(false).await;
        self.store_events.borrow_mut().push(StoreEvent::LookupGlobal(name.to_owned()));
        if let Some(fault) = self.global_fault.get() {
            return Err(fault.error(Dependency::GlobalStore));
        }
        let stored = self.global.borrow();
        Ok(stored.get(name).map(|(head, body)| Found {
            entry: head.clone(),
            size: Some(body.len() as u64),
            response: Response::new(200).body(body),
        }))
    }

    fn revive(&self, stored: Response, made: &Made<'_>) -> Response {
        let body = match made.body {
            Body::None => String::new(),
            Body::Whole => stored.body,
            Body::Bytes(Span { first, last }) => stored.body[first as usize..=last as usize].to_owned(),
        };
        let fields = made.fields.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
        Response { status: made.status, fields, body }
    }

    fn keep(
        &self,
        response: Response,
        keep: &Keep<'_>,
        _: Option<&Response>,
    ) -> (Response, Option<BodyNumber>) {
        let Keep { key, entry, limit, size, retention, memory, .. } = *keep;
        let length = response.body.len() as u64;
        let whole = length <= limit && size.is_none_or(|size| size == length) && !self.breaks_off.get();
        if retention.is_some() {
            self.store_events.borrow_mut().push(StoreEvent::Keep { key: key.to_owned(), limit });
            if whole && self.store_fault.get().is_none() {
                self.stored.borrow_mut().insert(key.to_owned(), (entry.to_owned(), response.body.clone()));
            }
        }
        if let Some(global) = keep.global.filter(|global| whole && length <= global.limit) {
            let (name, retention) = (global::name(key).unwrap(), global.retention);
            self.store_events.borrow_mut().push(StoreEvent::KeepGlobal { name: name.clone(), retention });
            if self.global_fault.get().is_none() {
                self.global.borrow_mut().insert(name, (global::head(key, entry), response.body.clone()));
            }
        }
        let number = BodyNumber(self.next_body.get() + 1);
        self.next_body.set(number.0);
        if let Some(memory) = memory {
            let body = (whole && length <= memory).then(|| response.body.clone());
            self.arriving.borrow_mut().push((number, body));
        }
        self.settling.borrow_mut().push(number);
        if let Some(lead) = keep.lead {
            self.end_lead(lead, if whole { End::Stored } else { End::Lost });
        }
        (response, Some(number))
    }

    fn join(
        &self,
        response: Response,
        keep: &Keep<'_>,
        stored: Response,
        Around { before, after }: Around,
    ) -> (Response, Option<BodyNumber>) {
        let (before, after) = (before as usize, after as usize);
        let stored = stored.body;
        // As the runtime has it: the size is that of the part.
        let arrives = keep.size.is_none_or(|size| size == response.body.len() as u64);
        let body = [&stored[..before], &response.body, &stored[stored.len() - after..]].concat();
        let size = Some(if arrives { body.len() as u64 } else { u64::MAX });
        let (_, number) = self.keep(Response::new(200).body(&body), &Keep { size, ..*keep }, None);
        (response, number)
    }

    fn recall(&self, body: BodyNumber) -> Option<Response> {
        self.bodies.borrow().get(&body).map(|body| Response::new(200).body(body))
    }

    fn release(&self, bodies: &[BodyNumber]) {
        for body in bodies {
            assert!(self.bodies.borrow_mut().remove(body).is_some(), "{body:?} is released twice");
        }
    }

    fn discard(&self, _: Response) {}

    fn remove(&self, keys: Vec<String>, names: Vec<String>) {
        for key in &keys {
            self.stored.borrow_mut().remove(key);
        }
        self.store_events.borrow_mut().push(StoreEvent::Remove(keys));
        if !names.is_empty() {
            self.global.borrow_mut().retain(|name, _| self.global_lags.get() || !names.contains(name));
            self.store_events.borrow_mut().push(StoreEvent::RemoveGlobal(names));
        }
    }
}

impl Collapse for FakePlatform {
    async fn collapse(
        &self,
        message: &collapser::Message,
        _: Duration,
    ) -> Result<collapser::Answer, PlatformError> {
        Turn(false).await;
        self.collapsed.borrow_mut().push(*message);
        if let Some(fault) = self.collapser_fault.get() {
            return Err(fault.error(Dependency::Collapser));
        }
        let text = message.encode();
        assert_eq!(collapser::Message::decode(&text).as_ref(), Some(message));
        let told = self.collapser.borrow_mut().tell(message, self.now());
        if told.park.is_zero() {
            return Ok(told.answer);
        }
        // Held back, a moment at a time: somebody else may end it.
        let until = self.now().after(told.park);
        loop {
            self.pause(Duration::from_millis(20)).await;
            let told = self.collapser.borrow_mut().tell(message, self.now());
            if told.answer != collapser::Answer::Wait || self.now() >= until {
                return Ok(told.answer);
            }
        }
    }

    fn end_lead(&self, lead: collapser::Lead, end: End) {
        let message = collapser::Message::End(lead, end);
        self.collapsed.borrow_mut().push(message);
        self.collapser.borrow_mut().tell(&message, self.now());
    }
}

/// Makes changes as the runtime does.
pub fn edit(fields: &mut Vec<(HeaderName, String)>, edits: &[Edit]) {
    for change in edits {
        match change {
            Edit::Set(name, value) => {
                fields.retain(|(field, _)| field != name);
                fields.push((name.clone(), value.clone()));
            }
            Edit::Append(name, value) => fields.push((name.clone(), value.clone())),
            Edit::Remove(name) => fields.retain(|(field, _)| field != name),
        }
    }
}

/// A request from 192.0.2.1 to `https://app.example`, changed as needed.
pub fn request(method: &str, target: &str) -> PlainHead {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let fields = vec![(HOST, "app.example".to_owned())];
    PlainHead { method, url: format!("https://app.example{target}"), fields, ..PlainHead::default() }
        .with("CF-Connecting-IP", "192.0.2.1")
}

pub fn get(target: &str) -> PlainHead {
    request("GET", target)
}

pub trait With {
    /// Adds a field line.
    fn with(self, name: &str, value: &str) -> Self;
    /// Comes from another address.
    fn from(self, address: &str) -> Self;
    /// Goes to another host.
    fn to(self, scheme: &str, host: &str) -> Self;
}

impl With for PlainHead {
    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.parse().unwrap(), value.to_owned()));
        self
    }

    fn from(mut self, address: &str) -> Self {
        self.fields.retain(|(name, _)| name.as_str() != "cf-connecting-ip");
        self.with("CF-Connecting-IP", address)
    }

    fn to(mut self, scheme: &str, host: &str) -> Self {
        let old = join_lines(&self.fields, &HOST).unwrap().into_owned();
        let target = self.url.split_once("://").unwrap().1[old.len()..].to_owned();
        self.url = format!("{scheme}://{host}{target}");
        self.fields.retain(|(name, _)| *name != HOST);
        self.fields.insert(0, (HOST, host.to_owned()));
        self
    }
}

/// A gateway in an isolate.
pub struct Gate {
    pub platform: FakePlatform,
    pub isolate: Isolate,
    pub snapshot: Snapshot,
    pub degraded: bool,
    pub available: bool,
    sent: Cell<u128>,
}

impl Gate {
    pub fn new(policy: &Value) -> Self {
        let gateway = compile(&policy.to_string()).unwrap_or_else(|error| panic!("{error}"));
        Self {
            platform: FakePlatform::default(),
            isolate: Isolate::new("test", 7).with_bound(Bound { global: true, collapser: false }),
            snapshot: Snapshot {
                gateway: std::rc::Rc::new(gateway),
                revision: "r1".to_owned(),
                sequence: Some(1),
                stored: None,
                bans: None,
                live_purges: std::rc::Rc::default(),
                alerts: Vec::new(),
                stand_in: None,
            },
            degraded: false,
            available: true,
            sent: Cell::new(0),
        }
    }

    /// The manifest has these bans from now on: network, end in milliseconds
    /// behind [`START`], and cause.
    pub fn with_bans(mut self, generation: u64, bans: &[(&str, u64, &str)]) -> Self {
        self.snapshot.bans = Some(std::rc::Rc::new(ban_set(generation, bans)));
        self
    }

    /// Sends a request; gives what the client sees and what is logged.
    pub fn send(&self, head: &PlainHead) -> (Response, Record) {
        block_on(self.sending(head))
    }

    /// The random bits of the next request.
    pub fn fresh(&self) -> u128 {
        (0xfeed_u128 << 112) | (self.sent.get() + 1)
    }

    pub async fn sending(&self, head: &PlainHead) -> (Response, Record) {
        let fresh = self.fresh();
        let acting = Acting {
            snapshot: &self.snapshot,
            available: self.available,
            degraded: self.degraded.then_some("broken on purpose"),
        };
        self.sent.set(self.sent.get() + 1);
        let (reply, record) = handle(&acting, &self.isolate, &self.platform, head, fresh).await;
        if self.isolate.takes_on_settling(self.platform.now()) {
            let _ = settle(&self.isolate, &self.platform).await;
        }
        while let Some(asked) = self.isolate.next_revalidation() {
            let gateway = &self.snapshot.gateway;
            let _ = revalidate(gateway, &self.isolate, &self.platform, head, asked).await;
        }
        self.arrive();
        let response = match reply {
            Reply::Answer(answer) => {
                Response { status: answer.status, fields: answer.fields, body: answer.body }
            }
            Reply::Native(mut response, edits) => {
                edit(&mut response.fields, &edits);
                response
            }
        };
        (response, record)
    }

    /// The bodies come in that memory waits for.
    pub fn arrive(&self) {
        for (number, body) in self.platform.arriving.take() {
            match body {
                Some(body) => {
                    let size = body.len() as u64;
                    self.platform.bodies.borrow_mut().insert(number, body);
                    self.isolate.body_arrived(&self.platform, number, size);
                }
                None => self.isolate.body_lost(number),
            }
        }
        for number in self.platform.settling.take() {
            self.isolate.body_settled(number);
        }
    }

    /// The only request that reached the origin.
    pub fn the_sent(&self) -> Sent {
        let sent = self.platform.sent.borrow();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent[0].clone()
    }

    pub fn the_last_url(&self) -> String {
        self.platform.sent.borrow().last().unwrap().url.clone()
    }

    pub fn sent_count(&self) -> usize {
        self.platform.sent.borrow().len()
    }
}

/// Bans as a manifest has them: network, end in milliseconds behind
/// [`START`], and cause.
pub fn ban_set(generation: u64, bans: &[(&str, u64, &str)]) -> BanSet {
    let entries = bans.iter().map(|(network, end, cause)| Entry {
        network: network.parse().unwrap(),
        until: (START + end) / 1_000,
        cause: (*cause).into(),
    });
    BanSet::decode(&encode(entries.collect(), Vec::new()), generation).unwrap()
}

/// What a policy store says: the value and its metadata.
pub type Read = Result<Option<(String, Option<String>)>, PlatformError>;

/// A policy store that shows what it is told to, in order; then nothing new.
#[derive(Default)]
pub struct FakeStore {
    pub reads: RefCell<VecDeque<Read>>,
    pub count: Cell<u32>,
    pub parts: RefCell<BTreeMap<String, Vec<u8>>>,
    pub part_reads: Cell<u32>,
    /// How long requests have waited for each other.
    pub paused: Cell<Duration>,
}

/// What the platform says of these bytes.
pub fn part_read(bytes: Vec<u8>) -> PartRead {
    PartRead { hash: sha256_hex(&bytes), bytes }
}

impl Pause for FakeStore {
    async fn pause(&self, span: Duration) {
        Turn(false).await;
        self.paused.set(self.paused.get() + span);
    }
}

impl PolicyStore for FakeStore {
    async fn read_active(&self, _: Duration) -> Read {
        Turn(false).await;
        self.count.set(self.count.get() + 1);
        self.reads.borrow_mut().pop_front().unwrap_or(Ok(None))
    }

    async fn read_parts(&self, hashes: &[&str], _: Duration) -> Result<Vec<Option<PartRead>>, PlatformError> {
        Turn(false).await;
        self.part_reads.set(self.part_reads.get() + u32::try_from(hashes.len()).unwrap());
        let parts = self.parts.borrow();
        Ok(hashes.iter().map(|hash| parts.get(*hash).cloned().map(part_read)).collect())
    }
}
