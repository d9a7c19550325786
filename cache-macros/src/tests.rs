//! What a few typical functions expand to, so that a change of the expansion is seen for what it is.
//!
//! After a deliberate change run with `UPDATE_EXPANSIONS=1` and read the difference.

use std::path::Path;

use proc_macro2::TokenStream;
use quote::quote;

use crate::writes::Write;

/// Compares the pretty-printed tokens with a file beside this one.
#[track_caller]
fn check(name: &str, expansion: TokenStream) {
    let file = syn::parse2(expansion).expect("an expansion is made of items");
    let text = prettyplease::unparse(&file);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/expansions/{name}.txt"));
    if std::env::var_os("UPDATE_EXPANSIONS").is_some() {
        std::fs::write(&path, &text).expect("the file can be written");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == known,
        "{} is out of date; the expansion is now:\n{text}",
        path.display()
    );
}

#[test]
fn a_free_function_with_owned_arguments() {
    let item = quote! {
        /// The last price.
        pub async fn quote(symbol: String) -> u64 { symbol.len() as u64 }
    };
    check(
        "free_function",
        crate::read(quote!(ttl = "5m", prefix = "quote"), &item),
    );
}

/// The manual shows the function of its first example, with short paths.
#[test]
fn the_manual_shows_what_a_function_expands_to() {
    let item = quote! {
        async fn quote(symbol: String) -> u64 { symbol.len() as u64 }
    };
    let expansion = crate::read(quote!(ttl = "5m", prefix = "quote"), &item);
    let mut file: syn::File = syn::parse2(expansion).expect("an expansion is made of items");
    file.items.retain_mut(|item| match item {
        syn::Item::Fn(function) => {
            function.attrs.clear();
            function.sig.ident == "quote" || function.sig.ident == "__quote_load"
        }
        _ => false,
    });
    let long = prettyplease::unparse(&file);
    let paths = [
        "::cache_core::__private::",
        "::core::result::",
        "::core::option::",
        "::core::time::",
        "::std::boxed::",
    ];
    let short = paths.iter().fold(long, |text, path| text.replace(path, ""));
    let shown = prettyplease::unparse(&syn::parse_file(&short).expect("short paths are paths"));

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cache-core/src/cached.md");
    let manual = std::fs::read_to_string(&path).expect("the manual is there");
    let (before, rest) = manual
        .split_once("# What it expands to")
        .expect("the manual shows it");
    let (prose, rest) = rest.split_once("```text\n").expect("as text");
    let (known, after) = rest.split_once("```").expect("which ends");
    if std::env::var_os("UPDATE_EXPANSIONS").is_some() {
        let manual = format!("{before}# What it expands to{prose}```text\n{shown}```{after}");
        std::fs::write(&path, manual).expect("the manual can be written");
        return;
    }
    assert_eq!(known, shown, "the manual shows something else");
}

#[test]
fn a_fallible_function_with_borrowed_arguments_and_most_options() {
    let options = quote! {
        cache = db.cache, skip(db), key = "order:{id}", policy = "orders", stale = "1h", negative_ttl = "10s",
        tags = ["order:{id}", "customer:{result.customer}"], if = id > 0, store_if = |order| order.open,
        hard_timeout = "2s", distributed = false, codec = Postcard, companions = false
    };
    let item = quote! {
        async fn order(db: &Db, id: u64) -> Result<Option<Order>, DbError> { db.order(id).await }
    };
    check("fallible_function", crate::read(options, &item));
}

#[test]
fn a_method_of_a_block() {
    let item = quote! {
        impl Users {
            #[cached(ttl = 30, key = "user:{self.tenant}:{id}")]
            async fn user(&self, id: UserId) -> Option<User> { self.db.user(id).await }
        }
    };
    check("method", crate::read(quote!(cache = self.cache), &item));
}

#[test]
fn a_function_over_ids() {
    let item = quote! {
        async fn users(db: Arc<Db>, ids: Vec<u64>) -> Result<HashMap<u64, User>, DbError> { db.users(ids).await }
    };
    check(
        "batch",
        crate::read(quote!(batch, prefix = "user", skip(db)), &item),
    );
}

#[test]
fn functions_that_write() {
    let put = quote!(
        async fn rename(id: u64, name: String) -> Result<User, DbError> {
            save(id, name).await
        }
    );
    check(
        "put",
        crate::write(
            Write::Put,
            quote!(user(id), value = |user| Some(user.clone())),
            &put,
        ),
    );
    let evict = quote!(
        async fn remove(&self, id: u64) -> Result<(), DbError> {
            self.db.remove(id).await
        }
    );
    let options = quote!(self.user(id), tags = ["user:{id}"], cache = self.cache);
    check("evict", crate::write(Write::Evict, options, &evict));
}

#[test]
fn after_a_mistake_the_function_is_left_as_it_was() {
    let item = quote! {
        async fn quote(symbol: String) -> u64 { symbol.len() as u64 }
    };
    check(
        "mistake",
        crate::read(quote!(ttl = "5 minuets", skip(sybmol)), &item),
    );
}
