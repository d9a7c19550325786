//! Keys: left out, hidden, by template and by expression.

use cache_core::cached;

use super::{Db, check, for_each_tier, here, ran};

struct Opts {
    lang: String,
}

#[cached(cache = here(), prefix = "s21", skip(db))]
async fn skipped(db: &Db, id: u64) -> u64 {
    ran("skipped");
    db.0 + id
}

#[cached(cache = here(), prefix = "s22", secret(token))]
async fn secret(id: u64, token: &str) -> usize {
    ran("secret");
    token.len() + id as usize
}

#[cached(cache = here(), key = "s23:{id}:{opts.lang}")]
async fn template(id: u64, opts: &Opts) -> String {
    ran("template");
    format!("{id}{}", opts.lang)
}

#[cached(cache = here(), prefix = "s24", key = "daily:{pair.0}:{pair.1}")]
async fn template_of_tuple_fields(pair: (u64, u64)) -> u64 {
    ran("template_of_tuple_fields");
    pair.0 + pair.1
}

#[cached(cache = here(), prefix = "s25", key = (name.to_lowercase(), id % 10))]
async fn key_expressions(name: &str, id: u64) -> String {
    ran("key_expressions");
    format!("{}{}", name.to_lowercase(), id % 10)
}

#[cached(cache = here(), prefix = "s57", skip(id))]
async fn everything_skipped(id: u64) -> u64 {
    ran("everything_skipped");
    id
}

#[cached(cache = here(), prefix = "s50", version = 2)]
async fn versioned(id: u64) -> u64 {
    ran("versioned");
    id
}

#[tokio::test]
async fn keys_are_made_as_the_options_say() {
    let opts = || Opts {
        lang: "de".to_owned(),
    };
    let db = Db(1);
    for_each_tier(async || {
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
            "everything_skipped",
            everything_skipped(7).await,
            everything_skipped::key(),
            "s57"
        );
        check!("versioned", versioned(7).await, versioned::key(7), "s50:v2:7");
    })
    .await;
}
