"""The kinds of job that the service does, each a Celery task.

>>> from tasks import summarize
>>> summarize.delay(context="A long text ...", max_summary_tokens=60).get(timeout=60)["summary"]
"""

if __name__ == "tasks":  # in a checkout: the short name, see src/local_llm_service/_checkout.py
    import sys

    sys.path.insert(0, f"{__path__[0].rpartition('/')[0]}/src")
    from local_llm_service._checkout import alias

    alias(__name__)


from local_llm_service.tasks.chat import chat
from local_llm_service.tasks.compress import compress
from local_llm_service.tasks.embed import embed
from local_llm_service.tasks.extract_parameters import extract_parameters
from local_llm_service.tasks.generate import generate
from local_llm_service.tasks.structured_output import structured_output
from local_llm_service.tasks.summarize import summarize

__all__ = [
    "chat",
    "compress",
    "embed",
    "extract_parameters",
    "generate",
    "structured_output",
    "summarize",
]
