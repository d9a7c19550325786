//! How much longer a build takes with a hundred annotated functions than with the same written by hand.
//!
//! Five crates are generated under the workspace's target folder, with the workspace's lock file and without the network.
//! Each round touches and builds one after the other: only the crate itself is compiled, in the `dev` profile and
//! without incremental files, as in a first build. The annotated functions have their companions (`key`, `peek`,
//! `invalidate`, ...), for which there is nothing by hand; therefore they take part without them as well, and so does what
//! one would write by hand to have the same.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{Effort, Race, now};
use crate::report::{Budget, Report, Row};

const AREA: &str = "compile";
const ANNOTATED: &str = "annotated";
const ALONE: &str = "annotated-without-companions";
const BY_HAND: &str = "by-hand";
const ALL_BY_HAND: &str = "by-hand-with-companions";
const PLAIN: &str = "uncached";

const CRATES: [&str; 5] = [ANNOTATED, ALONE, BY_HAND, ALL_BY_HAND, PLAIN];

pub(crate) fn measure(effort: Effort, report: &mut Report) {
    let project = Project::generate();
    // The dependencies, which are the same.
    for name in CRATES {
        project.build(name);
    }
    let mut race = Race::between(CRATES.into_iter());
    for _ in 0..effort.slow_rounds {
        for (at, name) in CRATES.into_iter().enumerate() {
            project.touch(name);
            let start = now();
            project.build(name);
            race.note(at, start.elapsed(), 1);
        }
    }
    let seconds = |name| race.median(name) / 1e9;
    for name in [ANNOTATED, ALONE] {
        let case = format!("build with {FUNCTIONS} functions, {name}");
        let row = Row::new(AREA, case, seconds(name), "s")
            .against(BY_HAND, seconds(BY_HAND))
            .ratio(race.ratio(name, BY_HAND), race.spread(name, BY_HAND));
        report.add(row.budget(Budget::RatioAtMost(1.3)));
    }
    let row = Row::new(
        AREA,
        format!("build with {FUNCTIONS} functions, {ANNOTATED}"),
        seconds(ANNOTATED),
        "s",
    )
    .against(ALL_BY_HAND, seconds(ALL_BY_HAND))
    .ratio(
        race.ratio(ANNOTATED, ALL_BY_HAND),
        race.spread(ANNOTATED, ALL_BY_HAND),
    );
    report.add(row);
    let added = seconds(ANNOTATED) - seconds(PLAIN);
    let row = Row::new(AREA, "added to the same functions without a cache", added, "s");
    report.add(row.budget(Budget::AtMost(5.0)));
}

/// A workspace of its own with the generated crates.
struct Project {
    root: PathBuf,
}

impl Project {
    fn generate() -> Self {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("this package lies in the workspace");
        let root = workspace.join("target/compile-bench");
        let project = Self { root };
        project.write(
            "Cargo.toml",
            &format!("[workspace]\nresolver = \"3\"\nmembers = {CRATES:?}\n"),
        );
        fs::copy(workspace.join("Cargo.lock"), project.root.join("Cargo.lock"))
            .expect("the lock file can be copied");
        for (name, function) in [
            (ANNOTATED, annotated as fn(usize) -> String),
            (ALONE, annotated_alone),
            (BY_HAND, by_hand),
            (ALL_BY_HAND, all_by_hand),
            (PLAIN, plain),
        ] {
            project.write(&format!("{name}/Cargo.toml"), &manifest(name, workspace));
            let functions = (0..FUNCTIONS).fold(PREAMBLE.to_owned(), |mut text, n| {
                text.push_str(&function(n));
                text
            });
            project.write(&format!("{name}/src/lib.rs"), &functions);
        }
        project
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        let folder = path.parent().expect("every file lies in a folder");
        fs::create_dir_all(folder).expect("the target folder can be written to");
        fs::write(path, text).expect("the target folder can be written to");
    }

    fn touch(&self, name: &str) {
        let path = self.root.join(name).join("src/lib.rs");
        let text = fs::read_to_string(&path).expect("it was written before");
        fs::write(path, text).expect("the target folder can be written to");
    }

