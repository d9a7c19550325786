//! Results: values, options, errors, and aliases of them.

use cache_core::cached;

use super::{Refused, check, for_each_tier, here, ran};

#[derive(Debug, PartialEq)]
struct NotClone;

type Answer<T> = Result<T, Refused>;
type Found = Option<u64>;

#[cached(cache = here(), prefix = "s33")]
async fn option_result(id: u64) -> Option<String> {
    ran("option_result");
    Some(id.to_string())
}

#[cached(cache = here(), prefix = "s34")]
async fn none_result(id: u64) -> Option<String> {
    ran("none_result");
    (id == 0).then(String::new)
}

#[cached(cache = here(), prefix = "s35")]
async fn fallible(id: u64) -> Result<u64, Refused> {
    ran("fallible");
    if id == 0 {
        return Err(Refused);
    }
    Ok(id)
}

#[cached(cache = here(), prefix = "s36")]
async fn fallible_option(id: u64) -> Result<Option<u64>, NotClone> {
    ran("fallible_option");
    Ok((id == 0).then_some(7))
}

#[cached(cache = here(), prefix = "s37", result = true)]
async fn alias_of_result(id: u64) -> Answer<u64> {
    ran("alias_of_result");
    Ok(id)
}

#[cached(cache = here(), prefix = "s38", option = true)]
async fn alias_of_option(id: u64) -> Found {
    ran("alias_of_option");
    Some(id)
}

#[cached(cache = here(), prefix = "s39")]
async fn alias_named_result(id: u64) -> std::io::Result<u64> {
    ran("alias_named_result");
    Ok(id)
}

#[cached(cache = here(), prefix = "s40", result = false)]
async fn result_as_a_value(id: u64) -> Result<u64, String> {
    ran("result_as_a_value");
    Err(id.to_string())
}

#[cached(cache = here(), prefix = "s41")]
async fn question_mark(text: &str) -> Result<u64, std::num::ParseIntError> {
    ran("question_mark");
    let number: u64 = text.parse()?;
    if number > 5 {
        return Ok(number * 2);
    }
    Ok(number)
}

#[cached(cache = here(), prefix = "s42")]
async fn boxed_error(text: String) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    ran("boxed_error");
    Ok(text.parse()?)
}

#[tokio::test]
async fn results_of_every_form_are_kept() {
    for_each_tier(async || {
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
    })
    .await;
}
