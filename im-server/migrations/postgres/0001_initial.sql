-- Times are Unix milliseconds. Conversation ids are those of the wire (d:…, g:…, r:…). Ids sort by byte, whatever the
-- database's own collation is. Functions carry a version in their names: the older program goes on calling the older one
-- while the newer runs beside it.

create table accounts (
    user_id text collate "C" not null primary key,
    name text not null,
    avatar text not null default '',
    password_hash text not null,
    created bigint not null,
    last_seen bigint
) with (fillfactor = 80);
-- Ids are unique without regard to case, and spelled as registered.
create unique index accounts_folded on accounts (lower(user_id));

create table sessions (
    id text collate "C" not null primary key,
    user_id text collate "C" not null references accounts,
    terminal text not null,
    device text collate "C" not null,
    created bigint not null,
    last_seen bigint not null,
    expires bigint not null,
    revoked boolean not null default false
);
create index sessions_alive on sessions (user_id, created) where not revoked;

-- Every refresh token of a session by its hash. The highest number is the current one.
create table refresh_tokens (
    hash bytea not null primary key,
    session text collate "C" not null references sessions,
    number bigint not null,
    expires bigint not null,
    exchanged bigint,
    unique (session, number)
);

-- One row per direction.
create table friends (
    user_id text collate "C" not null references accounts,
    friend text collate "C" not null references accounts,
    remark text not null default '',
    since bigint not null,
    primary key (user_id, friend)
);

-- Open requests only.
create table friend_requests (
    id text collate "C" not null primary key,
    asking text collate "C" not null references accounts,
    asked text collate "C" not null references accounts,
    message text not null,
    time bigint not null,
    unique (asking, asked)
);
create index friend_requests_to on friend_requests (asked, id);

create table blocks (
    user_id text collate "C" not null references accounts,
    other text collate "C" not null references accounts,
    time bigint not null,
    primary key (user_id, other)
);

-- No index on a column that a send updates, and room on every page for the next version of a row: an update stays on its
-- page and touches no index (HOT).
create table conversations (
    id text collate "C" not null primary key,
    head bigint not null,
    rev bigint not null default 0,
    incarnation integer not null default 1,
    -- Messages so far that count as unread to those who did not write them.
    badge_count bigint not null default 0,
    members integer not null default 0,
    members_version bigint not null default 1,
    large boolean not null default false,
    -- Of the last message; before it, of the making.
    last_time bigint not null,
    -- The last commit that touched it for every member.
    stamp bigint not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02);

-- Named chat_groups because GROUPS is a keyword.
create table chat_groups (
    conversation text collate "C" not null primary key references conversations,
    name text not null,
    owner text collate "C" not null,
    announcement text not null,
    join_mode text not null,
    muted boolean not null,
    dissolved boolean not null
);

create table rooms (
    conversation text collate "C" not null primary key references conversations,
    name text not null,
    owner text collate "C" not null
);

create table join_requests (
    id text collate "C" not null primary key,
    conversation text collate "C" not null references chat_groups,
    user_id text collate "C" not null references accounts,
    message text not null,
    time bigint not null,
    unique (conversation, user_id)
);
create index join_requests_to on join_requests (conversation, id);

-- One row per stay: seqs [joined_seq, left_seq).
create table stints (
    conversation text collate "C" not null references conversations,
    user_id text collate "C" not null references accounts,
    joined_seq bigint not null,
    left_seq bigint,
    joined_time bigint not null,
    role text not null default 'member',
    alias text not null default '',
    muted_until bigint not null default 0,
    primary key (conversation, user_id, joined_seq)
);
create unique index stints_present on stints (conversation, user_id) where left_seq is null;
create index stints_of_user on stints (user_id, conversation) where left_seq is null;
create index stints_ended on stints (conversation, left_seq) where left_seq is not null;
create index stints_managers on stints (conversation, user_id) where left_seq is null and role <> 'member';

-- What a conversation is to one user. A send writes none of these. Rows come with stints, which name an account and a
-- conversation that are there.
create table user_conversations (
    user_id text collate "C" not null,
    conversation text collate "C" not null,
    read_seq bigint not null default 0,
    delivered_seq bigint not null default 0,
    -- What is up to here was deleted for the user.
    cleared_seq bigint not null default 0,
    -- Deleted for the user: not in the list while the head is not above cleared_seq.
    hidden boolean not null default false,
    -- Why it is not theirs any more.
    removed text,
    pinned boolean not null default false,
    do_not_disturb boolean not null default false,
    draft text,
    -- When it came, or went.
    time bigint not null,
    -- The last commit that touched it for this user alone.
    stamp bigint not null,
    primary key (user_id, conversation)
) with (fillfactor = 80);
create index user_conversations_listed on user_conversations (user_id) where removed is null and not hidden;
create index user_conversations_read on user_conversations (conversation, read_seq);

