//! The shared tier on Redis: configuration, and the adapter behind [`Shared`].
//!
//! [`Redis`] says where the server is and is all that users need. This folder alone names the driver; none of its types
//! leave it. `docs/redis.md` lists every key with its format, the commands an ACL must permit, and how the three
//! set-ups (one server, Sentinel, Cluster) differ.
//!
//! * `config`, `tls`: what users set.
//! * `stream`, `resp`, `exchange`, `connection`, `link`, `sentinel`, `cluster`, `route`: how a batch of commands reaches the right server
//!   within its budget, whatever happens to servers and network.
//!   The driver greets and subscribes; questions and answers travel through `exchange`, which is built for many callers.
//! * `scripts`, `layout`: what is done there, in one step each, and under which names.
//! * `adapter` and its parts `values`, `leases`, `marks`, `log`, `wake`, `inspect`: the port.

use std::sync::Arc;
use std::time::Duration;

use crate::shared::{Shared, SharedTier};
use crate::time::Clock;

mod adapter;
mod cluster;
mod config;
mod connection;
mod exchange;
mod fault;
mod inspect;
mod layout;
mod leases;
mod link;
mod log;
mod marks;
mod reply;
mod request;
mod resp;
mod route;
mod scripts;
mod sentinel;
mod stream;
mod tls;
mod values;
mod wake;

pub use config::Redis;
pub use tls::Tls;

use adapter::Adapter;

impl Redis {
    /// Opens the shared tier of the cache named `root`. Connects with the first operation, never before.
    ///
    /// `clock` is what [`Reading::sent`](crate::shared::Reading::sent) and
    /// [`LogEvent::Confirmed`](crate::shared::LogEvent::Confirmed) are read from.
    pub fn open(&self, root: &str, clock: Arc<dyn Clock>) -> Arc<dyn Shared> {
        Arc::new(Adapter::new(self, root, clock))
    }
}

impl SharedTier for Redis {
    fn open(&self, root: &str, clock: Arc<dyn Clock>) -> Arc<dyn Shared> {
        Self::open(self, root, clock)
    }

    fn budget(&self) -> Duration {
        Self::budget(self)
    }
}
