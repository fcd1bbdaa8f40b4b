"""The reports that the browser opens."""

from tests.reports.conftest import made_reports

__all__ = ["made_reports"]
