-- Stamps: the order of commits, as far as a reader needs it.
--
-- A row takes the stamp of the transaction that touched it. Transactions take stamps in one order and commit in another,
-- so the newest stamp given is no token to go on from: a lower one may still be under way. Nor may all writers queue at
-- one row to commit in order. So a writer says, before it takes a stamp, from where on it may take one (a floor, as the
-- key of a shared advisory lock that ends with its transaction), and a reader's token is the horizon: the lowest floor of
-- those under way, and no more than the newest stamp given.
--
-- Why a reader that asks for stamps above its token misses nothing. Let a transaction have stamp s and let the reader's
-- horizon be h, taken before its snapshot. If s <= h, the stamp had been given when the reader read the newest one, so
-- the floor, which is below s, had been locked before. Locks are looked at after that. Either the lock was still there:
-- then h <= floor < s, against s <= h. Or it was gone: then the transaction had ended, and one that commits is visible
-- before it lets go of its locks; so the snapshot, which is younger still, has it. What is not in the snapshot has
-- s > h, and is found the next time. While others are under way, a row may be told twice.
--
-- Stamps are microseconds by the wall clock where that moves on faster than transactions come, which is always: every new
-- connection raises the sequence to the clock. So the stamps of a database that was restored from a backup, or lost its
-- last commits in a failover, go on above all that it ever gave.

create sequence stamps as bigint;
select setval('stamps', (extract(epoch from clock_timestamp()) * 1000000)::bigint);

-- Raises the sequence to the clock. Those that raise it take turns; a writer meanwhile moves it by one, far less than the
-- second that it has to be behind. The lock's first key is of this function alone.
create function im_raise_stamps_v1() returns void
    language plpgsql volatile
    as $$
declare
    wall bigint;
begin
    perform pg_advisory_xact_lock(1229804865, 1);
    wall := extract(epoch from clock_timestamp()) * 1000000;
    if (select last_value from stamps) < wall - 1000000 then
        perform setval('stamps', wall);
    end if;
end
$$;

-- The stamp of the transaction that calls it; best taken after what it waits for. The key of the lock is
-- the floor with 681 in the ten highest bits, to be known by.
create function im_stamp_v1() returns bigint
    language plpgsql volatile
    as $$
begin
    perform pg_advisory_xact_lock_shared((681::bigint << 53) | (select last_value from stamps));
    return nextval('stamps');
end
$$;

-- Everything committed up to here is in a snapshot that is taken after this.
create function im_horizon_v1() returns bigint
    language plpgsql volatile
    as $$
declare
    newest bigint;
    lowest bigint;
begin
    select last_value into newest from stamps;
    select min(((classid::bigint & 2097151) << 32) | objid::bigint) into lowest
    from pg_locks
    where locktype = 'advisory' and objsubid = 1 and classid::bigint >> 21 = 681
        and database = (select oid from pg_database where datname = current_database());
    return least(newest, lowest);
end
$$;
