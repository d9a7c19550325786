use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// An exchange with its work under way, and the other side.
struct World {
    exchange: Arc<Exchange>,
    porter: AbortOnDropHandle<()>,
    server: DuplexStream,
    writes: Arc<AtomicUsize>,
}

/// Counts how often something is sent.
struct Counted(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl World {
    fn new() -> Self {
        Self::with_room_for(1 << 16)
    }

    /// So many bytes fit between the two sides.
    fn with_room_for(bytes: usize) -> Self {
        let (near, server) = duplex(bytes);
        let writes = Arc::<AtomicUsize>::default();
        let (exchange, porter) = Exchange::over(Counted(near, writes.clone()));
        Self {
            exchange: Arc::new(exchange),
            porter: AbortOnDropHandle::new(tokio::spawn(porter)),
            server,
            writes,
        }
    }

    /// Asks in a task of its own.
    fn ask(&self, replies: usize, text: &'static str) -> tokio::task::JoinHandle<Result<Vec<Value>, Fault>> {
        let exchange = self.exchange.clone();
        tokio::spawn(async move {
            let asked = exchange.ask(replies, |out| out.extend_from_slice(text.as_bytes()));
            asked.await
        })
    }

    async fn hears(&mut self, expected: &str) {
        let mut heard = vec![0; expected.len()];
        self.server.read_exact(&mut heard).await.unwrap();
        assert_eq!(String::from_utf8(heard).unwrap(), expected);
    }

    async fn says(&mut self, text: &str) {
        self.server.write_all(text.as_bytes()).await.unwrap();
    }
}

fn kind(answer: Result<Vec<Value>, Fault>) -> FaultKind {
    answer.unwrap_err().kind()
}

#[tokio::test]
async fn each_caller_gets_its_own_answers() {
    let mut world = World::new();
    let first = world.ask(1, "a");
    let second = world.ask(2, "bc");
    world.hears("abc").await;
    world.says(":1\r\n:2\r\n").await;
    assert_eq!(first.await.unwrap(), Ok(vec![Value::Int(1)]));
    world.says("$1\r\nx\r\n").await;
    let expected = vec![Value::Int(2), Value::BulkString(b"x".to_vec())];
    assert_eq!(second.await.unwrap(), Ok(expected));
}

#[tokio::test]
async fn the_answer_of_a_caller_who_left_goes_to_nobody_else() {
    let mut world = World::new();
    let gone = world.ask(2, "gone");
    world.hears("gone").await;
    let stays = world.ask(1, "stays");
    world.hears("stays").await;
    world.says("$4\r\ngo").await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    world.says("ne\r\n:1\r\n").await;
    world.says(":2\r\n").await;
    assert_eq!(stays.await.unwrap(), Ok(vec![Value::Int(2)]));
}

#[tokio::test]
async fn a_caller_who_left_before_anything_was_sent_confuses_nobody() {
    let mut world = World::new();
    drop(world.exchange.put(1, |out| out.extend_from_slice(b"gone")));
    let stays = world.ask(1, "stays");
    world.hears("gonestays").await;
    world.says(":1\r\n:2\r\n").await;
    assert_eq!(stays.await.unwrap(), Ok(vec![Value::Int(2)]));
}

#[tokio::test]
async fn the_end_of_the_stream_is_told_to_all_who_wait_and_all_who_come() {
    let mut world = World::new();
    let (sent, half) = (world.ask(1, "a"), world.ask(2, "b"));
    world.hears("ab").await;
    world.says(":1\r\n:2\r\n").await;
    assert_eq!(sent.await.unwrap(), Ok(vec![Value::Int(1)]));
    let World {
        exchange,
        porter,
        server,
        ..
    } = world;
    drop(server);
    assert_eq!(kind(half.await.unwrap()), FaultKind::Disconnected);
    porter.await.unwrap();
    assert_eq!(kind(exchange.ask(1, |_| ()).await), FaultKind::Disconnected);
}

#[tokio::test]
async fn who_waits_learns_that_the_work_was_dropped() {
    let mut world = World::new();
    let waits = world.ask(1, "a");
    world.hears("a").await;
    world.porter.abort();
    assert_eq!(kind(waits.await.unwrap()), FaultKind::Disconnected);
    assert_eq!(kind(world.exchange.ask(1, |_| ()).await), FaultKind::Disconnected);
}

#[tokio::test]
async fn bytes_that_are_no_answer_end_it() {
    let mut world = World::new();
    let (first, second) = (world.ask(1, "a"), world.ask(1, "b"));
    world.hears("ab").await;
    world.says("HTTP/1.1 200 OK\r\n").await;
    assert_eq!(kind(first.await.unwrap()), FaultKind::Protocol);
    assert_eq!(kind(second.await.unwrap()), FaultKind::Protocol);
}

#[tokio::test]
async fn what_the_server_says_unasked_is_nobodys_answer() {
    let mut world = World::new();
    world.says(">2\r\n+message\r\n+x\r\n:7\r\n").await;
    // Whatever comes before a question is not its answer either.
    tokio::task::yield_now().await;
    let asked = world.ask(1, "a");
    world.hears("a").await;
    world.says(">2\r\n+message\r\n+x\r\n:1\r\n").await;
    assert_eq!(asked.await.unwrap(), Ok(vec![Value::Int(1)]));
}

#[tokio::test]
async fn who_are_answered_together_and_ask_again_travel_together() {
    const CALLERS: usize = 50;
    let mut world = World::new();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let exchange = world.exchange.clone();
        callers.spawn(async move {
            for _ in 0..2 {
                exchange.ask(1, |out| out.push(b'?')).await.unwrap();
            }
        });
    }
    let questions = "?".repeat(CALLERS);
    world.hears(&questions).await;
    let before = world.writes.load(Ordering::Relaxed);
    world.says(&"+OK\r\n".repeat(CALLERS)).await;
    world.hears(&questions).await;
    assert_eq!(world.writes.load(Ordering::Relaxed) - before, 1);
    world.says(&"+OK\r\n".repeat(CALLERS)).await;
    callers.join_all().await;
}

