//! What `#[cached]` says about mistakes: one file in `ui/fail` for each, named after it, with the messages beside it.
//!
//! After a deliberate change of a message, run with `TRYBUILD=overwrite` and read the difference.

#[test]
fn every_mistake_is_told_once_and_where_it_is() {
    trybuild::TestCases::new().compile_fail("ui/fail/*.rs");
}
