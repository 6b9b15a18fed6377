"""Reasons: a plugin's words are counted, and nothing that it or a partner makes up for each fact."""

import pytest

from gateway.plugins.reasons import MAX_REASONS, OTHER, Reasons


@pytest.mark.parametrize(
    ("reason", "named"),
    [
        ("no_email", "no_email"),
        ("status_404", "status_404"),
        ("nothing_to_send", "nothing_to_send"),
        ("", ""),
        ("status_999", OTHER),
        ("err_4711", OTHER),
        ("no_email ", OTHER),
        ("jo@example.com", OTHER),
    ],
)
def test_only_declared_reasons_are_counted(reason, named):
    assert Reasons(["no_email"]).name(reason) == named


def test_without_a_declaration_the_first_words_are_counted_and_texts_never():
    reasons = Reasons(None)
    given = [f"error_{number}" for number in range(2 * MAX_REASONS)]
    assert [reasons.name(one) for one in given] == given[:MAX_REASONS] + [OTHER] * MAX_REASONS
    assert [Reasons(None).name(one) for one in ("an error", "jo@example.com", "x" * 41)] == [OTHER] * 3


@pytest.mark.parametrize(
    ("reason", "detail", "split"),
    [
        ("no_email", "POST was answered 400", ("no_email", "POST was answered 400")),
        ("err_4711", "POST was answered 400", (OTHER, "err_4711; POST was answered 400")),
        ("err_4711", "", (OTHER, "err_4711")),
    ],
)
def test_a_reason_that_is_not_counted_stays_in_the_detail(reason, detail, split):
    assert Reasons(["no_email"]).split(reason, detail) == split
