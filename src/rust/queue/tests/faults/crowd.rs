//! Many workers, and many faults at once.

use std::time::Duration;

use crate::support::{Act, Hand, House, Loop, Proxy, quick};
use crate::{Crew, Dice};

/// F20: 1,000 workers in one process, 20,000 tasks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_workers() {
    let house = House::start();
    let client = house.client().await;
    let hands: Vec<_> = (0..1000).map(|_| Hand::start(house.worker(), |_| Act::Answer)).collect();
    let mut work = Loop::open(&client).await;
    (1..=20_000).for_each(|task| work.push(task, 1));
    house.within(120, "20,000 tasks", work.collect(20_000)).await;
    work.assert_came(20_000, &[]);
    let peak = house.info("used_memory_peak").await;
    assert!(peak < 150 << 20, "Redis needed {peak} bytes");
    assert!(house.info("connected_clients").await <= 2 * 1000 + 9);
    drop(hands);
}

/// Two clients and all faults at once: lost workers, cut connections, forgotten scripts, a Redis
/// that is killed, emptied and rolled back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_at_once() {
    let (mut house, dice) = (House::start_saved(), Dice::new());
    let proxy = Proxy::start(house.socket());
    let one = house.client_with(proxy.before(house.login("client")), quick()).await;
    let two = house.quick_client().await;
    let (mut first, mut second) = (Loop::open(&one).await, Loop::open(&two).await);
    let crew = Crew::start(&house, 12, &dice, 6, Some(Duration::from_millis(150)));
    for task in 0..1000 {
        first.push(task * 3 + 1, 3);
        second.push(task + 1, 1);
    }
    for round in 1..=6 {
        let both = async { tokio::join!(first.collect(round * 450), second.collect(round * 150)) };
        house.within(90, "a round", both).await;
        match round {
            1 | 4 => {
                house.kill();
                house.revive();
            }
            2 => {
                let before = std::fs::metadata(house.aof()).unwrap().len();
                house.within(60, "a little more", first.collect(1000)).await;
                house.kill();
                let file = std::fs::OpenOptions::new().write(true).open(house.aof()).unwrap();
                file.set_len(before).unwrap();
                house.revive();
            }
            3 => {
                let _: String = house.ask(&["FLUSHALL"]).await;
            }
            _ => {
                for _ in 0..10 {
                    proxy.cut_all();
                    let _: String = house.ask(&["SCRIPT", "FLUSH"]).await;
                    tokio::time::sleep(Duration::from_millis(dice.below(40))).await;
                }
            }
        }
    }
    crew.spare();
    let both = async { tokio::join!(first.collect(3000), second.collect(1000)) };
    house.within(90, "all tasks", both).await;
    first.assert_came(3000, &[]);
    second.assert_came(1000, &[]);
    house.assert_all_expire("at the end").await;
}
