"""The language of the project: how sentences open, and the names of classes and modules."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("gateway/**/*.py"), *ROOT.glob("plugins/*/gateway_*/**/*.py")])
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md"), *ROOT.glob(".github/*.md")]
)
BANNED = re.compile(r"(What|Whatever|Whoever|Whether|Which|Who|How|Nor|Of|Up to when|So often)\b(?!\?)")
QUESTION = re.compile(r"(What|Which|Who|How)\b[^.!?]*\?")
OPENING = re.compile(r"(?:^|(?<=[.:;!?] )|(?<=[.!?]\n)|(?<=\n\n)|(?<=\n- ))([A-Z][\w ]*)")
CODE = re.compile(r"```.*?```|`[^`\n]*`|^\s*\|[^\n]*$|^ {4,}[^\n]*$|<!--.*?-->", re.DOTALL | re.MULTILINE)


def label(path):
    return str(path.relative_to(ROOT))


def texts(source):
    """Every docstring and comment of a module, and every description of a setting or an option, with its line."""
    text = source.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            doc = ast.get_docstring(node)
            if doc:
                yield getattr(node, "lineno", 1), doc
        elif isinstance(node, ast.keyword) and node.arg in ("description", "help"):
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                yield node.value.lineno, node.value.value
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.rpartition("# ")[2].capitalize()


def banned(text):
    """The openings of a text's sentences that language has no place for."""
    return [opening for opening in OPENING.findall(QUESTION.sub("", text)) if BANNED.match(opening)]


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_docstrings_and_comments_open_with_a_subject_or_a_verb(path):
    assert [(line, found) for line, text in texts(path) if (found := banned(text))] == []


@pytest.mark.parametrize("path", PAGES, ids=label)
def test_pages_open_their_sentences_with_a_subject_or_a_verb(path):
    assert banned(CODE.sub("", path.read_text())) == []


MIRRORS = {
    "gateway/journal/postgres": "gateway/journal/sqlite",
    "plugins/sailthru/gateway_sailthru": "plugins/sessionm/gateway_sessionm",
}
"""Packages of one pattern, where a name means the same in both."""
PLAIN = set(
    """
    abort accept action advance after allowance api app arrival arrivals asked attribution authenticator backlog
    bad begin blackbox bound bounded bucket buckets budget bytes cached catalog change channel check checkpoint
    checkpointer child client clock closed closure collector committer configuration count counts crashed custom
    deadline decision defaults definition deliveries delivery device empty endpoint environment erase erased error
    exchange executor external failure fake fast fault fields flow found gone governed governor handler head
    headers heartbeat hint identifier ignored impression indexer ingress interrupted invalid job jobs jump kept
    keys kind lazy link list lists location lock lookup mailing malformed match measurement member move no note
    notice object operation opt options origin other oversized owner pace pairs pause picked ping planned planner
    platform post prepared printer product profile progress promotion protocol prune public publish push queue
    reader received ref registration remember reopen replayed report reported reschedule reseal resolver result
    rewrite rewriter router routing row run runner running screen sealed sealer secret section seed selection
    sender server settlement sharing shelf skip socket sourced split stage stale state status step stored subject
    survey suspects tag targets timed timeout timer token transport trouble unavailable uneditable unknown
    unopenable unreadable unusable vendor versioned view wake watchdog window withheld worker workspace writer
    """.split()  # noqa: SIM905  # easier to read than a list of strings
)
"""Plain English, terms of mParticle's and of the libraries, beside the glossary's."""
NAMED = {"m", "postgres", "sailthru", "session", "sqlite"}


def class_names():
    """Every class of the gateway and the plugins, with the packages that define it; mirrors count as one."""
    found = {}
    for path in SOURCES:
        package = label(path.parent)
        for mirror, original in MIRRORS.items():
            package = package.replace(mirror, original)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, set()).add(package)
    return found


def words(name):
    return {word.lower() for word in re.findall(r"[A-Z][a-z0-9]*", name)}


def test_a_class_name_has_one_meaning():
    assert {name: packages for name, packages in class_names().items() if len(packages) > 1} == {}


def test_class_names_are_made_of_the_glossary_and_plain_english():
    terms = re.findall(r"[a-z]+", (ROOT / "docs" / "glossary.md").read_text().lower())
    known = {*terms, *(f"{term}s" for term in terms), *PLAIN, *NAMED}
    assert {name: left for name in class_names() if (left := words(name) - known)} == {}


def test_no_word_is_kept_that_no_class_needs():
    assert PLAIN - set().union(*map(words, class_names())) == set()


def test_modules_are_named_by_what_they_hold():
    names = {part for path in SOURCES for part in path.relative_to(ROOT).with_suffix("").parts}
    participles = {name for name in names if re.fullmatch(r"[a-z]+(ed|wn|ld)", name)} - {"field", "embed"}
    assert participles == {"erased"}  # dispatch/erased: the facts of erased users


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What is due.", ["What is due"]),
        ("Return it. Whoever asks, waits.", ["Whoever asks"]),
        ("A line.\n\nWhether it is\nso.", ["Whether it is"]),
        ("Return what is due. Ask whether it is.", []),
        ("Officers, offers and whatnots. Notes.", []),
    ],
)
def test_a_banned_opening_is_found_where_a_sentence_opens(text, expected):
    assert banned(text) == expected


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_exception_from_a_rule_of_the_linter_has_its_reason(path):
    bare = [line.strip() for line in path.read_text().splitlines() if re.search(r"# noqa: [A-Z0-9, ]+$", line)]
    assert bare == []
