"""The follow-up to each reply: a verdict, or the next call of the same delivery."""

from __future__ import annotations

from gateway.sdk import Call, Plan, Reply, Verdict, delivered, rejected, retry
from gateway_sailthru import calls
from gateway_sailthru.replies import is_missing, is_success, judge, read_keys
from gateway_sailthru.settings import SailthruSettings
from gateway_sailthru.steps import AddressChangeMemo, DeliveryStep, ErasureMemo, read_memo

MAX_DELETIONS = 3
ERASURE_PAUSE_S = 60.0
MAX_POLL_S = 60.0
MAX_POLLS = 360
"""Polls of one job, about six hours; a job that takes longer is given up."""


def follow_up(call: Call, reply: Reply, settings: SailthruSettings) -> Verdict | Plan:
    """Return a verdict, the calls to make in this call's place, or None for the gateway's own rules."""
    followed: Verdict | Plan
    match read_memo(call):
        case AddressChangeMemo(step=DeliveryStep.FIND_MOVED) as memo:
            followed = _after_find_moved(memo, reply)
        case AddressChangeMemo() as memo:
            followed = _after_move(memo, reply)
        case ErasureMemo(step=DeliveryStep.FIND_ERASED) as memo:
            followed = _after_find_erased(memo, reply, settings)
        case ErasureMemo() as memo:
            followed = _after_erase(memo, reply, settings)
        case memo:
            followed = _after_step(memo.step, call, reply)
    return judge(call, reply, settings) if followed is None else followed


def _after_step(step: DeliveryStep, call: Call, reply: Reply) -> Verdict | Plan:
    match step:
        case DeliveryStep.SEND if is_missing(reply):
            return [calls.upsert(call.json["id"]), calls.resend_event(call)]
        case DeliveryStep.START_JOB if is_success(reply):
            job_id = reply.json().get("job_id")
            return calls.poll_job(job_id) if isinstance(job_id, str) else rejected("no_job_id")
        case DeliveryStep.POLL_JOB if is_success(reply):
            return _after_poll(reply)
        case _:
            return None


def _after_find_moved(memo: AddressChangeMemo, reply: Reply) -> Call | Verdict | None:
    """Move the profile that has the old address; if there is none, make sure that the new address has one."""
    if is_missing(reply):
        return calls.upsert(memo.new) if memo.create else delivered("already_changed")
    sid = read_keys(reply).get("sid")
    if isinstance(sid, str):
        return calls.move_profile(sid, memo)
    return rejected("no_sid") if is_success(reply) else None


def _after_move(memo: AddressChangeMemo, reply: Reply) -> Call | Verdict | None:
    """Check that the profile has its new address; begin again if the profile vanished in between."""
    if is_missing(reply):
        return calls.find_moved(memo.old, memo.new, create=memo.create)
    email = str(read_keys(reply).get("email", memo.new))
    return rejected("address_not_changed") if email.lower() != memo.new else None


def _after_find_erased(memo: ErasureMemo, reply: Reply, settings: SailthruSettings) -> Call | Verdict | None:
    """Delete the profile found; one that is not found counts as gone only if a second look does not find it either."""
    if is_missing(reply):
        return delivered("gone") if memo.again else calls.find_erased_again(memo, settings, left=memo.left)
    sid = read_keys(reply).get("sid")
    if not isinstance(sid, str):
        return rejected("no_sid") if is_success(reply) else None
    if memo.left == 0:
        return retry("still_there", after_s=ERASURE_PAUSE_S, restart=True)
    return calls.delete_profile(sid, memo)


def _after_erase(memo: ErasureMemo, reply: Reply, settings: SailthruSettings) -> Call | None:
    """Look again after a deletion, because Sailthru may need more than one."""
    if not is_success(reply) and not is_missing(reply):
        return None
    return calls.find_erased_again(memo, settings, left=memo.left - 1)


def _after_poll(reply: Reply) -> Verdict:
    """Judge a job by its status; of a job that failed or hangs, the gateway makes every update by itself."""
    status = reply.json().get("status")
    if status == "completed":
        return delivered()
    if status == "error":
        return rejected("job_failed")
    if reply.attempt >= MAX_POLLS:
        return rejected("job_hangs")
    return retry("job_pending", after_s=min(MAX_POLL_S, calls.FIRST_POLL_S * 2 ** min(reply.attempt, 10)))
