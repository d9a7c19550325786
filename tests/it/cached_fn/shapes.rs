//! The shapes of functions that `#[cached]` takes. Each is called twice and runs once.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::{Debug, Display};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::key::{Float, KeyPart};
use cache_core::{CacheValue, cached};
use serde::{Deserialize, Serialize};

static RUNS: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

fn ran(name: &str) {
    *RUNS.lock().unwrap().entry(name.to_owned()).or_default() += 1;
}

/// The call gives the same twice, its body ran once, and its key is what it should be.
macro_rules! check {
    ($name:literal, $call:expr, $key:expr, $text:literal) => {{
        let (first, second) = ($call, $call);
        assert_eq!(first, second, "{}", $name);
        assert_eq!(RUNS.lock().unwrap().get($name), Some(&1), "{} ran once", $name);
        assert_eq!($key.unwrap().text(), $text);
    }};
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
}

#[derive(Clone, Debug, PartialEq)]
struct Refused;

#[derive(Debug, PartialEq)]
struct NotClone;

#[derive(Clone, Serialize)]
struct Opts {
    lang: String,
    page: u32,
}

type Answer<T> = Result<T, Refused>;
type Found = Option<u64>;

struct Db(u64);

#[cached]
async fn nothing() -> u64 {
    ran("nothing");
    7
}

#[cached(ttl = "5m")]
async fn integer(id: u64) -> u64 {
    ran("integer");
    id
}

#[cached(ttl = 60, prefix = "s01")]
async fn borrowed_text(name: &str) -> String {
    ran("borrowed_text");
    name.to_owned()
}

#[cached(prefix = "s02")]
async fn owned_text(name: String) -> String {
    ran("owned_text");
    name
}

#[cached(prefix = "s03")]
async fn static_text(name: &'static str) -> usize {
    ran("static_text");
    name.len()
}

#[cached(prefix = "s04")]
async fn named_lifetime<'a>(name: &'a str, other: &'a str) -> usize {
    ran("named_lifetime");
    name.len() + other.len()
}

#[cached(prefix = "s05")]
async fn three(symbol: &str, day: u32, adjusted: bool) -> String {
    ran("three");
    format!("{symbol}{day}{adjusted}")
}

#[cached(prefix = "s06")]
async fn slice(ids: &[u64]) -> u64 {
    ran("slice");
    ids.iter().sum()
}

#[cached(prefix = "s07")]
async fn array(ids: [u8; 3]) -> u8 {
    ran("array");
    ids[0]
}

#[cached(prefix = "s08")]
async fn vector(ids: Vec<u64>) -> usize {
    ran("vector");
    ids.len()
}

#[cached(prefix = "s09")]
async fn option_argument(id: Option<u64>) -> u64 {
    ran("option_argument");
    id.unwrap_or(0)
}

#[cached(prefix = "s10")]
async fn tuple_argument(pair: (u64, String)) -> u64 {
    ran("tuple_argument");
    pair.0
}

#[cached(prefix = "s11")]
async fn pattern((a, b): (u64, u64)) -> u64 {
    ran("pattern");
    a + b
}

#[cached(prefix = "s12", skip(db))]
async fn pattern_of_a_struct(db: &Db, User { id, name }: User) -> String {
    ran("pattern_of_a_struct");
    format!("{}{id}{name}", db.0)
}

#[cached(prefix = "s13")]
async fn mutable_argument(mut id: u64) -> u64 {
    ran("mutable_argument");
    id += 1;
    id
}

#[cached(prefix = "s14")]
async fn serialised_argument(opts: Opts) -> u32 {
    ran("serialised_argument");
    opts.page
}

#[cached(prefix = "s15")]
async fn serialised_reference(opts: &Opts) -> u32 {
    ran("serialised_reference");
    opts.page
}

#[cached(prefix = "s16")]
async fn map_argument(map: HashMap<String, u32>) -> usize {
    ran("map_argument");
    map.len()
}

#[cached(prefix = "s17")]
async fn cow(name: Cow<'_, str>) -> usize {
    ran("cow");
    name.len()
}

