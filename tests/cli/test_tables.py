"""Tables for people: whatever somebody posted as a name is shown, and does nothing else."""

import pytest

from gateway.cli.tables import print_table


@pytest.mark.parametrize("name", ["[/]", "[bold]loud[/bold]", "[link=file:///etc/passwd]here[/link]", "имя 🎁"])
def test_a_name_that_looks_like_markup_is_shown_as_it_is(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    print_table(("name",), [(name,), (None,)], title=name)
    assert capsys.readouterr().out.count(name) == 2


def test_a_name_cannot_steer_the_terminal(capsys):
    print_table(("name",), [("\x1b[2Jgone\x07",)])
    assert "\\x1b[2Jgone\\x07" in capsys.readouterr().out
