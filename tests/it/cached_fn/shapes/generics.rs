//! Type and const parameters, and `impl Trait`.

use std::fmt::{Debug, Display};

use cache_core::key::KeyPart;
use cache_core::{CacheValue, cached};

use super::{check, for_each_tier, here, ran};

#[cached(cache = here(), prefix = "s26", key = name.as_ref())]
async fn impl_argument_by_an_expression(name: impl AsRef<str> + Send) -> usize {
    ran("impl_argument_by_an_expression");
    name.as_ref().len()
}

#[cached(cache = here(), prefix = "s27")]
async fn impl_argument(id: impl KeyPart + Display + Send) -> String {
    ran("impl_argument");
    id.to_string()
}

#[cached(cache = here(), prefix = "s28")]
async fn generic<T: KeyPart + Debug + Send>(id: T) -> String {
    ran("generic");
    format!("{id:?}")
}

#[cached(cache = here(), prefix = "s29")]
async fn generic_where<T>(id: T) -> String
where
    T: KeyPart + Debug + Send + 'static,
{
    ran("generic_where");
    format!("{id:?}")
}

#[cached(cache = here(), prefix = "s30")]
async fn generic_result<T: CacheValue + Clone + Default>(id: u64) -> T {
    ran("generic_result");
    let _ = id;
    T::default()
}

#[cached(cache = here(), prefix = "s31", skip(source))]
async fn generic_skipped<S: Fn() -> u64 + Send + Sync>(source: &S, id: u64) -> u64 {
    ran("generic_skipped");
    source() + id
}

#[cached(cache = here(), prefix = "s32")]
async fn const_generic<const N: usize>(id: u64) -> usize {
    ran("const_generic");
    N + id as usize
}

#[tokio::test]
async fn generic_functions_have_an_entry_for_each_type() {
    for_each_tier(async || {
        check!(
            "impl_argument_by_an_expression",
            impl_argument_by_an_expression("a").await,
            impl_argument_by_an_expression::key("a"),
            "s26:a"
        );
        check!(
            "impl_argument",
            impl_argument(7).await,
            impl_argument::key(7),
            "s27:7"
        );
        check!("generic", generic(7_u8).await, generic::key(7_u8), "s28:u8:7");
        check!(
            "generic_where",
            generic_where(7_u8).await,
            generic_where::key(7_u8),
            "s29:u8:7"
        );
        check!(
            "generic_result",
            generic_result::<String>(7).await,
            generic_result::key::<String>(7),
            "s30:alloc.string.String:7"
        );
        check!(
            "generic_skipped",
            generic_skipped(&|| 1, 7).await,
            generic_skipped::key(7),
            "s31:7"
        );
        check!(
            "const_generic",
            const_generic::<3>(7).await,
            const_generic::key::<3>(7),
            "s32:3:7"
        );
    })
    .await;
}
