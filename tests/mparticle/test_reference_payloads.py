"""Payloads that others published: each accepted or refused, as the table says.

The payloads lie beside this repository and are no part of it.
"""

import json
from pathlib import Path

import pytest

from gateway.facts import facts
from gateway.mparticle.decoding import decode
from gateway.mparticle.posts import Malformed, read

SAMPLES = Path(__file__).parents[3] / "shared" / "samples"
PATHS = sorted(str(path.relative_to(SAMPLES)) for path in SAMPLES.glob("*/**/*") if path.is_file())

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(not PATHS, reason="the reference payloads are not there"),
]

ACCEPTED = {
    "events": {
        "events-batch/docs-adjust-feed.json": [3],
        "events-batch/docs-antavo-feed.json": [2],
        "events-batch/docs-csv-reference.json": [3],
        "events-batch/docs-http-bulkevents-array.json": [1, 1],
        "events-batch/docs-http-events-minimal.json": [1],
        "events-batch/docs-json-reference-master-sample.json": [6],
        "events-batch/docs-json-reference-overall.json": [1],
        "events-batch/docs-kinesis-firehose-outbound.json": [1],
        "events-batch/docs-ncr-aloha-event.json": [2],
        "events-batch/docs-profiles-attributes-updated.json": [3],
        "events-batch/docs-profiles-identity.json": [2],
        "events-batch/docs-quickstart-http.json": [2],
        "events-batch/docs-s3-outbound-line1.json": [2],
        "events-batch/docs-segment-migration-group.json": [2],
        "events-batch/docs-segment-migration-identify.json": [2],
        "events-batch/docs-segment-migration-order.json": [3],
        "events-batch/docs-talonone-feed.json": [2],
        "events-batch/docs-vidora-feed.json": [1],
        "events-batch/fragments/docs-outgoing-user-identities.json": [1],
        "events-batch/mparticle-cli-batch.json": [2],
        "events-batch/revenuecat-billing_issue.json": [2],
        "events-batch/revenuecat-cancellation-15-repaired.json": [2],
        "events-batch/revenuecat-product_change.json": [2],
        "events-batch/revenuecat-renewal-14-repaired.json": [2],
        "events-batch/revenuecat-trial_cancelled-13-repaired.json": [2],
        "events-batch/revenuecat-trial_converted-12-repaired.json": [2],
        "events-batch/revenuecat-trial_started-11-repaired.json": [2],
        "events-batch/revenuecat-uncancellation.json": [2],
        "events-batch/segment-rokt-capi-1.json": [2],
        "events-batch/segment-rokt-capi-2.json": [2],
        "events-batch/segment-rokt-capi-3.json": [2],
        "events-batch/websdk-capture-media-session-start.json": [1],
    },
    "module_registration_request": {
        "firehose/docs-module-registration-request-no-version.json": [],
        "firehose/iterable-240-ModuleRegistrationRequest.json": [],
        "firehose/sdk320-ModuleRegistrationRequest.json": [],
        "firehose/talonone-ModuleRegistrationRequest.json": [],
    },
    "audience_membership_change_request": {
        "firehose/docs-verification-ping-audience-membership.json": [],
        "firehose/iterable-240-AudienceMembershipChangeRequest.json": [4],
        "firehose/sdk-v1-sample-audience-membership-change-with-account.json": [3],
        "firehose/sdk-v1-sample-audience-membership-change.json": [3],
        "firehose/sdk320-AudienceMembershipChangeRequest.json": [4],
        "firehose/segment-dynamicyield-audience-membership-1.json": [2],
    },
    "event_processing_request": {
        "firehose/iterable-240-EventProcessingRequest_ios.json": [4],
        "firehose/sdk-v1-EventProcessingRequest-product-action.json": [10],
        "firehose/sdk-v250-EventProcessingRequest-ios.json": [4],
        "firehose/sdk320-EventProcessingRequest_android.json": [4],
        "firehose/sdk320-EventProcessingRequest_ios.json": [4],
    },
    "audience_subscription_request": {
        "firehose/sdk-v151-AudienceSubscriptionRequest.json": [1],
        "firehose/sdk320-AudienceSubscriptionRequest.json": [1],
        "firehose/talonone-AudienceSubscriptionRequest.json": [1],
    },
    "dsr_processing_request": {
        "firehose/sdk320-DsrProcessingRequest.json": [1],
    },
    "opendsr_callback": {
        "opendsr/docs-v2-callback.json": [],
        "opendsr/docs-v2-status.json": [],
        "opendsr/docs-v3-callback.json": [],
        "opendsr/docs-v3-status.json": [],
        "opendsr/guardian-test-callback.json": [],
        "opendsr/opendsr-spec-05-response.json": [],
        "opendsr/opendsr-spec-06-callback.json": [],
    },
    "opendsr_request": {
        "opendsr/docs-v2-request.json": [1],
        "opendsr/opendsr-spec-02-request.json": [1],
    },
}
REFUSED = {
    "none of": [
        "audience-other/docs-gcs-audience-record.json",
        "audience-other/docs-kinesis-audience-member-added.json",
        "audience-other/docs-kinesis-audience-member-removed.json",
        "events-batch/fragments/docs-consent-given-custom-event.json",
        "events-batch/fragments/docs-consent-state.json",
        "events-batch/fragments/docs-event-application_state_transition.json",
        "events-batch/fragments/docs-event-breadcrumb.json",
        "events-batch/fragments/docs-event-commerce_event.json",
        "events-batch/fragments/docs-event-common.json",
        "events-batch/fragments/docs-event-crash_report.json",
        "events-batch/fragments/docs-event-custom_event.json",
        "events-batch/fragments/docs-event-network_performance.json",
        "events-batch/fragments/docs-event-opt_out.json",
        "events-batch/fragments/docs-event-push_message.json",
        "events-batch/fragments/docs-event-push_registration.json",
        "events-batch/fragments/docs-event-screen_view.json",
        "events-batch/fragments/docs-event-session_end.json",
        "events-batch/fragments/docs-event-session_start.json",
        "events-batch/fragments/docs-event-uninstall.json",
        "events-batch/fragments/docs-media-play-ios.json",
        "events-batch/fragments/docs-media-play-web.json",
        "events-batch/fragments/docs-rules-user-attribute-change.json",
        "events-batch/fragments/docs-system-notifications-gdpr-change.json",
        "events-batch/fragments/docs-user-identities-inbound.json",
        "firehose/fragments/sdk-test-runtime-environment-mobileweb.json",
        "odd/iterable-sqs-trigger-wrapper.json",
        "opendsr/docs-v2-cancel.json",
        "opendsr/docs-v2-created-response.json",
        "opendsr/docs-v2-discovery.json",
        "opendsr/docs-v2-group-status.json",
        "opendsr/docs-v3-cancel.json",
        "opendsr/docs-v3-created-response.json",
        "opendsr/docs-v3-discovery.json",
        "opendsr/docs-v3-group-status.json",
        "opendsr/opendsr-spec-01-discovery.json",
        "opendsr/opendsr-spec-03-response.json",
        "opendsr/opendsr-spec-04-error.json",
        "opendsr/opendsr-spec-07-response.json",
    ],
    "module_registration_response is an answer, no message to a receiver": [
        "firehose/firehose-sample-module-registration-response.json",
        "firehose/iterable-240-ModuleRegistrationResponse.json",
        "firehose/sdk320-ModuleRegistrationResponse.json",
    ],
    "audience_membership_change_response is an answer, no message to a receiver": [
        "firehose/sdk320-AudienceMembershipChangeResponse.json",
    ],
    "audience_subscription_response is an answer, no message to a receiver": [
        "firehose/sdk320-AudienceSubscriptionResponse.json",
    ],
    "dsr_processing_response is an answer, no message to a receiver": [
        "firehose/sdk320-DsrProcessingResponse.json",
    ],
    "event_processing_response is an answer, no message to a receiver": [
        "firehose/sdk320-EventProcessingResponse.json",
    ],
    "expected an object or an array, got string": [
        "odd/docs-consent-state-snippet.txt",
    ],
    "not JSON: something follows the document": [
        "odd/docs-kinesis-firehose-event.txt",
    ],
    "not JSON: expected ',' or '}'": [
        "odd/docs-ncr-aloha-event-trailing-comma.txt",
    ],
    "JSON lines: two documents in one body": [
        "odd/docs-s3-outbound-jsonlines.txt",
    ],
    "not JSON: invalid character": [
        "odd/docs-talonone-feed-template.txt",
    ],
    "not JSON: trailing comma in object": [
        "odd/revenuecat-11.txt",
        "odd/revenuecat-12.txt",
        "odd/revenuecat-13.txt",
        "odd/revenuecat-14.txt",
        "odd/revenuecat-15.txt",
    ],
    "not JSON: object keys must be strings": [
        "odd/sdk-v111-ModuleRegistrationResponse.txt",
    ],
    "missing": [
        "opendsr/docs-portability-profile.json",
    ],
}


