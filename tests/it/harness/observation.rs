//! Waiting, logs and secrets.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use support::{Canary, LogCapture, Stopwatch, wait_until, wait_until_blocking};

#[tokio::test]
async fn waiting_ends_as_soon_as_the_condition_holds() {
    let looks = AtomicU32::new(0);
    let stopwatch = Stopwatch::start();
    wait_until(Duration::from_secs(60), "the third look", async || {
        looks.fetch_add(1, Ordering::Relaxed) == 2
    })
    .await;
    assert!(stopwatch.elapsed() < Duration::from_secs(30));
    assert_eq!(looks.into_inner(), 3);
}

#[tokio::test]
async fn waiting_in_vain_names_what_was_waited_for() {
    let waiting = wait_until(Duration::from_millis(20), "pigs fly", async || false);
    let failure = tokio::spawn(waiting).await.unwrap_err().into_panic();
    let message = failure.downcast::<String>().unwrap();
    assert!(
        message.contains("pigs fly") && message.contains("observation.rs"),
        "{message}"
    );
}

#[tokio::test]
async fn waiting_in_vain_ends_even_when_the_condition_hangs() {
    let waiting = wait_until(Duration::from_millis(20), "for ever", async || {
        std::future::pending().await
    });
    assert!(tokio::spawn(waiting).await.is_err());
}

#[test]
fn waiting_without_a_runtime_ends_as_well() {
    wait_until_blocking(Duration::from_secs(1), "at once", || true);
    let failure =
        std::panic::catch_unwind(|| wait_until_blocking(Duration::from_millis(20), "never", || false));
    assert_eq!(
        *failure.unwrap_err().downcast::<String>().unwrap(),
        "not within 20ms: never"
    );
}

#[test]
fn log_lines_of_all_threads_are_kept_and_searched_for_secrets() {
    let logs = LogCapture::start();
    let canary = Canary::new();
    tracing::debug!(key = "of this test", "connected");
    let secret = canary.secret().to_owned();
    std::thread::spawn(move || tracing::trace!(url = %format!("redis://:{secret}@host"), "connecting"))
        .join()
        .unwrap();
    logs.assert_line(&["DEBUG", "connected", "of this test"]);
    assert_eq!(logs.lines_with("of this test").len(), 1);
    assert!(std::panic::catch_unwind(|| logs.assert_line(&["never logged"])).is_err());
    assert_eq!(canary.found_in(&logs.text()), Some("plain"));
    Canary::new().assert_absent("the log", &logs.text());
    assert_eq!(
        canary.found_in(&LogCapture::start().text()),
        None,
        "a later capture begins empty"
    );
}
