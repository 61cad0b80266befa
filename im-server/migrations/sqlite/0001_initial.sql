-- Times are Unix milliseconds. Conversation ids are those of the wire (d:…, g:…, r:…). Ids sort by byte.

-- The one row whose stamp every write transaction raises: the order of commits.
create table clock (
    only_row integer primary key check (only_row = 1),
    stamp integer not null
) strict;
insert into clock values (1, 0);

create table accounts (
    user text not null primary key,
    name text not null,
    avatar text not null default '',
    password_hash text not null,
    created integer not null,
    last_seen integer
) strict, without rowid;
-- Ids are unique without regard to case, and spelled as registered.
create unique index accounts_folded on accounts (user collate nocase);

create table sessions (
    id text not null primary key,
    user text not null references accounts,
    terminal text not null,
    device text not null,
    created integer not null,
    last_seen integer not null,
    expires integer not null,
    revoked integer not null default 0
) strict, without rowid;
create index sessions_alive on sessions (user, created) where revoked = 0;

-- Every refresh token of a session by its hash. The highest number is the current one.
create table refresh_tokens (
    hash blob not null primary key,
    session text not null references sessions,
    number integer not null,
    expires integer not null,
    exchanged integer,
    unique (session, number)
) strict, without rowid;

-- One row per direction.
create table friends (
    user text not null references accounts,
    friend text not null references accounts,
    remark text not null default '',
    since integer not null,
    primary key (user, friend)
) strict, without rowid;

-- Open requests only.
create table friend_requests (
    id text not null primary key,
    asking text not null references accounts,
    asked text not null references accounts,
    message text not null,
    time integer not null,
    unique (asking, asked)
) strict, without rowid;
create index friend_requests_to on friend_requests (asked, id);

create table blocks (
    user text not null references accounts,
    other text not null references accounts,
    time integer not null,
    primary key (user, other)
) strict, without rowid;

create table conversations (
    id text not null primary key,
    head integer not null,
    rev integer not null default 0,
    incarnation integer not null default 1,
    -- Messages so far that count as unread to those who did not write them.
    badge_count integer not null default 0,
    members integer not null default 0,
    members_version integer not null default 1,
    large integer not null default 0,
    -- Of the last message; before it, of the making.
    last_time integer not null,
    -- The last commit that touched it for every member.
    stamp integer not null
) strict, without rowid;

-- Named chat_groups because GROUPS is a keyword.
create table chat_groups (
    conversation text not null primary key references conversations,
    name text not null,
    owner text not null,
    announcement text not null,
    join_mode text not null,
    muted integer not null,
    dissolved integer not null
) strict, without rowid;

create table rooms (
    conversation text not null primary key references conversations,
    name text not null,
    owner text not null
) strict, without rowid;

create table join_requests (
    id text not null primary key,
    conversation text not null references chat_groups,
    user text not null references accounts,
    message text not null,
    time integer not null,
    unique (conversation, user)
) strict, without rowid;
create index join_requests_to on join_requests (conversation, id);

-- One row per stay: seqs [joined_seq, left_seq).
create table stints (
    conversation text not null references conversations,
    user text not null references accounts,
    joined_seq integer not null,
    left_seq integer,
    joined_time integer not null,
    role text not null default 'member',
    alias text not null default '',
    muted_until integer not null default 0,
    primary key (conversation, user, joined_seq)
) strict, without rowid;
create unique index stints_present on stints (conversation, user) where left_seq is null;
create index stints_of_user on stints (user, conversation) where left_seq is null;
create index stints_ended on stints (conversation, left_seq) where left_seq is not null;
create index stints_managers on stints (conversation) where left_seq is null and role <> 'member';

-- What a conversation is to one user. A send writes none of these.
create table user_conversations (
    user text not null references accounts,
    conversation text not null references conversations,
    read_seq integer not null default 0,
    delivered_seq integer not null default 0,
    -- What is up to here was deleted for the user.
    cleared_seq integer not null default 0,
    -- Deleted for the user: not in the list while the head is not above cleared_seq.
    hidden integer not null default 0,
    -- Why it is not theirs any more.
    removed text,
    pinned integer not null default 0,
    do_not_disturb integer not null default 0,
    draft text,
    -- When it came, or went.
    time integer not null,
    -- The last commit that touched it for this user alone.
    stamp integer not null,
    primary key (user, conversation)
) strict, without rowid;
create index user_conversations_listed on user_conversations (user) where removed is null and hidden = 0;
create index user_conversations_read on user_conversations (conversation, read_seq);

create table messages (
    conversation text not null references conversations,
    seq integer not null,
    -- The conversation's rev when it was made, and when it last changed.
    rev integer not null,
    changed integer,
    sender text not null,
    client_message_id text,
    time integer not null,
    kind text not null,
    content text not null,
    -- A JSON array of user ids; null for none.
    mentions text,
    mention_all integer not null default 0,
    reply_to integer,
    recalled integer not null default 0,
    -- Of the conversation, and of this sender in it, up to and with this message.
    badge_count integer not null,
    own_count integer not null,
    primary key (conversation, seq)
) strict, without rowid;
create unique index messages_known on messages (conversation, sender, client_message_id)
    where client_message_id is not null;
create index messages_own on messages (conversation, sender, seq, own_count);
create index messages_changed on messages (conversation, changed) where changed is not null;
create index messages_mentioning on messages (conversation, seq) where mentions is not null or mention_all = 1;

-- What was committed and is not known to be on the bus. Ids are never used again, so that a reader can go on after one.
create table outbox (
    id integer primary key autoincrement,
    time integer not null,
    items text not null
) strict;

create table servers (
    id integer primary key,
    epoch integer not null,
    taken integer not null
) strict;
