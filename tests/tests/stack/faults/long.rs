//! Faults that last a minute, or need to be root: `make test-stack-full`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use imcluster_tests::stack::{Cluster, Options, Place};

use super::{lasts, under_load};

/// Longer than every wait and every back-off of a server.
const LONG: Duration = Duration::from_mins(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make test-stack-full"]
async fn redis_is_away_for_a_minute() {
    let cluster = Cluster::start(3).await;
    under_load("redis-is-away-for-a-minute", &cluster, async |cluster| {
        cluster.redis.kill();
        lasts(LONG).await;
        cluster.redis.start().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make test-stack-full"]
async fn kafka_is_away_for_a_minute() {
    let cluster = Cluster::start(3).await;
    under_load("kafka-is-away-for-a-minute", &cluster, async |cluster| {
        cluster.kafka.stop().await;
        lasts(LONG).await;
        cluster.kafka.start().await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make test-stack-full"]
async fn postgres_is_away_for_a_minute() {
    let cluster = Cluster::start(3).await;
    under_load("postgres-is-away-for-a-minute", &cluster, async |cluster| {
        assert!(cluster.postgres.stop_immediately().await);
        lasts(LONG).await;
        cluster.postgres.start().await.unwrap();
    })
    .await;
}

/// A disk of its own, so small that it is full at once; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// 64 MiB: a database without a message takes 10.
    fn mount(place: &Place) -> Self {
        let folder = place.room("disk").unwrap().path().to_owned();
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "none"]).arg(&folder).status();
        assert!(mount.is_ok_and(|status| status.success()), "only root can mount a disk for this test");
        Self(folder)
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let mut writer = fs::File::create(self.ballast()).unwrap();
        let full = std::io::copy(&mut std::io::repeat(0), &mut writer).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }

    fn give_back(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open does not keep the folder.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: make test-stack-full"]
async fn the_disk_of_postgres_is_full_for_a_while() {
    let place = Place::temporary().unwrap();
    // Dropped after the cluster.
    let disk = SmallDisk::mount(&place);
    let folder = disk.0.join("database");
    fs::create_dir(&folder).unwrap();
    let cluster = Cluster::start_with(Options { servers: 3, database_in: Some(folder), ..Options::default() }).await;
    under_load("the-disk-of-postgres-is-full", &cluster, async |cluster| {
        disk.fill();
        let deadline = Instant::now() + LONG;
        while !fs::read_to_string(cluster.postgres.log()).unwrap().contains("No space left on device") {
            assert!(Instant::now() < deadline, "PostgreSQL never runs out of room");
            lasts(Duration::from_millis(50)).await;
        }
        lasts(Duration::from_secs(5)).await;
        disk.give_back();
    })
    .await;
}
