//! Random histories against a model that keeps everything in plain lists and counts by walking through them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use im_protocol::server::RemovedReason;
use im_protocol::{ConversationId, Rev, Seq, UserId};
use im_server::store::{Outcome, ReadPosition, RecallFacts, Recalled, RowState, Stamp, Stint};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::world::{self, Db, NOW, commit, people, text};

const PEOPLE: usize = 4;
/// A group of which person 0 is the owner, and the direct conversations of person 0 with 1 and with 2.
const CONVERSATIONS: usize = 3;

/// One thing that happens. Persons and conversations by number, seqs by how far they lie behind the head.
#[derive(Clone, Debug)]
enum Step {
    /// A batch of sends: (person, conversation).
    Send(Vec<(usize, usize)>),
    Join(usize),
    Leave(usize, bool),
    Read(usize, usize, Seq),
    Recall(usize, Seq),
    Delete(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (person, conversation) = (0..PEOPLE, 0..CONVERSATIONS);
    let other = 1..PEOPLE;
    let step = prop_oneof![
        6 => prop::collection::vec((person.clone(), conversation.clone()), 1..5).prop_map(Step::Send),
        2 => other.clone().prop_map(Step::Join),
        2 => (other, any::<bool>()).prop_map(|(person, kicked)| Step::Leave(person, kicked)),
        3 => (person.clone(), conversation.clone(), 0_u64..6).prop_map(|(p, c, back)| Step::Read(p, c, back)),
        2 => (conversation.clone(), 0_u64..6).prop_map(|(c, back)| Step::Recall(c, back)),
        1 => (person, conversation).prop_map(|(p, c)| Step::Delete(p, c)),
    ];
    prop::collection::vec(step, 1..40)
}

struct Said {
    sender: usize,
    counts: bool,
    changed: Option<Rev>,
}

/// What a conversation is to one person.
#[derive(Default)]
struct View {
    stints: Vec<Stint>,
    read: Seq,
    cleared: Seq,
    hidden: bool,
    removed: Option<RemovedReason>,
    /// The last step that touched it for this person; `None` if it never was theirs.
    touched: Option<usize>,
}

impl View {
    fn is_member(&self) -> bool {
        self.stints.last().is_some_and(|stint| stint.left.is_none())
    }

    fn sees(&self, seq: Seq) -> bool {
        seq > self.cleared && self.stints.iter().any(|stint| stint.covers(seq))
    }
}

#[derive(Default)]
struct Conversation {
    said: Vec<Said>,
    rev: Rev,
    views: [View; PEOPLE],
}

impl Conversation {
    fn head(&self) -> Seq {
        self.said.len() as Seq
    }

    fn gone(&self, person: usize) -> Option<RemovedReason> {
        let view = &self.views[person];
        view.removed.or((view.hidden && self.head() <= view.cleared).then_some(RemovedReason::Deleted))
    }

    fn touch_all(&mut self, step: usize) {
        for person in 0..PEOPLE {
            if self.views[person].touched.is_some() && self.gone(person).is_none() {
                self.views[person].touched = Some(step);
            }
        }
    }

    fn say(&mut self, sender: usize, counts: bool, step: usize) {
        self.said.push(Said { sender, counts, changed: None });
        self.touch_all(step);
    }

    fn unread(&self, person: usize) -> u64 {
        let view = &self.views[person];
        let joined = view.stints.last().map_or(1, |stint| stint.joined);
        let from = view.read.max(view.cleared).max(joined - 1);
        self.numbered().filter(|(seq, said)| *seq > from && said.counts && said.sender != person).count() as u64
    }

    fn numbered(&self) -> impl Iterator<Item = (Seq, &Said)> {
        (1..).zip(&self.said)
    }
}

/// The model beside the store.
struct Both {
    store: Db,
    people: [UserId; PEOPLE],
    ids: [ConversationId; CONVERSATIONS],
    model: [Conversation; CONVERSATIONS],
    /// The stamp after each step.
    stamps: Vec<Stamp>,
}

impl Both {
    async fn new(store: &Db) -> Self {
        // Many cases play in one store, each with people of its own.
        static CASES: AtomicU32 = AtomicU32::new(0);
        let case = CASES.fetch_add(1, Ordering::Relaxed);
        let names: [String; PEOPLE] = std::array::from_fn(|n| format!("p{n}-{case}"));
        let people = people(store, std::array::from_fn::<_, PEOPLE, _>(|n| names[n].as_str())).await;
        let group = world::group(store, &format!("g{case}"), &people[0], &[]).await;
        let ids =
            [group, ConversationId::direct(&people[0], &people[1]), ConversationId::direct(&people[0], &people[2])];
        let mut model: [Conversation; CONVERSATIONS] = std::array::from_fn(|_| Conversation::default());
        model[0].said.push(Said { sender: 0, counts: false, changed: None });
        model[0].views[0] = View { stints: vec![Stint::ALWAYS], touched: Some(0), ..View::default() };
        for (conversation, ends) in [(1, [0, 1]), (2, [0, 2])] {
            for person in ends {
                model[conversation].views[person].stints = vec![Stint::ALWAYS];
            }
        }
        let stamps = vec![store.stamp().await.unwrap()];
        Self { store: store.clone(), people, ids, model, stamps }
    }

