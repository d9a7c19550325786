//! Why the shared tier gave no answer: a closed list.

use std::fmt;

/// Why the shared tier gave no answer.
#[derive(Clone, PartialEq, Eq)]
pub struct Fault {
    kind: FaultKind,
    context: String,
    maybe_applied: bool,
}

/// The closed list of reasons behind a [`Fault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// No connection could be made: refused, unreachable, unknown host.
    Connect,
    /// The connection broke under the operation.
    Disconnected,
    /// The budget is over.
    Timeout,
    /// Connected, but the greeting was not answered in time or with nonsense.
    Handshake,
    /// User or password refused, or withdrawn.
    Auth,
    /// Certificates: wrong, expired, for somebody else, missing; or the server speaks no TLS.
    Tls,
    /// The server is loading its data.
    Loading,
    /// The server is a replica.
    ReadOnly,
    /// The server is a replica without its master.
    MasterDown,
    /// The server refuses writes for lack of memory.
    OutOfMemory,
    /// The server refuses writes because it cannot save.
    Misconfigured,
    /// The server runs somebody's script.
    Busy,
    /// Bytes that are not the protocol, or an answer of a wrong shape.
    Protocol,
    /// The server has too many clients.
    MaxClients,
    /// The user may not do that.
    NoPermission,
    /// A key has another type.
    WrongType,
    /// The cluster does not serve this slot now.
    ClusterDown,
    /// Redirected more often than permitted.
    Redirects,
    /// No sentinel names a master that says so itself.
    NoMaster,
    /// As many operations as permitted are under way; refused at once.
    Overload,
    /// The breaker is open; refused at once.
    BreakerOpen,
    /// The request itself cannot be carried out: a fault of the caller.
    Invalid,
    /// Any other error of the server.
    Server,
    /// The tier was closed.
    Closed,
}

impl FaultKind {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 24] = [
        Self::Connect,
        Self::Disconnected,
        Self::Timeout,
        Self::Handshake,
        Self::Auth,
        Self::Tls,
        Self::Loading,
        Self::ReadOnly,
        Self::MasterDown,
        Self::OutOfMemory,
        Self::Misconfigured,
        Self::Busy,
        Self::Protocol,
        Self::MaxClients,
        Self::NoPermission,
        Self::WrongType,
        Self::ClusterDown,
        Self::Redirects,
        Self::NoMaster,
        Self::Overload,
        Self::BreakerOpen,
        Self::Invalid,
        Self::Server,
        Self::Closed,
    ];

    /// The kind in one word, as in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Disconnected => "disconnected",
            Self::Timeout => "timeout",
            Self::Handshake => "handshake",
            Self::Auth => "auth",
            Self::Tls => "tls",
            Self::Loading => "loading",
            Self::ReadOnly => "readonly",
            Self::MasterDown => "masterdown",
            Self::OutOfMemory => "oom",
            Self::Misconfigured => "misconf",
            Self::Busy => "busy",
            Self::Protocol => "protocol",
            Self::MaxClients => "maxclients",
            Self::NoPermission => "noperm",
            Self::WrongType => "wrongtype",
            Self::ClusterDown => "clusterdown",
            Self::Redirects => "redirects",
            Self::NoMaster => "no_master",
            Self::Overload => "overload",
            Self::BreakerOpen => "breaker_open",
            Self::Invalid => "invalid",
            Self::Server => "server",
            Self::Closed => "closed",
        }
    }

    /// Whether it says that the tier is in trouble. What one key or one caller did, and what the breaker or the bound
    /// on operations refused, says nothing about the server.
    pub fn counts_for_breaker(self) -> bool {
        match self {
            Self::Connect
            | Self::Disconnected
            | Self::Timeout
            | Self::Handshake
            | Self::Auth
            | Self::Tls
            | Self::Loading
            | Self::ReadOnly
            | Self::MasterDown
            | Self::OutOfMemory
            | Self::Misconfigured
            | Self::Busy
            | Self::Protocol
            | Self::MaxClients
            | Self::ClusterDown
            | Self::NoMaster => true,
            Self::NoPermission
            | Self::WrongType
            | Self::Redirects
            | Self::Overload
            | Self::BreakerOpen
            | Self::Invalid
            | Self::Server
            | Self::Closed => false,
        }
    }
}

impl Fault {
    /// A fault before anything was sent, or one that the server answered with.
    pub fn new(kind: FaultKind, context: impl Into<String>) -> Self {
        Self {
            kind,
            context: context.into(),
            maybe_applied: false,
        }
    }

    /// The same, but what was asked may have happened.
    #[must_use]
    pub fn after_sending(mut self) -> Self {
        self.maybe_applied = true;
        self
    }

    /// Which of the known reasons it is.
    pub fn kind(&self) -> FaultKind {
        self.kind
    }

    /// Whether what was asked may have happened although no answer came.
    pub fn maybe_applied(&self) -> bool {
        self.maybe_applied
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.context)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("kind", &self.kind)
            .field("context", &self.context)
            .field("maybe_applied", &self.maybe_applied)
            .finish()
    }
}

impl std::error::Error for Fault {}
