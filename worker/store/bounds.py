"""How long things live in Redis and how many there may be, where no setting says so."""

from __future__ import annotations

from typing import Final

#: The longest `deadline_seconds`, of any kind.
LONGEST_DEADLINE_SECONDS: Final = 31_536_000

#: Workers publish themselves this often and are gone after the TTL. Seconds.
PRESENCE_INTERVAL_SECONDS: Final = 3.0
PRESENCE_TTL_SECONDS: Final = 12

#: Dead letters are dropped when they are older, or the oldest when there are more.
DEAD_LETTERS_SECONDS: Final = 7 * 86_400
DEAD_LETTERS_MOST: Final = 1000
#: And the oldest when all together take more bytes, where no setting says otherwise.
DEAD_LETTERS_BYTES: Final = 67_108_864

#: Characters that a dead letter keeps of what the model wrote last.
LAST_TEXT_CHARS: Final = 16_384

#: How long it is remembered when a model was served last; MODEL_WAIT_SECONDS is shorter.
SERVED_SECONDS: Final = 86_400

#: How long a text can be read after it was last added to.
TEXT_SECONDS: Final = 600
#: The longest text that is kept, in UTF-8. Of a longer one its readers get the rest at its end.
TEXT_BYTES_MOST: Final = 1_048_576

#: How long the completion of one step of a job is kept: a job that makes room for others may wait
#: for a night.
STEP_SECONDS: Final = 86_400
#: How long it is known what a day or a month has cost.
SPENDING_SECONDS: Final = 400 * 86_400
#: A job makes room for more urgent ones so often, and no more.
YIELDS_MOST: Final = 2

#: How long it is remembered how many tokens a model makes of characters, after it answered last.
TOKEN_RATES_SECONDS: Final = 30 * 86_400

#: How long an event for a webhook is kept after it was due last, or after it was given up. Longer
#: than any pause between two tries.
WEBHOOK_SECONDS: Final = 3 * 86_400
#: Nothing is delivered to a URL for this long after it answered that it is gone.
WEBHOOK_GONE_SECONDS: Final = 86_400
#: The most events that wait to be delivered, and of those that were given up.
WEBHOOKS_MOST: Final = 30_000
WEBHOOKS_GIVEN_UP_MOST: Final = 1000

#: How long a day of the savings ledger is kept.
SAVINGS_SECONDS: Final = 400 * 86_400

#: Numbers that scripts know by these names: the longest doorbell, of unreadable messages the
#: largest and the most of them, the most that one take parks, how long it is known when a model was
#: served last, the bounds of dead letters, how long one worker alone empties itself for a
#: quarantined job, how long statistics outlive the last job and the clock the last worker (longer
#: than any deadline), and what Redis needs for a cache entry, and for a job, beside its own bytes
#: (MEMORY USAGE of keys, values and indexes); how many waiters one script answers; how long a text
#: lives, and how long the name of a run is; the bounds of webhooks, and at how many of them
#: one look is; how long the jobs of an API key outlive the last one (longer than any deadline); how
#: often a job makes room for more urgent ones; how long a day of the savings ledger is kept, how
#: many rows it has before tenants share one, and for how long it is known which tokens of a run are
#: in it; how long money is known, how long after the deadline of its work a booking counts as
#: wasted, how many of these one call ends, and how many calls for one step are paid that bring no
#: answer.
NUMBERS: Final = {
    "DOORBELL_MOST": 64,
    "UNREADABLE_BYTES": 65_536,
    "UNREADABLE_MOST": 100,
    "PARK_AT_ONCE": 200,
    "SERVED_MS": SERVED_SECONDS * 1000,
    "DEAD_LETTERS_MS": DEAD_LETTERS_SECONDS * 1000,
    "DEAD_LETTERS_MOST": DEAD_LETTERS_MOST,
    "CLEARING_MS": 5000,
    "STATS_SECONDS": 366 * 86_400,
    "SAVINGS_SECONDS": SAVINGS_SECONDS,
    "SAVINGS_ROWS_MOST": 1000,
    "RUN_TOKENS_SECONDS": 2 * 86_400,
    "CLOCK_SECONDS": 366 * 86_400,
    "CACHE_ENTRY_OVERHEAD_BYTES": 400,
    "JOB_OVERHEAD_BYTES": 700,
    "FAN_OUT_AT_ONCE": 100,
    "TEXT_SECONDS": TEXT_SECONDS,
    "RUN_CHARACTERS": 12,
    "WEBHOOK_SECONDS": WEBHOOK_SECONDS,
    "WEBHOOK_GONE_SECONDS": WEBHOOK_GONE_SECONDS,
    "WEBHOOKS_MOST": WEBHOOKS_MOST,
    "WEBHOOKS_GIVEN_UP_MOST": WEBHOOKS_GIVEN_UP_MOST,
    "WEBHOOKS_LOOK": 200,
    "API_JOBS_SECONDS": 366 * 86_400,
    "YIELDS_MOST": YIELDS_MOST,
    "STEP_SECONDS": STEP_SECONDS,
    "SPENDING_SECONDS": SPENDING_SECONDS,
    "BOOKING_GRACE_MS": 60_000,
    "BOOKINGS_AT_ONCE": 100,
    "CUT_OFF_MOST": 2,
}
