//! The conversation on the terminal.

use std::error::Error;
use std::io::BufRead;

use im_client::{Client, Event, Events, Stopped, Target};
use im_protocol::server::{ConversationItem, Receipt};
use im_protocol::{ConversationId, Message, Seq};
use tokio::sync::mpsc;

use crate::input::{HELP, Input, Place, parse};
use crate::show::{self, harmless};

/// Messages of one page.
const PAGE: u32 = 20;
/// Conversations of `/list`.
const LIST: u32 = 30;
/// Lines typed ahead.
const LINES: usize = 16;

struct Chat {
    client: Client,
    open: Option<ConversationId>,
    /// The oldest message shown of the open conversation.
    oldest: Option<Seq>,
    /// The newest one.
    newest: Seq,
    /// The conversations of the last `/list`.
    listed: Vec<ConversationId>,
}

/// Runs until the user leaves or the client stops.
pub(crate) async fn run(
    client: Client,
    mut events: Events,
    open: Option<ConversationId>,
) -> Result<(), Box<dyn Error>> {
    println!("You are {}. /help shows the commands.", client.me());
    let mut lines = read_lines();
    let mut chat = Chat { client, open: None, oldest: None, newest: 0, listed: Vec::new() };
    match open {
        Some(conversation) => chat.show(conversation).await?,
        None => chat.list().await,
    }
    loop {
        tokio::select! {
            event = events.next() => match event {
                None | Some(Event::Stopped(Stopped::Closed)) => return Ok(()),
                Some(Event::Stopped(why)) => return Err(why.into()),
                Some(event) => chat.happened(event).await?,
            },
            line = lines.recv() => match line.as_deref().map(parse) {
                None | Some(Input::Quit) => return Ok(()),
                Some(input) => chat.typed(input).await?,
            },
        }
    }
}

/// Standard input is read by a thread of its own: a blocked read cannot be cancelled, and must not keep the program.
fn read_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Chat {
    async fn typed(&mut self, input: Input) -> Result<(), Box<dyn Error>> {
        match input {
            Input::Nothing | Input::Quit => {}
            Input::Help => println!("{HELP}"),
            Input::Wrong(why) => println!("! {}", harmless(&why)),
            Input::List => self.list().await,
            Input::Say(text) => self.say(text),
            Input::Open(Place::Conversation(conversation)) => self.show(conversation).await?,
            Input::Open(Place::User(user)) => self.show(ConversationId::direct(self.client.me(), &user)).await?,
            Input::Open(Place::Line(n)) => match n.checked_sub(1).and_then(|n| self.listed.get(n)).cloned() {
                Some(conversation) => self.show(conversation).await?,
                None => println!("! there is no line {n}; /list shows them"),
            },
            Input::Group { name, users } => match self.client.session().create_group(Some(&name), &users).await {
                Ok(created) => self.show(created.conversation).await?,
                Err(error) => println!("! {}", harmless(&error.to_string())),
            },
            Input::History => self.older().await,
            Input::Recall(seq) => {
                let Some(conversation) = &self.open else {
                    nowhere();
                    return Ok(());
                };
                if let Err(error) = self.client.session().recall(conversation, seq).await {
                    println!("! {}", harmless(&error.to_string()));
                }
            }
        }
        Ok(())
    }

    /// The message is shown when it arrives; here only what went wrong is.
    fn say(&self, text: String) {
        let Some(conversation) = self.open.clone() else { return nowhere() };
        let client = self.client.clone();
        tokio::spawn(async move {
            if let Err(error) = client.send_text(Target::Conversation(conversation), &text).await {
                println!("! not sent: {}", harmless(&error.to_string()));
            }
        });
    }

    async fn list(&mut self) {
        match self.client.conversations(None, LIST).await {
            Ok(page) => {
                let present = page.items.into_iter().filter_map(|item| match item {
                    ConversationItem::Present(view) => Some(view),
                    ConversationItem::Removed(_) => None,
                });
                self.listed.clear();
                for view in present {
                    self.listed.push(view.conversation.clone());
                    println!("{}", show::conversation(self.listed.len(), &view));
                }
                if self.listed.is_empty() {
                    println!("No conversations yet: /open USER begins one.");
                }
            }
            Err(error) => println!("! {}", harmless(&error.to_string())),
        }
    }

    async fn show(&mut self, conversation: ConversationId) -> Result<(), Box<dyn Error>> {
        println!("--- {conversation}");
        self.oldest = None;
        self.open = Some(conversation.clone());
        // What this device keeps has no hole; if it is new here, the server has the rest.
        let mut page = self.client.store().messages(&conversation, None, PAGE).await?;
        if page.is_empty() {
            page =
                self.client.history(conversation, None, PAGE).await.map(|answer| answer.messages).unwrap_or_default();
        }
        for message in &page {
            println!("{}", show::message(message));
        }
        self.oldest = page.first().map(|message| message.seq);
        self.newest = 0;
        if let Some(newest) = page.last() {
            self.newest = newest.seq;
            self.read(newest);
        }
        Ok(())
    }

    async fn older(&mut self) {
        let Some(conversation) = self.open.clone() else { return nowhere() };
        match self.client.history(conversation, self.oldest, PAGE).await {
            Ok(answer) if answer.messages.is_empty() => println!("--- that is all"),
            Ok(answer) => {
                println!("--- older");
                for message in &answer.messages {
                    println!("{}", show::message(message));
                }
                println!("---");
                self.oldest = answer.messages.first().map(|message| message.seq);
            }
            Err(error) => println!("! {}", harmless(&error.to_string())),
        }
    }

    fn read(&self, message: &Message) {
        if message.sender == *self.client.me() {
            return;
        }
        let (client, conversation, seq) = (self.client.clone(), message.conversation.clone(), message.seq);
        // A read position that is lost is said again with the next message.
        tokio::spawn(async move { client.read(conversation, seq).await });
    }

    async fn happened(&mut self, event: Event) -> Result<(), Box<dyn Error>> {
        let is_open = |conversation: &ConversationId| self.open.as_ref() == Some(conversation);
        match event {
            // What `show` read from the server may be among what arrives after it.
            Event::Message(message) if is_open(&message.conversation) && message.seq <= self.newest => {}
            Event::Message(message) if is_open(&message.conversation) => {
                println!("{}", show::message(&message));
                self.newest = message.seq;
                self.oldest = self.oldest.or(Some(message.seq));
                self.read(&message);
            }
            Event::Message(message) if message.sender != *self.client.me() => {
                println!("[{}] {}", message.conversation, show::message(&message));
            }
            Event::Changed(message) if is_open(&message.conversation) => {
                println!("~ {}", show::message(&message));
            }
            Event::Receipt(Receipt { conversation, user, read, .. })
                if is_open(&conversation) && user != *self.client.me() && read > 0 =>
            {
                println!("  ✓ {user} has read up to #{read}");
            }
            Event::Typing(typing) if is_open(&typing.conversation) => println!("  {} is typing …", typing.user),
            Event::Offline(wait) => println!("! offline; next try in {:.1} s", wait.as_secs_f64()),
            Event::Online(_) => println!("! online"),
            Event::Refused { conversation, error, .. } => {
                println!("! a message to {conversation} was refused: {}", harmless(&error.to_string()));
            }
            Event::Missed => {
                if let Some(conversation) = self.open.clone() {
                    self.show(conversation).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn nowhere() {
    println!("! nothing is open: /list, then /open NUMBER, or /open USER");
}
