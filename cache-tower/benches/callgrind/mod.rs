//! Counting instructions: the program starts itself again under valgrind, as `probe NAME COUNT`.

use std::process::Command;

/// Counted twice, with different numbers of operations: the difference belongs to the operations.
///
/// # Panics
/// Without valgrind, or when it counts nothing.
pub(crate) fn per_operation(name: &str, few: u64, many: u64) -> f64 {
    // Both at once: counting does not mind company.
    let counted = std::thread::scope(|scope| {
        let more = scope.spawn(|| count(name, many));
        let less = count(name, few);
        more.join().expect("valgrind is asked for").saturating_sub(less)
    });
    counted as f64 / (many - few) as f64
}

fn count(name: &str, operations: u64) -> u64 {
    let program = std::env::current_exe().expect("the program knows where it is");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["probe", name, &operations.to_string()])
        .output()
        .unwrap_or_else(|error| panic!("valgrind is needed to count instructions: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .and_then(|(_, number)| number.trim().parse().ok())
        .unwrap_or_else(|| panic!("valgrind did not count `{name}`:\n{text}"))
}
