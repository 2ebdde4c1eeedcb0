"""The store's door where no daemon runs: the verbs themselves, in this process, under the store's lock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.access.audit import Audit
from appliance.cli.local_failures import failures
from appliance.cli.own_audit import own_audit, own_name
from appliance.cli.own_store import own_settings, own_store
from appliance.cli.store_door import Json, Show
from appliance.store import operations
from appliance.store.answers import listed_object, progress_object, shown_object
from appliance.store.content import Progress, Report
from appliance.store.operations import Operation, Outcome
from appliance.store.verbs import StoreVerbs


@contextmanager
def opened_here(data: Path, config: Path | None) -> Iterator[LocalDoor]:
    """The store below `data`. Raises Failure."""
    with failures(), own_store(data, config) as verbs:
        yield LocalDoor(verbs, audit=own_audit(own_settings(data, config)))


class LocalDoor:
    """The store itself, opened by this process. Used by the main thread; the verbs may report from others,
    one at a time.
    """

    takes_paths = True

    def __init__(self, verbs: StoreVerbs, *, audit: Audit | None = None) -> None:
        self._verbs = verbs
        self._audit = audit

    def list(self, prefix: str) -> list[Json]:
        with failures():
            return [listed_object(model) for model in self._verbs.list(prefix)]

    def show(self, name: str) -> Json:
        with failures():
            return shown_object(self._verbs.show(name))

    def perform(self, operation: Operation, show: Show) -> Outcome:
        with failures():
            # Checked as the daemon would: one door must not take what the other refuses.
            asked = operations.parse_operation(operations.to_body(operation))
            outcome = operations.perform(self._verbs, asked, _news_to(show))
        if self._audit is not None and operations.is_audited(asked):
            facts = operations.audited_facts(asked, outcome)
            self._audit.note(operations.event_of(asked), own_name(), **facts)
        return outcome


def _news_to(show: Show) -> Report:
    """What is said again is shown once, as the daemon does it."""
    latest: Progress | None = None

    def report(progress: Progress) -> None:
        nonlocal latest
        if progress != latest:
            latest = progress
            show(progress_object(progress))

    return report
