//! Speaking to gateways: draining them, undoing it, and asking how they are.
//!
//! Every gateway has a task that asks it again and again, so that one that hangs holds up no reconcile. A reconcile says what it
//! wants of its gateways ([`Ask`]), which holds until another takes its place, and reads what they said last ([`Answers`]). A
//! report that changed, and a number of connections that is worth telling, cause another reconcile.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use imcluster_crds::{Drain, ServerId};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::connections::Told;
use super::{DrainReport, GatewayPod, Step};
use crate::leader::{self, Writing};
use crate::wake::Wake;
use client::{Answer, Client, Unheard};

pub use client::Token;

mod client;
#[cfg(test)]
mod tests;

/// An order is repeated so often: a gateway whose process began anew has not heard of it.
const REPEATED_EVERY: Duration = Duration::from_secs(5);

/// A gateway without an order is asked how it is about so often, give or take a fifth.
const ASKED_EVERY: Duration = Duration::from_secs(30);

/// So many are spoken to at the same time.
const AT_ONCE: usize = 64;

/// What an `ImCluster` wants of its gateways. It holds until another takes its place.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Opens their management ports.
    pub token: Token,
    /// By pod UID, whom to speak to.
    pub gateways: BTreeMap<String, Gateway>,
    /// `status.connections`, as it is: what a process that begins goes on from.
    pub connections: Option<i64>,
}

/// A gateway that is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its management port.
    pub address: SocketAddr,
    /// What is wanted of it.
    pub want: Want,
}

/// What is wanted of a gateway. Each is answered with how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// It is asked how it is.
    Watch,
    /// It is kept draining, by these limits.
    Drain(Drain),
    /// Its drain is undone.
    Undrain,
}

/// What gateways said last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Of their drains, by pod UID; not in it is who has not answered, or not the last time.
    pub reports: BTreeMap<String, DrainReport>,
    /// What `status.connections` should be: what was told last, until the sum is worth a write.
    pub connections: Option<i64>,
}

/// Whom to speak to by a step: every gateway that has an address and can run, at this management port.
pub fn gateways(
    pods: &BTreeMap<ServerId, GatewayPod>,
    step: &Step,
    limits: Drain,
    port: u16,
) -> BTreeMap<String, Gateway> {
    let want = |id| match id {
        id if step.drain.contains(id) => Want::Drain(limits),
        id if step.undrain.contains(id) => Want::Undrain,
        _ => Want::Watch,
    };
    let address = |pod: &GatewayPod| pod.ip.as_deref()?.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port));
    let reachable = pods.iter().filter(|(_, pod)| !pod.cannot_run);
    reachable
        .filter_map(|(id, pod)| Some((pod.uid.clone(), Gateway { address: address(pod)?, want: want(id) })))
        .collect()
}

/// Speaks to the gateways of all `ImCluster`s.
pub struct Gateways {
    spokesman: Spokesman,
    clusters: Mutex<HashMap<String, Arc<Cluster>>>,
}

/// How gateways are spoken to.
#[derive(Clone)]
struct Spokesman {
    client: Client,
    writing: Arc<dyn Writing>,
    at_once: Arc<Semaphore>,
    wake: Wake,
}

struct Cluster {
    uid: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    gateways: HashMap<String, Known>,
    told: Told,
}

/// A gateway with its task, which ends when this is dropped.
struct Known {
    orders: watch::Sender<(Gateway, Token)>,
    report: Option<DrainReport>,
    /// What it said last, even if it does not answer now.
    connections: Option<u32>,
    /// It has answered, or let a try pass.
    tried: bool,
}

impl Gateways {
    /// Begins with nobody. Orders are given while `writing` lets them; `wake` is told which clusters have news.
    pub fn new(writing: Arc<dyn Writing>, wake: Wake) -> Result<Self, reqwest::Error> {
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        let spokesman = Spokesman { client: Client::new()?, writing, at_once, wake };
        Ok(Self { spokesman, clusters: Mutex::default() })
    }

    /// Sets what an `ImCluster`, by its UID, wants of its gateways, and gives what they said last. Does not wait.
    pub fn ask(&self, cluster: &str, ask: Ask) -> Answers {
        let cluster = self.cluster(cluster, ask.connections);
        let mut state = cluster.state.lock();
        state.gateways.retain(|uid, _| ask.gateways.contains_key(uid));
        for (uid, gateway) in ask.gateways {
            let order = (gateway, ask.token.clone());
            if let Some(known) = state.gateways.get(&uid) {
                known.orders.send_if_modified(|now| {
                    let changed = *now != order;
                    *now = order;
                    changed
                });
            } else {
                let (orders, ordered) = watch::channel(order);
                state.gateways.insert(uid.clone(), Known { orders, report: None, connections: None, tried: false });
                tokio::spawn(attend(self.spokesman.clone(), Arc::downgrade(&cluster), uid, ordered));
            }
        }
        state.answers(Instant::now())
    }

