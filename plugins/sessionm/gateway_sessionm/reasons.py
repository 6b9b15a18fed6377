"""The reasons that the plugin gives; facts with any other code of SessionM's are counted as ``other``."""

from __future__ import annotations

SKIPPED = (
    "already_known",
    "audiences_off",
    "bad_identity",
    "consent_off",
    "missing_event_name",
    "missing_screen_name",
    "no_audiences",
    "no_mpid",
    "nothing_to_send",
    "other_purpose",
    "unknown_action",
    "unknown_user",
    "unsupported_event_type",
)
LEFT_OUT = (
    "attribute_removed",
    "bad_time",
    "empty_identity",
    "empty_key",
    "hashed_identity",
    "invalid_email",
    "key_collision",
    "not_looked_under",
    "null_reserved",
    "null_value",
    "over_limit",
    "second_email",
    "user_tag",
)
REJECTED = (
    "argument_error",
    "identifiers_not_shown",
    "identity_conflict",
    "missing_data",
    "not_available",
    "not_found",
    "requires_registered_user",
    "undefined_event",
    "unnamed_error",
    "user_not_found",
    "validation",
)
REASONS = (*SKIPPED, *LEFT_OUT, *REJECTED)
