"""Where problems come from, and which of them go on. What gives no problem, or goes, is a Failure with its reason."""

from stillwise.parts import PartTable

PARTS = PartTable(
    __name__,
    file="file.File",
    hub="hub.Hub",
    modelscope="modelscope.ModelScope",
    gym="gym.Gym",
    micro="gym.Micro",
    elsewhere="elsewhere.Elsewhere",
    own="elsewhere.Own",
    hard_for="elsewhere.HardFor",
    dedupe="dedupe.Dedupe",
    decontaminate="decontaminate.Decontaminate",
    decontaminate_traces="decontaminate.DecontaminateTraces",
    decontaminate_meaning="meaning.DecontaminateMeaning",
    resample="resample.Resample",
    per_level="per_level.PerLevel",
    without="without.Without",
    recorded="recorded.Recorded",
    recorded_problems="recorded.RecordedProblems",
    distinct="distinct.Distinct",
)
