from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

from meed_client import Meed, Watched

from .support import FIXTURE, TestCase, meed, new_user, quest

EVENT, QUESTS = FIXTURE["event"], FIXTURE["quests"]


class Watch(TestCase):
    def test_a_grant_is_watched_and_what_came_meanwhile_is_told_once(self) -> None:
        user = new_user()
        requests = meed.watch_reward_requests(external_user_id=user)
        got: list[Watched[Any]] = []
        watching = threading.Thread(target=lambda: got.append(next(requests)))
        watching.start()
        # The stream begins with its connection.
        watching.join(0.5)
        granted = meed.claim(EVENT, external_user_id=user)
        watching.join(20)
        self.assertEqual([(event.type, event.data) for event in got], [("reward-request", granted)])
        _close(requests)

        meed.record([quest(user, 1), quest(user, 2)])
        second = meed.claim(QUESTS, external_user_id=user)
        more = meed.watch_reward_requests(external_user_id=user, last_event_id=got[0].id)
        self.assertEqual(next(more).data, second)
        _close(more)

    def test_progress_is_told_as_it_changes(self) -> None:
        user = new_user()
        seen: list[int] = []
        progress = meed.watch_progress(QUESTS, external_user_id=user)
        for event in progress:
            seen.append(event.data["progress"][0]["current"])
            if seen[-1] == 2:
                break
            meed.record(quest(user, f"progress-{len(seen)}"))
        _close(progress)
        self.assertEqual(seen, [0, 1, 2])

    def test_a_stream_that_is_refused_raises(self) -> None:
        nobody = Meed(FIXTURE["url"], "nonsense")
        with self.fails("invalid-token"):
            next(nobody.watch_progress(QUESTS))


def _close(events: Iterator[Any]) -> None:
    close = getattr(events, "close", None)
    if close is not None:
        close()
