//! Which pod is at which address. Addresses are given out again at once, so that only the API server can tell.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures_util::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::watch;

use super::one::Gateway;

/// A caller may know of a pod before this process does.
const HOLD: Duration = Duration::from_secs(5);

/// The label that a pod of a `StatefulSet` has its number in.
const INDEX: &str = "apps.kubernetes.io/pod-index";

/// A gateway for each pod that has an address.
pub struct Pods {
    at: watch::Sender<HashMap<IpAddr, Arc<Gateway>>>,
}

impl Default for Pods {
    fn default() -> Self {
        Self { at: watch::Sender::new(HashMap::new()) }
    }
}

impl Pods {
    /// The gateway at an address: of this pod, if it is named by its UID. Waits a moment for one that is not known yet.
    pub async fn at(&self, address: IpAddr, pod: Option<&str>) -> Option<Arc<Gateway>> {
        let mut at = self.at.subscribe();
        let found = at.wait_for(|at| meant(at, address, pod).is_some());
        let found = tokio::time::timeout(HOLD, found).await.ok()?.ok()?;
        meant(&found, address, pod).cloned()
    }

    /// Follows the pods of a cluster, for ever.
    pub async fn follow(&self, client: Client) -> Result<()> {
        let events = watcher(Api::<Pod>::all(client), watcher::Config::default()).default_backoff();
        pin_mut!(events);
        let mut listed = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.learn(event, &mut listed),
                // It is tried again.
                Err(error) => eprintln!("the pods cannot be watched: {error}"),
            }
        }
        Ok(())
    }

    /// `listed`: the UIDs of pods in the list that is under way.
    fn learn(&self, event: Event<Pod>, listed: &mut HashSet<String>) {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(pod) => {
                listed.extend(pod.uid());
                self.move_in(&pod);
            }
            Event::InitDone => {
                let listed = |gateway: &Gateway| gateway.pod().is_some_and(|uid| listed.contains(uid));
                self.at.send_modify(|at| at.retain(|_, gateway| listed(gateway)));
            }
            Event::Apply(pod) => self.move_in(&pod),
            Event::Delete(pod) => {
                self.at.send_modify(|at| at.retain(|_, gateway| gateway.pod() != pod.uid().as_deref()));
            }
        }
    }

    fn move_in(&self, pod: &Pod) {
        let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref()).and_then(|ip| ip.parse().ok());
        let (Some(address), Some(uid)) = (address, pod.uid()) else { return };
        if self.at.borrow().get(&address).is_some_and(|gateway| gateway.pod() == Some(&uid)) {
            return;
        }
        let server = pod.labels().get(INDEX).and_then(|index| index.parse().ok()).unwrap_or_default();
        let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        let gateway = Arc::new(Gateway::played(uid, name, server));
        self.at.send_modify(|at| {
            at.insert(address, gateway);
        });
    }
}

fn meant<'a>(at: &'a HashMap<IpAddr, Arc<Gateway>>, address: IpAddr, pod: Option<&str>) -> Option<&'a Arc<Gateway>> {
    at.get(&address).filter(|gateway| pod.is_none_or(|uid| gateway.pod() == Some(uid)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::gateway::Change;

    fn pod(uid: &str, address: Option<&str>) -> Pod {
        let pod = json!({
            "metadata": { "name": "chat-2", "namespace": "im", "uid": uid, "labels": { INDEX: "2" } },
            "status": { "podIP": address },
        });
        serde_json::from_value(pod).unwrap()
    }

    fn learn(pods: &Pods, events: impl IntoIterator<Item = Event<Pod>>) {
        let mut listed = HashSet::new();
        events.into_iter().for_each(|event| pods.learn(event, &mut listed));
    }

    const HERE: &str = "10.245.0.7";

    fn is_there(pods: &Pods, address: &str, pod: Option<&str>) -> bool {
        meant(&pods.at.borrow(), address.parse().unwrap(), pod).is_some()
    }

    #[tokio::test]
    async fn the_next_pod_at_an_address_is_another_gateway() {
        let (pods, here) = (Pods::default(), HERE.parse().unwrap());
        learn(&pods, [Event::Apply(pod("a", Some(HERE)))]);
        let first = pods.at(here, None).await.unwrap();
        first.change(Change { connections: Some(5), ..Change::default() });
        learn(&pods, [Event::Apply(pod("a", Some(HERE)))]);
        assert_eq!(pods.at(here, Some("a")).await.unwrap().status().connections, 5, "it is the same pod");
        learn(&pods, [Event::Delete(pod("a", Some(HERE))), Event::Apply(pod("b", Some(HERE)))]);
        let next = pods.at(here, None).await.unwrap();
        assert_eq!((next.pod(), next.status().connections, next.status().server), (Some("b"), 0, 2));
    }

    #[test]
    fn an_address_without_a_pod_is_nobodys() {
        let pods = Pods::default();
        learn(&pods, [Event::Apply(pod("a", None)), Event::Apply(pod("b", Some("10.245.0.8")))]);
        assert!(!is_there(&pods, HERE, None));
        assert!(is_there(&pods, "10.245.0.8", Some("b")));
        assert!(!is_there(&pods, "10.245.0.8", Some("a")), "another pod is there");
    }

    #[tokio::test]
    async fn a_caller_who_is_early_waits_for_the_pod() {
        let (pods, here) = (Pods::default(), HERE.parse().unwrap());
        let late = async {
            tokio::task::yield_now().await;
            learn(&pods, [Event::Apply(pod("a", Some(HERE)))]);
        };
        let (found, ()) = tokio::join!(pods.at(here, Some("a")), late);
        assert_eq!(found.unwrap().pod(), Some("a"));
    }

    #[test]
    fn pods_that_went_while_nobody_looked_are_gone() {
        let pods = Pods::default();
        learn(&pods, [Event::Apply(pod("a", Some(HERE)))]);
        learn(&pods, [Event::Init, Event::InitApply(pod("b", Some("10.245.0.8"))), Event::InitDone]);
        assert!(!is_there(&pods, HERE, None));
        assert!(is_there(&pods, "10.245.0.8", None));
    }
}