EXPECTED = {
    **{path: (kind, counts) for kind, paths in ACCEPTED.items() for path, counts in paths.items()},
    **{path: ("refused", problem) for problem, paths in REFUSED.items() for path in paths},
}


def outcome(path):
    try:
        post = read((SAMPLES / path).read_bytes())
    except Malformed as malformed:
        return "refused", malformed.problem
    return post.kind, [part.facts for part in post.parts]


@pytest.mark.parametrize("path", PATHS)
def test_a_published_payload_is_accepted_or_refused(path):
    kind, told = outcome(path)
    expected, said = EXPECTED.get(path, (kind, told))
    assert kind == expected
    assert told.startswith(said) if kind == "refused" else told == said


@pytest.mark.parametrize("path", [path for path in PATHS if path in EXPECTED and EXPECTED[path][0] != "refused"])
def test_a_published_payload_holds_the_facts_that_were_counted(path):
    post = read((SAMPLES / path).read_bytes())
    batches = [decode(post.dialect, part.body, message=part.message, part=part.number) for part in post.parts]
    assert [part.facts for part in post.parts] == [len(list(facts(one))) + len(one.quarantined) for one in batches]


@pytest.mark.parametrize("path", [path for path in PATHS if path in ACCEPTED["event_processing_request"]])
def test_no_published_event_of_firehose_is_set_aside(path):
    post = read((SAMPLES / path).read_bytes())
    batches = [decode(post.dialect, part.body, message=part.message, part=part.number) for part in post.parts]
    assert not [one for batch in batches for one in batch.quarantined]


