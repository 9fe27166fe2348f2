"""Student to report: benchmarks, probes, their figures with intervals, and the pages that show them."""

from stillwise.parts import PartTable

PARTS = PartTable(
    __name__,
    pass_at_1="benchmark.PassAt1",
    titration="titrate.Titration",
    benchmark="named.Named",
)
