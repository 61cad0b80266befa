-- The commit of a batch in one round trip.
--
-- Every statement of a plpgsql function sees what was committed before that statement (READ COMMITTED): so what is looked
-- up after the locks is what the locks waited for.
--
-- What is joined by a lateral query with a limit is looked up row by row, whatever the planner believes of the sizes.
--
-- Places count from 1. Arguments whose names begin with c_ are one per conversation (each once, sorted by byte), with s_
-- one per sender in a conversation, with i_ one per message in the order of the batch. What comes back:
--   outcomes: 0 committed, as seq numbers[n]; 1 known from before, and stands among the k_ arrays; 2 the same id as
--             message numbers[n] of the batch; below 0 refused, by the place of the reason in the list of refusals;
--             numbers[n] is until when a mute holds
--   c_… per conversation: what goes with its messages
--   k_… per message known from before: its place in the batch, and what is stored of it

-- Whether a token stands for a batch that was committed: what it committed, and what it refused.
create function im_batch_of_token_v1(p_token bigint, out outbox_id bigint, out said text[], out refused bigint[])
    language sql stable
    as $$
    select o.id,
           (select array_agg((e -> 'message' ->> 0) || ' ' || (e -> 'message' ->> 1)) from jsonb_array_elements(o.items::jsonb) e),
           o.refused
    from outbox o where o.token = p_token
$$;

create function im_commit_v1(
    p_now bigint, p_server integer, p_epoch bigint, p_token bigint, p_again boolean,
    c_id text[], c_a text[], c_b text[],
    s_conversation integer[], s_sender text[], s_peer text[],
    i_place integer[], i_earlier integer[], i_client_message_id text[], i_kind text[], i_badges integer[],
    i_content text[], i_mentions text[], i_mention_all boolean[], i_reply_to bigint[], i_friends_only boolean[],
    i_max_conversations bigint[],
    out outbox_id bigint, out outcomes integer[], out numbers bigint[],
    out c_time bigint[], out c_rev bigint[], out c_incarnation integer[], out c_members_version bigint[],
    out c_large boolean[],
    out k_place integer[], out k_seq bigint[], out k_time bigint[], out k_recalled boolean[], out k_kind text[],
    out k_content text[], out k_mentions text[], out k_mention_all boolean[], out k_reply_to bigint[]
)
    language plpgsql volatile
    as $$
declare
    -- Of the conversations.
    c_there boolean[];
    c_head bigint[];
    c_badge_count bigint[];
    c_muted boolean[];
    c_dissolved boolean[];
    c_made boolean[] := array_fill(false, array[cardinality(c_id)]);
    c_touched boolean[] := array_fill(false, array[cardinality(c_id)]);
    -- Of the senders.
    s_role text[];
    s_muted_until bigint[];
    s_own_count bigint[];
    s_ends_exist boolean[];
    s_blocked boolean[];
    s_friends boolean[];
    s_conversations bigint[];
    s_peer_conversations bigint[];
    -- Of the messages: what is inserted, and which of them are known.
    i_badge_count bigint[] := array_fill(null::bigint, array[cardinality(i_place)]);
    i_own_count bigint[] := array_fill(null::bigint, array[cardinality(i_place)]);
    i_known integer[] := array_fill(null::integer, array[cardinality(i_place)]);
    k_rev bigint[];
    -- Users who got conversations in this batch, each as often as they did.
    made text[] := '{}';
    refused bigint[] := '{}';
    first_id bigint;
    first_said text[];
    first_refused bigint[];
    n integer;
    m integer;
    s integer;
    c integer;
    refusal integer;
    until bigint;
    kind text;
    full_up boolean;
    committed integer := 0;
    v_stamp bigint;
