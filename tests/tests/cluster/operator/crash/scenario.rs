//! The life of one `ImCluster` in stages, told once without faults (golden), and then with each fault that a test thinks of.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Result;
use imcluster_crds::conditions::ConditionType;
use imcluster_crds::{ImCluster, ServerPhase};
use imcluster_tests::gateway::Handle;
use imcluster_tests::operator::{Faults, Operator, Tenant, World, Written};
use kube::Resource;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::state::{Names, State};

/// Longest wait for a stage: pods that go take the operator's half minute, a roll its pace, and all of it again where the operator
/// died; many are told at once.
const PATIENCE: Duration = Duration::from_mins(4);
/// Between two looks at everything.
const LOOK: Duration = Duration::from_millis(500);

/// A part of the story: something changes, and then a state is reached.
struct Stage {
    what: Change,
    /// Clients that come to each gateway before it changes: a drain takes its time.
    clients: u64,
    /// Gateways at its end.
    gateways: u16,
    /// At its end nothing may be left of gateways that are gone; before, it may.
    tidy: bool,
}

enum Change {
    Create,
    Merge(Value),
    /// Time does it.
    Nothing,
    Delete,
}

/// The stage whose writes come when time has passed, and not by a change.
pub(crate) const LATER: usize = 5;
/// The last stage.
pub(crate) const END: usize = 6;

fn stages() -> [Stage; END + 1] {
    let gateways = |gateways: u16| json!({ "spec": { "gateways": { "replicas": gateways } } });
    let roll = json!({ "spec": {
        "config": { "databaseConnections": 7 },
        "kafka": { "topics": { "config": { "retention.ms": "700000" } } },
    } });
    let plain = json!({ "spec": { "ingress": null, "networkPolicy": { "enabled": false } } });
    [
        Stage { what: Change::Create, clients: 0, gateways: 2, tidy: false },
        Stage { what: Change::Merge(gateways(3)), clients: 0, gateways: 3, tidy: false },
        Stage { what: Change::Merge(gateways(1)), clients: 50, gateways: 1, tidy: false },
        Stage { what: Change::Merge(roll), clients: 0, gateways: 1, tidy: false },
        Stage { what: Change::Merge(plain), clients: 0, gateways: 1, tidy: false },
        Stage { what: Change::Nothing, clients: 0, gateways: 1, tidy: true },
        Stage { what: Change::Delete, clients: 0, gateways: 0, tidy: true },
    ]
}

/// The `ImCluster` of the story.
fn beginning() -> Value {
    json!({ "spec": {
        "gateways": {
            "maxConnections": 100, "drain": { "deadlineSeconds": 1, "connectionsPerSecond": 100 },
        },
        "ingress": { "host": "chat.example.com" },
        "networkPolicy": { "enabled": true },
    } })
}

/// The story without faults, while it is told and after.
struct Golden {
    /// The states at the ends of the stages so far.
    states: watch::Receiver<Vec<State>>,
    faults: Arc<Faults>,
}

/// The one of this process. It is told beside those that are compared with it.
static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    let (tell, states) = watch::channel(Vec::new());
    let faults = Arc::<Faults>::default();
    let golden = Golden { states, faults: faults.clone() };
    tokio::spawn(async move { told(&faults, &Role::First(tell), &[]).await });
    golden
});

impl Golden {
    async fn state(&self, stage: usize) -> State {
        let mut states = self.states.clone();
        let told = states.wait_for(|states| states.len() > stage).await;
        told.expect("the story without faults broke off, with a message of its own")[stage].clone()
    }
}

/// What the operator writes in the story without faults.
pub(crate) async fn golden_writes() -> Vec<Written> {
    GOLDEN.state(END).await;
    GOLDEN.faults.writes().all()
}

/// Tells the story with faults, without some of its stages; an operator that dies is followed by another. Panics where a stage
/// does not end as in the story without faults, and where something was done too early that cannot be undone. Gives how often the
/// operator died.
pub(crate) async fn tell(faults: &Arc<Faults>, left_out: &[usize]) -> usize {
    told(faults, &Role::Like(&GOLDEN), left_out).await
}

/// Tells stories with names, so many at a time. Panics with the names of those that failed.
pub(crate) async fn together<T: Send + 'static>(
    stories: impl Iterator<Item = (String, impl Future<Output = T> + Send + 'static)>,
    at_once: usize,
) -> Vec<T> {
    let turns = Arc::new(Semaphore::new(at_once));
    let mut running = JoinSet::new();
    let mut names = BTreeMap::new();
    for (name, story) in stories {
        let turns = turns.clone();
        let task = running.spawn(async move {
            let _turn = turns.acquire().await;
            story.await
        });
        names.insert(task.id(), name);
    }
    let (mut told, mut failed) = (Vec::new(), Vec::new());
    while let Some(ended) = running.join_next().await {
        match ended {
            Ok(story) => told.push(story),
            Err(error) => failed.push(names[&error.id()].clone()),
        }
    }
    assert!(failed.is_empty(), "{} failed, each with a message above:\n{}", failed.len(), failed.join("\n"));
    told
}

