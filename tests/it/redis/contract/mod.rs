//! What holds of every shared tier: each test here runs against Redis, against the store of the test kit, so that
//! what users test with the one is true of the other, and through the kit's chaos while it is told to do nothing.

mod interleavings;
mod leases;
mod log;
mod marks;
mod values;

use std::sync::Arc;
use std::time::Duration;

use cache_core::shared::{Shared, SharedTier};
use cache_core::testing::{ChaosStore, ScriptedStore};
use cache_core::time::SystemClock;
use support::RedisServer;

use super::{open, restricted};

/// A shared tier, and what a test does to it behind the back of its port.
enum World {
    Redis(Box<RedisServer>),
    Memory(ScriptedStore),
    Chaos(ScriptedStore),
}

impl World {
    fn redis() -> Self {
        Self::Redis(Box::new(restricted()))
    }

    fn memory() -> Self {
        Self::Memory(ScriptedStore::new(SystemClock))
    }

    fn chaos() -> Self {
        Self::Chaos(ScriptedStore::new(SystemClock))
    }

    /// Another node.
    fn open(&self) -> Arc<dyn Shared> {
        match self {
            Self::Redis(server) => open(server),
            Self::Memory(store) => store.open("m", Arc::new(SystemClock)),
            Self::Chaos(store) => ChaosStore::around(store.clone(), 0).open("m", Arc::new(SystemClock)),
        }
    }

    fn evict(&self, key: &str) {
        match self {
            Self::Redis(server) => drop(server.command(&["DEL", key])),
            Self::Memory(store) | Self::Chaos(store) => store.evict(key),
        }
    }

    fn break_lease(&self, key: &str) {
        match self {
            Self::Redis(server) => drop(server.command(&["DEL", &format!("{{{key}}}:l")])),
            Self::Memory(store) | Self::Chaos(store) => store.break_lease(key),
        }
    }

    fn is_leased(&self, key: &str) -> bool {
        match self {
            Self::Redis(server) => server.command(&["EXISTS", &format!("{{{key}}}:l")]).integer() == Some(1),
            Self::Memory(store) | Self::Chaos(store) => store.is_leased(key),
        }
    }

    fn put_foreign(&self, key: &str, text: &str) {
        match self {
            Self::Redis(server) => drop(server.command(&["SET", key, text, "EX", "100"])),
            Self::Memory(store) | Self::Chaos(store) => {
                store.put_raw(key, text, Some(Duration::from_secs(100)));
            }
        }
    }

    fn flush(&self) {
        match self {
            Self::Redis(server) => server.flushall(),
            Self::Memory(store) | Self::Chaos(store) => store.flush(),
        }
    }

    /// From now on there is no memory for values.
    fn fill(&self) {
        match self {
            Self::Redis(server) => drop(server.command(&["CONFIG", "SET", "maxmemory", "1"])),
            Self::Memory(store) | Self::Chaos(store) => store.set_full(true),
        }
    }

    /// Nothing lives for ever but the log.
    fn check_lives(&self) {
        if let Self::Redis(server) = self {
            let keys = server.keys_without_ttl();
            assert!(keys.iter().all(|key| key == "{m}:log"), "{keys:?}");
        }
    }
}

/// The table: each of these tests, on each of the tiers.
macro_rules! contract {
    ($($topic:ident { $($name:ident,)+ })+) => {
        mod on_redis {
            $(mod $topic { $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::super::$topic::$name(super::super::World::redis()).await;
                }
            )+ })+
        }

        mod in_memory {
            $(mod $topic { $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::super::$topic::$name(super::super::World::memory()).await;
                }
            )+ })+
        }

        mod through_chaos {
            $(mod $topic { $(
                #[tokio::test(flavor = "multi_thread")]
                async fn $name() {
                    super::super::$topic::$name(super::super::World::chaos()).await;
                }
            )+ })+
        }
    };
}

contract! {
    values {
        foreign_data_is_absence_and_is_overwritten,
        many_keys_are_read_in_their_order,
        a_value_is_read_with_a_lower_bound_of_its_life,
        a_conditional_set_applies_over_what_was_seen_only,
        a_removed_key_holds_a_tombstone_that_outlives_every_load,
        a_hold_refuses_sets_until_it_ends_and_is_not_shortened,
        expire_leaves_the_value_stale_under_a_new_version,
        a_load_that_saw_absence_stores_nothing_over_an_expiry_even_when_the_value_has_gone,
        expiring_what_is_not_there_refuses_the_loads_that_run,
        expiring_a_tombstone_keeps_its_hold,
        bytes_without_the_header_of_the_change_are_refused,
        many_changes_are_one_notice_and_have_a_bound,
        braces_in_a_key_are_refused_before_anything_is_sent,
        a_scan_finds_every_entry_and_no_companion,
        discarding_needs_the_version_and_spares_tombstones,
        without_memory_values_are_refused_and_invalidations_get_through,
    }
    leases {
        one_caller_gets_the_lease_and_the_others_learn_who,
        asking_again_with_the_same_token_gives_the_same_lease,
        a_refused_value_is_no_answer,
        nothing_loaded_before_an_invalidation_is_stored_after_it,
        nothing_loaded_before_a_set_replaces_it,
        a_load_that_saw_a_value_does_not_store_over_its_absence,
        a_load_that_took_too_long_is_refused_by_the_servers_clock,
        a_flush_during_a_load_refuses_its_store,
        a_pattern_removal_refuses_the_loads_that_run,
        a_hold_refuses_loads_that_began_after_the_invalidation_too,
        a_repeated_commit_says_that_it_is_done,
        a_lock_is_renewed_by_its_holder_only_and_never_made_again,
        a_lock_is_taken_over_from_the_holder_that_was_waited_for_only,
        a_recorded_error_answers_until_it_ends_or_the_key_changes,
        a_failure_from_before_an_invalidation_is_not_recorded,
        waiters_hear_how_a_load_ends,
        a_commit_without_a_lease_respects_the_lock_of_others,
        named_locks_exclude_each_other_and_number_their_holders,
    }
    marks {
        a_lost_mark_gets_another_version,
        versions_are_made_by_use_and_are_the_same_for_everybody,
        moving_a_mark_gives_it_the_id_of_the_notice,
        concurrent_moves_all_count,
        a_hold_is_told_to_everybody_and_ends,
    }
    log {
        every_mutation_reaches_every_node,
        a_notice_arrives_within_milliseconds,
        loads_are_not_announced,
        a_flushed_log_is_a_gap,
    }
    interleavings {
        no_interleaving_stores_what_was_loaded_before_a_mutation,
    }
}
