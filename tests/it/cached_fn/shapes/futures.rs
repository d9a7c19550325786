//! Functions that are not written `async fn`, and return a future all the same.

use std::future::Future;
use std::pin::Pin;

use cache_core::cached;

use super::{HERE, Refused, check, for_each_tier, here, ran, runs};

#[cached(cache = here(), prefix = "s43")]
#[allow(clippy::manual_async_fn)]
fn impl_future(id: u64) -> impl Future<Output = u64> + Send {
    async move {
        ran("impl_future");
        id
    }
}

#[cached(cache = here(), prefix = "s44")]
fn impl_future_of_a_reference(name: &str) -> impl Future<Output = Result<String, Refused>> + Send {
    let name = name.to_owned();
    async move {
        ran("impl_future_of_a_reference");
        Ok(name)
    }
}

#[cached(cache = here(), prefix = "s45")]
fn boxed_future(name: &str) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
    Box::pin(async move {
        ran("boxed_future");
        name.to_owned()
    })
}

#[cached(cache = here(), propagate(HERE), prefix = "s46")]
fn recursive(n: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        ran(&format!("recursive{n}"));
        if n < 2 {
            n
        } else {
            recursive(n - 1).await + recursive(n - 2).await
        }
    })
}

/// The load is a function of its own with a type that has a name, so the compiler need not look into this one to know
/// that it may move between threads.
#[cached(cache = here(), propagate(HERE), prefix = "s46-async")]
async fn recursive_async(n: u64) -> u64 {
    ran(&format!("recursive_async{n}"));
    if n < 2 {
        n
    } else {
        Box::pin(recursive_async(n - 1)).await + Box::pin(recursive_async(n - 2)).await
    }
}

#[tokio::test]
async fn functions_that_return_a_future_are_async_functions_too() {
    for_each_tier(async || {
        check!("impl_future", impl_future(7).await, impl_future::key(7), "s43:7");
        check!(
            "impl_future_of_a_reference",
            impl_future_of_a_reference("a").await,
            impl_future_of_a_reference::key("a"),
            "s44:a"
        );
        check!(
            "boxed_future",
            boxed_future("a").await,
            boxed_future::key("a"),
            "s45:a"
        );
        check!("recursive9", recursive(9).await, recursive::key(9), "s46:9");
        let inner = runs("recursive3");
        assert_eq!(recursive(9).await, 34);
        assert_eq!(runs("recursive3"), inner, "each step is an entry of its own");
        check!(
            "recursive_async9",
            recursive_async(9).await,
            recursive_async::key(9),
            "s46-async:9"
        );
    })
    .await;
}
