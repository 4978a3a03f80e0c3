"""Which models are explored: how many faults of which kind, and what is left out."""

from __future__ import annotations

from streamproof.model.mutants import Mutant
from streamproof.model.state import Budget, Options

# The name of each is what it adds; together they hold every step that the model knows.
CONFIGURATIONS: dict[str, Options] = {
    "faults": Options(Budget(crashes=2, pauses=1, duplicates=1, losses=1)),
    "retries": Options(Budget(crashes=1, losses=1), failures_max=1),
    "cancel": Options(Budget(crashes=1, losses=1), failures_max=1, cancels=1),
    "cancel, pause": Options(Budget(pauses=1, duplicates=1), deaths_max=1, cancels=1),
    "store": Options(Budget(crashes=1, answers=2), cancels=1),
    "connection ends": Options(Budget(crashes=1, losses=1, disconnects=1), cancels=1),
    "no faults": Options(Budget(), failures_max=1, cancels=1, prompt=True),
}
QUICK: dict[str, Options] = {
    "faults": Options(Budget(crashes=1, pauses=1, duplicates=1), deaths_max=2),
    "losses": Options(Budget(crashes=1, losses=1), failures_max=1),
    "store": Options(Budget(answers=1), failures_max=1, cancels=1),
    "connection ends": Options(Budget(losses=1, disconnects=1), cancels=1),
    "no faults": CONFIGURATIONS["no faults"],
}

_NOTHING = Options(Budget())
_CRASH = Options(Budget(crashes=1))
_PAUSE = Options(Budget(pauses=1))
_LOSS = Options(Budget(losses=1))
_RETRY = Options(Budget(), failures_max=1)
_CANCEL = Options(Budget(), cancels=1)
_STORE = Options(Budget(answers=1))

# The least that a mistake needs to be seen.
MUTANTS: dict[Mutant, Options] = {
    Mutant.ACKNOWLEDGE_FIRST: _NOTHING,
    Mutant.PENDING_FIRST: _NOTHING,
    Mutant.ASSUME_ACKNOWLEDGED: _LOSS,
    Mutant.CLAIM_ANYTHING: Options(Budget(duplicates=1)),
    Mutant.NO_REPOST: _NOTHING,
    Mutant.RESET_NUMBERS: _CRASH,
    Mutant.POST_FIRST: _NOTHING,
    Mutant.FENCING_IGNORED: _PAUSE,
    Mutant.UNFENCED_PROGRESS: _PAUSE,
    Mutant.UNFENCED_FINISH: _PAUSE,
    Mutant.TAKEOVER_KEEPS_ATTEMPT: _PAUSE,
    Mutant.RETRY_ASSUMES_TAKEN: _RETRY,
    Mutant.OUTCOME_JUMPS: _NOTHING,
    Mutant.CANCEL_NUMBERS: _CANCEL,
    Mutant.CLOSE_ANYTHING: _NOTHING,
    Mutant.FORGET_OUTCOME: _LOSS,
    Mutant.IGNORE_LEASES: _NOTHING,
    Mutant.NO_ORPHANS: _CRASH,
    Mutant.NO_OVERDUE: _CRASH,
    Mutant.NO_STUCK_ACCEPTED: _CRASH,
    Mutant.NO_UNNUMBERED: _CRASH,
    Mutant.REFUSE_UNCERTAIN: _STORE,
    Mutant.HOLD_FORGOTTEN: _STORE,
    Mutant.REPEAT_AFTER_CANCEL: CONFIGURATIONS["no faults"],
}