    async fn step(&mut self, step: &Step) {
        let number = self.stamps.len();
        match step {
            Step::Send(batch) => self.send(batch, number).await,
            Step::Join(person) => self.join(*person, number).await,
            Step::Leave(person, kicked) => self.leave(*person, *kicked, number).await,
            Step::Read(person, conversation, back) => self.read(*person, *conversation, *back, number).await,
            Step::Recall(conversation, back) => self.recall(*conversation, *back, number).await,
            Step::Delete(person, conversation) => self.delete(*person, *conversation, number).await,
        }
        self.stamps.push(self.store.stamp().await.unwrap());
    }

    async fn send(&mut self, batch: &[(usize, usize)], number: usize) {
        let messages = batch
            .iter()
            .map(|&(person, conversation)| text(&self.ids[conversation], &self.people[person], "something to say"));
        let outcomes = commit(&self.store, messages.collect()).await;
        for (&(person, conversation), outcome) in batch.iter().zip(outcomes) {
            let model = &mut self.model[conversation];
            if !model.views[person].is_member() {
                assert!(matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
                continue;
            }
            if conversation > 0 && model.said.is_empty() {
                for end in [0, conversation] {
                    model.views[end].touched = Some(number);
                }
            }
            model.say(person, true, number);
            assert_eq!(world::committed(&outcome).message.seq, model.head());
        }
    }

    async fn join(&mut self, person: usize, number: usize) {
        let model = &mut self.model[0];
        world::add(&self.store, &self.ids[0], &self.people[0], &self.people[person]).await;
        if !model.views[person].is_member() {
            let joined = model.head() + 1;
            let view = &mut model.views[person];
            view.stints.push(Stint { joined, left: None });
            (view.removed, view.hidden, view.touched) = (None, false, Some(number));
        }
        model.say(0, false, number);
    }

    async fn leave(&mut self, person: usize, kicked: bool, number: usize) {
        let reason = if kicked { RemovedReason::Kicked } else { RemovedReason::Left };
        let model = &mut self.model[0];
        world::remove(&self.store, &self.ids[0], &self.people[0], &self.people[person], reason).await;
        if model.views[person].is_member() {
            let left = model.head() + 1;
            let view = &mut model.views[person];
            view.stints.last_mut().unwrap().left = Some(left);
            (view.removed, view.touched) = (Some(reason), Some(number));
        }
        model.say(0, false, number);
    }

    async fn read(&mut self, person: usize, conversation: usize, back: Seq, number: usize) {
        let model = &mut self.model[conversation];
        let seq = model.head().saturating_sub(back);
        let position =
            ReadPosition { conversation: self.ids[conversation].clone(), user: self.people[person].clone(), seq };
        self.store.save_reads(&[position]).await.unwrap();
        let view = &mut model.views[person];
        if view.touched.is_some() && view.read < seq {
            view.read = seq;
            view.hidden &= seq <= view.cleared;
            view.touched = Some(number);
        }
    }

    async fn recall(&mut self, conversation: usize, back: Seq, number: usize) {
        let model = &mut self.model[conversation];
        let seq = model.head().saturating_sub(back);
        let answer = self
            .store
            .recall(&self.ids[conversation], seq, &self.people[0], NOW, &|_: &RecallFacts| Ok(()))
            .await
            .unwrap();
        let Some(place) = usize::try_from(seq).unwrap().checked_sub(1) else {
            assert_eq!(answer, Recalled::NotFound);
            return;
        };
        if model.said[place].changed.is_some() {
            assert_eq!(answer, Recalled::Already);
            return;
        }
        let Recalled::Done(told) = answer else { panic!("{answer:?}") };
        model.rev += 1;
        model.said[place].changed = Some(model.rev);
        assert_eq!(told.changed[0].message.rev, model.rev);
        model.touch_all(number);
    }

    async fn delete(&mut self, person: usize, conversation: usize, number: usize) {
        let model = &mut self.model[conversation];
        let listed = model.views[person].touched.is_some() && model.gone(person).is_none();
        let hidden = self.store.delete_for(&self.people[person], &self.ids[conversation]).await.unwrap();
        assert_eq!(hidden, listed);
        if listed {
            let head = model.head();
            let view = &mut model.views[person];
            (view.hidden, view.cleared, view.touched) = (true, head, Some(number));
        }
    }

    /// The store says what the model says, to everyone about everything.
    async fn compare(&self) {
        for person in 0..PEOPLE {
            for conversation in 0..CONVERSATIONS {
                self.compare_row(person, conversation).await;
                self.compare_messages(person, conversation).await;
            }
            self.compare_since(person).await;
        }
    }

    async fn compare_row(&self, person: usize, conversation: usize) {
        let model = &self.model[conversation];
        let row = self.store.row(&self.people[person], &self.ids[conversation], None).await.unwrap();
        let view = &model.views[person];
        assert_eq!(row.is_some(), view.touched.is_some());
        let Some(row) = row else { return };
        match (row.state, model.gone(person)) {
            (RowState::Removed(told), Some(expected)) => assert_eq!(told, expected),
            (RowState::Present { head, rev, read, unread, last, .. }, None) => {
                let expected = (model.head(), model.rev, view.read, model.unread(person));
                assert_eq!((head, rev, read, unread), expected, "person {person} in {conversation}");
                let newest = Some(model.head()).filter(|&head| view.sees(head));
                assert_eq!(last.map(|message| message.seq), newest);
            }
            (told, expected) => panic!("person {person} in {conversation}: {told:?}, but {expected:?}"),
        }
    }

    async fn compare_messages(&self, person: usize, conversation: usize) {
        let (model, id) = (&self.model[conversation], &self.ids[conversation]);
        let view = &model.views[person];
        let access = self.store.access(&self.people[person], id).await.unwrap().unwrap();
        let seen: Vec<Seq> = model.numbered().map(|(seq, _)| seq).filter(|&seq| view.sees(seq)).collect();
        assert_eq!(world::seqs(&self.store, &self.people[person], id).await, seen);
        // Page by page, forth.
        let (mut after, mut paged) = (0, Vec::new());
        loop {
            let slice = im_server::store::Slice::After(after);
            let page = self.store.page(id, &access.stints, slice, 3, usize::MAX).await.unwrap();
            paged.extend(page.messages.iter().map(|message| message.seq));
            assert!(page.more == (paged.len() < seen.len()));
            match paged.last() {
                Some(&last) if page.more => after = last,
                _ => break,
            }
        }
        assert_eq!(paged, seen);
        // What changed, up to some seq and after some rev.
        let (after, rev) = (model.head().saturating_sub(2), model.rev / 2);
        let mut expected: BTreeMap<Rev, Seq> = BTreeMap::new();
        for (seq, said) in model.numbered() {
            if let Some(changed) = said.changed
                && changed > rev
                && seq <= after
                && view.sees(seq)
            {
                expected.insert(changed, seq);
            }
        }
        let (changed, more) = self.store.changed(id, &access.stints, after, rev, 1000).await.unwrap();
        let changed: Vec<_> = changed.iter().map(|message| (message.rev, message.seq)).collect();
        assert_eq!((changed, more), (expected.into_iter().collect(), false));
    }

    async fn compare_since(&self, person: usize) {
        for step in [0, self.stamps.len() / 2, self.stamps.len() - 1] {
            let touched = |model: &Conversation| model.views[person].touched.is_some_and(|touched| touched > step);
            let mut expected: Vec<_> =
                (0..CONVERSATIONS).filter(|&n| touched(&self.model[n])).map(|n| self.ids[n].clone()).collect();
            expected.sort();
            let rows = self.store.list(&self.people[person], Some(self.stamps[step]), None, 100, &[]).await.unwrap();
            let mut told: Vec<_> = rows.rows.into_iter().map(|row| row.conversation).collect();
            told.sort();
            assert_eq!(told, expected, "person {person} since step {step}");
        }
    }
}

async fn play(store: &Db, steps: &[Step]) {
    let mut both = Both::new(store).await;
    for step in steps {
        both.step(step).await;
    }
    both.compare().await;
}

async fn random_histories_agree_with_a_simple_model(store: Db) {
    let runtime = tokio::runtime::Handle::current();
    let cases = move || {
        let config = Config { cases: 48, failure_persistence: None, ..Config::default() };
        TestRunner::new(config).run(&steps(), |steps| {
            runtime.block_on(play(&store, &steps));
            Ok(())
        })
    };
    // The runner is not async, and shrinks by running again.
    tokio::task::spawn_blocking(cases).await.unwrap().unwrap();
}

contract!(random_histories_agree_with_a_simple_model);
