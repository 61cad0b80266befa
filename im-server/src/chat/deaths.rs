//! The users of a server that died, for those who watch them: nobody there could say that they are gone.

use std::time::Duration;

use im_protocol::{Epoch, ServerId, TimeMs, UserId};
use im_sdk::registry::{RegistryError, Topic};

use super::Chat;
use super::presence::user_presence;

/// Between two pages of users: the 20,000 of a server take some two seconds.
const BETWEEN_PAGES: Duration = Duration::from_millis(50);

impl Chat {
    /// A server died: whoever was on it and is nowhere else now is offline since it was noticed, and those who watch are
    /// told. A page at a time, so that the connections of a whole server do not crowd everything else out.
    pub async fn server_died(&self, server: ServerId, epoch: Epoch, noticed: TimeMs) {
        let mut cursor = 0;
        loop {
            let page = async {
                let (next, users) = self.registry.users_of(server, epoch, cursor).await?;
                let gone = self.without_routes(users, server, epoch).await?;
                let topics: Vec<_> = gone.iter().cloned().map(Topic::Presence).collect();
                let watched = if topics.is_empty() { Vec::new() } else { self.registry.interested(&topics).await?.of };
                Ok::<_, RegistryError>((next, gone, watched))
            };
            let (next, gone, watched) = match page.await {
                Ok(page) => page,
                Err(error) => {
                    // Whoever asks next is told the truth.
                    tracing::warn!(%error, %server, "some who watch the users of a dead server are not told");
                    return;
                }
            };
            for (user, watchers) in gone.into_iter().zip(watched) {
                self.reads.seen(&user, noticed);
                if !watchers.is_empty() {
                    self.tell_watchers(vec![user_presence(&user, &[], Some(noticed))]);
                }
            }
            if next == 0 {
                return;
            }
            cursor = next;
            tokio::time::sleep(BETWEEN_PAGES).await;
        }
    }

    /// Of these users, those who are connected nowhere but perhaps on a server that died: the table may not say so yet.
    async fn without_routes(
        &self,
        mut users: Vec<UserId>,
        server: ServerId,
        epoch: Epoch,
    ) -> std::result::Result<Vec<UserId>, RegistryError> {
        users.sort_unstable();
        users.dedup();
        if users.is_empty() {
            return Ok(users);
        }
        let routes = self.registry.routes(&users).await?.of;
        let there = users.into_iter().zip(routes).filter_map(|(user, mut routes)| {
            routes.retain(|route| route.server != server || route.epoch > epoch);
            self.retain_live(&mut routes);
            routes.is_empty().then_some(user)
        });
        Ok(there.collect())
    }
}
