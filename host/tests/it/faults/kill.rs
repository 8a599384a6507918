//! Processes are killed at random, as a power cut would, while claims run. Clients ask again until they are answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;

use super::claims::{Answer, Ask, Clients, View};
use super::fleet::Fleet;
use super::invariants;
use super::seed::{seeded, size};
use super::stage::{daily, event, limited};
use crate::support::on_both_engines;

const WIDTH: usize = 24;

/// How many places in a day there are in the event that never runs dry.
const PLACES: usize = 200;

async fn keep_killing(rng: &mut fastrand::Rng, fleet: &Fleet, kills: usize) {
    let mut killed = 0;
    while killed < kills {
        tokio::time::sleep(Duration::from_millis(rng.u64(100..400))).await;
        let first = rng.usize(..fleet.size());
        // Now and then all at once.
        let victims: Vec<_> = if rng.u8(..5) == 0 {
            (0..fleet.size()).collect()
        } else {
            vec![first]
        };
        for victim in &victims {
            fleet.kill(*victim);
        }
        join_all(victims.iter().map(|victim| fleet.revive(*victim))).await;
        killed += victims.len();
    }
}

on_both_engines! {
    async fn whoever_was_answered_was_granted_and_every_key_has_one_answer(app: TestApp) {
        let mut rng = seeded();
        let stage = app.in_real_time();
        let fleet = Fleet::start(&stage, 2).await;
        let users = stage.crowd(size(60, 300)).await;
        let (scarce, plenty) = (limited(&stage, 40).await, limited(&stage, 1_000_000).await);
        let unlimited = stage.reward(json!({"type": "POINT", "value": 5})).await;
        let few = event(&stage, &[&scarce], json!({})).await;
        let many = daily(&stage, &[&plenty, &unlimited], PLACES).await;

        let clients = Clients::new(&fleet);
        let stop = AtomicBool::new(false);
        let workers: Vec<_> = (0..WIDTH).map(|_| {
            let (mut rng, users, clients, stop, few, many) = (rng.fork(), &users, &clients, &stop, &few, &many);
            async move {
                let mut answers: Vec<Answer> = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let repeated = (rng.u8(..4) == 0).then(|| rng.choice(&answers)).flatten();
                    let ask = if let Some(answer) = repeated {
                        answer.ask.clone()
                    } else {
                        let user = rng.choice(users).expect("users");
                        let event = if rng.u8(..4) == 0 { few } else { many };
                        Ask::new(user, event).under(rng.u64(..))
                    };
                    answers.push(clients.insist(&mut rng, &ask).await);
                }
                answers
            }
        }).collect();
        let mut killer = rng.fork();
        let kill = async {
            keep_killing(&mut killer, &fleet, size(10, 200)).await;
            stop.store(true, Ordering::Relaxed);
        };
        let (answers, ()) = tokio::join!(join_all(workers), kill);
        let mut view = View { answers: answers.concat() };
        println!("{} answers, {} grants told, {} broken off", view.answers.len(), view.granted(), clients.broken());
        assert!(view.granted() > 50, "only {} grants: the kills left no time for claims", view.granted());

        rng.shuffle(&mut view.answers);
        let again: Vec<_> = view.answers.iter().take(200).map(|answer| answer.ask.clone()).collect();
        let again = clients.all(&mut rng, &again, WIDTH).await;
        view.answers.extend(again);
        invariants::check(&stage, &view, &[]).await;
    }
}