#[tokio::test]
async fn what_does_not_fit_goes_on_while_answers_are_read() {
    let mut world = World::with_room_for(64);
    let value = vec![b'x'; 3 << 20];
    let exchange = world.exchange.clone();
    let sent = value.clone();
    let asked = tokio::spawn(async move { exchange.ask(1, |out| out.extend_from_slice(&sent)).await });
    // The other side sends all of it back while it still reads.
    let (mut reading, mut writing) = tokio::io::split(&mut world.server);
    writing
        .write_all(format!("${}\r\n", value.len()).as_bytes())
        .await
        .unwrap();
    let mut piece = [0; 1 << 10];
    let mut left = value.len();
    while left > 0 {
        let count = reading.read(&mut piece).await.unwrap();
        writing.write_all(&piece[..count]).await.unwrap();
        left -= count;
    }
    writing.write_all(b"\r\n").await.unwrap();
    assert_eq!(asked.await.unwrap(), Ok(vec![Value::BulkString(value)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_leaves_whenever_the_others_get_what_they_asked_for() {
    const CALLERS: u64 = 64;
    const QUESTIONS: u64 = 200;
    let World {
        exchange,
        porter,
        server,
        ..
    } = World::with_room_for(100);
    // Answers every line with the number in it, in pieces of three bytes.
    let echo = tokio::spawn(async move {
        let (reading, mut writing) = tokio::io::split(server);
        let mut lines = tokio::io::BufReader::new(reading).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            for piece in format!(":{line}\r\n").as_bytes().chunks(3) {
                if writing.write_all(piece).await.is_err() {
                    return;
                }
            }
        }
    });
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let exchange = exchange.clone();
        callers.spawn(async move {
            for n in 0..QUESTIONS {
                let number = caller * QUESTIONS + n;
                let asked = exchange.ask(1, |out| out.extend_from_slice(format!("{number}\n").as_bytes()));
                if rand::random_ratio(1, 3) {
                    // Polled so many times, and left.
                    let patience = rand::random_range(0..4);
                    let leaving = (0..patience).map(|_| tokio::task::yield_now());
                    tokio::select! {
                        biased;
                        () = async { for step in leaving { step.await } } => {}
                        answer = asked => assert_eq!(answer, Ok(vec![Value::Int(number as i64)])),
                    }
                } else {
                    assert_eq!(asked.await, Ok(vec![Value::Int(number as i64)]));
                }
            }
        });
    }
    callers.join_all().await;
    drop(porter);
    echo.await.unwrap();
}
