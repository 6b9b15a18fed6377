"""Jobs: many profiles changed at once, in the background."""

from __future__ import annotations

import csv
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from gateway_sailthru.fake.errors import ApiError, missing_parameter
from gateway_sailthru.fake.options import Options
from gateway_sailthru.signing import make_signature

MAX_FILE_BYTES = 10_000_000
SOURCES = ("emails", "url", "file", "query")


class Job(msgspec.Struct, kw_only=True):
    """One job. ``rows`` are payloads as of POST /user; None stands for a line that cannot be read."""

    job_id: str
    name: str
    data: dict[str, Any]
    rows: list[dict[str, Any] | None] = []
    status: str = "pending"
    polls: int = 0
    bad_rows: int = 0
    times: dict[str, str] = {}

    def to_json(self) -> dict[str, Any]:
        """Return the job as a reply shows it."""
        extra = {"list": self.data["list"]} if self.data["job"] == "import" else {}
        extra |= {"update": []} if self.data["job"] == "update" else {}
        return {"job_id": self.job_id, "name": self.name, **extra, "status": self.status, **self.times}


class Jobs:
    """All jobs. ``run`` applies one row and raises ApiError if it cannot; ``erase`` deletes a list if it exists."""

    def __init__(self, run: Callable[[dict[str, Any]], None], erase: Callable[[str], None]) -> None:
        self.all: dict[str, Job] = {}
        self._run = run
        self._erase = erase

    def post(self, data: dict[str, Any], file: bytes | None) -> dict[str, Any]:
        """Answer POST /job: start a job. Raises ApiError."""
        kind = data.get("job")
        if kind not in ("import", "update", "list_erase"):
            raise ApiError(400, 99, f"Invalid job: {kind}")
        if file is not None and len(file) > MAX_FILE_BYTES:
            raise ApiError(400, 99, "The file is too large")
        name, rows = _read_job(kind, data, file)
        job = Job(job_id=f"{len(self.all) + 1:024x}", name=name, data=data, rows=rows)
        self.all[job.job_id] = job
        return job.to_json()

    def get(self, data: dict[str, Any], date: str, options: Options) -> tuple[dict[str, Any], Job | None]:
        """Answer GET /job; return the job too if it ends by this poll. Raises ApiError."""
        job = self.all.get(str(data.get("job_id")))
        if job is None:
            raise ApiError(404, 99, "Invalid job_id")
        job.polls += 1
        ahead = [other for other in self.all.values() if other.status == "pending" and other.job_id < job.job_id]
        if job.status != "pending" or job.polls <= options.job_polls or len(ahead) >= options.job_limit:
            return job.to_json(), None
        job.times = {"start_time": date, "end_time": date}
        if options.job_fails:
            options.job_fails -= 1
            job.status = "error"
        else:
            self._finish(job)
        return job.to_json(), job

    def _finish(self, job: Job) -> None:
        for row in job.rows:
            try:
                if row is None:
                    job.bad_rows += 1
                else:
                    self._run(row)
            except ApiError:
                job.bad_rows += 1
        for name in job.data.get("lists") or [] if job.data["job"] == "list_erase" else []:
            self._erase(name)
        job.status = "completed"


def _read_job(kind: str, data: dict[str, Any], file: bytes | None) -> tuple[str, list[dict[str, Any] | None]]:
    if kind == "list_erase":
        return f"Bulk List Erase: {len(data.get('lists') or [])} requested", []
    given = [name for name in SOURCES if data.get(name) and name != "file"] + (["file"] if file is not None else [])
    if len(given) != 1:
        raise ApiError(400, 99, "Exactly one of emails, url, file and query is required")
    if kind == "import" and not data.get("list"):
        raise missing_parameter("list")
    text = (file or b"").decode()
    emails = [email for email in str(data.get("emails", "")).split(",") if email.strip()]
    if kind == "import":
        rows: list[dict[str, Any] | None] = [{"id": email, "key": "email"} for email in emails] or [*_read_table(text)]
        return f"List Import: {data['list']}", [{**row, "lists": {data["list"]: 1}} for row in rows if row]
    common = _read_change(data.get("update") or {})
    rows = [{**common, "id": email, "key": "email"} for email in emails]
    for line in text.splitlines():
        rows.append(_read_line(line, common))
    return "Bulk Update", rows


def _read_table(text: str) -> Iterator[dict[str, Any]]:
    """Yield the rows of an import: of a table with a column ``email``, or of an address on each line."""
    if "email" not in text.partition("\n")[0].lower().split(","):
        yield from ({"id": line, "key": "email"} for line in text.splitlines() if line.strip())
        return
    for row in csv.DictReader(io.StringIO(text)):
        columns = {name: value for name, value in row.items() if name.lower() != "email"}
        yield {"id": row.get("email") or row.get("Email"), "key": "email", "vars": columns}


def _read_line(line: str, common: dict[str, Any]) -> dict[str, Any] | None:
    try:
        data = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    if not isinstance(data, dict):
        return None
    given = {"id": data.pop("email", None), **data}
    return {**common, **{name: value for name, value in given.items() if value is not None}}


def _read_change(update: dict[str, Any]) -> dict[str, Any]:
    """Return the change that a job makes to every profile; an opt-out has another name there than in POST /user."""
    change = dict(update)
    if "optout" in change:
        change["optout_email"] = change.pop("optout")
    return change


def post_back(job: Job, api_key: str, secret: str) -> None:
    """Post a finished job to its postback URL, from a thread of its own; loopback only."""
    url = urlsplit(str(job.data.get("postback_url", "")))
    if url.hostname not in ("127.0.0.1", "localhost") or url.port is None:
        return
    fields = {**{name: value for name, value in job.to_json().items() if isinstance(value, str)}, "api_key": api_key}
    body = urlencode({**fields, "sig": make_signature(secret, fields.values())})

    def send() -> None:
        wire = HTTPConnection(str(url.hostname), url.port, timeout=5)
        with suppress(OSError):
            wire.request("POST", url.path or "/", body, {"Content-Type": "application/x-www-form-urlencoded"})
            wire.getresponse().read()
        wire.close()

    threading.Thread(target=send, daemon=True).start()