    fn build(&self, name: &str) {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["build", "--quiet", "--offline", "-p", name])
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", self.root.join("target"))
            .env("CARGO_INCREMENTAL", "0")
            .env_remove("RUSTFLAGS")
            .output()
            .expect("cargo runs, since this was built with it");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

fn manifest(name: &str, workspace: &Path) -> String {
    let core = workspace.join("cache-core");
    format!(
        "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[dependencies]\n\
         cache-core = {{ path = {core:?} }}\nserde = {{ version = \"1\", features = [\"derive\"] }}\n"
    )
}

fn annotated(n: usize) -> String {
    let mut text = format!("\n#[cache_core::cached(prefix = \"f{n}\", ttl = \"5m\", stale = \"1h\")]\n");
    text += &signature(n, "");
    text
}

/// What there is by hand, and nothing more.
fn annotated_alone(n: usize) -> String {
    annotated(n).replace("stale = ", "companions = false, stale = ")
}

fn plain(n: usize) -> String {
    signature(n, "")
}

/// What one writes without the annotation: key, options, a loader that owns what it uses, and the error taken apart.
fn by_hand(n: usize) -> String {
    signature(n, "load_") + &through_the_cache(n, "", "get_or_load")
}

/// The same, and by hand what the annotation brings along: the key, a look, a forced load, what came of a call, a value
/// set, and one removed. The uncached function is there already.
fn all_by_hand(n: usize) -> String {
    let (arguments, names, _) = shape(n);
    let (value, error) = match n % 3 {
        0 => ("Price", "std::convert::Infallible"),
        1 => ("Price", "Failure"),
        _ => ("Vec<String>", "Failure"),
    };
    let load = loader(n);
    let mut text = by_hand(n) + &through_the_cache(n, "refresh_", "refresh");
    write!(
        text,
        "
pub fn key_f{n}({arguments}) -> cache_core::CacheKey {{
    static PREFIX: cache_core::key::Prefix = cache_core::key::Prefix::literal(\"f{n}\");
    PREFIX.key(({names},))
}}
fn options_f{n}() -> cache_core::EntryOptions {{
    cache_core::EntryOptions::ttl(cache_core::time::minutes(5)).stale_for(cache_core::time::hours(1))
}}
pub async fn peek_f{n}({arguments}) -> Option<{value}> {{
    cache_core::Cache::global().get::<{value}>(&key_f{n}({names})).await.map(cache_core::Loaded::into_inner)
}}
pub async fn set_f{n}({arguments}, value: {value}) -> Result<cache_core::Stored, cache_core::Error> {{
    cache_core::Cache::global().set(&key_f{n}({names}), value, options_f{n}()).await
}}
pub async fn invalidate_f{n}({arguments}) -> Result<(), cache_core::Error> {{
    cache_core::Cache::global().remove(&key_f{n}({names})).await
}}
pub async fn outcome_f{n}({arguments}) -> Result<cache_core::Loaded<{value}>, cache_core::LoadError<{error}>> {{
    let key = key_f{n}({names});
    {load}
    cache_core::Cache::global().get_or_load(&key, options_f{n}(), load).await
}}
"
    )
    .expect("a text takes any text");
    text
}

/// A binding `load`: the loader of such a function, which owns what it uses.
fn loader(n: usize) -> String {
    let (_, names, _) = shape(n);
    let (owned, names) = match n % 3 {
        1 => ("let name = name.to_owned();", "&name, depth"),
        _ => ("", names),
    };
    let call = format!("load_f{n}({names}).await");
    let result = match n % 3 {
        0 => format!("Ok::<_, std::convert::Infallible>({call})"),
        _ => call,
    };
    format!("{owned} let load = move |_| async move {{ {result} }};")
}

/// The cached function itself: key, options, loader, and the error taken apart.
fn through_the_cache(n: usize, prefix: &str, method: &str) -> String {
    let (arguments, names, output) = shape(n);
    let load = loader(n);
    let end = match n % 3 {
        0 => format!("Ok(loaded) => loaded.into_inner(), Err(_) => load_f{n}({names}).await,"),
        _ => "Ok(loaded) => Ok(loaded.into_inner()),
             Err(cache_core::LoadError::Loader(error)) => Err((*error).clone()),
             Err(_) => Err(Failure),"
            .to_owned(),
    };
    format!(
        "
pub async fn {prefix}f{n}({arguments}) -> {output} {{
    static PREFIX: cache_core::key::Prefix = cache_core::key::Prefix::literal(\"f{n}\");
    let key = PREFIX.key(({names},));
    let options = cache_core::EntryOptions::ttl(cache_core::time::minutes(5)).stale_for(cache_core::time::hours(1));
    let cache = cache_core::Cache::global();
    {load}
    match cache.{method}(&key, options, load).await {{ {end} }}
}}
"
    )
}

fn signature(n: usize, prefix: &str) -> String {
    let (arguments, _, output) = shape(n);
    let body = match n % 3 {
        0 => "Price { bid: id as f64, ask: 1.0 }",
        1 => "if depth == 0 { return Err(Failure); } Ok(Price { bid: name.len() as f64, ask: 1.0 })",
        _ => "if live { return Err(Failure); } Ok(vec![symbol, venue.to_string()])",
    };
    format!("\npub async fn {prefix}f{n}({arguments}) -> {output} {{ {body} }}\n")
}

/// Arguments, their names, and the output: three kinds of functions in turn.
fn shape(n: usize) -> (&'static str, &'static str, &'static str) {
    match n % 3 {
        0 => ("id: u64", "id", "Price"),
        1 => ("name: &str, depth: u32", "name, depth", "Result<Price, Failure>"),
        _ => (
            "symbol: String, venue: u32, live: bool",
            "symbol.clone(), venue, live",
            "Result<Vec<String>, Failure>",
        ),
    }
}

const PREAMBLE: &str = "
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct Price { pub bid: f64, pub ask: f64 }

#[derive(Clone, Debug)]
pub struct Failure;

impl From<cache_core::Error> for Failure {
    fn from(_: cache_core::Error) -> Self { Self }
}
";

const FUNCTIONS: usize = 100;
