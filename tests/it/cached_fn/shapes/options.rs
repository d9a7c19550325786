//! Options that change how a function is expanded.

use std::time::Duration;

use cache_core::{CacheKey, cached};

use super::{Refused, User, check, for_each_tier, here, ran};

/// Documented, with attributes of its own.
#[cached(cache = here(), prefix = "s47")]
#[must_use]
#[allow(clippy::let_and_return)]
pub(crate) async fn attributes(id: u64) -> u64 {
    ran("attributes");
    let same = id;
    same
}

#[cached(cache = here(), prefix = "s48", companions = entry)]
async fn renamed_companions(id: u64) -> u64 {
    ran("renamed_companions");
    id
}

#[cached(cache = here(), prefix = "s49", companions = false)]
async fn without_companions(id: u64) -> u64 {
    ran("without_companions");
    id
}

#[cached(cache = here(), prefix = "s51", detach(name), eager = 0.8, stale = "1h", soft_timeout = "1s")]
async fn detached(name: &str) -> String {
    ran("detached");
    name.to_owned()
}

#[cached(cache = here(), prefix = "s52", background, stale = "1h", jitter = 0.0, throttle = "5s")]
async fn background(id: u64) -> u64 {
    ran("background");
    id
}

#[cached(cache = here(), prefix = "s53",
    hard_timeout = "5s",
    error_ttl = "1s",
    soft_timeout = "1s",
    stale = "1h"
)]
async fn timeouts(id: u64) -> Result<u64, cache_core::Error> {
    ran("timeouts");
    Ok(id)
}

#[cached(cache = here(), prefix = "s54", ttl = Duration::from_secs(id))]
async fn ttl_of_an_argument(id: u64) -> u64 {
    ran("ttl_of_an_argument");
    id
}

#[cached(cache = here(), prefix = "s55", ttl = |user| Duration::from_secs(user.id))]
async fn ttl_of_the_result(id: u64) -> User {
    ran("ttl_of_the_result");
    User {
        id,
        name: String::new(),
    }
}

#[cached(cache = here(), prefix = "s56", tags = ["user:{id}", "name:{result.name}", format!("all:{id}")])]
async fn tags(id: u64) -> User {
    ran("tags");
    User {
        id,
        name: "Ada".to_owned(),
    }
}

#[cached(cache = here(), prefix = "s58", eager = "xfetch", error(clone), negative_ttl = "1s")]
async fn stated_abilities(id: u64) -> Result<Option<u64>, Refused> {
    ran("stated_abilities");
    Ok(Some(id))
}

#[cached(cache = here(), prefix = "s59", borrowed)]
async fn run_in_the_caller(id: u64) -> u64 {
    ran("run_in_the_caller");
    id
}

#[cached(cache = here(), prefix = "s60", crate = cache_core)]
async fn with_a_path(r#type: u64) -> u64 {
    ran("with_a_path");
    r#type
}

#[cfg(not(test))]
#[cached(cache = here(), prefix = "s60")]
async fn with_a_path(id: u64) -> String {
    id.to_string()
}

#[tokio::test]
async fn options_of_every_kind_go_together_with_the_function() {
    for_each_tier(async || {
        check!("attributes", attributes(7).await, attributes::key(7), "s47:7");
        check!(
            "renamed_companions",
            renamed_companions(7).await,
            entry::key(7),
            "s48:7"
        );
        check!(
            "without_companions",
            without_companions(7).await,
            CacheKey::parse("s49:7"),
            "s49:7"
        );
        check!("detached", detached("a").await, detached::key("a"), "s51:a");
        check!("background", background(7).await, background::key(7), "s52:7");
        check!("timeouts", timeouts(7).await.unwrap(), timeouts::key(7), "s53:7");
        check!(
            "ttl_of_an_argument",
            ttl_of_an_argument(7).await,
            ttl_of_an_argument::key(7),
            "s54:7"
        );
        check!(
            "ttl_of_the_result",
            ttl_of_the_result(7).await,
            ttl_of_the_result::key(7),
            "s55:7"
        );
        check!("tags", tags(7).await, tags::key(7), "s56:7");
        check!(
            "stated_abilities",
            stated_abilities(7).await,
            stated_abilities::key(7),
            "s58:7"
        );
        check!(
            "run_in_the_caller",
            run_in_the_caller(7).await,
            run_in_the_caller::key(7),
            "s59:7"
        );
        check!("with_a_path", with_a_path(7).await, with_a_path::key(7), "s60:7");
    })
    .await;
}
