//! A mixed load: concurrent claims, repeated claims, and reversals.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use uuid::Uuid;

use super::claims::{Ask, Clients, View, id_of};

pub struct Mix<'a> {
    pub clients: &'a Clients<'a>,
    /// The token of the operator who reverses grants
    pub operator: &'a str,
    /// The percentage of grants to reverse
    pub reversed: u8,
    /// The number of concurrent clients
    pub width: usize,
}

impl Mix<'_> {
    /// Sends all claims in this order; each client retries.
    pub async fn all(&self, rng: &mut fastrand::Rng, asks: &[Ask]) -> View {
        let next = AtomicUsize::new(0);
        self.work(rng, |_, _| asks.get(next.fetch_add(1, Ordering::Relaxed)).cloned())
            .await
    }

    /// Sends the claims of `ask`, and every fourth time repeats an earlier claim, until stopped.
    pub async fn until(
        &self,
        rng: &mut fastrand::Rng,
        stop: &AtomicBool,
        ask: impl Fn(&mut fastrand::Rng) -> Ask,
    ) -> View {
        self.work(rng, |rng, seen| {
            let repeated = (rng.u8(..4) == 0).then(|| rng.choice(&seen.answers)).flatten();
            let ask = repeated.map_or_else(|| ask(rng), |answer| answer.ask.clone());
            (!stop.load(Ordering::Relaxed)).then_some(ask)
        })
        .await
    }

    async fn work(&self, rng: &mut fastrand::Rng, next: impl Fn(&mut fastrand::Rng, &View) -> Option<Ask>) -> View {
        let workers = (0..self.width).map(|_| {
            let (next, mut rng) = (&next, rng.fork());
            async move {
                let mut seen = View::default();
                while let Some(ask) = next(&mut rng, &seen) {
                    self.turn(&mut rng, &ask, &mut seen).await;
                }
                seen
            }
        });
        let mut view = View::default();
        for seen in join_all(workers).await {
            view.add(seen);
        }
        view
    }

    async fn turn(&self, rng: &mut fastrand::Rng, ask: &Ask, seen: &mut View) {
        let answer = self.clients.insist(rng, ask).await;
        let is_reversed = answer.is_granted() && rng.u8(..100) < self.reversed;
        let request = is_reversed.then(|| id_of(&answer.body));
        seen.answers.push(answer);
        if let Some(request) = request {
            self.reverse(rng, ask, request, seen).await;
        }
    }

    /// Several concurrent reversals of a request, of which at most one succeeds.
    pub async fn reverse(&self, rng: &mut fastrand::Rng, ask: &Ask, request: Uuid, seen: &mut View) {
        let calls = (0..rng.usize(1..4)).map(|_| {
            let mut rng = rng.fork();
            async move { self.clients.reverse(&mut rng, self.operator, request).await }
        });
        let answers = join_all(calls.collect::<Vec<_>>()).await;
        let done = answers
            .iter()
            .find(|answer| answer.status == 201)
            .map(|answer| answer.by.clone());
        seen.reversals.extend(answers);
        // The process that reversed the grant has updated its caches, so it does not refuse the user for this grant.
        let unkeyed = Ask {
            key: None,
            ..ask.clone()
        };
        if let Some(process) = done
            && let Ok(again) = self.clients.ask(&process, &unkeyed).await
        {
            assert_ne!(
                again.body["rewardRequestId"],
                request.to_string().as_str(),
                "refused by the process that took it back: {again:#?}"
            );
            seen.answers.push(again);
        }
    }
}