/// What the states of a story are for.
enum Role {
    /// They are what others are compared with.
    First(watch::Sender<Vec<State>>),
    /// They are to be like those.
    Like(&'static Golden),
}

async fn told(faults: &Arc<Faults>, role: &Role, left_out: &[usize]) -> usize {
    let world = World::shared().await;
    let tenant = world.tenant("story").await;
    let mut deaths = 0;
    let living = async {
        loop {
            let operator = Operator::start_with(world, &tenant, faults).unwrap();
            operator.died().await;
            deaths += 1;
        }
    };
    tokio::select! {
        () = story(&tenant, faults, role, left_out) => {}
        () = living => unreachable!("operators follow each other for ever"),
    }
    let wrong = faults.wrong();
    assert!(wrong.is_empty(), "too early: {wrong:?}\n{}", tenant.report().await);
    deaths
}

async fn story(tenant: &Tenant, faults: &Faults, role: &Role, left_out: &[usize]) {
    let mut names = Names::default();
    for (number, stage) in stages().iter().enumerate().filter(|(number, _)| !left_out.contains(number)) {
        faults.begin(number);
        stage.begin(tenant).await.unwrap();
        let what = format!("stage {number} is over");
        tenant.until_within(PATIENCE, "chat", &what, |it| stage.is_over(it)).await;
        let expected = match (role, &stage.what) {
            (_, Change::Delete) => Some(State::nothing()),
            (Role::First(_), _) => None,
            (Role::Like(golden), _) => Some(golden.state(number).await),
        };
        let state = at_rest(tenant, stage, number, &mut names, expected.as_ref()).await;
        if let Role::First(tell) = role {
            tell.send_modify(|states| states.push(state));
        }
    }
}

impl Stage {
    async fn begin(&self, tenant: &Tenant) -> Result<()> {
        let api = tenant.api::<ImCluster>();
        if self.clients > 0 {
            for pod in tenant.pods().await? {
                Handle::of(&pod)?.hold(self.clients).await?;
            }
        }
        match &self.what {
            Change::Create => tenant.apply::<ImCluster>(&tenant.im_cluster("chat", &beginning())).await.map(drop),
            Change::Merge(change) => {
                api.patch("chat", &PatchParams::default(), &Patch::Merge(change)).await?;
                Ok(())
            }
            Change::Nothing => Ok(()),
            Change::Delete => {
                api.delete("chat", &DeleteParams::default()).await?;
                Ok(())
            }
        }
    }

    /// As far as the resource tells.
    fn is_over(&self, cluster: Option<&ImCluster>) -> bool {
        let Some(cluster) = cluster else { return matches!(self.what, Change::Delete) };
        let Some(status) = cluster.status.as_ref().filter(|_| !matches!(self.what, Change::Delete)) else {
            return false;
        };
        let has = |kind: ConditionType| {
            status.conditions.iter().any(|condition| {
                condition.type_ == kind.as_str()
                    && condition.status == "True"
                    && condition.observed_generation == cluster.meta().generation
            })
        };
        let still = !has(ConditionType::Reconciling) && status.connections.is_some();
        let (serving, others): (Vec<_>, Vec<_>) =
            status.servers.iter().partition(|server| server.phase == ServerPhase::Serving);
        let left = others.iter().all(|server| !self.tidy && server.phase == ServerPhase::Retired);
        has(ConditionType::Ready) && still && left && serving.len() == usize::from(self.gateways)
    }
}

/// The state when nothing moves any more: the expected one, or without that, one that does not change.
async fn at_rest(tenant: &Tenant, stage: &Stage, number: usize, names: &mut Names, expected: Option<&State>) -> State {
    let began = Instant::now();
    let passing = (!stage.tidy).then_some(stage.gateways);
    let mut last: Option<State> = None;
    loop {
        let mut tried = names.clone();
        let state = State::of(tenant, &mut tried, passing).await.unwrap();
        if expected.or(last.as_ref()) == Some(&state) {
            *names = tried;
            return state;
        }
        if began.elapsed() > PATIENCE {
            let difference = expected.or(last.as_ref()).map(|other| other.difference(&state)).unwrap_or_default();
            panic!("stage {number} does not end as it should:\n{difference}\n{}", tenant.report().await);
        }
        last = Some(state);
        // Without an expected one, it has to stay so for a while.
        sleep(if expected.is_some() { LOOK } else { 2 * LOOK }).await;
    }
}
