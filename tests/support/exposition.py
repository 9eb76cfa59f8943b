"""Reads what /metrics answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from tests.support.processes import Server


@dataclass(frozen=True)
class Exposition:
    """The samples of one scrape."""

    samples: tuple[tuple[str, Mapping[str, str], float], ...]

    @property
    def names(self) -> set[str]:
        """The name of every series, as a query has to write it."""
        return {name for name, _, _ in self.samples}

    def find(self, series: str, **labels: str) -> list[float]:
        """The values of the series of this name that have these labels, among others."""
        return [
            value
            for name, found, value in self.samples
            if name == series and labels.items() <= found.items()
        ]

    def total(self, series: str, **labels: str) -> float:
        """Their sum."""
        return sum(self.find(series, **labels))

    def values_of(self, label: str) -> set[str]:
        """Every value that a label has anywhere."""
        return {labels[label] for _, labels, _ in self.samples if label in labels}


def read(text: str) -> Exposition:
    """The samples of an answer in Prometheus' text format."""
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples]
    return Exposition(tuple((sample.name, sample.labels, sample.value) for sample in samples))


def scrape(server: Server) -> Exposition:
    """What a worker of a server answers now."""
    response = server.get("/metrics")
    assert response.status == 200, response.text
    return read(response.text)
