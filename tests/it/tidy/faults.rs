//! The page of faults and attacks names tests that exist, and says for each row what shows it.

use super::*;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The cells of the page's tables, without their heads.
fn rows(page: &str) -> Vec<Vec<&str>> {
    page.lines()
        .filter(|line| line.starts_with("| ") && !line.ends_with("| shown by |"))
        .map(|line| {
            let line = line.trim_start_matches("| ").trim_end_matches(" |");
            line.split(" | ").collect()
        })
        .collect()
}

/// Names of tests in a cell: what stands in backticks and has a module in front.
fn tests_in(cell: &str) -> impl Iterator<Item = &str> {
    let code = cell.split('`').skip(1).step_by(2);
    code.filter(|text| text.contains("::") && text.starts_with(|c: char| c.is_ascii_lowercase()))
}

/// Where the tests of a binary begin, by the name that nextest gives it; none for `tests::it`.
fn folder_of(binary: Option<&str>) -> Option<&'static str> {
    match binary {
        None => Some("tests/it"),
        Some("cache-core") => Some("cache-core/src"),
        Some("cache-tower") => Some("cache-tower/src"),
        Some("examples::market-data") => Some("examples/tests/market_data"),
        Some(_) => None,
    }
}

/// Where the module is: a file of its own, a folder, or inside of one of those above it.
fn file_of(folder: &Path, modules: &[&str]) -> Option<PathBuf> {
    let below: PathBuf = modules.iter().collect();
    let own = [
        folder.join(&below).with_extension("rs"),
        folder.join(&below).join("mod.rs"),
    ];
    own.into_iter()
        .find(|path| path.is_file())
        .or_else(|| file_of(folder, modules.split_last()?.1))
}

/// Why this is not the name of a test.
fn doubt(test: &str) -> Option<String> {
    let (binary, path) = test
        .split_once(' ')
        .map_or((None, test), |(binary, path)| (Some(binary), path));
    let Some(folder) = folder_of(binary) else {
        return Some(format!("no binary is called `{}`", binary.unwrap_or_default()));
    };
    // One table of tests is written once and runs on each of these.
    let tiers = ["on_redis", "in_memory", "through_chaos"];
    let modules: Vec<&str> = path
        .split("::")
        .filter(|module| !tiers.contains(module))
        .collect();
    let (name, modules) = modules.split_last()?;
    let Some(file) = file_of(&root().join(folder), modules) else {
        return Some("there is no such module".to_owned());
    };
    let text = fs::read_to_string(&file).unwrap();
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else {
        return Some(format!("{} has no such function", file.display()));
    };
    let above = before.rsplit("\n\n").next().unwrap_or_default();
    let is_test = above.contains("#[test]") || above.contains("#[tokio::test");
    let is_listed = modules.contains(&"contract") && {
        let table = fs::read_to_string(root().join("tests/it/redis/contract/mod.rs")).unwrap();
        table.contains(&format!("        {name},\n"))
    };
    (!is_test && !is_listed).then(|| format!("{} has it, and not as a test", file.display()))
}

#[test]
fn every_row_names_tests_that_exist_or_says_why_there_is_none() {
    let page = fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let rows = rows(&page);
    assert!(
        rows.len() > 100,
        "{} rows: the page was not understood",
        rows.len()
    );
    for row in rows {
        let [fault, _, shown] = row[..] else {
            panic!("not three cells: {row:?}");
        };
        let tests: Vec<&str> = tests_in(shown).collect();
        assert!(
            !tests.is_empty() || shown.starts_with("not promised: "),
            "nothing shows what happens here: {fault}"
        );
        for test in tests {
            if let Some(doubt) = doubt(test) {
                panic!("docs/faults.md names `{test}`: {doubt}");
            }
        }
    }
}

#[test]
fn names_of_tests_are_looked_up_where_they_are() {
    for test in [
        "tidy::faults::names_of_tests_are_looked_up_where_they_are",
        "fleet::what_one_node_loaded_another_finds",
        "redis::contract::on_redis::log::loads_are_not_announced",
        "cache-core notice::tests::everything_else_is_not_understood",
        "examples::market-data outage::every_call_is_right_while_redis_dies_and_comes_back",
    ] {
        assert_eq!(doubt(test), None, "{test}");
    }
    for (test, why) in [
        ("tidy::faults::root", "not as a test"),
        ("tidy::faults::nothing", "no such function"),
        ("nowhere::nothing", "no such module"),
        ("redis::contract::on_redis::log::nothing", "no such function"),
        ("other names::nothing", "no binary"),
    ] {
        let doubt = doubt(test).unwrap();
        assert!(doubt.contains(why), "{test}: {doubt}");
    }
}

/// Keys and arguments travel as `KEYS` and `ARGV`: scripts are constants, put together once of the prelude and a body.
#[test]
fn scripts_are_not_made_of_keys() {
    let mut scripts = 0;
    for path in files("cache-core/src/redis", &[".rs"]) {
        let code = code(&path);
        if path.ends_with("scripts.rs") {
            scripts = code.matches("redis.call").count();
            assert_eq!(code.matches("format!(").count(), 1, "that of `Script::new`");
            assert_eq!(
                code.matches("Script::new($body)").count(),
                1,
                "that of `scripts!`"
            );
            assert_eq!(
                code.matches("Script::new(").count(),
                2,
                "with the driver's, which hashes"
            );
        } else {
            for word in ["redis.call", "Script::new("] {
                assert!(!code.contains(word), "{} says `{word}`", path.display());
            }
        }
    }
    assert!(scripts > 20, "{scripts}: the scripts were not found");
}
