//! An operator that dies at a write, before it lands or after with the answer lost, leaves nothing that the next one does not
//! put right.

pub(crate) mod scenario;

mod cases;
mod state;

/// Stories at the same time: most of each is waiting.
const AT_ONCE: usize = 18;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kubernetes: make test-cluster"]
async fn an_operator_that_dies_after_a_write_is_followed_by_one_that_ends_the_same_whatever_the_kind_of_write() {
    let missed = cases::all(cases::one_of_each_kind(), AT_ONCE).await;
    assert!(missed.is_empty(), "{missed:?} did not come about");
    let left_out = cases::kinds_left_out(&scenario::golden_writes().await);
    assert!(left_out.is_empty(), "no operator died at {left_out:?}");
}

mod long {
    use super::{AT_ONCE, cases, scenario};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "needs Kubernetes, and ten minutes: make test-cluster-full"]
    async fn an_operator_that_dies_at_any_write_is_followed_by_one_that_ends_the_same() {
        let cases = cases::every(&scenario::golden_writes().await);
        let all = cases.len();
        let missed = cases::all(cases, AT_ONCE).await;
        println!("{all} cases, of which these did not come about: {missed:#?}");
        // How often a status is written depends on what is seen together.
        assert!(missed.len() * 5 < all, "{} of {all} did not come about", missed.len());
    }
}
