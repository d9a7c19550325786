//! Servers in processes of their own, so that their processor time can be told from the client's.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::Response;
use support::Child;
use tokio::net::TcpListener;
use tower::make::Shared;
use tower::{Service, ServiceExt};

use super::PATIENCE;
use super::services::{self, COPY_OUTSIDE, OUTSIDE};
use crate::measure::single_threaded;

/// A running server; killed on drop.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    child: Child,
    /// Whatever else must live as long.
    _keeps: Option<Box<dyn std::any::Any>>,
}

impl Server {
    /// This program again, serving one of the services.
    pub(super) fn start(name: &'static str) -> Self {
        let program = std::env::current_exe().expect("the program knows where it is");
        let child = Child::spawn(Command::new(program).args(["serve", name]));
        let line = child.next_line_with("listening on ", PATIENCE);
        let address = line.trim_start_matches("listening on ").parse();
        Self {
            name,
            address: address.expect("the server prints its address"),
            child,
            _keeps: None,
        }
    }

    pub(super) fn foreign(
        name: &'static str,
        address: SocketAddr,
        child: Child,
        keeps: impl std::any::Any,
    ) -> Self {
        Self {
            name,
            address,
            child,
            _keeps: Some(Box::new(keeps)),
        }
    }

    /// What its processes have computed so far.
    pub(super) fn processor_time(&self) -> Duration {
        Duration::from_nanos(nanos_of_tree(self.child.pid()))
    }
}

/// Nanoseconds on a processor, of all threads of the process and of its children.
fn nanos_of_tree(pid: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    threads
        .flatten()
        .map(|thread| {
            let first_number = |text: String| text.split(' ').next().and_then(|word| word.parse().ok());
            let own: u64 = std::fs::read_to_string(thread.path().join("schedstat"))
                .ok()
                .and_then(first_number)
                .unwrap_or(0);
            let children = std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            let children = children.split_whitespace().filter_map(|word| word.parse().ok());
            own + children.map(nanos_of_tree).sum::<u64>()
        })
        .sum()
}

/// Serves until it is killed.
pub(crate) fn serve(name: &str) {
    single_threaded().block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("a port is free");
        println!("listening on {}", listener.local_addr().expect("it is bound"));
        let served = match name {
            OUTSIDE => around(listener, services::outside()).await,
            COPY_OUTSIDE => around(listener, services::copy_outside()).await,
            _ => axum::serve(listener, services::router(name)).await,
        };
        served.expect("serving ends with the process");
    });
}

/// Serves what is no router.
async fn around<S, B>(listener: TcpListener, service: S) -> std::io::Result<()>
where
    S: Service<Request, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    let service = service
        .map_request(std::convert::identity::<Request>)
        .map_response(|response: Response<B>| response.map(Body::new));
    axum::serve(listener, Shared::new(service)).await
}
