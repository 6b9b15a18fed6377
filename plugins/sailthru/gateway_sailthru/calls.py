"""The calls of Sailthru's API that the plugin makes, and how fast it may make them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import msgspec

from gateway.sdk import JSON, Call, File, Rate, RateHeaders, path
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.steps import AddressChangeMemo, CallMemo, DeliveryStep, ErasureMemo, UserKey

PER_SECOND = {
    "GET user": 300.0,
    "POST user": 300.0,
    "POST event": 40.0,
    "POST purchase": 40.0,
    "POST list": 40.0,
    "GET job": 300.0,
    "POST job": 40.0,
    "DELETE user": 40.0,
    "DELETE list": 40.0,
}
"""The published limits. Sailthru counts each method of each endpoint separately, over the whole account."""

POLL_POOL = "asking"
"""The pool in which the lanes gather that wait for the same job."""
FIRST_POLL_S = 5.0


def get_base_url(settings: SailthruSettings) -> str:
    """Return the absolute URL that the path of every call is relative to."""
    return settings.base_url


def get_rates(settings: SailthruSettings) -> dict[str, Rate]:
    """Return the limits that hold until a reply has shown the account's own."""
    return {scope: _share_rate(limit * settings.rate_share) for scope, limit in PER_SECOND.items()}


def _share_rate(per_second: float) -> Rate:
    return Rate(per_second=per_second, burst=max(1, int(per_second)))


def get_rate_headers(settings: SailthruSettings) -> RateHeaders:
    """Return the names of the reply headers that show the limit of the present minute."""
    return RateHeaders(
        limit="x-rate-limit-limit",
        remaining="x-rate-limit-remaining",
        reset="x-rate-limit-reset",
        share=settings.rate_share,
    )


def request(method: str, endpoint: str, payload: Mapping[str, JSON], *, memo: CallMemo | None = None) -> Call:
    """Make one call; Sailthru gets ``payload`` as the field ``json``."""
    return Call(
        method=method,
        path=path(endpoint),
        json=dict(payload),
        scope=f"{method} {endpoint}",
        memo=msgspec.to_builtins(memo),
    )


def upload(endpoint: str, payload: Mapping[str, JSON], file: File, *, memo: CallMemo | None = None) -> Call:
    """Make one call with a file; beside a file the payload is already text."""
    return Call(
        method="POST",
        path=path(endpoint),
        form={"json": json.dumps(payload)},
        file=file,
        scope=f"POST {endpoint}",
        memo=msgspec.to_builtins(memo),
    )


def upsert(email: str, **fields: JSON) -> Call:
    """Create or update the profile of an address; fields that are empty are left out."""
    given = {name: value for name, value in fields.items() if value}
    return request("POST", "user", {"id": email, "key": "email", "keysconflict": "merge", **given})


def find_keys(value: str, key: UserKey, memo: CallMemo) -> Call:
    """Read the keys of the profile that has this e-mail address or extid."""
    return request("GET", "user", {"id": value, "key": key, "fields": {"keys": 1}}, memo=memo)


def send_event(email: str, name: str, variables: Mapping[str, JSON]) -> Call:
    """Send an event of the user with this address."""
    payload = {"id": email, "key": "email", "event": name}
    return request("POST", "event", {**payload, "vars": dict(variables)} if variables else payload)


def resend_event(call: Call) -> Call:
    """Send the same event for the second and last time."""
    return msgspec.structs.replace(call, memo=msgspec.to_builtins(CallMemo(step=DeliveryStep.RESEND)))


def create_list(name: str) -> Call:
    """Create a list, or leave it as it is."""
    return request("POST", "list", {"list": name, "type": "normal", "primary": 0})


def delete_list(name: str) -> Call:
    """Delete a list."""
    return request("DELETE", "list", {"list": name})


def find_moved(old: str, new: str, *, create: bool) -> Call:
    """Begin a change of address: find the profile's sid by the old address.

    This makes the change safe to repeat: once the address has changed, a change addressed to the old one would make a
    new profile of it. For ``create`` see AddressChangeMemo.
    """
    return find_keys(old, "email", AddressChangeMemo(step=DeliveryStep.FIND_MOVED, old=old, new=new, create=create))


def move_profile(sid: str, memo: AddressChangeMemo) -> Call:
    """Give the profile with this sid the new address; a profile that has it already is merged."""
    change = {
        "id": sid,
        "key": "sid",
        "keys": {"email": memo.new},
        "keysconflict": "merge",
        "fields": {"keys": 1},
    }
    return request("POST", "user", change, memo=memo.at(DeliveryStep.MOVE))


def find_erased(value: str, key: UserKey, *, left: int) -> Call:
    """Find the sid of the profile to delete; ``left`` is how many deletions may follow."""
    return find_keys(value, key, ErasureMemo(step=DeliveryStep.FIND_ERASED, value=value, key=key, left=left))


def find_erased_again(memo: ErasureMemo, settings: SailthruSettings, *, left: int) -> Call:
    """Look once more, ``look_again_s`` seconds later: Sailthru's reads may lag behind its writes."""
    memo = ErasureMemo(step=DeliveryStep.FIND_ERASED, value=memo.value, key=memo.key, left=left, again=True)
    return msgspec.structs.replace(find_keys(memo.value, memo.key, memo), after_s=settings.look_again_s)


def delete_profile(sid: str, memo: ErasureMemo) -> Call:
    """Delete the profile with this sid."""
    return request("DELETE", "user", {"id": sid, "key": "sid"}, memo=memo.at(DeliveryStep.ERASE))


def start_job(lines: Sequence[bytes], covers: Sequence[str]) -> Call:
    """Start a job that makes these updates, one a line, in place of the calls with the ids ``covers``."""
    file = File(field="file", name="updates.json", content=b"\n".join(lines), type="text/plain")
    job = upload("job", {"job": "update"}, file, memo=CallMemo(step=DeliveryStep.START_JOB))
    return msgspec.structs.replace(job, id=covers[0], covers=tuple(covers))


def poll_job(job_id: str) -> Call:
    """Ask in a while whether a job has ended."""
    poll = request("GET", "job", {"job_id": job_id}, memo=CallMemo(step=DeliveryStep.POLL_JOB))
    return msgspec.structs.replace(poll, pool=POLL_POOL, after_s=FIRST_POLL_S)