#[cached(prefix = "s18")]
async fn shared_argument(name: Arc<str>) -> usize {
    ran("shared_argument");
    name.len()
}

#[cached(prefix = "s19")]
async fn float_in_its_wrapper(strike: Float) -> u64 {
    ran("float_in_its_wrapper");
    strike.0 as u64
}

#[cached(prefix = "s20")]
async fn duration_argument(window: Duration) -> u64 {
    ran("duration_argument");
    window.as_secs()
}

#[cached(prefix = "s21", skip(db))]
async fn skipped(db: &Db, id: u64) -> u64 {
    ran("skipped");
    db.0 + id
}

#[cached(prefix = "s22", secret(token))]
async fn secret(id: u64, token: &str) -> usize {
    ran("secret");
    token.len() + id as usize
}

#[cached(key = "s23:{id}:{opts.lang}")]
async fn template(id: u64, opts: &Opts) -> String {
    ran("template");
    format!("{id}{}", opts.lang)
}

#[cached(prefix = "s24", key = "daily:{pair.0}:{pair.1}")]
async fn template_of_tuple_fields(pair: (u64, u64)) -> u64 {
    ran("template_of_tuple_fields");
    pair.0 + pair.1
}

#[cached(prefix = "s25", key = (name.to_lowercase(), id % 10))]
async fn key_expressions(name: &str, id: u64) -> String {
    ran("key_expressions");
    format!("{}{}", name.to_lowercase(), id % 10)
}

#[cached(prefix = "s26", key = name.as_ref())]
async fn impl_argument_by_an_expression(name: impl AsRef<str> + Send) -> usize {
    ran("impl_argument_by_an_expression");
    name.as_ref().len()
}

#[cached(prefix = "s27")]
async fn impl_argument(id: impl KeyPart + Display + Send) -> String {
    ran("impl_argument");
    id.to_string()
}

#[cached(prefix = "s28")]
async fn generic<T: KeyPart + Debug + Send>(id: T) -> String {
    ran("generic");
    format!("{id:?}")
}

#[cached(prefix = "s29")]
async fn generic_where<T>(id: T) -> String
where
    T: KeyPart + Debug + Send + 'static,
{
    ran("generic_where");
    format!("{id:?}")
}

#[cached(prefix = "s30")]
async fn generic_result<T: CacheValue + Clone + Default>(id: u64) -> T {
    ran("generic_result");
    let _ = id;
    T::default()
}

#[cached(prefix = "s31", skip(source))]
async fn generic_skipped<S: Fn() -> u64 + Send + Sync>(source: &S, id: u64) -> u64 {
    ran("generic_skipped");
    source() + id
}

#[cached(prefix = "s32")]
async fn const_generic<const N: usize>(id: u64) -> usize {
    ran("const_generic");
    N + id as usize
}

#[cached(prefix = "s33")]
async fn option_result(id: u64) -> Option<String> {
    ran("option_result");
    Some(id.to_string())
}

#[cached(prefix = "s34")]
async fn none_result(id: u64) -> Option<String> {
    ran("none_result");
    (id == 0).then(String::new)
}

#[cached(prefix = "s35")]
async fn fallible(id: u64) -> Result<u64, Refused> {
    ran("fallible");
    if id == 0 {
        return Err(Refused);
    }
    Ok(id)
}

#[cached(prefix = "s36")]
async fn fallible_option(id: u64) -> Result<Option<u64>, NotClone> {
    ran("fallible_option");
    Ok((id == 0).then_some(7))
}

#[cached(prefix = "s37", result = true)]
async fn alias_of_result(id: u64) -> Answer<u64> {
    ran("alias_of_result");
    Ok(id)
}

#[cached(prefix = "s38", option = true)]
async fn alias_of_option(id: u64) -> Found {
    ran("alias_of_option");
    Some(id)
}

#[cached(prefix = "s39")]
async fn alias_named_result(id: u64) -> std::io::Result<u64> {
    ran("alias_named_result");
    Ok(id)
}

