//! What must stay true of every source file.

use std::collections::BTreeSet;

use super::*;

const LIBRARIES: [&str; 3] = ["cache-core/src", "cache-macros/src", "cache-tower/src"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Source files with their paths from the root, unit tests in files of their own left out.
fn sources(folders: &[&str]) -> Vec<(String, String)> {
    let all = folders.iter().flat_map(|folder| files(folder, &[".rs"]));
    let named = all.map(|path| {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        (name, code(&path))
    });
    named
        .filter(|(name, _)| !name.contains("/tests/") && !name.ends_with("/tests.rs"))
        .collect()
}

#[test]
fn only_one_file_reads_a_clock() {
    for (name, code) in sources(&LIBRARIES) {
        for clock in ["Instant::now", "SystemTime::now", "clock_gettime"] {
            assert!(
                name == "cache-core/src/time.rs" || !code.contains(clock),
                "{name} says `{clock}`: time is an argument, or comes from a `Clock`"
            );
        }
    }
}

#[test]
fn spawned_work_is_where_its_owner_is() {
    // Each of these keeps what it spawned, bounds it, and ends it. Who adds one says how in its documentation.
    let owners = [
        "cache-core/src/cache/aboard.rs",
        "cache-core/src/cache/batch/load.rs",
        "cache-core/src/cache/far/giveback.rs",
        "cache-core/src/cache/mod.rs",
        "cache-core/src/cache/refresh.rs",
        "cache-core/src/cache/tasks.rs",
        "cache-core/src/cache/warm/drive.rs",
        "cache-core/src/redis/cluster.rs",
        "cache-core/src/redis/connection.rs",
        "cache-core/src/redis/link.rs",
        "cache-core/src/redis/log.rs",
        "cache-core/src/redis/sentinel.rs",
        "cache-core/src/redis/wake.rs",
        "cache-tower/src/exchange.rs",
        "cache-tower/src/fleet.rs",
        "cache-tower/src/forward.rs",
        "cache-tower/src/receive.rs",
    ];
    let spawning: Vec<String> = sources(&LIBRARIES)
        .into_iter()
        .filter(|(_, code)| {
            [".spawn(", "::spawn(", ".start_deferred("]
                .iter()
                .any(|way| code.contains(way))
        })
        .map(|(name, _)| name)
        .collect();
    let (spawning, owners) = (
        BTreeSet::from_iter(spawning),
        BTreeSet::from(owners.map(str::to_owned)),
    );
    assert_eq!(
        spawning, owners,
        "who owns what is spawned, what bounds it, what ends it? Then say so in the list"
    );
}

#[test]
fn nothing_in_the_libraries_panics_on_purpose_without_saying_why() {
    for (name, code) in sources(&LIBRARIES) {
        // The kit for tests panics where a test shall fail; the other two only while they are compiled.
        let constants = ["cache-core/src/tag.rs", "cache-core/src/__private/site.rs"];
        if name.contains("/testing/") || constants.contains(&name.as_str()) {
            continue;
        }
        for word in [".unwrap()", "panic!(", "unreachable!()"] {
            assert!(
                !code.contains(word),
                "{name} says `{word}`: an error, or `expect` with the invariant"
            );
        }
    }
}

#[test]
fn every_package_obeys_the_lints_of_the_workspace() {
    assert!(text("Cargo.toml").contains("unsafe_code = \"forbid\""));
    for path in files("", &["Cargo.toml"]) {
        let manifest = fs::read_to_string(&path).unwrap();
        if manifest.contains("[package]") && !path.to_string_lossy().contains("/ui/") {
            assert!(
                manifest.contains("[lints]\nworkspace = true"),
                "{}",
                path.display()
            );
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for path in [
        "cache-core",
        "cache-macros",
        "cache-tower",
        "benches",
        "examples",
        "tests",
    ]
    .iter()
    .flat_map(|folder| files(folder, &[".rs"]))
    {
        let name = path.to_string_lossy().into_owned();
        // What a macro is shown is an example of users' code; modules of unit tests are told by what they test.
        if name.contains("/ui/") || name.ends_with("/tests.rs") || name.ends_with("/tests/mod.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let first = text
            .lines()
            .find(|line| !line.starts_with("#!") && !line.is_empty());
        assert!(
            first.is_some_and(|line| line.starts_with("//!")),
            "{name} begins without a word about what it is for"
        );
    }
}

#[test]
fn files_stay_short_enough_to_read() {
    const MOST: usize = 600;
    for folder in LIBRARIES {
        for path in files(folder, &[".rs"]) {
            let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(
                lines <= MOST,
                "{name} has {lines} lines: which of its parts is a file of its own?"
            );
        }
    }
}

#[test]
fn every_feature_is_described() {
    for library in ["cache-core", "cache-macros", "cache-tower"] {
        let manifest = text(&format!("{library}/Cargo.toml"));
        let features = manifest.split("[features]\n").nth(1).unwrap_or_default();
        let features: Vec<&str> = features.split("\n[").next().unwrap_or_default().lines().collect();
        for pair in features.windows(2) {
            assert!(
                !pair[1].contains(" = [") || pair[0].starts_with("##"),
                "{library}: `{}` has no description",
                pair[1]
            );
        }
    }
}

#[test]
fn the_forge_runs_every_stage_and_none_that_does_not_exist() {
    let (run, workflow) = (text(".ci/run"), text(".github/workflows/ci.yml"));
    let list = run.split("stages=(").nth(1).unwrap().split(')').next().unwrap();
    let stages: BTreeSet<&str> = list.split(' ').collect();
    let called: BTreeSet<&str> = workflow
        .lines()
        .filter_map(|line| {
            let direct = line
                .trim()
                .strip_prefix("- run: .ci/run ")
                .filter(|stage| !stage.contains("${{"));
            let listed = line.split("{ stage: ").nth(1)?.split([',', ' ']).next();
            direct.or(listed)
        })
        .chain(workflow.lines().filter_map(|line| {
            let stage = line.trim().strip_prefix("- run: .ci/run ")?;
            (!stage.contains("${{")).then_some(stage)
        }))
        .collect();
    assert_eq!(called, stages);
    for stage in stages {
        assert!(
            run.contains(&format!("stage_{stage}()")),
            "no stage is called {stage}"
        );
    }
}

/// Numbers with a unit of a measurement, as they are written: `1.25 ms` and `12 %`, not `0.1.0` or `10 minutes`.
fn figures(line: &str) -> Vec<String> {
    let words: Vec<&str> = line
        .split([' ', '\u{a0}', '|', '(', ')', ',', ';'])
        .filter(|word| !word.is_empty())
        .collect();
    words
        .windows(2)
        .filter(|pair| ["ns", "µs", "ms", "k/s", "M/s", "instructions"].contains(&pair[1]))
        .map(|pair| pair[0].to_owned())
        .filter(|number| number.starts_with(|c: char| c.is_ascii_digit()) && number.parse::<f64>().is_ok())
        .collect()
}

/// Whether the page has this number, as it stands or with more digits.
fn has_figure(page: &str, figure: &str) -> bool {
    page.split([' ', '|', '\n', '(', ')', ',', ';']).any(|word| {
        let digits = figure.split('.').nth(1).map_or(0, str::len);
        word == figure
            || word
                .parse::<f64>()
                .is_ok_and(|value| format!("{value:.digits$}") == figure)
    })
}

#[test]
fn figures_are_recognised() {
    assert_eq!(
        figures("| a hit | 31 ns | 0.12 |, 3 minutes, 1.5 ms"),
        ["31", "1.5"]
    );
    assert!(has_figure("| 30.81 | x |", "31") && has_figure("| 1.5 |", "1.5") && !has_figure("| 33 |", "31"));
}

#[test]
fn figures_of_the_readme_stand_in_the_report_that_they_link_to() {
    let readme = text("README.md");
    for line in readme.lines() {
        let reports: Vec<&str> = line
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split([')', '#']).next())
            .filter(|link| link.contains("BENCHMARKS") || link.contains("reports/"))
            .collect();
        if reports.is_empty() {
            continue;
        }
        let pages: String = reports.iter().map(|link| text(link)).collect();
        for figure in figures(line) {
            assert!(
                has_figure(&pages, &figure),
                "{figure} does not stand in {reports:?}: {line}"
            );
        }
    }
}
