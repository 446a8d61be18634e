"""Where a cluster stands: its site and its buildings."""

from __future__ import annotations

from pydantic import Field

from simulator.catalog.records import SiteRecord
from simulator.fields import RatioFromOne, Record


class Facility(Record):
    """Where it stands."""

    site: SiteRecord | None = None
    pue: RatioFromOne | None = Field(default=None, description="overrides the site's")

    @property
    def effective_pue(self) -> float | None:
        """The facility's own power usage effectiveness, else the site's, else None."""
        return self.pue if self.pue is not None or self.site is None else self.site.pue
