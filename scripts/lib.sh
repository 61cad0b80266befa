# What the scripts share; sourced.
# shellcheck shell=bash disable=SC2034

checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Outside the checkout, so that every clone of this user finds it again.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/imcluster

cargo_deny_version=0.20.2
cargo_deny_root=$cache/tools/cargo-deny-$cargo_deny_version
cargo_deny=$cargo_deny_root/bin/cargo-deny

# The release that tests/src/stack/kafka.rs starts.
kafka_version=4.1.1
kafka=$cache/kafka-$kafka_version

# The releases that tests/src/cluster starts; the modules in tests/cluster/kubernetes name the first as well.
kubernetes_version=1.34.4
kubernetes=$cache/kubernetes-$kubernetes_version
kwok_version=0.8.0
kwok=$cache/kwok-$kwok_version
# As the module in tests/cluster/dns has it.
coredns_version=1.12.4
coredns=$cache/coredns-$coredns_version

# The releases that tests/tests/manifests renders with.
helm_version=3.22.0
helm=$cache/helm-$helm_version
kustomize_version=5.7.1
kustomize=$cache/kustomize-$kustomize_version
