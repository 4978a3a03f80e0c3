"""The contract suite: its clauses, the engine that runs them, and what one clause may use."""

from streamproof.contract.engine import ContractOptions, Progress, run_contract

__all__ = ["ContractOptions", "Progress", "run_contract"]