FRAGMENTS = [path for path in PATHS if "/fragments/docs-event-" in path or "/fragments/docs-media-" in path]
UNTYPED = "events-batch/fragments/docs-event-common.json"
"""A template, whose type is an empty string."""


@pytest.mark.parametrize("path", FRAGMENTS)
def test_a_published_event_of_a_batch_is_read(path):
    event = json.loads((SAMPLES / path).read_bytes())
    (part,) = read(json.dumps({"mpid": 1, "events": [event]}).encode()).parts
    batch = decode("events", part.body, message=part.message, part=part.number)
    assert [one.problem for one in batch.quarantined] == (["events[0].event_type: missing"] if path == UNTYPED else [])


def captured():
    """A message that Firehose really posted, as somebody's queue handed it on."""
    (record,) = json.loads((SAMPLES / "odd/iterable-sqs-trigger-wrapper.json").read_bytes())["Records"]
    return record["body"].encode()


def test_what_firehose_really_posted_is_read_whole():
    post = read(captured())
    (part,) = post.parts
    batch = decode(post.dialect, part.body, message=part.message, part=part.number)
    assert (part.user_key, batch.device.platform, batch.input_name, len(batch.events), batch.quarantined) == (
        "mpid:-5227515829034156637",
        "out_of_band",
        "python-integration-tester",
        5,
        (),
    )
    assert len({event.id for event in batch.events}) == 5
    assert b"gcmIntegrationName" not in part.body