#[cached(prefix = "s40", result = false)]
async fn result_as_a_value(id: u64) -> Result<u64, String> {
    ran("result_as_a_value");
    Err(id.to_string())
}

#[cached(prefix = "s41")]
async fn question_mark(text: &str) -> Result<u64, std::num::ParseIntError> {
    ran("question_mark");
    let number: u64 = text.parse()?;
    if number > 5 {
        return Ok(number * 2);
    }
    Ok(number)
}

#[cached(prefix = "s42")]
async fn boxed_error(text: String) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    ran("boxed_error");
    Ok(text.parse()?)
}

#[cached(prefix = "s43")]
fn impl_future(id: u64) -> impl Future<Output = u64> + Send {
    async move {
        ran("impl_future");
        id
    }
}

#[cached(prefix = "s44")]
fn impl_future_of_a_reference(name: &str) -> impl Future<Output = Result<String, Refused>> + Send {
    let name = name.to_owned();
    async move {
        ran("impl_future_of_a_reference");
        Ok(name)
    }
}

#[cached(prefix = "s45")]
fn boxed_future(name: &str) -> Pin<Box<dyn Future<Output = String> + Send + '_>> {
    Box::pin(async move {
        ran("boxed_future");
        name.to_owned()
    })
}

#[cached(prefix = "s46")]
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

/// Documented, with attributes of its own.
#[cached(prefix = "s47")]
#[must_use]
#[allow(clippy::let_and_return)]
pub(crate) async fn attributes(id: u64) -> u64 {
    ran("attributes");
    let id = id;
    id
}

#[cached(prefix = "s48", companions = entry)]
async fn renamed_companions(id: u64) -> u64 {
    ran("renamed_companions");
    id
}

#[cached(prefix = "s49", companions = false)]
async fn without_companions(id: u64) -> u64 {
    ran("without_companions");
    id
}

#[cached(prefix = "s50", version = 2)]
async fn versioned(id: u64) -> u64 {
    ran("versioned");
    id
}

#[cached(prefix = "s51", detach(name), eager = 0.8, stale = "1h", soft_timeout = "1s")]
async fn detached(name: &str) -> String {
    ran("detached");
    name.to_owned()
}

#[cached(prefix = "s52", background, stale = "1h", jitter = 0.0, throttle = "5s")]
async fn background(id: u64) -> u64 {
    ran("background");
    id
}

#[cached(
    prefix = "s53",
    hard_timeout = "5s",
    error_ttl = "1s",
    soft_timeout = "1s",
    stale = "1h"
)]
async fn timeouts(id: u64) -> Result<u64, cache_core::Error> {
    ran("timeouts");
    Ok(id)
}

#[cached(prefix = "s54", ttl = Duration::from_secs(id))]
async fn ttl_of_an_argument(id: u64) -> u64 {
    ran("ttl_of_an_argument");
    id
}

#[cached(prefix = "s55", ttl = |user| Duration::from_secs(user.id))]
async fn ttl_of_the_result(id: u64) -> User {
    ran("ttl_of_the_result");
    User {
        id,
        name: String::new(),
    }
}

#[cached(prefix = "s56", tags = ["user:{id}", "name:{result.name}", format!("all:{id}")])]
async fn tags(id: u64) -> User {
    ran("tags");
    User {
        id,
        name: "Ada".to_owned(),
    }
}

#[cached(prefix = "s57", skip(id))]
async fn everything_skipped(id: u64) -> u64 {
    ran("everything_skipped");
    id
}

#[cached(prefix = "s58", eager = "xfetch", error(clone), negative_ttl = "1s")]
async fn stated_abilities(id: u64) -> Result<Option<u64>, Refused> {
    ran("stated_abilities");
    Ok(Some(id))
}

#[cached(prefix = "s59", borrowed)]
async fn run_in_the_caller(id: u64) -> u64 {
    ran("run_in_the_caller");
    id
}

#[cached(prefix = "s60", crate = cache_core)]
async fn with_a_path(r#type: u64) -> u64 {
    ran("with_a_path");
    r#type
}

