-- Push work, jobs and dead letters. Written only where push is set up.

-- What has to be looked at: the item as JSON is its own key.
create table push_work (
    item text not null primary key,
    -- When it happened.
    time integer not null,
    -- When to look; while claimed, until when.
    due integer not null,
    claims integer not null default 0,
    -- Where to go on.
    cursor text
) strict, without rowid;
create index push_work_due on push_work (due);

-- One row per device and conversation; an empty device stands for a user without one.
create table push_jobs (
    user text not null,
    device text not null,
    conversation text not null,
    -- The newest message, and how many there are.
    seq integer not null,
    count integer not null,
    mentioned integer not null,
    due integer not null,
    claims integer not null default 0,
    attempts integer not null default 0,
    primary key (user, device, conversation)
) strict, without rowid;
create index push_jobs_due on push_jobs (due);

create table push_dead_letters (
    -- The id it was delivered under.
    id text not null primary key,
    user text not null,
    device text not null,
    conversation text not null,
    seq integer not null,
    count integer not null,
    mentioned integer not null,
    attempts integer not null,
    reason text not null,
    time integer not null
) strict, without rowid;
create index push_dead_letters_newest on push_dead_letters (time, id);
