"""What can be asked of the service: five Celery tasks.

>>> from tasks import summarize
>>> summarize.delay(context="A long text ...", max_summary_tokens=60).get(timeout=60)["summary"]
"""

from tasks.compress import compress
from tasks.extract_parameters import extract_parameters
from tasks.generate import generate
from tasks.structured_output import structured_output
from tasks.summarize import summarize

__all__ = ["compress", "extract_parameters", "generate", "structured_output", "summarize"]
