-- Who holds a server id until when, and whose an outbox row is: of the process that is to publish it.

-- Where its management port is.
alter table servers add column address text not null default '';
-- Until when the lease runs.
alter table servers add column expires integer not null default 0;
-- Takes new connections.
alter table servers add column serving integer not null default 0;
-- The registry's marker under which all its routes and interests are written.
alter table servers add column announced integer;
alter table servers drop column taken;

-- Rows of before belong to an epoch that nobody holds, so they are taken over.
alter table outbox add column server integer not null default 0;
alter table outbox add column epoch integer not null default 0;
create index outbox_of_holder on outbox (server, epoch, id);
