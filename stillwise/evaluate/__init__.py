"""Student to report: benchmarks, probes, their figures with intervals, and the pages that show them."""

from __future__ import annotations

from stillwise.evaluate.benchmark import PassAt1
from stillwise.evaluate.named import Named
from stillwise.evaluate.titrate import Titration
from stillwise.parts import Part

PARTS: tuple[type[Part], ...] = (PassAt1, Titration, Named)
