//! Gateway pods as decisions need them.

use std::collections::BTreeMap;

use imcluster_crds::{MAX_REPLICAS, ServerId};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};

use crate::drain::GatewayPod;

/// Label that the controller of `StatefulSet`s gives a pod: the revision of the template that it is of.
const REVISION: &str = "controller-revision-hash";

/// Why a container waits that will not run before somebody mends something. Those that crash have run.
const CANNOT_RUN: [&str; 7] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

/// The pods of a `StatefulSet`, by server id. Others that have our labels are not gateways.
pub fn gateways<'a>(pods: impl IntoIterator<Item = &'a Pod>, set: &str) -> BTreeMap<ServerId, GatewayPod> {
    pods.into_iter().filter_map(|pod| Some((id(pod, set)?, gateway(pod)?))).collect()
}

/// The number behind the name of the set.
fn id(pod: &Pod, set: &str) -> Option<ServerId> {
    let number = pod.metadata.name.as_deref()?.strip_prefix(set)?.strip_prefix('-')?;
    let id = number.parse().ok().filter(|id: &u16| *id < MAX_REPLICAS && id.to_string() == number)?;
    Some(ServerId(id))
}

fn gateway(pod: &Pod) -> Option<GatewayPod> {
    let status = pod.status.as_ref();
    let terminating = pod.metadata.deletion_timestamp.is_some();
    Some(GatewayPod {
        uid: pod.metadata.uid.clone()?,
        ip: status.and_then(|status| status.pod_ip.clone()),
        ready: !terminating && status.is_some_and(|status| has(status, "Ready", "True")),
        deletion_time: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0),
        cannot_run: status.is_some_and(|status| why_it_cannot_run(status).is_some()),
        revision: pod.metadata.labels.as_ref().and_then(|labels| labels.get(REVISION)).cloned().unwrap_or_default(),
    })
}

/// Why a pod has never run and cannot: a sentence for a person.
pub fn why_it_cannot_run(status: &PodStatus) -> Option<String> {
    if has(status, "PodScheduled", "False") {
        let message = condition(status, "PodScheduled").and_then(|condition| condition.message.as_deref());
        return Some(format!("no node takes it: {}", message.unwrap_or("see kubectl describe pod")));
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    containers.filter(|container| never_ran(container)).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| CANNOT_RUN.contains(reason))?;
        Some(format!("container {} cannot start: {reason}", container.name))
    })
}

fn never_ran(container: &ContainerStatus) -> bool {
    container.restart_count == 0 && container.last_state.as_ref().is_none_or(|state| state.terminated.is_none())
}

fn has(status: &PodStatus, kind: &str, value: &str) -> bool {
    condition(status, kind).is_some_and(|condition| condition.status == value)
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<&'a k8s_openapi::api::core::v1::PodCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": name, "uid": "u", "labels": { REVISION: "r1" } },
            "status": status,
        }))
        .unwrap()
    }

    fn one(status: &Value) -> GatewayPod {
        gateways([&pod("chat-gateway-0", status)], "chat-gateway").remove(&ServerId(0)).unwrap()
    }

    #[test]
    fn a_pod_has_the_id_of_its_number_and_others_are_none() {
        let names =
            ["chat-gateway-0", "chat-gateway-12", "chat-gateway-01", "chat-gateway-500", "other-1", "chat-gateway"];
        let pods = names.map(|name| pod(name, &json!({})));
        let ids: Vec<_> = gateways(&pods, "chat-gateway").into_keys().collect();
        assert_eq!(ids, [ServerId(0), ServerId(12)]);
    }

    #[test]
    fn a_ready_pod_that_was_told_to_go_is_not_ready() {
        let ready = json!({ "conditions": [{ "type": "Ready", "status": "True" }], "podIP": "10.0.0.1" });
        assert!(one(&ready).ready);
        let mut going = pod("chat-gateway-0", &ready);
        going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        let going = gateways([&going], "chat-gateway").remove(&ServerId(0)).unwrap();
        assert!(!going.ready && going.deletion_time.is_some());
    }

    #[test]
    fn a_pod_cannot_run_whose_image_cannot_be_pulled_or_that_no_node_takes() {
        let waiting = |reason: &str, restarts: u32| {
            json!({ "containerStatuses": [{
                "name": "im-server", "image": "", "imageID": "", "ready": false, "restartCount": restarts,
                "state": { "waiting": { "reason": reason } },
            }] })
        };
        assert!(one(&waiting("ImagePullBackOff", 0)).cannot_run);
        assert!(one(&waiting("CreateContainerConfigError", 0)).cannot_run);
        assert!(!one(&waiting("ContainerCreating", 0)).cannot_run);
        assert!(!one(&waiting("CrashLoopBackOff", 3)).cannot_run, "it has run");
        assert!(!one(&waiting("ImagePullBackOff", 1)).cannot_run, "it has run");
        assert!(one(&json!({ "conditions": [{ "type": "PodScheduled", "status": "False" }] })).cannot_run);
    }
}
