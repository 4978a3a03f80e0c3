"""Faults of the environment, injected into real processes while requests run, and the judgment.

A schedule is made from a seed (`schedule`, pure): requests that arrive, and faults (`faults`, small
frozen values) that are injected and healed at moments of it. The executor carries it out on a world
(`world`: the embedded stack), clients (`clients`) record what they see, and the judge (`judge`)
holds all of it against the contract.
"""
