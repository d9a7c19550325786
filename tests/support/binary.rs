//! Finding server programs. A missing one fails the test: a skipped test protects nobody.

use std::path::{Path, PathBuf};

/// The path of `program` on this machine.
///
/// # Panics
/// When it is not installed; the message is the command that installs it.
pub(crate) fn find(program: &str) -> PathBuf {
    find_for(program, "redis-server")
}

/// The same for a program of these packages.
///
/// # Panics
/// As for [`find`].
pub(crate) fn find_for(program: &str, packages: &str) -> PathBuf {
    match search(program, std::env::var_os("PATH").as_deref()) {
        Some(path) => path,
        None => panic!("{}", missing(program, packages)),
    }
}

fn search(program: &str, path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    std::env::split_paths(path?)
        .map(|folder| folder.join(program))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn missing(program: &str, packages: &str) -> String {
    format!(
        "`{program}` is not installed, and these tests need a real one (Redis: 7.0 or newer).\n\
         Install it with:  sudo apt-get update && sudo apt-get install -y --no-install-recommends {packages}\n\
         or run:           tests/run"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_reported_with_the_command_that_installs_it() {
        assert_eq!(
            search("redis-server", Some("/nowhere:/also-nowhere".as_ref())),
            None
        );
        assert!(
            missing("redis-server", "redis-server")
                .contains("apt-get install -y --no-install-recommends redis-server")
        );
    }

    #[test]
    fn a_file_that_cannot_be_executed_is_not_a_program() {
        assert_eq!(search("passwd", Some("/etc".as_ref())), None);
        assert_eq!(
            search("sh", Some("/nowhere:/bin".as_ref())),
            Some(PathBuf::from("/bin/sh"))
        );
    }
}
