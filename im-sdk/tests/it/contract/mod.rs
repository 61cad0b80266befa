//! What every registry and every bus must do, whatever it is made of. An implementation runs a whole suite with one
//! line: `registry_contract!(make)`, where `make` is an async function that gives an empty one. Where that needs something
//! that not every machine has, it is `registry_contract!(make, ignored = "why")`.

pub(crate) mod bus;
pub(crate) mod reads;
pub(crate) mod registry;

/// Runs each named promise of a suite as a test of its own.
macro_rules! promises {
    ($suite:ident, $attributes:tt, $make:expr, $($name:ident)+) => {
        $($crate::contract::promise! { $suite, $attributes, $make, $name })+
    };
}

macro_rules! promise {
    ($suite:ident, [$($attribute:tt)*], $make:expr, $name:ident) => {
            #[tokio::test]
            $($attribute)*
            async fn $name() {
                $crate::contract::$suite::$name(&($make)().await).await;
            }
    };
}

macro_rules! registry_contract {
    ($make:expr $(, ignored = $why:literal)?) => {
        $crate::contract::promises! { registry, [$(#[ignore = $why])?], $make,
            a_route_is_found_until_it_is_unregistered
            registering_tells_the_other_routes_of_the_user_and_no_one_elses
            registering_a_connection_again_replaces_its_route
            unregistering_removes_its_own_route_only
            unregistering_what_is_not_there_is_fine
            routes_come_in_the_order_of_the_users_with_nothing_for_strangers
            routes_written_again_stand_beside_the_others
            everything_is_read_under_one_marker
            who_was_on_a_server_is_known_by_its_epoch
            a_stale_route_that_was_deleted_still_tells_who_was_there
            what_an_epoch_that_is_over_left_is_cleared_away
            many_routes_are_paged_and_cleared_away
            an_interest_is_seen_until_it_ends
            interests_come_in_the_order_of_the_topics
            a_late_goodbye_of_an_older_epoch_does_not_end_a_newer_interest
            an_older_epoch_does_not_overwrite_a_newer_interest
            topics_of_different_kinds_do_not_meet
            a_server_is_seen_as_it_was_last_told
            the_table_never_goes_back_in_epoch
        }
    };
}

macro_rules! reads_contract {
    ($make:expr $(, ignored = $why:literal)?) => {
        $crate::contract::promises! { reads, [$(#[ignore = $why])?], $make,
            a_position_moves_forward_and_never_back
            many_positions_move_at_once_and_tell_where_they_were
            what_someone_has_read_lately_is_known_in_all_their_conversations
            readers_are_counted_once_everyone_is_there
            filling_in_keeps_who_is_further_and_forgets_who_has_left
            who_has_read_so_far_is_known
            another_version_of_the_membership_is_not_complete
        }
    };
}

macro_rules! bus_contract {
    ($make:expr $(, ignored = $why:literal)?) => {
        $crate::contract::promises! { bus, [$(#[ignore = $why])?], $make,
            records_arrive_in_order
            a_record_goes_to_its_server_only
            a_subscriber_begins_at_the_end
            a_later_subscriber_takes_over
            a_record_to_a_server_without_a_topic_fails_alone
            results_come_in_the_order_of_the_records
            no_more_than_asked_for_comes_at_once
            a_cancelled_wait_loses_nothing
            a_record_arrives_as_it_was_sent
        }
    };
}

pub(crate) use {bus_contract, promise, promises, reads_contract, registry_contract};
