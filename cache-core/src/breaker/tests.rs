//! Time is simulated: a test is a list of instants, calls and what is expected of them.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::time::{Clock, SystemClock};

#[track_caller]
fn call(breaker: &Breaker, now: Timestamp, report: Report) -> Option<Transition> {
    breaker.permit(now).expect("permitted").record(report, now)
}

fn breaker() -> Breaker {
    Breaker::new(BreakerSettings::default(), 7)
}

/// The clock of the tests begins here, so that the window has a past.
fn at(millis: u64) -> Timestamp {
    Timestamp::ZERO + seconds(1_000) + Duration::from_millis(millis)
}

/// Opens it at `at(0)`.
fn opened() -> (Breaker, Duration) {
    let breaker = breaker();
    for _ in 0..4 {
        assert_eq!(call(&breaker, at(0), Report::Failed), None);
    }
    let transition = call(&breaker, at(0), Report::Failed).expect("the fifth failure opens");
    assert_eq!(transition.to, BreakerState::Open);
    (breaker, transition.wait)
}

/// B14.1
#[test]
fn five_failures_in_a_row_open_it_and_an_answer_in_between_does_not() {
    let breaker = breaker();
    for report in [
        Report::Failed,
        Report::Failed,
        Report::Failed,
        Report::Failed,
        Report::Answered,
    ] {
        assert_eq!(call(&breaker, at(0), report), None);
    }
    for _ in 0..4 {
        assert_eq!(call(&breaker, at(0), Report::Failed), None);
    }
    let transition = call(&breaker, at(0), Report::Failed).unwrap();
    assert_eq!(
        (transition.from, transition.to, transition.cause),
        (
            BreakerState::Closed,
            BreakerState::Open,
            Cause::ConsecutiveFailures
        )
    );
    assert!(transition.wait >= Duration::from_millis(800) && transition.wait <= seconds(1));
}

/// `pattern` is repeated, one call each `step` milliseconds; the number of the call that opens.
#[track_caller]
fn check_rate(pattern: &str, step: u64, expected: Option<usize>) {
    let breaker = breaker();
    let opened = pattern
        .chars()
        .cycle()
        .take(100)
        .enumerate()
        .position(|(index, letter)| {
            let report = match letter {
                'F' => Report::Failed,
                'C' => Report::Abandoned,
                _ => Report::Answered,
            };
            let transition = call(&breaker, at(index as u64 * step), report);
            assert!(transition.is_none_or(|transition| transition.cause == Cause::FailureRate));
            transition.is_some()
        });
    assert_eq!(
        opened.map(|index| index + 1),
        expected,
        "{pattern} every {step} ms"
    );
}

/// B14.1
#[test]
fn half_of_twenty_calls_in_ten_seconds_open_it() {
    check_rate("FA", 100, Some(21));
    check_rate("AF", 100, Some(20));
    check_rate("AAF", 100, None);
    check_rate("AFFAFF", 100, Some(20));
    // Abandoned calls count neither way.
    check_rate("AFC", 100, Some(29));
    check_rate("C", 100, None);
    // Too few calls within the window.
    check_rate("AF", 600, None);
    check_rate("AAAFFFF", 450, Some(20));
}

#[test]
fn an_open_breaker_refuses_without_its_lock_until_the_wait_ends() {
    let (breaker, wait) = opened();
    let _held = lock(&breaker.core);
    let just_before = (at(0) + wait).before(Duration::from_nanos(1));
    assert_eq!(
        breaker.permit(just_before).unwrap_err(),
        Refused::Open {
            retry_in: Duration::from_nanos(1)
        }
    );
}

