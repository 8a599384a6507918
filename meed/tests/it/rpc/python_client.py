"""The RPC face from Python's grpcio: python python_client.py STUBS ADDRESS < what the test knows, as JSON."""

import json
import sys
import time
import urllib.request

sys.path.insert(0, sys.argv[1])

import grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status
from meed.v1 import activity_service_pb2 as activities
from meed.v1 import activity_service_pb2_grpc
from meed.v1 import claim_service_pb2 as claims
from meed.v1 import claim_service_pb2_grpc
from meed.v1 import event_service_pb2 as events
from meed.v1 import event_service_pb2_grpc
from meed.v1 import progress_service_pb2 as progress
from meed.v1 import progress_service_pb2_grpc
from meed.v1 import receipt_service_pb2 as receipts
from meed.v1 import receipt_service_pb2_grpc
from meed.v1 import reward_request_pb2 as requests

ADDRESS = sys.argv[2]
KNOWN = json.load(sys.stdin)
CODE = grpc.StatusCode


def bearer(token):
    return [("authorization", f"Bearer {KNOWN[token]}")]


def refused(call):
    """The code and the details of the error that a call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        details = {"message": error.details()}
        status = rpc_status.from_call(error)
        for detail in status.details if status else []:
            for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
                if detail.Is(kind.DESCRIPTOR):
                    found = kind()
                    detail.Unpack(found)
                    details[kind.__name__] = found
        return error.code(), details
    raise AssertionError("the call was answered")


def assert_refused(call, code, reason):
    found, details = refused(call)
    info = details.get("ErrorInfo")
    assert (found, info.reason if info else None) == (code, reason), (found, details)
    assert info.domain == "meed" and info.metadata["requestId"], info
    return details


channel = grpc.insecure_channel(ADDRESS)
activity = activity_service_pb2_grpc.ActivityServiceStub(channel)
claim = claim_service_pb2_grpc.ClaimServiceStub(channel)
event = event_service_pb2_grpc.EventServiceStub(channel)
progresses = progress_service_pb2_grpc.ProgressServiceStub(channel)
receipt = receipt_service_pb2_grpc.ReceiptServiceStub(channel)


def purchase(number, **changes):
    given = {"source": "shop", "id": f"order-{number}", "external_user_id": "ada", "kind": "shop.purchase"}
    return activities.Activity(**(given | changes))


# Reports.
batch = activities.RecordActivitiesRequest(
    activities=[purchase(1, amount=-5, attributes={"category": "hats"}), purchase(2)]
)
recorded = activity.RecordActivities(batch, metadata=bearer("key"))
assert (recorded.recorded, recorded.duplicates) == (2, 0), recorded
assert [item.outcome for item in recorded.items] == [activities.RecordedActivity.RECORDED] * 2
assert activity.RecordActivities(batch, metadata=bearer("key")).duplicates == 2

bad = activities.RecordActivitiesRequest(activities=[purchase(3), purchase(4, kind="no kind")])
details = assert_refused(
    lambda: activity.RecordActivities(bad, metadata=bearer("key")), CODE.INVALID_ARGUMENT, "invalid-body"
)
[violation] = details["BadRequest"].field_violations
assert violation.field == "activities[1].kind" and "no kind" in violation.description, violation
conflict = activities.RecordActivitiesRequest(activities=[purchase(1, amount=7)])
assert_refused(
    lambda: activity.RecordActivities(conflict, metadata=bearer("key")), CODE.ALREADY_EXISTS, "activity-conflict"
)

# Who may do what.
assert_refused(lambda: activity.RecordActivities(batch), CODE.UNAUTHENTICATED, "unauthenticated")
assert_refused(
    lambda: activity.RecordActivities(batch, metadata=[("authorization", "Bearer nonsense")]),
    CODE.UNAUTHENTICATED,
    "invalid-token",
)
assert_refused(
    lambda: activity.RecordActivities(batch, metadata=bearer("user")), CODE.PERMISSION_DENIED, "forbidden"
)
foreign = activities.RecordActivitiesRequest(activities=[purchase(1, source="game")])
assert_refused(
    lambda: activity.RecordActivities(foreign, metadata=bearer("key")), CODE.PERMISSION_DENIED, "source-not-allowed"
)
stream = activity.Ingest(iter([activities.IngestRequest(activities=[purchase(1)])]), metadata=bearer("user"))
assert_refused(lambda: list(stream), CODE.PERMISSION_DENIED, "forbidden")

# Claims.
before = progresses.GetProgress(progress.GetProgressRequest(event_id=KNOWN["event"]), metadata=bearer("user")).progress
assert (before.eligible, before.granted, before.limit) == (True, 0, 1), before
asked = claims.ClaimRequest(event_id=KNOWN["event"], idempotency_key="first")
claimed = claim.Claim(asked, metadata=bearer("user"), timeout=20)
granted = claimed.reward_request
assert claimed.answer == claims.ClaimResponse.DECIDED and granted.status == requests.RewardRequest.GRANTED, claimed
[grant] = granted.grants
assert grant.quantity == 1 and grant.reward.type == "POINT", grant
again = claim.Claim(asked, metadata=bearer("user"))
assert again.answer == claims.ClaimResponse.REPLAYED and again.reward_request == granted, again
other = claims.ClaimRequest(event_id=KNOWN["other"], idempotency_key="first")
assert_refused(lambda: claim.Claim(other, metadata=bearer("user")), CODE.INVALID_ARGUMENT, "idempotency-key-reused")
twice = claims.ClaimRequest(event_id=KNOWN["event"])
details = assert_refused(lambda: claim.Claim(twice, metadata=bearer("user")), CODE.ALREADY_EXISTS, "already-granted")
assert details["ErrorInfo"].metadata["rewardRequestId"] == granted.id, details
for_ada = claims.ClaimRequest(event_id=KNOWN["event"], external_user_id="ada")
assert claim.Claim(for_ada, metadata=bearer("key")).reward_request.user_id == KNOWN["ada"]
queued = claim.Claim(
    claims.ClaimRequest(event_id=KNOWN["other"], respond_async=True), metadata=bearer("user")
)
assert queued.answer == claims.ClaimResponse.QUEUED, queued
assert queued.reward_request.status == requests.RewardRequest.RECEIVED, queued

wanted = claims.GetRewardRequestRequest(id=granted.id)
assert claim.GetRewardRequest(wanted, metadata=bearer("user")).reward_request == granted
assert_refused(
    lambda: claim.GetRewardRequest(wanted, metadata=bearer("stranger")), CODE.NOT_FOUND, "no-such-reward-request"
)
nonsense = claims.GetRewardRequestRequest(id="nonsense")
details = assert_refused(
    lambda: claim.GetRewardRequest(nonsense, metadata=bearer("user")), CODE.INVALID_ARGUMENT, "invalid-body"
)
assert details["BadRequest"].field_violations[0].field == "id", details

# The other reads.
active = progresses.ListActiveEvents(progress.ListActiveEventsRequest(page_size=1), metadata=bearer("user"))
assert len(active.items) == 1 and active.next_page_token, active
rest = progresses.ListActiveEvents(
    progress.ListActiveEventsRequest(page_token=active.next_page_token), metadata=bearer("user")
)
assert {item.id for item in [*active.items, *rest.items]} == {KNOWN[name] for name in ("event", "other", "counted")}, rest
found = event.GetEvent(events.GetEventRequest(id=KNOWN["event"]), metadata=bearer("operator")).event
assert found.id == KNOWN["event"] and found.condition.plugin == "first-come", found
listed = event.ListEvents(events.ListEventsRequest(plugin="first-come"), metadata=bearer("operator")).items
assert {item.id for item in listed} == {KNOWN["event"], KNOWN["other"]}, listed
assert_refused(
    lambda: event.GetEvent(events.GetEventRequest(id=KNOWN["event"]), metadata=bearer("user")),
    CODE.PERMISSION_DENIED,
    "forbidden",
)
proof = receipt.GetReceipt(receipts.GetReceiptRequest(reward_request_id=granted.id), metadata=bearer("user"))
assert json.loads(proof.json)["signature"], proof
keys = json.loads(receipt.GetReceiptKeys(receipts.GetReceiptKeysRequest()).jwks_json)["keys"]
assert keys and keys[0]["kty"] == "OKP", keys

# A stream: parts, errors, and the rest after a connection that breaks off.
FIRST, PART, PARTS = 1_000, 100, 6


def parts(numbers, pause_after=None):
    for at, number in enumerate(numbers):
        first = FIRST + number * PART
        part = [purchase(first + place) for place in range(PART)]
        if number == 1:
            part[7] = purchase(first + 7, kind="no kind")
        yield activities.IngestRequest(activities=part, after=number * PART if at == 0 else 0)
        if number == pause_after:
            time.sleep(60)


with grpc.insecure_channel(ADDRESS) as broken:
    stream = activity_service_pb2_grpc.ActivityServiceStub(broken).Ingest(
        parts(range(PARTS), pause_after=2), metadata=bearer("key")
    )
    for told in stream:
        if told.through == 3 * PART:
            break
    assert (told.recorded, told.rejected) == (3 * PART - 1, 1), told
# The connection is gone. The client sends what follows the last response, and a part that it is not sure of.
last = None
for told in activity.Ingest(parts(range(2, PARTS)), metadata=bearer("key")):
    last = told
assert (last.through, last.recorded, last.duplicates, last.rejected) == (PARTS * PART, 3 * PART, PART, 0), last
stream = activity.Ingest(parts(range(1, 2)), metadata=bearer("key"))
[told] = list(stream)
[error] = told.errors
assert (error.position, error.field) == (PART + 8, "kind") and "no kind" in error.message, told
empty = activity.Ingest(iter([activities.IngestRequest()]), metadata=bearer("key"))
assert_refused(lambda: list(empty), CODE.INVALID_ARGUMENT, "invalid-body")

# Too large: a call, and a part of a stream.
large = activities.RecordActivitiesRequest(activities=[purchase(1, attributes={"a": "x" * (2 << 20)})])
assert_refused(
    lambda: activity.RecordActivities(large, metadata=bearer("key")), CODE.RESOURCE_EXHAUSTED, "body-too-large"
)
too_large = activity.Ingest(iter([activities.IngestRequest(activities=large.activities)]), metadata=bearer("key"))
assert refused(lambda: list(too_large))[0] == CODE.RESOURCE_EXHAUSTED
# Compressed, which REST refuses as well.
compressed = activity_service_pb2_grpc.ActivityServiceStub(
    grpc.insecure_channel(ADDRESS, compression=grpc.Compression.Gzip)
)
big = activities.RecordActivitiesRequest(activities=[purchase(1, attributes={"a": "x" * 200})])
code, _ = refused(lambda: compressed.RecordActivities(big, metadata=bearer("key")))
assert code == CODE.UNIMPLEMENTED, code

# Bytes that are no message, and a method that is none.
raw = channel.unary_unary("/meed.v1.ClaimService/Claim", request_serializer=bytes, response_deserializer=bytes)
assert_refused(lambda: raw(b"\xff\xff\xff", metadata=bearer("user")), CODE.INVALID_ARGUMENT, "invalid-body")
missing = channel.unary_unary("/meed.v1.ClaimService/Nothing", request_serializer=bytes, response_deserializer=bytes)
assert_refused(lambda: missing(b"", metadata=bearer("user")), CODE.UNIMPLEMENTED, "no-such-route")

# A client that hurries too much.
for _ in range(20):
    try:
        claim.GetRewardRequest(wanted, metadata=bearer("hurried"))
    except grpc.RpcError as error:
        if error.code() != CODE.NOT_FOUND:
            break
details = assert_refused(
    lambda: claim.GetRewardRequest(wanted, metadata=bearer("hurried")), CODE.RESOURCE_EXHAUSTED, "rate-limited"
)
assert details["RetryInfo"].retry_delay.seconds >= 1, details

# Watches: everything of a user, a claim until its decision, and progress.
def changes(watch):
    """The messages that say something: others keep the connection open."""
    return (told for told in watch if told.WhichOneof("change"))


own = claim.WatchRewardRequests(claims.WatchRewardRequestsRequest(), metadata=bearer("leaver"))
foreign = claim.WatchRewardRequests(claims.WatchRewardRequestsRequest(), metadata=bearer("stranger"), timeout=4)
begun = next(own)
assert begun.cursor and not begun.WhichOneof("change"), begun
assert next(foreign).cursor
first = claim.Claim(claims.ClaimRequest(event_id=KNOWN["event"]), metadata=bearer("leaver")).reward_request
told = next(changes(own))
assert told.reward_request == first, told
queued = claim.Claim(claims.ClaimRequest(event_id=KNOWN["other"], respond_async=True), metadata=bearer("leaver"))
wanted_now = claims.WatchRewardRequestRequest(id=queued.reward_request.id)
seen = [told.reward_request for told in claim.WatchRewardRequest(wanted_now, metadata=bearer("leaver"), timeout=60)]
assert seen[-1].status == requests.RewardRequest.GRANTED, seen
assert_refused(
    lambda: list(claim.WatchRewardRequest(wanted_now, metadata=bearer("stranger"))),
    CODE.NOT_FOUND,
    "no-such-reward-request",
)
for cursor, missed in [(begun.cursor, [first, seen[-1]]), (told.cursor, [seen[-1]])]:
    since = claims.WatchRewardRequestsRequest(cursor=cursor)
    resumed = claim.WatchRewardRequests(since, metadata=bearer("leaver"))
    following = changes(resumed)
    found = [next(following).reward_request for _ in missed]
    # Changes of one instant have no order.
    assert sorted(found, key=lambda request: request.id) == sorted(missed, key=lambda request: request.id), found
    resumed.cancel()
# Nothing was told to another user until the deadline of the call.
heard = []
code, _ = refused(lambda: heard.extend(changes(foreign)))
assert (code, heard) == (CODE.DEADLINE_EXCEEDED, []), (code, heard)

newcomer = progress.WatchProgressRequest(event_id=KNOWN["counted"], external_user_id="newcomer")
watch = progresses.WatchProgress(newcomer, metadata=bearer("key"))
before = next(watch)
assert before.cursor and before.progress.progress[0].current == 0, before
bought = activities.RecordActivitiesRequest(activities=[purchase(9_999, external_user_id="newcomer")])
activity.RecordActivities(bought, metadata=bearer("key"))
after = next(told for told in watch if told.cursor)
assert after.cursor != before.cursor and after.progress.progress[0].current == 1, after
watch.cancel()

logout = urllib.request.Request(f"http://{ADDRESS}/auth/logout", method="POST", headers=dict(bearer("leaver")))
with urllib.request.urlopen(logout) as answer:
    assert answer.status == 204
assert_refused(lambda: list(own), CODE.UNAUTHENTICATED, "stream-unauthorized")

# Health and reflection.
health = health_pb2_grpc.HealthStub(channel)
SERVING = health_pb2.HealthCheckResponse.SERVING
assert health.Check(health_pb2.HealthCheckRequest()).status == SERVING
assert health.Check(health_pb2.HealthCheckRequest(service="meed.v1.ClaimService")).status == SERVING
unknown = health_pb2.HealthCheckRequest(service="nothing")
assert refused(lambda: health.Check(unknown))[0] == CODE.NOT_FOUND
watch = health.Watch(health_pb2.HealthCheckRequest())
assert next(watch).status == SERVING
watch.cancel()
services = ProtoReflectionDescriptorDatabase(channel).get_services()
assert "meed.v1.ClaimService" in services, services
print("done")
