"""One-line faults of the scripts that money goes through; see mutants.py."""

from __future__ import annotations

from tests.schedules.mutants import Mutant

PAID_MUTANTS = (
    Mutant(
        "what was bought is not found",
        "book",
        "  if bought then return {'bought', bought} end\n",
        "",
        "a completion that is there is bought again",
        "ask 3 5, step -1 0, take 2, step -1 0, expire 3, chore 4 4, step -1 0, finish 5 1",
        paid=True,
    ),
    Mutant(
        "the booking of a run that died is overwritten",
        "book",
        "  waste_booking(name, open, id, now)\n",
        "",
        "what it reserved is never free again, nor spent",
        (
            "ask 4 4, step -1 0, again 4, ask 0 1, step -1 0, take 5, step -1 0, drain 5, ask 6 "
            "1, ask 3 0, cancel 5, step 4 2, ask 0 1, step -1 0, take 5, step -1 0"
        ),
        paid=True,
    ),
    Mutant(
        "a repeated booking wastes the first",
        "book",
        "  if open.nonce == nonce then return {'booked', ''} end",
        "",
        "a lost reply costs a call that was never made",
        (
            "ask 6 5, ask 0 0, chore 3 9, ask 6 3, step 3 0, chore 1 9, ask 4 5, ask 2 4, step "
            "2 3, step 5 3, cancel 3, take 2, step 3 0, step 0 0, step 0 1, take 1, step 0 0, "
            "step 1 3, step 1 2, step 4 0, chore 4 7, lose 0"
        ),
        paid=True,
    ),
    Mutant(
        "a booking is ended by whoever comes",
        "shared/spending",
        "if not booking or nonce and booking.nonce ~= nonce then return nil end",
        "if not booking then return nil end",
        "a worker that was cut off ends the booking of its successor",
        "ask 3 1, step -1 0, take 0, step -1 0, leave 2 0, step 3 2, ask 3 2, take 4",
        paid=True,
    ),
    Mutant(
        "a third call is paid for",
        "book",
        "if tonumber(cuts or 0) >= CUT_OFF_MOST then return {'cut_off', ''} end\n",
        "",
        "a job that kills its workers spends without end",
        (
            "ask 2 1, step -1 0, lack 5, lack 5, take 1, step -1 0, fail 3 2 1, take 3, step -1 "
            "0, expire 4, chore 5 4"
        ),
        paid=True,
    ),
    Mutant(
        "a completion is paid and not kept",
        "buy",
        "  if entry ~= '' then redis.call('HSETNX', steps, 'bought:' .. step, entry) end\n",
        "",
        "the next run buys it again",
        (
            "lack 5, ask 4 0, step -1 0, ask 1 2, ask 5 5, step 3 0, cancel 4, step -1 0, lack "
            "5, take 5, step -1 0, finish 4 0, take 4, crash 1 1 0"
        ),
        paid=True,
    ),
    Mutant(
        "whoever lost the job books",
        "book",
        "if job.token ~= token then return {'lost', ''} end\n",
        "",
        "a worker that was cut off wastes what its successor has booked",
        (
            "ask 0 0, step -1 0, take 0, step -1 2, expire 0, chore 1 4, step -1 0, take 1, "
            "step -1 0, step 0 1"
        ),
        paid=True,
    ),
)
