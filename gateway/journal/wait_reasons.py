"""Reasons to wait: why a lane was given back or a gate is closed, as a code of the gateway and a text."""

from __future__ import annotations

import msgspec

RETRY = "retry"
"""A verdict asked for another attempt; the detail is the verdict's own reason."""
REFUSED = "refused"
"""The credentials or the set-up were refused; the detail is the verdict's own reason."""
SHARED = "shared"
"""Another lane polls for the answer to a shared call; the detail is the call's id."""


class WaitReason(msgspec.Struct, frozen=True):
    """Why a lane or a gate waits: a ``code`` of the gateway, "" for none, and a ``detail`` that no code reads.

    As a text it is the detail of a retry, the code and the detail of a refusal or a shared call, or the code.
    """

    code: str = ""
    detail: str = ""

    def __bool__(self) -> bool:
        """Return true if there is a reason."""
        return bool(self.code)

    def __str__(self) -> str:
        """Return the reason as people read it."""
        if self.code == RETRY:
            return self.detail
        if self.code == REFUSED:
            return f"{REFUSED}: {self.detail}"
        return f"{self.code} {self.detail}".rstrip()


NO_REASON = WaitReason()
FAILED = WaitReason("failed")
"""The gateway itself failed."""

OLD_CODES = """
    'under_way', 'pool_full', 'failed', 'other_lanes', 'plugin_slow', 'paused', 'limit_reached', 'unreachable'
"""
SPLIT_REASON = f"""
        code = CASE
            WHEN substr(detail, 1, 9) = 'refused: ' THEN 'refused'
            WHEN substr(detail, 1, 7) = 'shared ' THEN 'shared'
            WHEN detail = '' OR detail IN ({OLD_CODES}) THEN detail
            ELSE 'retry' END,
        detail = CASE
            WHEN substr(detail, 1, 9) = 'refused: ' THEN substr(detail, 10)
            WHEN substr(detail, 1, 7) = 'shared ' THEN substr(detail, 8)
            WHEN detail IN ({OLD_CODES}) THEN ''
            ELSE detail END
"""
"""SQL for migrations: splits an older version's reason, one text in ``detail``, into ``code`` and ``detail``."""
