//! Elections in a simulated world: processes whose clocks run at different rates and begin anywhere, an API server that is slow,
//! loses requests and answers, or cannot be reached, processes that die, stand still, or leave.
//!
//! What a process may do is taken at its worst: one that led may be writing until the last moment at which a write that it may
//! begin can end, dead or frozen as it may be.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand::rngs::StdRng;

use super::election::{Claim, Election, LEASE, RETRY, Seen, Step};
use super::task::REQUEST;
use super::{LEFT_FOR_WRITES, WRITE_LIMIT};

/// Rates of clocks are within this of the true one.
const DRIFT: f64 = 0.03;
/// An answer that takes no time worth mentioning, in seconds.
const PROMPT: f64 = 0.1;
/// The slowest that a request arrives, in seconds: long after its sender stopped to wait for it.
const SLOWEST: f64 = 8.0;
/// From the end of a process to the start of the next one in its place.
const RESTART: f64 = 1.0;

/// Something that goes wrong, at a second of the true time.
#[derive(Clone, Debug)]
enum Fault {
    /// A process dies, and another starts in its place.
    Kill { at: f64, place: usize },
    /// A process is asked to leave, and another starts in its place.
    Leave { at: f64, place: usize },
    /// A process stands still.
    Freeze { at: f64, place: usize, lasts: f64 },
    /// Requests of a place get lost, or the answers, or both.
    Cut { at: f64, place: usize, lasts: f64, lost: Lose },
    /// Requests and answers of all take up to [`SLOWEST`] each.
    Slow { at: f64, lasts: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Lose {
    Requests,
    Answers,
}

fn faults(places: usize, until: f64) -> impl Strategy<Value = Vec<Fault>> {
    let (at, place, lasts) = (0.0..until, 0..places, 0.1f64..40.0);
    let fault = (0u8..6, at, place, lasts).prop_map(move |(kind, at, place, lasts)| {
        let lasts = lasts.min(until - at);
        match kind {
            0 => Fault::Kill { at, place },
            1 => Fault::Leave { at, place },
            2 => Fault::Freeze { at, place, lasts },
            3 => Fault::Cut { at, place, lasts, lost: Lose::Requests },
            4 => Fault::Cut { at, place, lasts, lost: Lose::Answers },
            _ => Fault::Slow { at, lasts },
        }
    });
    prop::collection::vec(fault, 0..14)
}

/// What is going to happen.
#[derive(Clone, Debug)]
enum Event {
    Start { place: usize },
    Wake { process: usize },
    Arrive { process: usize, request: u64, step: Step, answered_after: Option<f64> },
    Answer { process: usize, request: u64, result: Result<Option<Seen>, ()> },
    GiveUpWaiting { process: usize, request: u64 },
    Fault(Fault),
}

struct Process {
    election: Election,
    place: usize,
    base: Instant,
    ahead: f64,
    rate: f64,
    alive: bool,
    leaving: bool,
    frozen_until: f64,
    request: Option<Request>,
    /// When a leaving process had ended its writes.
    gave_up: Option<f64>,
}

/// A request under way.
struct Request {
    id: u64,
    sent: Instant,
    puts: bool,
}

impl Process {
    fn clock(&self, now: f64) -> Instant {
        self.base + Duration::from_secs_f64(self.ahead + now * self.rate)
    }

    /// When its clock shows `instant`.
    fn true_time(&self, instant: Instant) -> f64 {
        ((instant - self.base).as_secs_f64() - self.ahead) / self.rate
    }

    /// Until when it may have a write under way.
    fn writes_until(&self) -> Option<f64> {
        let last = self.last_begin()? + WRITE_LIMIT.as_secs_f64() / self.rate;
        Some(self.gave_up.map_or(last, |gave_up| gave_up.min(last)))
    }

    /// When the last write may begin.
    fn last_begin(&self) -> Option<f64> {
        Some(self.true_time(self.election.until()?) - LEFT_FOR_WRITES.as_secs_f64() / self.rate)
    }

    /// Whether a write may begin.
    fn may_write(&self, now: f64) -> bool {
        self.gave_up.is_none() && self.last_begin().is_some_and(|last| now < last)
    }

    fn leads(&self, now: f64) -> bool {
        self.alive && !self.leaving && self.election.until().is_some_and(|until| self.clock(now) < until)
    }
}

struct World {
    now: f64,
    /// By time (microseconds) and order of their making.
    events: BTreeMap<(u64, u64), Event>,
    made: u64,
    requests: u64,
    random: StdRng,
    lease: Option<Seen>,
    version: u64,
    processes: Vec<Process>,
    faults: Vec<Fault>,
    /// When leadership began: (true time, process).
    reigns: Vec<(f64, usize)>,
    violation: Option<String>,
}

impl World {
    fn new(seed: u64, places: usize, faults: Vec<Fault>) -> Self {
        let mut world = Self {
            now: 0.0,
            events: BTreeMap::new(),
            made: 0,
            requests: 0,
            random: StdRng::seed_from_u64(seed),
            lease: None,
            version: 0,
            processes: Vec::new(),
            faults,
            reigns: Vec::new(),
            violation: None,
        };
        for place in 0..places {
            world.after(0.0, Event::Start { place });
        }
        for fault in world.faults.clone() {
            let at = match fault {
                Fault::Kill { at, .. } | Fault::Leave { at, .. } | Fault::Freeze { at, .. } => at,
                Fault::Cut { .. } | Fault::Slow { .. } => continue,
            };
            world.after(at, Event::Fault(fault));
        }
        world
    }

    fn after(&mut self, seconds: f64, event: Event) {
        let at = Duration::from_secs_f64((self.now + seconds.max(0.0)).max(0.0));
        self.made += 1;
        // Rounded up: who is woken too early waits for no time at all, for ever.
        self.events.insert((u64::try_from(at.as_micros()).unwrap() + 1, self.made), event);
    }

    /// Lets the world go on until `end`, in seconds.
    fn run(&mut self, end: f64) {
        while let Some(entry) = self.events.first_entry() {
            #[allow(clippy::cast_precision_loss, reason = "microseconds of an hour")]
            let at = entry.key().0 as f64 / 1e6;
            if at > end || self.violation.is_some() {
                break;
            }
            let event = entry.remove();
            self.now = self.now.max(at);
            self.happen(event);
        }
        self.now = self.now.max(end);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Start { place } => self.start(place),
            Event::Wake { process } => {
                if self.awake(process, &event) && self.processes[process].request.is_none() {
                    self.act(process);
                }
            }
            Event::Arrive { process, request, step, answered_after } => {
                let result = self.serve(&step);
                if let Some(seconds) = answered_after {
                    self.after(seconds, Event::Answer { process, request, result });
                }
            }
            Event::Answer { process, request, ref result } => {
                if self.awake(process, &event) {
                    self.answered(process, request, result.clone());
                }
            }
            Event::GiveUpWaiting { process, request } => {
                if self.awake(process, &event) {
                    self.answered(process, request, Err(()));
                }
            }
            Event::Fault(fault) => self.go_wrong(&fault),
        }
    }

    /// A process in that place, which another one may have had.
    fn start(&mut self, place: usize) {
        let id = self.processes.len();
        let (rate, ahead) = (self.random.random_range(1.0 - DRIFT..1.0 + DRIFT), self.random.random_range(0.0..1e6));
        let mut process = Process {
            election: Election::new(String::new(), Instant::now()),
            place,
            base: Instant::now(),
            ahead,
            rate,
            alive: true,
            leaving: false,
            frozen_until: 0.0,
            request: None,
            gave_up: None,
        };
        process.election = Election::new(format!("process {id}"), process.clock(self.now));
        self.processes.push(process);
        self.act(id);
    }

    /// Whether a process can do something now; one that stands still does it when it goes on.
    fn awake(&mut self, process: usize, event: &Event) -> bool {
        let Process { alive, frozen_until, .. } = self.processes[process];
        if alive && self.now < frozen_until {
            self.after(frozen_until - self.now, event.clone());
        }
        alive && self.now >= frozen_until
    }

    /// What `task.rs` does in its loop.
    fn act(&mut self, id: usize) {
        let process = &self.processes[id];
        let step = if process.leaving {
            process.election.parting()
        } else {
            Some(process.election.step(process.clock(self.now)))
        };
        match step {
            Some(Step::Wait(until)) => self.after(process.true_time(until) - self.now, Event::Wake { process: id }),
            Some(step @ (Step::Look | Step::Put(_))) => self.send(id, step),
            Some(Step::Stop(_)) | None => self.end(id),
        }
    }

    fn end(&mut self, id: usize) {
        self.processes[id].alive = false;
        self.after(RESTART, Event::Start { place: self.processes[id].place });
    }

    fn send(&mut self, id: usize, step: Step) {
        self.requests += 1;
        let request = self.requests;
        let process = &mut self.processes[id];
        let puts = matches!(step, Step::Put(_));
        process.request = Some(Request { id: request, sent: process.clock(self.now), puts });
        let (rate, place) = (process.rate, process.place);
        self.after(REQUEST.as_secs_f64() / rate, Event::GiveUpWaiting { process: id, request });
        let within = |at: f64, lasts: f64| (at..at + lasts).contains(&self.now);
        let cut = |what: Lose| {
            self.faults.iter().any(|fault| {
                matches!(*fault, Fault::Cut { at, place: cut, lasts, lost }
                    if cut == place && lost == what && within(at, lasts))
            })
        };
        let slow = self.faults.iter().any(|fault| matches!(*fault, Fault::Slow { at, lasts } if within(at, lasts)));
        let (lost, unanswered) = (cut(Lose::Requests), cut(Lose::Answers));
        let slowest = if slow { SLOWEST } else { PROMPT };
        let (there, back) = (self.random.random_range(0.0..slowest), self.random.random_range(0.0..slowest));
        if !lost {
            let answered_after = (!unanswered).then_some(back);
            self.after(there, Event::Arrive { process: id, request, step, answered_after });
        }
    }

    /// The API server.
    fn serve(&mut self, step: &Step) -> Result<Option<Seen>, ()> {
        if let Step::Put(Claim { replaces, holder, .. }) = step {
            if self.lease.as_ref().map(|lease| &lease.version) != replaces.as_ref() {
                return Err(());
            }
            self.version += 1;
            self.lease = Some(Seen { version: self.version.to_string(), holder: holder.clone(), lasts: LEASE });
        }
        Ok(self.lease.clone())
    }

    fn answered(&mut self, id: usize, request: u64, result: Result<Option<Seen>, ()>) {
        let process = &mut self.processes[id];
        let Some(Request { sent, puts, .. }) = process.request.take_if(|waited_for| waited_for.id == request) else {
            return;
        };
        let led = process.election.until().is_some();
        let now = process.clock(self.now);
        match result {
            Ok(Some(lease)) if puts => process.election.written(lease, sent),
            Ok(lease) => process.election.looked(lease, now),
            Err(()) => process.election.failed(sent),
        }
        if process.election.until().is_some() {
            if self.processes[id].may_write(self.now) {
                self.check(id);
            }
            if !led {
                self.reigns.push((self.now, id));
            }
        }
        self.act(id);
    }

    /// Nobody else may be writing when a process learns that it may.
    fn check(&mut self, id: usize) {
        for (other, process) in self.processes.iter().enumerate() {
            if other != id && process.writes_until().is_some_and(|until| until > self.now) {
                let until = process.writes_until();
                self.violation = Some(format!("at {}, {id} may write, and {other} may until {until:?}", self.now));
            }
        }
    }

    fn go_wrong(&mut self, fault: &Fault) {
        let (Fault::Kill { place, .. } | Fault::Leave { place, .. } | Fault::Freeze { place, .. }) = *fault else {
            return;
        };
        let Some(id) = self.processes.iter().rposition(|process| process.place == place && process.alive) else {
            return;
        };
        match *fault {
            Fault::Kill { .. } => self.end(id),
            Fault::Freeze { lasts, .. } => self.processes[id].frozen_until = self.now + lasts,
            _ if self.now >= self.processes[id].frozen_until => self.leave(id),
            _ => {}
        }
    }

    /// It begins no write any more, and gives the lease back once the last has ended.
    fn leave(&mut self, id: usize) {
        let process = &mut self.processes[id];
        if !process.leaving {
            process.leaving = true;
            process.gave_up = Some(self.now);
            if process.request.is_none() {
                self.act(id);
            }
        }
    }

    fn leader(&self) -> Option<usize> {
        self.processes.iter().position(|process| process.leads(self.now))
    }
}

/// The true time that a clock may take for `local`.
fn at_most(local: Duration) -> f64 {
    local.as_secs_f64() / (1.0 - DRIFT)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_two_processes_may_write_at_once_and_all_is_well_after_the_faults(seed: u64, faults in faults(3, 120.0)) {
        let mut world = World::new(seed, 3, faults);
        world.run(120.0);
        // What is under way then arrives, perhaps as the last sign of a dead leader.
        let settled = 120.0 + SLOWEST + at_most(LEASE + 2 * RETRY) + 1.0;
        world.run(settled);
        let leader = world.leader();
        prop_assert!(leader.is_some(), "nobody leads {}: {:?}", world.now, world.violation);
        world.run(settled + 60.0);
        prop_assert_eq!(world.violation.as_deref(), None);
        prop_assert_eq!(world.leader(), leader);
    }

    #[test]
    fn a_dead_leader_is_followed_within_its_lease_and_two_looks(seed: u64, at in 10.0..40.0) {
        let mut world = World::new(seed, 3, Vec::new());
        world.run(at);
        let leader = world.leader().unwrap();
        world.end(leader);
        world.run(at + at_most(LEASE + 2 * RETRY) + 1.0);
        prop_assert_eq!(world.violation.as_deref(), None);
        prop_assert_eq!(world.reigns.len(), 2);
    }

    #[test]
    fn a_leader_that_leaves_is_followed_by_the_next_look(seed: u64, at in 10.0..40.0) {
        let mut world = World::new(seed, 3, Vec::new());
        world.run(at);
        let leader = world.leader().unwrap();
        world.leave(leader);
        world.run(at + at_most(RETRY) + 1.0);
        prop_assert_eq!(world.violation.as_deref(), None);
        prop_assert_eq!(world.reigns.len(), 2);
    }

    #[test]
    fn nothing_but_a_fault_ends_a_leadership(seed: u64) {
        let mut world = World::new(seed, 3, Vec::new());
        world.run(600.0);
        prop_assert_eq!(world.reigns.len(), 1);
        prop_assert_eq!(world.violation.as_deref(), None);
    }
}
