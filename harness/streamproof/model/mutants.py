"""Protocols that are wrong in one place: the model must find each of them."""

from __future__ import annotations

import enum


class Mutant(enum.StrEnum):
    """One mistake; the value says what is done wrong."""

    ACKNOWLEDGE_FIRST = "the router posts the acknowledgment before it stores the request"
    PENDING_FIRST = "the router stores PENDING at once and posts the acknowledgment afterwards"
    ASSUME_ACKNOWLEDGED = (
        "the router records the acknowledgment as taken whatever its post answered"
    )
    CLAIM_ANYTHING = "a claim has no condition on the status"
    NO_REPOST = "whoever takes over does not post the last stored message again"
    RESET_NUMBERS = "a takeover numbers from 0 again"
    POST_FIRST = "a progress message is posted first and stored afterwards"
    FENCING_IGNORED = "an attempt whose write was refused posts its message all the same"
    UNFENCED_PROGRESS = "a progress message is stored without the attempt as a condition"
    UNFENCED_FINISH = "an outcome is stored without the attempt as a condition"
    TAKEOVER_KEEPS_ATTEMPT = "a takeover does not raise the attempt"
    RETRY_ASSUMES_TAKEN = "a retry records the last message as taken whatever its post answered"
    OUTCOME_JUMPS = "an outcome takes its number while the message before it is under way"
    CANCEL_NUMBERS = "cancel numbers and posts the outcome while somebody holds the request"
    CLOSE_ANYTHING = "the outcome of an ended request is numbered without a condition"
    FORGET_OUTCOME = "an outcome whose post was lost is not posted again"
    IGNORE_LEASES = "the sweeper takes requests back from workers that hold a lease"
    NO_ORPHANS = "the sweeper does not take back what a dead worker held"
    NO_OVERDUE = "the sweeper does not hand over again what nobody claimed"
    NO_STUCK_ACCEPTED = "the sweeper leaves what was stored but never made PENDING"
    NO_UNNUMBERED = "the sweeper leaves outcomes that nobody numbered"
    REFUSE_UNCERTAIN = "the router refuses a request although the store may have it"
    HOLD_FORGOTTEN = "a worker does not notice that it holds a request which it does not run"
    REPEAT_AFTER_CANCEL = "the router posts the acknowledgment again when a cancel was faster"
