//! The tool itself: a cluster comes, comes again, and goes without a trace.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use imcluster_tests::cluster::{Kubectl, Kubernetes};

const TOOL: &str = env!("CARGO_BIN_EXE_im-cluster");
/// Longest wait for what the kernel clears away.
const GONE: Duration = Duration::from_secs(30);

fn tool(task: &str) -> Output {
    let output = Command::new(TOOL).arg(task).env_remove("KUBECONFIG").output().unwrap();
    assert!(output.status.success(), "im-cluster {task}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn said(output: Output) -> String {
    String::from_utf8(output.stderr).unwrap()
}

/// What a cluster could change in the machine.
fn machine() -> String {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let groups = ["/sys/fs/cgroup/imcluster", "/sys/fs/cgroup/memory/imcluster"].map(|it| Path::new(it).exists());
    let mut mounts: Vec<String> = read("/proc/self/mounts").lines().map(str::to_owned).collect();
    mounts.sort();
    let rules = run("/usr/sbin/iptables-save", &[]);
    let rules: Vec<&str> = rules.lines().filter(|line| line.starts_with('-')).collect();
    let folders = ["/var/lib/kubelet", "/var/lib/containerd", "/run/containerd", "/var/log/pods"];
    format!(
        "{mounts:#?}\n{}\n{}\n{rules:#?}\n{groups:?}\n{:?}\n{}{}{}",
        run("ip", &["-brief", "link"]),
        run("ip", &["route"]),
        folders.map(|folder| Path::new(folder).exists()),
        read("/proc/sys/vm/overcommit_memory"),
        read("/proc/sys/kernel/panic"),
        read("/proc/sys/net/ipv4/ip_forward"),
    )
}

#[test]
#[ignore = "needs Kubernetes: make test-cluster"]
fn a_cluster_comes_again_after_its_keeper_was_killed_and_goes_without_a_trace() {
    let kubernetes = Kubernetes::here().unwrap();
    let kubeconfig = kubernetes.kubeconfig();
    let folder = kubeconfig.parent().unwrap();
    assert!(!folder.exists(), "a cluster runs, or one that failed has left its logs: make cluster-down first");
    let before = machine();

    assert!(said(tool("up")).contains("it is up"));
    let nodes = || Kubectl::new(&kubeconfig).unwrap().get(&["node", "node"]);
    let first = nodes().unwrap()["metadata"]["uid"].clone();
    assert!(said(tool("up")).contains("it runs already"));
    assert_eq!(nodes().unwrap()["metadata"]["uid"], first);

    let keeper = fs::read_to_string(folder.join("process")).unwrap();
    assert!(Command::new("kill").args(["-KILL", &keeper]).status().unwrap().success());
    let deadline = Instant::now() + GONE;
    while Path::new("/sys/class/net/imcluster0").exists() {
        assert!(Instant::now() < deadline, "its network stays");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(said(tool("up")).contains("it is up"));
    assert_ne!(nodes().unwrap()["metadata"]["uid"], first, "a cluster begins empty");

    tool("down");
    assert!(!folder.exists());
    assert_eq!(machine(), before);
    tool("down");
}