/// B14.3
#[test]
fn one_probe_at_a_time_and_two_answers_close_it() {
    let (breaker, wait) = opened();
    let now = at(0) + wait;
    let mut probe = breaker.permit(now).unwrap();
    assert!(probe.is_probe());
    let transition = probe.take_transition().unwrap();
    assert_eq!(
        (transition.to, transition.cause),
        (BreakerState::HalfOpen, Cause::WaitEnded)
    );
    assert_eq!(probe.take_transition(), None);
    assert_eq!(breaker.permit(now).unwrap_err(), Refused::Probing);
    assert_eq!(probe.record(Report::Answered, now), None);

    let mut second = breaker.permit(now).unwrap();
    assert!(second.is_probe() && second.take_transition().is_none());
    assert_eq!(breaker.permit(now).unwrap_err(), Refused::Probing);
    let transition = second.record(Report::Answered, now).unwrap();
    assert_eq!(
        (transition.to, transition.cause),
        (BreakerState::Closed, Cause::ProbesAnswered)
    );
    assert!(!breaker.permit(now).unwrap().is_probe());

    // What failed before the outage's end is forgotten.
    for _ in 0..4 {
        assert_eq!(call(&breaker, now, Report::Failed), None);
    }
}

#[test]
fn a_probe_that_is_dropped_makes_room_for_the_next() {
    let (breaker, wait) = opened();
    let now = at(0) + wait;
    for _ in 0..3 {
        let probe = breaker.permit(now).unwrap();
        assert!(probe.is_probe());
        drop(probe);
    }
    let abandoned = breaker.permit(now).unwrap();
    assert_eq!(abandoned.record(Report::Abandoned, now), None);
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
    assert!(breaker.permit(now).unwrap().is_probe());
}

/// B14.3
#[test]
fn every_failed_probe_doubles_the_wait_up_to_thirty_seconds() {
    let (breaker, mut wait) = opened();
    let mut now = at(0);
    for nominal in [2, 4, 8, 16, 30, 30, 30] {
        now = now + wait;
        let transition = call(&breaker, now, Report::Failed).unwrap();
        assert_eq!(
            (transition.to, transition.cause),
            (BreakerState::Open, Cause::ProbeFailed)
        );
        wait = transition.wait;
        assert!(
            wait <= seconds(nominal) && wait >= seconds(nominal).mul_f64(0.8),
            "{wait:?}"
        );
    }
    // Closing forgets the doubling.
    now = now + wait;
    call(&breaker, now, Report::Answered);
    call(&breaker, now, Report::Answered).expect("closes");
    let transition = (0..5).find_map(|_| call(&breaker, now, Report::Failed)).unwrap();
    assert!(transition.wait <= seconds(1));
}

#[test]
fn jitter_spreads_the_waits_of_nodes() {
    let waits: std::collections::BTreeSet<_> = (0..50)
        .map(|seed| {
            let breaker = Breaker::new(BreakerSettings::default(), seed);
            (0..5)
                .find_map(|_| call(&breaker, at(0), Report::Failed))
                .unwrap()
                .wait
        })
        .collect();
    assert!(waits.len() > 45);
    assert!(*waits.last().unwrap() - *waits.first().unwrap() > Duration::from_millis(150));
    let settings = BreakerSettings::default();
    assert_eq!(open_wait(&settings, 0, 0.0), seconds(1));
    assert_eq!(open_wait(&settings, u32::MAX, 0.0), seconds(30));
    assert_eq!(open_wait(&settings, 0, 1.0), Duration::from_millis(800));
}

/// B14.5
#[test]
fn a_handshake_lets_the_next_call_probe_and_closes_nothing() {
    let (breaker, _) = opened();
    let transition = breaker.handshake_succeeded().unwrap();
    assert_eq!(
        (transition.to, transition.cause),
        (BreakerState::HalfOpen, Cause::Handshake)
    );
    assert_eq!(breaker.handshake_succeeded(), None);
    let probe = breaker.permit(at(1)).unwrap();
    assert!(probe.is_probe());
    assert_eq!(breaker.handshake_succeeded(), None);
    let transition = probe.record(Report::Failed, at(2)).unwrap();
    assert_eq!(transition.to, BreakerState::Open);
    assert!(transition.wait > seconds(1), "the doubling still holds for calls");
    assert!(breaker.permit(at(3)).is_err());
    assert!(breaker.handshake_succeeded().is_some());
    assert!(breaker.permit(at(4)).unwrap().is_probe());
    // Nothing to do when closed or forced.
    breaker.force_close();
    assert_eq!(breaker.handshake_succeeded(), None);
    breaker.force_open();
    assert_eq!(breaker.handshake_succeeded(), None);
}

