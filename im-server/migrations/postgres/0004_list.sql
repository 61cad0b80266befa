-- A user's list of conversations.

-- A user's rows, each with its place, its stamp and its state. What happens in a conversation touches the rows of those
-- who have it in their list; for others only what happened to the row itself counts.
create view user_rows_v1 as
select uc.user_id, uc.conversation, uc.read_seq, uc.cleared_seq, uc.pinned, uc.do_not_disturb, uc.draft,
       c.head, c.rev, c.incarnation, coalesce(s.joined_seq, 1) as joined_seq,
       case when uc.removed is not null then uc.removed
            when uc.hidden and c.head <= uc.cleared_seq then 'deleted' end as gone,
       case when uc.removed is null and not (uc.hidden and c.head <= uc.cleared_seq)
            then greatest(c.stamp, uc.stamp) else uc.stamp end as touched,
       case when uc.removed is null and not (uc.hidden and c.head <= uc.cleared_seq) and c.head >= s.joined_seq
            then c.last_time else uc.time end as updated
from user_conversations uc
join conversations c on c.id = uc.conversation
left join stints s on s.conversation = uc.conversation and s.user_id = uc.user_id and s.left_seq is null;

-- A page of a user's list, newest first, after (p_updated, p_after), with one row more than p_limit if there are more; or
-- the one row of p_only. Without p_since what is present, with it what was touched after it. p_reads are read positions
-- of conversations p_read_of that are not stored yet. There is always a row, for the sake of its horizon, which is taken
-- before anything is looked at (see the stamps); one that stands for nothing has no conversation.
create function im_list_v1(
    p_user text, p_since bigint, p_updated bigint, p_after text, p_limit bigint, p_only text,
    p_read_of text[], p_reads bigint[])
    returns table (
        horizon bigint, of_row text, touched bigint, updated bigint, gone text, head bigint, row_rev bigint,
        row_incarnation integer, read bigint, pinned boolean, do_not_disturb boolean, draft text,
        title text, unread bigint, mentioned boolean,
        conversation text, seq bigint, rev bigint, incarnation integer, sender text, client_message_id text,
        "time" bigint, kind text, content text, mentions text, mention_all boolean, reply_to bigint, recalled boolean)
    language plpgsql volatile
    as $$
#variable_conflict use_column
declare
    newest bigint := im_horizon_v1();
    picked text[] := array[p_only];
begin
    if p_only is null then
        picked := array(
            select r.conversation from user_rows_v1 r
            where r.user_id = p_user
                and case when p_since is null then r.gone is null else r.touched > p_since end
                and (p_updated is null or (r.updated, r.conversation) < (p_updated, p_after))
            order by r.updated desc, r.conversation desc limit p_limit + 1);
    end if;
    return query
    with reads as (
        select e.conversation, max(e.seq) as seq from unnest(p_read_of, p_reads) e (conversation, seq) group by 1
    ), stored as (
        select r.*, least(greatest(r.read_seq, e.seq), r.head) as read, greatest(r.joined_seq - 1, r.cleared_seq) as before,
               case when left(r.conversation, 2) <> 'd:' then null
                    when split_part(r.conversation, ':', 2) = p_user then split_part(r.conversation, ':', 3)
                    else split_part(r.conversation, ':', 2) end collate "C" as peer
        from user_rows_v1 r left join reads e on e.conversation = r.conversation
        where r.user_id = p_user and r.conversation = any (picked)
            and (p_only is not null or p_since is not null or r.gone is null)
    ), wanted as materialized (
        select s.*, least(greatest(s.read, s.before), s.head) as from_seq,
               case when s.gone is null and s.head > s.before then s.head end as last
        from stored s
    )
    select newest, w.conversation, w.touched, w.updated, w.gone, w.head, w.rev, w.incarnation, w.read, w.pinned,
           w.do_not_disturb, w.draft,
           case when w.peer is null then g.name else coalesce(nullif(f.remark, ''), a.name) end,
           case when w.gone is null then
               coalesce((select badge_count from messages where conversation = w.conversation and seq = w.head), 0)
               - coalesce((select badge_count from messages where conversation = w.conversation and seq = w.from_seq), 0)
               - coalesce((select own_count from messages where conversation = w.conversation and sender = p_user
                           and seq <= w.head order by seq desc limit 1), 0)
               + coalesce((select own_count from messages where conversation = w.conversation and sender = p_user
                           and seq <= w.from_seq order by seq desc limit 1), 0) end,
           w.gone is null and exists (
               select from messages b
               where b.conversation = w.conversation and b.seq > w.from_seq and b.seq <= w.head
                   and (b.mentions is not null or b.mention_all) and b.sender <> p_user
                   and (b.mention_all or b.mentions::jsonb ? p_user)),
           m.conversation, m.seq, coalesce(m.changed, m.rev), w.incarnation, m.sender, m.client_message_id, m.time,
           m.kind, m.content, m.mentions, m.mention_all, m.reply_to, m.recalled
    from (select) one
    left join wanted w on true
    left join messages m on m.conversation = w.conversation and m.seq = w.last
    left join chat_groups g on g.conversation = w.conversation
    left join accounts a on a.user_id = w.peer
    left join friends f on f.user_id = p_user and f.friend = w.peer
    order by w.updated desc, w.conversation desc;
end
$$;
