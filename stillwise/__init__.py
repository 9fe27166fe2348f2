"""Distil the reasoning of large language models into small ones: from problems to a measured student."""

from __future__ import annotations

__version__ = "0.1.0"
