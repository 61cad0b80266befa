//! What `manifests/` renders to: `make test-manifests`. No cluster is needed; the renderers are those that `scripts/need helm
//! kustomize` builds, and have to be in `PATH`.

mod charts;
mod examples;
mod kustomizations;
mod objects;
mod render;
mod rights;
mod strict;
mod values;
