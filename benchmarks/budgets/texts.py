"""Texts of many forms and scripts: this project's own pages, and made ones."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Texts stay the same while the pages change.
COMMIT = "c3d92fd"
_SENTENCES = {
    "en": ("Dr. Smith paid $3.50 to the U.S. team. ", "It rained at 5 p.m. in Bern! ", "Why? "),
    "de": ("Das kostet z.B. 3,50 Euro. ", "Frau Dr. Kunz sagt: „Nein.“ "),
    "ru": ("Это стоит 5 руб. за штуку. ", "Анна Иванова пришла вчера. "),
    "zh": ("今天天气很好。", "他说：“走吧。”", "会议在五月四日召开！"),
    "ja": ("会議は三時に終わりました。", "「はい。」と彼は言った。"),
    "hi": ("यह पहला वाक्य है। ", "बैठक सोमवार को है। "),
    "th": ("วันนี้อากาศดี ", "ประชุมวันจันทร์ "),
    "ar": ("هذه جملة قصيرة. ", "هل انتهى الاجتماع؟ "),
}
_OTHERS = (
    "- item 7\n",
    "| a | b |\n",
    "```py\nx = 1.5\n```\n",
    "# Head\n\n",
    "\n\n",
    "x" * 80,
    "🎉 ",
)


@lru_cache(maxsize=1)
def pages() -> list[str]:
    """The sections of this project's pages at one commit, with their tables, lists and code."""
    found = []
    for page in sorted(_git("ls-tree", "--name-only", COMMIT, "docs/").splitlines()):
        if page.endswith(".md"):
            parts = _git("show", f"{COMMIT}:{page}").split("\n## ")[1:]
            found += [f"## {part}" for part in parts]
    return [one for one in found if len(one) > 600]


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", "-C", str(ROOT), *words], check=True, capture_output=True, text=True
    ).stdout


def made(rng: random.Random) -> str:
    """A text of one script with other forms among its sentences, of 5 to 2,000 of them."""
    sentences = rng.choice(list(_SENTENCES.values()))
    number = int(5 * 400 ** rng.random())
    parts = (rng.choice(_OTHERS if rng.random() < 0.2 else sentences) for _ in range(number))
    return "".join(parts).strip() or "x"


def texts(number: int, *, of_pages: float, seed: int = 1) -> Iterator[str]:
    """So many texts, the same at each call; `of_pages` is the share of those that people wrote."""
    rng = random.Random(seed)
    written = list(pages())
    rng.shuffle(written)
    for place in range(number):
        if rng.random() < of_pages:
            yield written[place % len(written)]
        else:
            yield made(rng)


def said(rng: random.Random) -> str:
    """What an unkind model says: good sentences, loops, halves, lists, code without an end."""
    sentences = rng.choice(list(_SENTENCES.values()))
    form = rng.random()
    if form < 0.15:
        return rng.choice(sentences) * rng.randint(5, 60)
    if form < 0.25:
        return rng.choice(("", " \n", "and so on " * rng.randint(1, 90), "Here are the points:"))
    parts = [
        rng.choice(_OTHERS if rng.random() < 0.15 else sentences) for _ in range(rng.randint(1, 60))
    ]
    whole = "".join(parts)
    return whole[: rng.randint(1, len(whole))] if rng.random() < 0.5 else whole