#[cfg(not(test))]
#[cached(prefix = "s60")]
async fn with_a_path(id: u64) -> String {
    id.to_string()
}

#[cached(skip(self))]
impl Db {
    #[cached(prefix = "m01")]
    async fn by_reference(&self, id: u64) -> u64 {
        ran("by_reference");
        self.0 + id
    }

    #[cached(prefix = "m02")]
    async fn by_arc(self: Arc<Self>, id: u64) -> u64 {
        ran("by_arc");
        self.0 + id
    }

    #[cached(prefix = "m03", key = "{self.0}:{id}")]
    async fn with_a_field_in_the_key(&self, id: u64) -> u64 {
        ran("with_a_field_in_the_key");
        self.0 + id
    }

    #[cached(prefix = "m04")]
    pub(crate) async fn associated(id: u64) -> Result<u64, Refused> {
        ran("associated");
        Ok(Self::helper(id))
    }

    #[cached(prefix = "m05", detach(self), eager = 0.9)]
    async fn detached(&self, id: u64) -> u64 {
        ran("method_detached");
        self.0 + id
    }

    #[cached(prefix = "m06", companions = false)]
    async fn alone(&self, (a, b): (u64, u64), name: &str) -> Option<u64> {
        ran("alone");
        if name.is_empty() {
            return None;
        }
        Some(self.0 + a + b)
    }

    #[cached(prefix = "m07")]
    async fn generic<T: KeyPart + Display + Send>(&self, id: T) -> String {
        ran("generic_method");
        format!("{}{id}", self.0)
    }

    fn helper(id: u64) -> u64 {
        id
    }
}

impl Clone for Db {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

struct Repo<T> {
    values: Vec<T>,
}

#[cached(skip(self))]
impl<T: CacheValue + Clone> Repo<T> {
    #[cached(prefix = "m08")]
    async fn first(&self, id: u64) -> Option<T> {
        ran("first");
        self.values.get(id as usize).cloned()
    }
}

struct View<'a>(&'a str);

#[cached(skip(self))]
impl View<'_> {
    #[cached(prefix = "m09")]
    async fn of_a_borrowing_type(&self) -> String {
        ran("of_a_borrowing_type");
        self.0.to_owned()
    }
}

trait Users {
    fn user(&self, id: u64) -> impl Future<Output = Result<User, Refused>> + Send;
}

#[cached(skip(self))]
impl Users for Db {
    #[cached(prefix = "m10")]
    async fn user(&self, id: u64) -> Result<User, Refused> {
        ran("of_a_trait");
        Ok(User {
            id,
            name: self.0.to_string(),
        })
    }
}

