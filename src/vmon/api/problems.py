"""What went wrong, as RFC 9457 has it: application/problem+json, with vmon's own name, message and hint.

Pure. One table leads from the tree of errors to statuses: an error has the status of the nearest class above it.
"""

from __future__ import annotations

import msgspec
from starlette.responses import Response

from vmon.core import errors
from vmon.export.document import json_bytes

STATUS: dict[type[errors.VmonError], int] = {
    errors.VmonError: 500,
    errors.UsageError: 400,
    errors.TargetError: 503,
    errors.TargetNotFound: 404,
    errors.TargetBusy: 409,
    errors.TargetDenied: 403,
    errors.TargetGone: 410,
    errors.PauseLost: 409,
    errors.DumpFormatError: 422,
    errors.GuestRebooted: 409,
    errors.NotSupported: 409,
    errors.IdentifyError: 409,
    errors.GuestDataError: 502,
    errors.NotMapped: 404,
    errors.CodeDiffers: 409,
    errors.NoSuchProcess: 404,
    errors.ProbeTampered: 409,
    errors.NoSuchFile: 404,
    errors.NotResident: 409,
    errors.RulesError: 422,
    errors.LabError: 502,
}
"""502: the guest said what can't be, as a bad server behind a gateway does."""


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as it is answered."""

    title: str
    """Name of the error: NoSuchProcess, UsageError; or of what HTTP calls it."""
    status: int
    detail: str
    """The message, a sentence."""
    hint: str = ""
    """What to do about it."""
    problems: list[str] = []
    """All that is wrong with a policy, FILE:LINE first."""
    type: str = "about:blank"


class Refused(Exception):
    """A request that is not for vmon to answer: who asks, or how it is asked."""

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        hint: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.hint = hint
        self.headers = headers or {}

    def response(self) -> Response:
        """As it is answered."""
        problem = Problem(title=self.title, status=self.status, detail=str(self), hint=self.hint)
        return respond(problem, self.headers)


def status_of(kind: type[errors.VmonError]) -> int:
    """The HTTP status of an error of the tree."""
    return next(STATUS[above] for above in kind.__mro__ if above in STATUS)


def problem_of(error: errors.VmonError) -> Problem:
    """An error of the tree as a problem."""
    return Problem(
        title=type(error).__name__,
        status=status_of(type(error)),
        detail=error.message,
        hint=error.hint,
        problems=list(error.problems) if isinstance(error, errors.PolicyError) else [],
    )


def respond(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    """A problem as an answer."""
    return Response(json_bytes(problem), problem.status, headers, media_type="application/problem+json")
