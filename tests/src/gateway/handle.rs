//! A gateway in a test's hands.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use reqwest::RequestBuilder;

use super::MANAGEMENT_PORT;
use super::one::{Change, Fault, Report};
use crate::http::client;

/// Longest wait for an answer; a played gateway holds a call for 5 s.
const ANSWER: Duration = Duration::from_secs(10);

/// The gateway in a pod.
#[derive(Clone, Debug)]
pub struct Handle {
    address: SocketAddr,
    /// UID of the pod; nobody else answers for it.
    pod: String,
}

impl Handle {
    /// Of a pod that has an address.
    pub fn of(pod: &Pod) -> Result<Self> {
        let name = pod.name_any();
        let ip = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
        let ip: IpAddr = ip.with_context(|| format!("{name} has no address yet"))?.parse()?;
        let uid = pod.uid().with_context(|| format!("{name} is of no cluster"))?;
        Ok(Self { address: SocketAddr::new(ip, MANAGEMENT_PORT), pod: uid })
    }

    /// Where its management port is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it is, and what it was asked.
    pub async fn report(&self) -> Result<Report> {
        self.ask(client().get(self.url())).await
    }

    /// Makes it another.
    pub async fn change(&self, change: &Change) -> Result<Report> {
        self.ask(client().put(self.url()).body(serde_json::to_vec(change)?)).await
    }

    /// Gives it so many connections.
    pub async fn hold(&self, connections: u64) -> Result<Report> {
        self.change(&Change { connections: Some(connections), ..Change::default() }).await
    }

    /// Lets it fail, or be well again.
    pub async fn fail(&self, fault: Fault) -> Result<Report> {
        self.change(&Change { fault: Some(fault), ..Change::default() }).await
    }

    fn url(&self) -> String {
        format!("http://{}/test?pod={}", self.address, self.pod)
    }

    async fn ask(&self, request: RequestBuilder) -> Result<Report> {
        let answer = request.timeout(ANSWER).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "the gateway at {} says {status}: {text}", self.address);
        Ok(serde_json::from_str(&text)?)
    }
}
