//! Who gets a message: member lists, cached by the version that each commit returns.

use std::sync::Arc;

use im_protocol::{ConversationId, Seq, UserId};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::relay::count_statement;
use crate::store::{MemberList, Result, Store};

/// Members held in memory, over all conversations: some 100 MB at the most.
const HELD: u64 = 1_000_000;

/// Conversations expected in the cache.
const EXPECTED: usize = 20_000;

/// A cache of member lists.
pub(super) struct Members {
    store: Arc<dyn Store>,
    lists: Cache<ConversationId, Arc<MemberList>, ByMembers>,
}

#[derive(Clone)]
struct ByMembers;

impl Weighter<ConversationId, Arc<MemberList>> for ByMembers {
    fn weight(&self, _: &ConversationId, list: &Arc<MemberList>) -> u64 {
        list.members.len() as u64 + 1
    }
}

impl Members {
    pub(super) fn new(store: Arc<dyn Store>) -> Self {
        Self { store, lists: Cache::with_weighter(EXPECTED, HELD, ByMembers) }
    }

    /// Those whose stint covers a seq that was committed under `version`.
    ///
    /// A cached list of exactly that version is right for every seq committed under it; a newer one from the store holds
    /// those too who have left since.
    pub(super) async fn recipients(
        &self,
        conversation: &ConversationId,
        version: u64,
        seq: Seq,
    ) -> Result<Vec<UserId>> {
        if let Some((one, other)) = conversation.ends() {
            // Both, always: there is nothing to look up, and of these there are the most.
            return Ok(if one == other { vec![one] } else { vec![one, other] });
        }
        let list = match self.lists.get(conversation).filter(|list| list.version == version) {
            Some(list) => list,
            None => match self.load(conversation, seq).await? {
                Some(list) => {
                    let list = Arc::new(list);
                    self.lists.insert(conversation.clone(), list.clone());
                    list
                }
                None => return Ok(Vec::new()),
            },
        };
        let mut users: Vec<UserId> =
            list.members.iter().filter(|(_, stint)| stint.covers(seq)).map(|(user, _)| user.clone()).collect();
        users.dedup();
        Ok(users)
    }

    /// Present members, and those whose stint ends after `seq`, from the store.
    pub(super) async fn load(&self, conversation: &ConversationId, seq: Seq) -> Result<Option<MemberList>> {
        count_statement("member_list");
        self.store.member_list(conversation, seq).await
    }
}
