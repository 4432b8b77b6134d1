"""The parts of the benchmark, by the names that the command takes, in the sequence in which they run."""

from benchmarks.parts import disk, export, growth, latency, limit, memory, naive, ours, stages
from benchmarks.run import Part

PARTS: dict[str, Part] = {
    "limit": limit.measure,
    "naive": naive.measure,
    "ours": ours.measure,
    "stages": stages.measure,
    "latency": latency.measure,
    "export": export.measure,
    "disk": disk.measure,
    "growth": growth.measure,
    "memory": memory.measure,
}
