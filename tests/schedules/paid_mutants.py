"""One-line faults of the scripts that money goes through; see mutants.py."""

from __future__ import annotations

from tests.schedules.mutants import Mutant

PAID_MUTANTS = (
    Mutant(
        "what was bought is not found",
        "book",
        "if bought then return {'bought', bought} end\n",
        "",
        "a completion that is there is bought again",
        "",
        paid=True,
    ),
    Mutant(
        "the booking of a run that died is overwritten",
        "book",
        "  waste_booking(name, open, id, now)\n",
        "",
        "what it reserved is never free again, nor spent",
        "",
        paid=True,
    ),
    Mutant(
        "a repeated booking wastes the first",
        "book",
        "  if open.nonce == nonce then return {'booked', ''} end",
        "",
        "a lost reply costs a call that was never made",
        "",
        paid=True,
    ),
    Mutant(
        "a booking is ended by whoever comes",
        "shared/spending",
        "if not booking or nonce and booking.nonce ~= nonce then return nil end",
        "if not booking then return nil end",
        "a worker that was cut off ends the booking of its successor",
        "",
        paid=True,
    ),
    Mutant(
        "a third call is paid for",
        "book",
        "if tonumber(cuts or 0) >= CUT_OFF_MOST then return {'cut_off', ''} end\n",
        "",
        "a job that kills its workers spends without end",
        "",
        paid=True,
    ),
    Mutant(
        "a completion is paid and not kept",
        "buy",
        "  if entry ~= '' then redis.call('HSETNX', steps, 'bought:' .. step, entry) end\n",
        "",
        "the next run buys it again",
        "",
        paid=True,
    ),
    Mutant(
        "whoever lost the job books",
        "book",
        "if job.token ~= token then return {'lost', ''} end\n",
        "",
        "a worker that was cut off wastes what its successor has booked",
        "",
        paid=True,
    ),
)
