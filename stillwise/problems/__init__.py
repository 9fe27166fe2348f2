"""Where problems come from, and which of them go on. What gives no problem, or goes, is a Failure with its reason."""

from stillwise.parts import Part
from stillwise.problems.decontaminate import Decontaminate, DecontaminateTraces
from stillwise.problems.dedupe import Dedupe
from stillwise.problems.file import File
from stillwise.problems.gym import Gym, Micro
from stillwise.problems.hub import Hub
from stillwise.problems.modelscope import ModelScope
from stillwise.problems.per_level import PerLevel
from stillwise.problems.recorded import Recorded, RecordedProblems
from stillwise.problems.resample import Resample
from stillwise.problems.resolve import resolve

PARTS: tuple[type[Part], ...] = (
    File,
    Hub,
    ModelScope,
    Gym,
    Micro,
    Dedupe,
    Decontaminate,
    DecontaminateTraces,
    Resample,
    PerLevel,
    Recorded,
    RecordedProblems,
)

__all__ = [
    "PARTS",
    "Decontaminate",
    "DecontaminateTraces",
    "Dedupe",
    "File",
    "Gym",
    "Hub",
    "Micro",
    "ModelScope",
    "Resample",
    "resolve",
]