-- Written only under the lock of their conversation, which is there: a foreign key would look it up again for each.
create table messages (
    conversation text collate "C" not null,
    seq bigint not null,
    -- The conversation's rev when it was made, and when it last changed.
    rev bigint not null,
    changed bigint,
    sender text collate "C" not null,
    client_message_id text collate "C",
    time bigint not null,
    kind text not null,
    -- JSON as it was said; not jsonb, which knows no U+0000 and changes numbers.
    content text not null,
    -- A JSON array of user ids; null for none.
    mentions text,
    mention_all boolean not null default false,
    reply_to bigint,
    recalled boolean not null default false,
    -- Of the conversation, and of this sender in it, up to and with this message.
    badge_count bigint not null,
    own_count bigint not null,
    primary key (conversation, seq)
) partition by hash (conversation);
create table messages_0 partition of messages for values with (modulus 8, remainder 0);
create table messages_1 partition of messages for values with (modulus 8, remainder 1);
create table messages_2 partition of messages for values with (modulus 8, remainder 2);
create table messages_3 partition of messages for values with (modulus 8, remainder 3);
create table messages_4 partition of messages for values with (modulus 8, remainder 4);
create table messages_5 partition of messages for values with (modulus 8, remainder 5);
create table messages_6 partition of messages for values with (modulus 8, remainder 6);
create table messages_7 partition of messages for values with (modulus 8, remainder 7);
create unique index messages_known on messages (conversation, sender, client_message_id)
    where client_message_id is not null;
create index messages_own on messages (conversation, sender, seq) include (own_count);
create index messages_changed on messages (conversation, changed) where changed is not null;
create index messages_mentioning on messages (conversation, seq) where mentions is not null or mention_all;

-- What was committed and is not known to be on the bus. Small, and every row soon gone: what is left of them is cleaned
-- up by number, not by share.
create table outbox (
    id bigint generated always as identity primary key,
    time bigint not null,
    items text not null,
    -- Who is to publish it.
    server integer not null,
    epoch bigint not null,
    -- By which a batch that is asked for again finds what became of it; null for what is not a batch.
    token bigint,
    -- Of the batch: what was refused, as triples of place, refusal and time. Null for none.
    refused bigint[]
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
create index outbox_of_holder on outbox (server, epoch, id);
create unique index outbox_token on outbox (token) where token is not null;

create table servers (
    id integer not null primary key,
    epoch bigint not null,
    -- Where its management port is.
    address text not null,
    -- Until when the lease runs, by the clock of the database.
    expires bigint not null,
    -- Takes new connections.
    serving boolean not null default false,
    -- The registry's marker under which all its routes and interests are written.
    announced bigint
) with (fillfactor = 50);

-- The clock of the database as a statement began: Unix milliseconds.
create function im_clock_v1() returns bigint
    language sql stable
    as $$ select (extract(epoch from statement_timestamp()) * 1000)::bigint $$;

-- Push work, jobs and dead letters. Written only where push is set up.

-- What has to be looked at: the item as JSON is its own key.
create table push_work (
    item text collate "C" not null primary key,
    -- When it happened.
    time bigint not null,
    -- When to look; while claimed, until when.
    due bigint not null,
    claims integer not null default 0,
    -- Where to go on.
    cursor text
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
create index push_work_due on push_work (due);

-- One row per device and conversation; an empty device stands for a user without one.
create table push_jobs (
    user_id text collate "C" not null,
    device text collate "C" not null,
    conversation text collate "C" not null,
    -- The newest message, and how many there are.
    seq bigint not null,
    count bigint not null,
    mentioned boolean not null,
    due bigint not null,
    claims integer not null default 0,
    attempts integer not null default 0,
    primary key (user_id, device, conversation)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
create index push_jobs_due on push_jobs (due);

create table push_dead_letters (
    -- The id it was delivered under.
    id text collate "C" not null primary key,
    user_id text collate "C" not null,
    device text collate "C" not null,
    conversation text collate "C" not null,
    seq bigint not null,
    count bigint not null,
    mentioned boolean not null,
    attempts integer not null,
    reason text not null,
    time bigint not null
);
create index push_dead_letters_newest on push_dead_letters (time, id);