/// With a handshake each second, service is seen again within 1.5 s of its return, however long the wait has become.
#[test]
fn recovery_does_not_wait_for_the_doubling() {
    let (breaker, mut wait) = opened();
    let mut now = at(0);
    for _ in 0..6 {
        now = now + wait;
        wait = call(&breaker, now, Report::Failed).unwrap().wait;
    }
    assert!(wait > seconds(20));
    let back = now + Duration::from_millis(10);
    let handshake = back + seconds(1);
    breaker.handshake_succeeded().unwrap();
    call(&breaker, handshake, Report::Answered);
    let transition = call(&breaker, handshake, Report::Answered).unwrap();
    assert_eq!(transition.to, BreakerState::Closed);
}

#[test]
fn reports_from_before_a_transition_change_nothing() {
    let breaker = breaker();
    let mut late: Vec<_> = (0..10).map(|_| breaker.permit(at(0)).unwrap()).collect();
    for permit in late.drain(..5) {
        permit.record(Report::Failed, at(0));
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    let now = at(2_000);
    let probe = breaker.permit(now).unwrap();
    for (permit, report) in late
        .drain(..)
        .zip([Report::Answered, Report::Failed].into_iter().cycle())
    {
        assert_eq!(permit.record(report, now), None);
    }
    assert_eq!(breaker.permit(now).unwrap_err(), Refused::Probing);
    assert_eq!(probe.record(Report::Answered, now), None);
    // A probe that outlives an operator's decision is late as well.
    let probe = breaker.permit(now).unwrap();
    breaker.force_open();
    assert_eq!(probe.record(Report::Answered, now), None);
    assert_eq!(breaker.state(), BreakerState::ForcedOpen);
}

/// B14.4
#[test]
fn operators_have_the_last_word() {
    let breaker = breaker();
    let transition = breaker.force_open().unwrap();
    assert_eq!(
        (transition.to, transition.cause),
        (BreakerState::ForcedOpen, Cause::Operator)
    );
    assert_eq!(breaker.force_open(), None);
    assert_eq!(breaker.permit(at(3_600_000)).unwrap_err(), Refused::Forced);
    assert_eq!(breaker.force_close().unwrap().to, BreakerState::Closed);
    assert_eq!(breaker.force_close(), None);
    assert!(breaker.permit(at(3_600_000)).is_ok());
    let (breaker, _) = opened();
    assert_eq!(breaker.force_close().unwrap().to, BreakerState::Closed);
    assert_eq!(call(&breaker, at(0), Report::Failed), None);
}

#[test]
fn every_word_is_told_apart() {
    let states = [
        BreakerState::Closed,
        BreakerState::Open,
        BreakerState::HalfOpen,
        BreakerState::ForcedOpen,
    ];
    let causes = [
        Cause::ConsecutiveFailures,
        Cause::FailureRate,
        Cause::ProbeFailed,
        Cause::WaitEnded,
        Cause::Handshake,
        Cause::ProbesAnswered,
        Cause::Operator,
    ];
    let retry_in = Duration::ZERO;
    let refusals = [Refused::Open { retry_in }, Refused::Probing, Refused::Forced];
    assert_words(states.map(BreakerState::as_str));
    assert_words(causes.map(Cause::as_str));
    assert_words(refusals.map(Refused::as_str));
}

#[track_caller]
fn assert_words<const N: usize>(words: [&str; N]) {
    let distinct: std::collections::BTreeSet<_> = words.into_iter().collect();
    assert_eq!(distinct.len(), N);
    assert!(
        distinct
            .iter()
            .all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
    );
}

/// B14.2
#[test]
fn a_refusal_costs_less_than_ten_microseconds() {
    let (breaker, _) = opened();
    let rounds = 100_000;
    let start = SystemClock.now();
    for _ in 0..rounds {
        assert!(std::hint::black_box(&breaker).permit(at(1)).is_err());
    }
    let each = SystemClock.now().since(start) / rounds;
    assert!(each < Duration::from_micros(10), "{each:?}");
}

#[test]
fn of_many_threads_one_gets_the_probe() {
    let (breaker, wait) = opened();
    let now = at(0) + wait;
    let barrier = std::sync::Barrier::new(8);
    let permits: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    barrier.wait();
                    breaker.permit(now)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(permits.iter().filter(|permit| permit.is_ok()).count(), 1);
}

#[derive(Clone, Debug)]
enum Step {
    Advance(u64),
    Begin,
    End(usize, Report),
    Handshake,
    ForceOpen,
    ForceClose,
}

fn step() -> impl Strategy<Value = Step> {
    let report = prop_oneof![
        Just(Report::Answered),
        Just(Report::Failed),
        Just(Report::Abandoned)
    ];
    prop_oneof![
        2 => (0..3_000_u64).prop_map(Step::Advance),
        6 => Just(Step::Begin),
        6 => (any::<usize>(), report).prop_map(|(which, report)| Step::End(which, report)),
        1 => Just(Step::Handshake),
        1 => prop_oneof![Just(Step::ForceOpen), Just(Step::ForceClose)],
    ]
}

proptest! {
    /// Whatever happens in whatever order: one probe at most, no call while open, and a way back at the end.
    #[test]
    fn no_history_breaks_it(steps in proptest::collection::vec(step(), 0..300), seed: u64) {
        let breaker = Breaker::new(BreakerSettings::default(), seed);
        let mut now = at(0);
        let mut running: Vec<Permit<'_>> = Vec::new();
        // The phase that the transitions tell, and the instant before which an open breaker may not ask.
        let mut told = BreakerState::Closed;
        let mut closed_until = now;
        let mut probes_answered = 0;
        for step in steps {
            let transition = match step {
                Step::Advance(millis) => {
                    now = now + Duration::from_millis(millis);
                    None
                }
                Step::Begin => match breaker.permit(now) {
                    Ok(mut permit) => {
                        let transition = permit.take_transition();
                        prop_assert!(told != BreakerState::ForcedOpen);
                        prop_assert!(told != BreakerState::Open || now >= closed_until);
                        prop_assert_eq!(permit.is_probe(), told != BreakerState::Closed);
                        running.push(permit);
                        transition
                    }
                    Err(_) => {
                        prop_assert!(told != BreakerState::Closed);
                        None
                    }
                },
                Step::End(_, _) if running.is_empty() => None,
                Step::End(which, report) => {
                    let permit = running.swap_remove(which % running.len());
                    let current = permit.is_probe() && permit.recorded().generation == breaker.load().generation;
                    probes_answered += u32::from(current && report == Report::Answered);
                    permit.record(report, now)
                }
                Step::Handshake => breaker.handshake_succeeded(),
                Step::ForceOpen => breaker.force_open(),
                Step::ForceClose => breaker.force_close(),
            };
            if let Some(transition) = transition {
                prop_assert_eq!(transition.from, told);
                told = transition.to;
                match told {
                    BreakerState::Open => closed_until = now + transition.wait,
                    BreakerState::HalfOpen => probes_answered = 0,
                    BreakerState::Closed if transition.cause != Cause::Operator => {
                        prop_assert_eq!(probes_answered, 2);
                    }
                    BreakerState::Closed | BreakerState::ForcedOpen => {}
                }
            }
            prop_assert_eq!(breaker.state(), told);
            let generation = breaker.load().generation;
            let probing = running.iter().filter(|permit| permit.is_probe() && permit.recorded().generation == generation);
            prop_assert!(probing.count() <= 1);
        }
        running.clear();
        if told == BreakerState::ForcedOpen {
            breaker.force_close();
        }
        now = now + seconds(31);
        for _ in 0..2 {
            call(&breaker, now, Report::Answered);
        }
        prop_assert_eq!(breaker.state(), BreakerState::Closed);
    }
}