    /// Forgets an `ImCluster`: its gateways are not spoken to any more.
    pub fn forget(&self, cluster: &str) {
        self.clusters.lock().remove(cluster);
    }

    fn cluster(&self, uid: &str, connections: Option<i64>) -> Arc<Cluster> {
        let mut clusters = self.clusters.lock();
        let begin = || {
            let state = State { told: Told { connections, at: None }, ..State::default() };
            Arc::new(Cluster { uid: uid.to_owned(), state: Mutex::new(state) })
        };
        clusters.entry(uid.to_owned()).or_insert_with(begin).clone()
    }
}

impl State {
    fn answers(&mut self, now: Instant) -> Answers {
        if let Some(connections) = self.worth_telling(now) {
            self.told = Told { connections: Some(connections), at: Some(now) };
        }
        let report = |(uid, known): (&String, &Known)| Some((uid.clone(), known.report?));
        Answers { reports: self.gateways.iter().filter_map(report).collect(), connections: self.told.connections }
    }

    /// The number of connections, if it should be told now. It is known when everybody was asked once.
    fn worth_telling(&self, now: Instant) -> Option<i64> {
        let known = self.gateways.values().all(|known| known.tried);
        let sum = || self.gateways.values().filter_map(|known| known.connections).map(i64::from).sum();
        known.then(sum).filter(|sum| self.told.is_outdated_by(*sum, now))
    }
}

/// Speaks to one gateway until nobody wants anything of it.
async fn attend(
    spokesman: Spokesman,
    cluster: Weak<Cluster>,
    pod: String,
    mut ordered: watch::Receiver<(Gateway, Token)>,
) {
    let mut answered = true;
    loop {
        let began = tokio::time::Instant::now();
        let (gateway, token) = ordered.borrow_and_update().clone();
        if gateway.want == Want::Undrain && !note(&spokesman, &cluster, &pod, Note::Undoing) {
            return;
        }
        let answer = spokesman.speak(gateway, &token).await;
        match &answer {
            Err(error) if answered => tracing::warn!(pod, %error, "a gateway was not heard"),
            Ok(_) if !answered => tracing::info!(pod, "a gateway is heard again"),
            _ => {}
        }
        answered = answer.is_ok();
        if !note(&spokesman, &cluster, &pod, answer.map_or(Note::Unheard, Note::Heard)) {
            return;
        }
        let again = match gateway.want {
            Want::Watch => ASKED_EVERY.mul_f64(rand::random_range(0.8..1.2)),
            Want::Drain(_) | Want::Undrain => REPEATED_EVERY,
        };
        tokio::select! {
            changed = ordered.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(began + again) => {}
        }
    }
}

/// What there is to note of a gateway.
#[derive(Clone, Copy)]
enum Note {
    /// Its drain is about to be undone: if the answer is lost, what it said before does not hold any more.
    Undoing,
    Unheard,
    Heard(Answer),
}

/// Notes it, and wakes the reconcile if it is news. False if nobody wants to know.
fn note(spokesman: &Spokesman, cluster: &Weak<Cluster>, pod: &str, note: Note) -> bool {
    let Some(cluster) = cluster.upgrade() else { return false };
    let mut state = cluster.state.lock();
    let Some(known) = state.gateways.get_mut(pod) else { return false };
    let before = known.report;
    match note {
        Note::Undoing => known.report = None,
        Note::Unheard => (known.report, known.tried) = (None, true),
        Note::Heard(Answer { report, connections }) => {
            (known.report, known.connections, known.tried) = (report, Some(connections), true);
        }
    }
    let news = known.report.is_some() && known.report != before;
    if news || state.worth_telling(Instant::now()).is_some() {
        spokesman.wake.wake(&cluster.uid);
    }
    true
}

/// Why nothing was said, or no answer came.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error(transparent)]
    NotSaid(#[from] leader::NotWritten),
    #[error(transparent)]
    Unheard(#[from] Unheard),
}

impl Spokesman {
    async fn speak(&self, Gateway { address, want }: Gateway, token: &Token) -> Result<Answer, NoAnswer> {
        let _permit = self.at_once.acquire().await;
        Ok(match want {
            Want::Watch => self.client.status(address, token).await?,
            Want::Drain(limits) => leader::write(&*self.writing, self.client.drain(address, token, limits)).await??,
            Want::Undrain => leader::write(&*self.writing, self.client.undrain(address, token)).await??,
        })
    }
}
