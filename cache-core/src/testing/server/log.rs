//! The log of invalidations: delivered to every reader as it is written, unless its line is held up.

use tokio::sync::mpsc;

use super::{Line, State};
use crate::notice::{Event, LogId, Notice, Source};
use crate::shared::{Fence, GapReason, LogEvent, LogReader};

/// The log of one cache's name.
#[derive(Debug, Default)]
pub(super) struct Log {
    incarnation: u64,
    notices: Vec<Notice>,
    /// The last removal of a pattern.
    generation: Option<LogId>,
    readers: Vec<Reader>,
}

#[derive(Debug)]
struct Reader {
    line: Line,
    port: u64,
    events: mpsc::Sender<LogEvent>,
    /// The last notice that was delivered; `None` before the first event.
    position: Option<LogId>,
    /// It was told that it hears everything.
    confirmed: bool,
}

/// Who announces something, and in which log.
#[derive(Debug)]
pub(super) struct Announced<'a> {
    pub(super) root: &'a str,
    pub(super) source: Source,
}

impl Log {
    fn begin() -> Self {
        let mut log = Self::default();
        log.begin_anew();
        log
    }

    fn begin_anew(&mut self) {
        // As on Redis: within what its numbers hold exactly, and never zero.
        self.incarnation = rand::random_range(1..1_u64 << 53);
        self.generation = None;
        self.notices = vec![Notice {
            id: LogId::new(self.incarnation, 1),
            source: None,
            event: Event::Opened,
        }];
    }

    fn newest(&self) -> LogId {
        LogId::new(self.incarnation, self.notices.len() as u64)
    }
}

impl State {
    fn log(&mut self, root: &str) -> &mut Log {
        self.logs.entry(root.to_owned()).or_insert_with(Log::begin)
    }

    pub(super) fn announce(&mut self, by: &Announced<'_>, event: Event) -> LogId {
        let log = self.log(by.root);
        let id = LogId::new(log.incarnation, log.notices.len() as u64 + 1);
        log.notices.push(Notice {
            id,
            source: Some(by.source),
            event,
        });
        self.deliver();
        id
    }

    pub(super) fn begin_pattern(&mut self, by: &Announced<'_>, glob: &str) -> LogId {
        let id = self.announce(by, Event::Pattern(glob.to_owned()));
        self.log(by.root).generation = Some(id);
        id
    }

    pub(super) fn log_end(&mut self, root: &str) -> LogId {
        self.log(root).newest()
    }

    /// What a load's end is compared with; the log begins if there is none.
    pub(super) fn fence(&mut self, root: &str) -> Fence {
        self.log(root);
        self.fence_now(root)
    }

    pub(super) fn fence_now(&self, root: &str) -> Fence {
        let log = self.logs.get(root);
        let incarnation = log.map(|log| log.incarnation.to_string()).unwrap_or_default();
        let generation = log.and_then(|log| log.generation).map(|id| id.to_string());
        Fence::from_bytes(format!("{incarnation}/{}", generation.unwrap_or_default()).into_bytes())
    }

    pub(super) fn follow(&mut self, root: &str, line: Line, port: u64) -> LogReader {
        let (events, receiver) = mpsc::channel(QUEUE);
        self.log(root).readers.push(Reader {
            line,
            port,
            events,
            position: None,
            confirmed: false,
        });
        self.deliver();
        LogReader::new(receiver, ())
    }

    /// The readers of this line hear nothing for the moment.
    pub(in crate::testing) fn hold_log(&mut self, line: Line) {
        self.held.insert(line);
    }

    pub(in crate::testing) fn release_log(&mut self, line: Line) {
        self.held.remove(&line);
        self.deliver();
    }

    /// The readers of this line are told that they hear nothing, as after three heartbeats without an answer.
    pub(in crate::testing) fn silence_log(&mut self, line: Line) {
        self.hold_log(line);
        for reader in self.logs.values_mut().flat_map(|log| &mut log.readers) {
            if reader.line == line {
                reader.confirmed = false;
                let _ = reader.events.try_send(LogEvent::Unheard);
            }
        }
    }

    /// The readers of this line missed something, and are told so.
    pub(in crate::testing) fn lose_notices(&mut self, line: Line, reason: GapReason) {
        for log in self.logs.values_mut() {
            let position = log.newest();
            for reader in log.readers.iter_mut().filter(|reader| reader.line == line) {
                reader.position = Some(position);
                let _ = reader.events.try_send(LogEvent::Gap { reason, position });
            }
        }
    }

    pub(super) fn begin_logs_anew(&mut self) {
        for log in self.logs.values_mut() {
            log.begin_anew();
        }
        self.deliver();
    }

    /// Whether something is on its way to a reader.
    pub(in crate::testing) fn is_unheard(&self) -> bool {
        let mut readers = self.logs.values().flat_map(|log| &log.readers);
        readers.any(|reader| {
            let waiting = reader.events.capacity() < reader.events.max_capacity();
            waiting && !reader.events.is_closed()
        })
    }

    pub(super) fn stop_following(&mut self, port: u64) {
        for log in self.logs.values_mut() {
            log.readers.retain(|reader| reader.port != port);
        }
    }

    /// Tells every reader what it has not been told.
    fn deliver(&mut self) {
        let (at, held) = (self.now, &self.held);
        for log in self.logs.values_mut() {
            let (newest, notices) = (log.newest(), &log.notices);
            log.readers.retain_mut(|reader| {
                if held.contains(&reader.line) {
                    return !reader.events.is_closed();
                }
                let news = reader.news(newest, notices);
                if news.is_none() && reader.confirmed {
                    return !reader.events.is_closed();
                }
                reader.position = Some(newest);
                reader.confirmed = true;
                let confirmed = LogEvent::Confirmed { at, position: newest };
                let mut events = news.into_iter().chain([confirmed]);
                events.all(|event| reader.events.try_send(event).is_ok())
            });
        }
    }
}

impl Reader {
    fn news(&self, newest: LogId, notices: &[Notice]) -> Option<LogEvent> {
        let gap = |reason| {
            Some(LogEvent::Gap {
                reason,
                position: newest,
            })
        };
        let Some(position) = self.position else {
            return gap(GapReason::Started);
        };
        if position == newest {
            return None;
        }
        if position.incarnation() != newest.incarnation() {
            return gap(GapReason::NewLog);
        }
        let from = usize::try_from(position.number()).unwrap_or(usize::MAX);
        Some(LogEvent::Notices(
            notices.get(from..).unwrap_or_default().to_vec(),
        ))
    }
}

/// Far more than a test leaves unread; a reader that lags by more is dropped, as if it had been closed.
const QUEUE: usize = 1 << 20;
