//! A Redis for the comparison: the one that was named, or a server of its own that it may kill.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::Failed;

/// Where Redis is.
#[derive(Debug)]
pub(super) struct Server {
    port: u16,
    process: Option<Child>,
}

impl Server {
    /// Starts one on a free port; `None` if none is installed.
    pub(super) async fn start() -> Result<Option<Self>, Failed> {
        // Free now; whoever takes it in between makes the start fail, and is told.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut server = Self { port, process: None };
        match server.restart().await {
            Ok(()) => Ok(Some(server)),
            Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(is_absent) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// On the same port, with nothing in it.
    pub(super) async fn restart(&mut self) -> Result<(), Failed> {
        self.kill();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &self.port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.process = Some(process);
        for _ in 0..200 {
            if tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))
                .await
                .is_ok()
            {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        Err(format!("the Redis on port {} does not answer", self.port).into())
    }
}

/// Kills a server and starts it again, over and over.
#[derive(Debug)]
pub(super) struct Disturbance {
    end: oneshot::Sender<()>,
    task: JoinHandle<Result<(Server, u64), Failed>>,
}

impl Disturbance {
    pub(super) fn begin(mut server: Server) -> Self {
        let (end, mut ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut kills = 0;
            while tokio::time::timeout(UP, &mut ended).await.is_err() {
                server.kill();
                kills += 1;
                tokio::time::sleep(DOWN).await;
                server.restart().await?;
            }
            Ok((server, kills))
        });
        Self { end, task }
    }

    /// The server, which runs, and how often it was killed.
    pub(super) async fn end(self) -> Result<(Server, u64), Failed> {
        // The task may have ended by itself, with an error.
        let _ = self.end.send(());
        self.task.await?
    }
}

const UP: Duration = Duration::from_secs(4);
const DOWN: Duration = Duration::from_secs(2);

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}
