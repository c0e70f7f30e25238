"""The overnight batch: a file or a table of lines becomes jobs, a bounded window of them at a time.

`producers/cli/batch.py` is its command. What has become of each line stands in a ledger beside the
output (`ledger.py`), so a run that was killed anywhere goes on with the same command.
"""
