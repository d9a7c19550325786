//! Arguments: borrowed and owned, patterns, and everything that has a form in keys.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cache_core::cached;
use cache_core::key::Float;
use serde::Serialize;

use super::{Db, User, ada, check, for_each_tier, here, ran};

#[derive(Clone, Serialize)]
struct Opts {
    lang: String,
    page: u32,
}

#[cached(cache = here())]
async fn nothing() -> u64 {
    ran("nothing");
    7
}

#[cached(cache = here(), ttl = "5m")]
async fn integer(id: u64) -> u64 {
    ran("integer");
    id
}

#[cached(cache = here(), ttl = 60, prefix = "s01")]
async fn borrowed_text(name: &str) -> String {
    ran("borrowed_text");
    name.to_owned()
}

#[cached(cache = here(), prefix = "s02")]
async fn owned_text(name: String) -> String {
    ran("owned_text");
    name
}

#[cached(cache = here(), prefix = "s03")]
async fn static_text(name: &'static str) -> usize {
    ran("static_text");
    name.len()
}

#[cached(cache = here(), prefix = "s04")]
async fn named_lifetime<'a>(name: &'a str, other: &'a str) -> usize {
    ran("named_lifetime");
    name.len() + other.len()
}

#[cached(cache = here(), prefix = "s05")]
async fn three(symbol: &str, day: u32, adjusted: bool) -> String {
    ran("three");
    format!("{symbol}{day}{adjusted}")
}

#[cached(cache = here(), prefix = "s06")]
async fn slice(ids: &[u64]) -> u64 {
    ran("slice");
    ids.iter().sum()
}

#[cached(cache = here(), prefix = "s07")]
async fn array(ids: [u8; 3]) -> u8 {
    ran("array");
    ids[0]
}

#[cached(cache = here(), prefix = "s08")]
async fn vector(ids: Vec<u64>) -> usize {
    ran("vector");
    ids.len()
}

#[cached(cache = here(), prefix = "s09")]
async fn option_argument(id: Option<u64>) -> u64 {
    ran("option_argument");
    id.unwrap_or(0)
}

#[cached(cache = here(), prefix = "s10")]
async fn tuple_argument(pair: (u64, String)) -> u64 {
    ran("tuple_argument");
    pair.0
}

#[cached(cache = here(), prefix = "s11")]
async fn pattern((a, b): (u64, u64)) -> u64 {
    ran("pattern");
    a + b
}

#[cached(cache = here(), prefix = "s12", skip(db))]
async fn pattern_of_a_struct(db: &Db, User { id, name }: User) -> String {
    ran("pattern_of_a_struct");
    format!("{}{id}{name}", db.0)
}

#[cached(cache = here(), prefix = "s13")]
async fn mutable_argument(mut id: u64) -> u64 {
    ran("mutable_argument");
    id += 1;
    id
}

#[cached(cache = here(), prefix = "s14")]
async fn serialised_argument(opts: Opts) -> u32 {
    ran("serialised_argument");
    opts.page
}

#[cached(cache = here(), prefix = "s15")]
async fn serialised_reference(opts: &Opts) -> u32 {
    ran("serialised_reference");
    opts.page
}

#[cached(cache = here(), prefix = "s16")]
async fn map_argument(map: HashMap<String, u32>) -> usize {
    ran("map_argument");
    map.len()
}

#[cached(cache = here(), prefix = "s17")]
async fn cow(name: Cow<'_, str>) -> usize {
    ran("cow");
    name.len()
}

#[cached(cache = here(), prefix = "s18")]
async fn shared_argument(name: Arc<str>) -> usize {
    ran("shared_argument");
    name.len()
}

#[cached(cache = here(), prefix = "s19")]
async fn float_in_its_wrapper(strike: Float) -> u64 {
    ran("float_in_its_wrapper");
    strike.0 as u64
}

#[cached(cache = here(), prefix = "s20")]
async fn duration_argument(window: Duration) -> u64 {
    ran("duration_argument");
    window.as_secs()
}

#[tokio::test]
async fn functions_take_arguments_of_every_kind() {
    let opts = || Opts {
        lang: "de".to_owned(),
        page: 3,
    };
    let db = Db(1);
    let map = || HashMap::from([("b".to_owned(), 2), ("a".to_owned(), 1)]);
    let minute = Duration::from_secs(60);
    for_each_tier(async || {
        check!(
            "nothing",
            nothing().await,
            nothing::key(),
            "it/cached_fn/shapes/arguments/nothing"
        );
        check!(
            "integer",
            integer(7).await,
            integer::key(7),
            "it/cached_fn/shapes/arguments/integer:7"
        );
        check!(
            "borrowed_text",
            borrowed_text("a").await,
            borrowed_text::key("a"),
            "s01:a"
        );
        check!(
            "owned_text",
            owned_text("a".into()).await,
            owned_text::key("a".into()),
            "s02:a"
        );
        check!(
            "static_text",
            static_text("a").await,
            static_text::key("a"),
            "s03:a"
        );
        check!(
            "named_lifetime",
            named_lifetime("a", "b").await,
            named_lifetime::key("a", "b"),
            "s04:a:b"
        );
        check!(
            "three",
            three("GOOG", 20, true).await,
            three::key("GOOG", 20, true),
            "s05:GOOG:20:true"
        );
        check!("slice", slice(&[1, 2]).await, slice::key(&[1, 2]), "s06:(1,2)");
        check!(
            "array",
            array([1, 2, 3]).await,
            array::key([1, 2, 3]),
            "s07:(1,2,3)"
        );
        check!("vector", vector(vec![1]).await, vector::key(vec![1]), "s08:(1)");
        check!(
            "option_argument",
            option_argument(None).await,
            option_argument::key(None),
            "s09:~"
        );
        check!(
            "tuple_argument",
            tuple_argument((1, "a".into())).await,
            tuple_argument::key((1, "a".into())),
            "s10:(1,a)"
        );
        check!(
            "pattern",
            pattern((1, 2)).await,
            pattern::key((1, 2)),
            "s11:(1,2)"
        );
        check!(
            "pattern_of_a_struct",
            pattern_of_a_struct(&db, ada()).await,
            pattern_of_a_struct::key(ada()),
            "s12:@((id,1),(name,ada))"
        );
        check!(
            "mutable_argument",
            mutable_argument(1).await,
            mutable_argument::key(1),
            "s13:1"
        );
        check!(
            "serialised_argument",
            serialised_argument(opts()).await,
            serialised_argument::key(opts()),
            "s14:@((lang,de),(page,3))"
        );
        check!(
            "serialised_reference",
            serialised_reference(&opts()).await,
            serialised_reference::key(&opts()),
            "s15:@((lang,de),(page,3))"
        );
        check!(
            "map_argument",
            map_argument(map()).await,
            map_argument::key(map()),
            "s16:((a,1),(b,2))"
        );
        check!(
            "cow",
            cow(Cow::Borrowed("a")).await,
            cow::key(Cow::Borrowed("a")),
            "s17:a"
        );
        check!(
            "shared_argument",
            shared_argument("a".into()).await,
            shared_argument::key("a".into()),
            "s18:a"
        );
        check!(
            "float_in_its_wrapper",
            float_in_its_wrapper(Float(1.5)).await,
            float_in_its_wrapper::key(Float(1.5)),
            "s19:1.5e0"
        );
        check!(
            "duration_argument",
            duration_argument(minute).await,
            duration_argument::key(minute),
            "s20:60s"
        );
    })
    .await;
}
