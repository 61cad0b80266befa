//! One gateway as its callers have it: its life, what is wrong with it, and what it was asked.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::life::{DrainOrder, DrainStatus, Life, Phase};

/// What `GET /status` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The server id.
    pub server: u16,
    /// How many times the id has been taken; 0 before this gateway has taken it.
    pub epoch: u64,
    /// Where it is in its life.
    pub phase: Phase,
    /// What the start waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Connections it holds now.
    pub connections: u64,
    /// The name of its topic; null where that is not known.
    pub topic: Option<String>,
    /// Records of its topic that it has not read; null if unknown.
    pub topic_lag: Option<u64>,
    /// The drain under way, or done.
    pub drain: Option<DrainStatus>,
}

/// The body of `PUT /test`. What is not in it stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// Connections it holds from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
    /// Whether it is still starting, and so not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub starting: Option<bool>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
    /// Milliseconds between the order to drain and the first connection that is sent away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice_ms: Option<u64>,
    /// The one management token that it takes. Without one a played gateway takes any, and another none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What is wrong with a gateway: with every path but `/test`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// It takes requests and answers none.
    Hang,
    /// It answers 500.
    Error,
}

/// What a gateway was asked, by callers who had the token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Times that it was told to drain.
    pub orders: u64,
    /// The last of those orders.
    pub last_order: Option<DrainOrder>,
    /// Times that a drain was taken back, whether there was one or not.
    pub undos: u64,
    /// Times that its status was read.
    pub looks: u64,
}

/// What `GET /test` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// UID of the pod, of a played one.
    pub pod: Option<String>,
    /// How it is.
    pub status: Status,
    /// What it was asked.
    pub seen: Seen,
}

/// Who may give orders.
pub(super) enum Keys {
    /// Anyone with a token.
    Any,
    /// Nobody.
    None,
    /// The one with this token.
    One(String),
}

/// One gateway.
pub struct Gateway {
    /// UID of the pod, of a played one.
    pod: Option<String>,
    /// What people call it.
    name: String,
    server: u16,
    topic: Option<String>,
    state: Mutex<State>,
}

struct State {
    life: Life,
    fault: Fault,
    keys: Keys,
    seen: Seen,
}

/// It is still starting: there is nothing to drain.
pub(super) struct StillStarting;

impl Gateway {
    /// A gateway in a process of its own, with the token that opens it.
    pub fn alone(server: u16, topic: String, token: Option<String>) -> Self {
        Self::new(None, format!("server {server}"), server, Some(topic), token.map_or(Keys::None, Keys::One))
    }

    /// The gateway of a played pod. Any token opens it.
    pub fn played(pod: String, name: String, server: u16) -> Self {
        Self::new(Some(pod), name, server, None, Keys::Any)
    }

    fn new(pod: Option<String>, name: String, server: u16, topic: Option<String>, keys: Keys) -> Self {
        let state = State { life: Life::default(), fault: Fault::None, keys, seen: Seen::default() };
        Self { pod, name, server, topic, state: Mutex::new(state) }
    }

    /// UID of the pod, of a played one.
    pub fn pod(&self) -> Option<&str> {
        self.pod.as_deref()
    }

    /// How it is now.
    pub fn status(&self) -> Status {
        self.status_of(&mut self.state.lock())
    }

    /// Makes it another.
    pub fn change(&self, change: Change) -> Report {
        let mut state = self.state.lock();
        state.life.come_to(Instant::now());
        let Change { connections, starting, fault, notice_ms, token } = change;
        state.life.connections = connections.unwrap_or(state.life.connections);
        state.life.starting = starting.unwrap_or(state.life.starting);
        state.life.notice = notice_ms.map_or(state.life.notice, Duration::from_millis);
        state.fault = fault.unwrap_or(state.fault);
        if let Some(token) = token {
            state.keys = Keys::One(token);
        }
        self.report_of(&mut state)
    }

    /// How it is, and what it was asked.
    pub fn report(&self) -> Report {
        self.report_of(&mut self.state.lock())
    }

    /// Drains.
    pub fn drain(&self, order: DrainOrder) {
        let mut state = self.state.lock();
        state.life.come_to(Instant::now());
        state.life.order(order, Instant::now(), now_ms());
        drop(state);
        let DrainOrder { deadline_seconds, connections_per_second } = order;
        eprintln!("{}: drain within {deadline_seconds} s, {connections_per_second} per second", self.name);
    }

    pub(super) fn fault(&self) -> Fault {
        self.state.lock().fault
    }

    pub(super) fn admits(&self, token: &str) -> bool {
        match &self.state.lock().keys {
            Keys::Any => !token.is_empty(),
            Keys::None => false,
            Keys::One(key) => key == token,
        }
    }

    /// How it is, as an answer.
    pub(super) fn look(&self) -> Status {
        let mut state = self.state.lock();
        state.seen.looks += 1;
        self.status_of(&mut state)
    }

    /// Drains, as an answer.
    pub(super) fn obey(&self, order: DrainOrder) -> Result<Status, StillStarting> {
        {
            let mut state = self.state.lock();
            state.seen.orders += 1;
            state.seen.last_order = Some(order);
            if state.life.starting {
                return Err(StillStarting);
            }
        }
        self.drain(order);
        Ok(self.status())
    }

    /// Takes the drain back, as an answer.
    pub(super) fn undo(&self) -> Result<Status, StillStarting> {
        let mut state = self.state.lock();
        state.seen.undos += 1;
        if state.life.starting {
            return Err(StillStarting);
        }
        state.life.come_to(Instant::now());
        state.life.undo();
        eprintln!("{}: the drain is taken back", self.name);
        Ok(self.status_of(&mut state))
    }

    fn report_of(&self, state: &mut State) -> Report {
        Report { pod: self.pod.clone(), status: self.status_of(state), seen: state.seen.clone() }
    }

    fn status_of(&self, state: &mut State) -> Status {
        state.life.come_to(Instant::now());
        let phase = state.life.phase();
        let started = phase != Phase::Starting;
        Status {
            server: self.server,
            epoch: started.into(),
            phase,
            waits_for: (!started).then(|| "the test".to_owned()),
            connections: if started { state.life.connections } else { 0 },
            topic: self.topic.clone().filter(|_| started),
            topic_lag: (started && self.topic.is_some()).then_some(0),
            drain: state.life.drain().filter(|_| started),
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
