"""Load that can be believed: an open loop on Locust, timed from the plan, judged with its doubt.

Two halves. Pure, importable anywhere: `arrivals` (when), `histogram` and `recorder` (what was
seen), `thresholds`, `verdict` and `selfcheck` (what it means). Inside a locust process only:
`timer`, `wire`, `user`, `conductor`, `plugin`. `program` starts such a process from outside, since
importing locust patches the process that does it.

A scenario file needs one import:

    from streamproof.load.user import Poisson, StreamUser, operation
"""
