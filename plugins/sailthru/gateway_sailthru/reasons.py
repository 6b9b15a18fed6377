"""The reasons that the plugin gives; facts with any other error of Sailthru's are counted as ``other``."""

from __future__ import annotations

from gateway_sailthru import replies

SKIPPED = (
    "consent_off",
    "erased",
    "hashed_email",
    "incomplete_item",
    "invalid_email",
    "kind_not_selected",
    "list_kept",
    "loop",
    "no_email",
    "no_item_url",
    "no_items",
    "no_name",
    "not_an_app_event",
    "other_purpose",
    "reserved_name",
    "too_large",
    "unchanged",
    "unknown_action",
)
LEFT_OUT = (
    "further_email",
    "name_collision",
    "not_forwarded",
    "null_reserved",
    "optout_kept",
    "removed_email",
    "unknown_optout",
)
REJECTED = (
    "address_not_changed",
    "job_failed",
    "job_hangs",
    "maybe_delivered",
    "no_job_id",
    "no_sid",
    *replies.REASONS.values(),
)
REASONS = (*SKIPPED, *LEFT_OUT, *REJECTED)