#[tokio::test]
async fn functions_of_every_shape_run_once() {
    let opts = || Opts {
        lang: "de".to_owned(),
        page: 3,
    };
    let user = || User {
        id: 1,
        name: "a".to_owned(),
    };
    let db = Db(1);
    check!(
        "nothing",
        nothing().await,
        nothing::key(),
        "it/cached_fn/shapes/nothing"
    );
    check!(
        "integer",
        integer(7).await,
        integer::key(7),
        "it/cached_fn/shapes/integer:7"
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
        pattern_of_a_struct(&db, user()).await,
        pattern_of_a_struct::key(user()),
        "s12:@((id,1),(name,a))"
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
    let map = || HashMap::from([("b".to_owned(), 2), ("a".to_owned(), 1)]);
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
    let minute = Duration::from_secs(60);
    check!(
        "duration_argument",
        duration_argument(minute).await,
        duration_argument::key(minute),
        "s20:60s"
    );
    check!("skipped", skipped(&db, 7).await, skipped::key(7), "s21:7");
    check!(
        "secret",
        secret(7, "bearer-token").await,
        secret::key(7, "bearer-token"),
        "s22:7:#_qhMiXJcf986cjY39AuZkKHnfoB3c4KJSBRFC6YiMCw"
    );
    check!(
        "template",
        template(7, &opts()).await,
        template::key(7, &opts()),
        "s23:7:de"
    );
    check!(
        "template_of_tuple_fields",
        template_of_tuple_fields((1, 2)).await,
        template_of_tuple_fields::key((1, 2)),
        "s24:daily:1:2"
    );
    check!(
        "key_expressions",
        key_expressions("A", 12).await,
        key_expressions::key("A", 12),
        "s25:a:2"
    );
    assert_eq!(
        key_expressions("a", 22).await,
        "a2",
        "what the key does not tell apart is one entry"
    );
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
    check!(
        "option_result",
        option_result(7).await,
        option_result::key(7),
        "s33:7"
    );
    check!("none_result", none_result(7).await, none_result::key(7), "s34:7");
    check!("fallible", fallible(7).await, fallible::key(7), "s35:7");
    check!(
        "fallible_option",
        fallible_option(7).await,
        fallible_option::key(7),
        "s36:7"
    );
    check!(
        "alias_of_result",
        alias_of_result(7).await,
        alias_of_result::key(7),
        "s37:7"
    );
    check!(
        "alias_of_option",
        alias_of_option(7).await,
        alias_of_option::key(7),
        "s38:7"
    );
    check!(
        "alias_named_result",
        alias_named_result(7).await.unwrap(),
        alias_named_result::key(7),
        "s39:7"
    );
    check!(
        "result_as_a_value",
        result_as_a_value(7).await,
        result_as_a_value::key(7),
        "s40:7"
    );
    check!(
        "question_mark",
        question_mark("7").await,
        question_mark::key("7"),
        "s41:7"
    );
    check!(
        "boxed_error",
        boxed_error("7".into()).await.unwrap(),
        boxed_error::key("7".into()),
        "s42:7"
    );
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
    assert_eq!(recursive(9).await, 34);
    assert_eq!(RUNS.lock().unwrap()["recursive3"], 1);
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
        integer::key(7),
        "it/cached_fn/shapes/integer:7"
    );
    check!("versioned", versioned(7).await, versioned::key(7), "s50:v2:7");
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
        "everything_skipped",
        everything_skipped(7).await,
        everything_skipped::key(),
        "s57"
    );
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
}

#[tokio::test]
async fn methods_of_every_shape_run_once() {
    let db = Arc::new(Db(1));
    check!(
        "by_reference",
        db.by_reference(7).await,
        db.by_reference_key(7),
        "m01:7"
    );
    check!("by_arc", db.clone().by_arc(7).await, db.by_arc_key(7), "m02:7");
    check!(
        "with_a_field_in_the_key",
        db.with_a_field_in_the_key(7).await,
        db.with_a_field_in_the_key_key(7),
        "m03:1:7"
    );
    check!(
        "associated",
        Db::associated(7).await,
        Db::associated_key(7),
        "m04:7"
    );
    check!(
        "method_detached",
        db.detached(7).await,
        db.detached_key(7),
        "m05:7"
    );
    check!("alone", db.alone((1, 2), "a").await, db.by_arc_key(7), "m02:7");
    check!(
        "generic_method",
        db.generic(7_u8).await,
        db.generic_key(7_u8),
        "m07:u8:7"
    );
    let repo = Repo {
        values: vec![user_named("a")],
    };
    check!(
        "first",
        repo.first(0).await,
        repo.first_key(0),
        "m08:it.cached_fn.shapes.User:0"
    );
    let text = String::from("text");
    let view = View(&text);
    check!(
        "of_a_borrowing_type",
        view.of_a_borrowing_type().await,
        view.of_a_borrowing_type_key(),
        "m09"
    );
    check!("of_a_trait", db.user(7).await, db.user_key(7), "m10:7");
}

fn user_named(name: &str) -> User {
    User {
        id: 0,
        name: name.to_owned(),
    }
}

#[tokio::test]
async fn a_function_inside_another_is_cached_without_companions() {
    #[cached(prefix = "f01", companions = false)]
    async fn inner(id: u64) -> u64 {
        ran("inner");
        id
    }
    check!(
        "inner",
        inner(7).await,
        integer::key(7),
        "it/cached_fn/shapes/integer:7"
    );
}
