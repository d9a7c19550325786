//! The scenarios that `cargo run -p tests --bin soak` runs for hours, for seconds.

use support::soak::{Run, Scenario};

use super::*;

async fn short(scenario: Scenario, length: Duration) {
    let run = Run::short(length, env!("CARGO_BIN_EXE_soak"));
    run.run(scenario).await.assert_hold();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_whose_redis_is_killed_again_and_again_answer_every_request() {
    short(Scenario::S1, seconds(12)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_of_many_keys_read_nothing_superseded_while_all_is_well() {
    short(Scenario::S2, seconds(8)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_no_call_fails_and_nobody_reads_what_was_superseded_for_long() {
    short(Scenario::S3, seconds(25)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stampede_loads_once_in_each_of_many_rounds() {
    short(Scenario::S4, seconds(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_keys_that_vanish_at_once_are_loaded_a_few_at_a_time() {
    short(Scenario::S5, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_by_sentinels_fails_no_call() {
    // Two rounds: the one that was killed first is master again.
    short(Scenario::S6, seconds(6)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_and_resharding_of_a_cluster_fail_no_call() {
    short(Scenario::S7, Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_leaving_callers_leaves_no_wrong_value_and_no_waiter() {
    short(Scenario::S8, seconds(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_and_under_unique_keys_memory_stays_within_the_bound() {
    short(Scenario::S9, seconds(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_many_want_is_one_at_a_time_whoever_is_frozen_or_killed() {
    short(Scenario::S10, seconds(8)).await;
}