begin
    outcomes := array_fill(0, array[cardinality(i_place)]);
    numbers := array_fill(0::bigint, array[cardinality(i_place)]);

    -- The locks, in the order of the ids. A direct conversation that is not there yet has no row to lock.
    perform from conversations where id = any (c_id) order by id for no key update;
    for n in
        select e.n from unnest(c_id, c_a) with ordinality e (id, a, n)
        where e.a is not null and not exists (select from conversations where id = e.id)
        order by e.id collate "C"
    loop
        perform pg_advisory_xact_lock(1229804865, hashtext(c_id[n]));
        perform from conversations where id = c_id[n] for no key update;
    end loop;

    -- What is known.
    select array_agg(e.n::integer), array_agg(m.seq), array_agg(m.time), array_agg(m.recalled), array_agg(m.kind),
           array_agg(m.content), array_agg(m.mentions), array_agg(m.mention_all), array_agg(m.reply_to),
           array_agg(m.rev)
    into k_place, k_seq, k_time, k_recalled, k_kind, k_content, k_mentions, k_mention_all, k_reply_to, k_rev
    from unnest(i_place, i_client_message_id) with ordinality e (place, client_message_id, n)
    cross join lateral (
        select * from messages
        where conversation = c_id[s_conversation[e.place]] and sender = s_sender[e.place]
            and client_message_id = e.client_message_id
        limit 1
    ) m;
    for m in 1 .. coalesce(cardinality(k_place), 0) loop
        i_known[k_place[m]] := m;
    end loop;

    -- The facts.
    select array_agg(f.id is not null order by e.n), array_agg(coalesce(f.head, 0) order by e.n),
           array_agg(coalesce(f.badge_count, 0) order by e.n), array_agg(greatest(f.last_time, p_now) order by e.n),
           array_agg(coalesce(f.rev, 0) order by e.n), array_agg(coalesce(f.incarnation, 1) order by e.n),
           array_agg(coalesce(f.members_version, 1) order by e.n), array_agg(coalesce(f.large, false) order by e.n),
           array_agg(coalesce(g.muted, false) order by e.n), array_agg(coalesce(g.dissolved, false) order by e.n)
    into c_there, c_head, c_badge_count, c_time, c_rev, c_incarnation, c_members_version, c_large, c_muted, c_dissolved
    from unnest(c_id) with ordinality e (id, n)
    left join lateral (select * from conversations where id = e.id limit 1) f on true
    left join lateral (select * from chat_groups where conversation = e.id limit 1) g on true;

    select array_agg(p.role order by e.n), array_agg(coalesce(p.muted_until, 0) order by e.n),
           array_agg(coalesce(o.own_count, 0) order by e.n),
           array_agg(exists (select from accounts where user_id = c_a[e.c])
                     and exists (select from accounts where user_id = c_b[e.c]) order by e.n),
           array_agg(exists (select from blocks where user_id = e.peer and other = e.sender) order by e.n),
           array_agg(exists (select from friends where user_id = e.sender and friend = e.peer) order by e.n),
           array_agg(case when c_a[e.c] is not null and not c_there[e.c] then
               (select count(*) from user_conversations
                where user_id = e.sender and removed is null and not hidden) else 0 end order by e.n),
           array_agg(case when c_a[e.c] is not null and not c_there[e.c] then
               (select count(*) from user_conversations
                where user_id = e.peer and removed is null and not hidden) else 0 end order by e.n)
    into s_role, s_muted_until, s_own_count, s_ends_exist, s_blocked, s_friends, s_conversations, s_peer_conversations
    from unnest(s_conversation, s_sender, s_peer) with ordinality e (c, sender, peer, n)
    left join lateral (
        select role, muted_until from stints
        where conversation = c_id[e.c] and user_id = e.sender and left_seq is null limit 1
    ) p on true
    left join lateral (
        select own_count from messages where conversation = c_id[e.c] and sender = e.sender order by seq desc limit 1
    ) o on true;

    -- Asked for again: what became of it the first time. If it is gone from the outbox, what it committed is known.
    if p_again then
        select * into first_id, first_said, first_refused from im_batch_of_token_v1(p_token);
    end if;
    if first_id is not null then
        outbox_id := first_id;
        for n in 1 .. cardinality(i_place) loop
            m := i_known[n];
            c := s_conversation[i_place[n]];
            if m is null then
                for s in 0 .. coalesce(cardinality(first_refused), 0) / 3 - 1 loop
                    if first_refused[3 * s + 1] = n then
                        outcomes[n] := first_refused[3 * s + 2];
                        numbers[n] := first_refused[3 * s + 3];
                    end if;
                end loop;
            elsif not (c_id[c] || ' ' || k_seq[m]) = any (first_said) then
                outcomes[n] := 1;
            elsif i_earlier[n] is not null and outcomes[i_earlier[n]] in (0, 2) then
                outcomes[n] := 2;
                numbers[n] := case outcomes[i_earlier[n]] when 2 then numbers[i_earlier[n]] else i_earlier[n] end;
            else
                numbers[n] := k_seq[m];
                c_time[c] := k_time[m];
                c_rev[c] := k_rev[m];
            end if;
        end loop;
        return;
    end if;

    -- One message after the other, each after all before it.
    for n in 1 .. cardinality(i_place) loop
        if i_known[n] is not null then
            outcomes[n] := 1;
            continue;
        end if;
        m := i_earlier[n];
        if m is not null and outcomes[m] in (0, 2) then
            outcomes[n] := 2;
            numbers[n] := case outcomes[m] when 2 then numbers[m] else m end;
            continue;
        end if;
        s := i_place[n];
        c := s_conversation[s];
        kind := left(c_id[c], 1);
        until := 0;
        refusal := case
            when kind <> 'd' and not c_there[c] then -1
            when kind = 'g' and c_dissolved[c] then -2
            when kind = 'g' and s_role[s] is null then -3
            when kind = 'g' and s_muted_until[s] > p_now then -4
            when kind = 'g' and c_muted[c] and s_role[s] = 'member' then -5
            when kind = 'd' and not s_ends_exist[s] then -1
            when kind = 'd' and s_peer[s] is null then -3
            when kind = 'd' and s_peer[s] <> s_sender[s] and s_blocked[s] then -6
            when kind = 'd' and s_peer[s] <> s_sender[s] and i_friends_only[n] and not s_friends[s] then -7
        end;
        if refusal = -4 then
            until := s_muted_until[s];
        elsif refusal is null and i_reply_to[n] is not null then
            if i_reply_to[n] > c_head[c] or i_reply_to[n] < 1
                or (kind = 'g' and not exists (
                    select from stints where conversation = c_id[c] and user_id = s_sender[s]
                        and joined_seq <= i_reply_to[n] and (left_seq is null or i_reply_to[n] < left_seq)))
            then
                refusal := -8;
            end if;
        end if;
        if refusal is null and kind = 'd' and not c_there[c] then
            full_up := i_max_conversations[n] > 0 and greatest(
                s_conversations[s] + cardinality(array_positions(made, s_sender[s])),
                s_peer_conversations[s] + cardinality(array_positions(made, s_peer[s]))) >= i_max_conversations[n];
            if full_up then
                refusal := -9;
            else
                c_there[c] := true;
                c_made[c] := true;
                made := made || c_a[c];
                if c_a[c] <> c_b[c] then
                    made := made || c_b[c];
                end if;
            end if;
        end if;
        if refusal is not null then
            outcomes[n] := refusal;
            numbers[n] := until;
            refused := refused || array[n, refusal, until];
            continue;
        end if;
        c_touched[c] := true;
        c_head[c] := c_head[c] + 1;
        c_badge_count[c] := c_badge_count[c] + i_badges[n];
        s_own_count[s] := s_own_count[s] + i_badges[n];
        numbers[n] := c_head[c];
        i_badge_count[n] := c_badge_count[c];
        i_own_count[n] := s_own_count[s];
        committed := committed + 1;
    end loop;
    if committed = 0 then
        return;
    end if;

    v_stamp := im_stamp_v1();
    update conversations f
    set head = e.head, badge_count = e.badge_count, last_time = e.last_time, stamp = v_stamp
    from unnest(c_id, c_touched, c_made, c_head, c_badge_count, c_time) e (id, touched, made, head, badge_count, last_time)
    where e.touched and not e.made and f.id = e.id;
    if cardinality(made) > 0 then
        insert into conversations (id, head, badge_count, last_time, members, stamp)
        select e.id, e.head, e.badge_count, e.last_time, case when e.a = e.b then 1 else 2 end, v_stamp
        from unnest(c_id, c_a, c_b, c_made, c_head, c_badge_count, c_time)
            e (id, a, b, made, head, badge_count, last_time)
        where e.made;
        insert into stints (conversation, user_id, joined_seq, joined_time)
        select e.id, u.user_id, 1, p_now
        from unnest(c_id, c_a, c_b, c_made) e (id, a, b, made)
        cross join lateral (select e.a as user_id union select e.b) u
        where e.made;
        insert into user_conversations (conversation, user_id, time, stamp)
        select e.id, u.user_id, p_now, v_stamp
        from unnest(c_id, c_a, c_b, c_made) e (id, a, b, made)
        cross join lateral (select e.a as user_id union select e.b) u
        where e.made;
    end if;
    insert into messages (conversation, seq, rev, sender, client_message_id, time, kind, content, mentions, mention_all,
                          reply_to, badge_count, own_count)
    select c_id[s_conversation[e.place]], e.seq, c_rev[s_conversation[e.place]], s_sender[e.place], e.client_message_id,
           c_time[s_conversation[e.place]], e.kind, e.content, e.mentions, e.mention_all, e.reply_to, e.badge_count,
           e.own_count
    from unnest(outcomes, i_place, numbers, i_client_message_id, i_kind, i_content, i_mentions, i_mention_all, i_reply_to,
                i_badge_count, i_own_count)
        e (outcome, place, seq, client_message_id, kind, content, mentions, mention_all, reply_to, badge_count, own_count)
    where e.outcome = 0;
    insert into outbox (time, items, server, epoch, token, refused)
    select p_now,
           '[' || string_agg('{"message":["' || c_id[s_conversation[e.place]] || '",' || e.seq || ']}', ',' order by e.n)
               || ']',
           p_server, p_epoch, p_token, nullif(refused, '{}')
    from unnest(outcomes, i_place, numbers) with ordinality e (outcome, place, seq, n)
    where e.outcome = 0
    returning id into outbox_id;
end
$$;
