//! Finding keys by a pattern, page by page.

/// Asks for a page of keys.
#[derive(Clone, Copy, Debug)]
pub struct ScanRequest<'a> {
    /// A Redis glob; text from users in it must be escaped.
    pub glob: &'a str,
    /// Where the last page ended; `None` for the first page.
    pub cursor: Option<ScanCursor>,
    /// About how many keys the server looks at.
    pub count: u32,
}

/// Where a scan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanCursor {
    /// Which of the servers, from zero.
    pub server: usize,
    /// Where on it.
    pub position: u64,
}

/// A page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// Entry keys only: locks, errors, marks and the log are left out.
    pub keys: Vec<String>,
    /// Where to go on; `None` at the end.
    pub next: Option<ScanCursor>,
}
