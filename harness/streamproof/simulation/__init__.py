"""The whole system in one process on virtual time: one seed, one history, faults at every await.

Nothing here knows the judged system; `streamproof.targets.simulated` wires the reference in.
"""

from streamproof.simulation.loop import DeadlockError, SimulationLoop
from streamproof.simulation.store import SimulatedStore, Vocabulary
from streamproof.simulation.system import Ports, Program, System
from streamproof.simulation.world import Played, World

__all__ = [
    "DeadlockError",
    "Played",
    "Ports",
    "Program",
    "SimulatedStore",
    "SimulationLoop",
    "System",
    "Vocabulary",
    "World",
]
