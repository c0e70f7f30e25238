"""Estimates of tokens: by bytes at first, then by what the model's answers have taught."""

from __future__ import annotations

import random
import string

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from local_llm_service.testing.fake_redis import FakeRedis
from local_llm_service.worker.key_prefix import DEFAULT_PREFIX
from local_llm_service.worker.store import connection
from local_llm_service.worker.store.bounds import TOKEN_RATES_SECONDS
from local_llm_service.worker.store.states import Lifetimes
from local_llm_service.worker.store.store import Store
from local_llm_service.worker.tokens.book import TELL_SECONDS, TokenBook
from local_llm_service.worker.tokens.characters import CLASSES, bytes_by_class
from local_llm_service.worker.tokens.model_tokens import Counts
from local_llm_service.worker.tokens.rates import TokenRates

#: Texts with the tokens that SmolLM2-135M's tokenizer makes of them, repeated five times.
ENGLISH = (
    "The council agreed on Thursday that the library would stay open in winter, although its roof "
    "has to be mended first and nobody knows yet who is going to pay for that. "
)
TEXTS = {
    "german": "Die Bundesregierung hat am Donnerstag beschlossen, dass die Verordnung über die "
    "Zulassung von Fahrzeugen geändert wird. Zuständig bleibt das Verkehrsministerium; "
    "Änderungen gelten ab Oktober. ",
    "russian": "Правительство сообщило сегодня, что школы снова откроются в сентябре после летних "
    "каникул, несмотря на сложную обстановку. ",
    "chinese": "政府今天宣布，学校将于暑假后的九月重新开学，"
    "尽管情况仍然复杂。专家认为这一决定是合理的。",
    "japanese": "政府は今日、夏休み明けの九月に学校を再開すると発表した。"
    "専門家はこの決定を妥当だと考えている。",
    "thai": "รัฐบาลประกาศวันนี้ว่าโรงเรียนจะเปิดอีกครั้งในเดือนกันยายนหลังปิดภาคเรียนฤดูร้อน ",
    "hindi": "सरकार ने आज घोषणा की कि गर्मी की छुट्टियों के बाद सितंबर में स्कूल फिर से खुलेंगे। ",
    "arabic": "أعلنت الحكومة اليوم أن المدارس ستفتح أبوابها مجددا في سبتمبر بعد العطلة الصيفية. ",
}
COUNTED = {
    "german": 371, "russian": 471, "chinese": 390, "japanese": 420, "thai": 735, "hindi": 431,
    "arabic": 361,
}  # fmt: skip


def taught(*lessons: tuple[str, int]) -> TokenRates:
    """Rates after lessons, each given four times."""
    rates = TokenRates()
    for text, tokens in lessons * 4:
        rates.learn(text, tokens)
    return rates


@settings(max_examples=60)
@given(st.text(max_size=200))
def test_before_anything_is_learned_bytes_bound_a_text(text: str) -> None:
    """Each is of one class, lone surrogates too, which come out of JSON.

    A token stands for a byte at least; some tokenizers put one space before the text.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    sizes, rates = bytes_by_class(text), TokenRates()
    assert sum(sizes.values()) == size
    assert set(sizes) <= CLASSES
    assert size < rates.most_tokens(text) <= size + 2
    assert rates.likely_tokens(text) <= size + 1


def test_classes_are_those_of_unicode() -> None:
    """A vowel sign is its script's; an accented letter makes its neighbours another language."""
    assert bytes_by_class("aB ж9漢") == {
        "latin": 1, "latin_capital": 1, "space": 1, "cyrillic": 2, "digit": 1, "cjk": 3,
    }  # fmt: skip
    assert bytes_by_class("कि") == {"devanagari": 6}
    assert bytes_by_class("für") == {"latin_beside_marked": 2, "latin_marked": 2}
    assert bytes_by_class("😀\u0301.") == {"mark": 5, "other": 2}
    assert bytes_by_class("ꙮ\u2028") == {"cyrillic": 3, "space": 3}


@pytest.mark.parametrize("name", TEXTS)
def test_answers_teach_each_script_its_rate(name: str) -> None:
    """After a few texts an estimate is near, and rather too high; the bound holds."""
    text, tokens = TEXTS[name] * 5, COUNTED[name]
    rates = taught(*((TEXTS[one] * 5, COUNTED[one]) for one in TEXTS))
    assert tokens <= rates.likely_tokens(text) <= 1.5 * tokens
    assert tokens <= rates.most_tokens(text)


def test_english_makes_estimates_short_and_a_bound_that_random_letters_keep() -> None:
    """Random letters are 0.6 tokens each, measured; a learned bound is one for them too."""
    rates = taught((ENGLISH * 20, 740))
    assert 35 <= rates.likely_tokens(ENGLISH) <= 55
    assert rates.most_tokens(ENGLISH) < 0.8 * len(ENGLISH)
    rates = taught((ENGLISH * 20, 400), ("Call 0123456789, or Q. " * 200, 600))
    chance = random.Random(1)
    letters = "".join(chance.choice(string.ascii_lowercase) for _ in range(2000))
    assert rates.most_tokens(letters) > 0.65 * len(letters)
    cheap = ("Правительство сообщило сегодня, что школы снова откроются. " * 90, 1000)
    rates = taught(cheap, ("今天天气很好我们去公园散步" * 90, 1100))
    rare = ("\ua641\ua643", "\U00020123", "\u2003\u1680")
    for each_a_token in ("0123456789", "?!.,;", "qxz", *rare):
        assert rates.most_tokens(each_a_token * 50) > 50 * len(each_a_token.encode())


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("a" * 5000, 700),  # one character without end
        (ENGLISH, 0),  # the server did not say
        (ENGLISH, 900),  # more tokens than bytes: it counted something else
        ("Short.", 2),
    ],
)
def test_what_cannot_be_the_text_alone_teaches_nothing(text: str, tokens: int) -> None:
    """Nor does one caller's odd text spoil the estimates of the others."""
    assert taught((text, tokens)).take_untold() == {}


def test_one_text_moves_a_rate_by_a_bounded_step() -> None:
    """A very long text teaches no more than a page."""
    rates = TokenRates()
    rates.learn(ENGLISH * 1000, 37_000)
    assert sum(n for name, n in rates.take_untold().items() if name.endswith(":bytes")) < 4200


def test_what_is_not_told_yet_counts_here_all_the_same() -> None:
    """Another thread may learn while this one hears from Redis."""
    rates = taught((ENGLISH * 5, 185))
    estimate = rates.likely_tokens(ENGLISH)
    rates.replace({"latin:bytes": 0, "of a later version:bytes": 7})
    assert rates.likely_tokens(ENGLISH) == estimate


@pytest.fixture
def store() -> object:
    """A store on an empty fakeredis."""
    server = FakeRedis()
    with connection.dialling(server.dial):
        client = connection.connect("redis://stand-in.invalid/0")
        yield Store(client, Lifetimes(60, 60, 60), prefix=DEFAULT_PREFIX)
    server.close()


def test_workers_share_what_they_learn_and_ask_redis_rarely(store: Store) -> None:
    """One exchange in TELL_SECONDS; a second worker begins with what the first has learned."""
    now = [0.0]
    first = TokenBook(store.token_rates, lambda: now[0])
    first.learn("digest", ENGLISH * 5, 185)
    assert not store.client.exists("{llm}:token_rates:digest")
    now[0] = TELL_SECONDS
    first.learn("digest", ENGLISH * 5, 185)
    second = TokenBook(store.token_rates).of("digest").rates
    assert second.likely_tokens(ENGLISH) == first.of("digest").rates.likely_tokens(ENGLISH)
    assert second.likely_tokens(ENGLISH) < TokenRates().likely_tokens(ENGLISH)
    kept = store.client.hgetall("{llm}:token_rates:digest")
    assert {str(name).partition(":")[0] for name in kept} <= CLASSES
    assert 0 < int(store.client.ttl("{llm}:token_rates:digest")) <= TOKEN_RATES_SECONDS


def test_without_redis_nothing_is_lost_and_nothing_fails(store: Store) -> None:
    """What could not be told is told when Redis is back."""
    now, add = [0.0], store.token_rates.add

    def away(*_: object) -> dict[str, int]:
        raise redis.ConnectionError

    store.token_rates.add = away  # type: ignore[method-assign]
    book = TokenBook(store.token_rates, lambda: now[0])
    book.learn("digest", ENGLISH * 5, 185)
    now[0] += TELL_SECONDS
    book.learn("digest", ENGLISH * 5, 185)
    estimate = book.of("digest").rates.likely_tokens(ENGLISH)
    store.token_rates.add = add  # type: ignore[method-assign]
    now[0] += TELL_SECONDS
    book.learn("digest", "Short.", 2)
    assert book.of("digest").rates.likely_tokens(ENGLISH) == estimate
    assert TokenBook(store.token_rates).of("digest").rates.likely_tokens(ENGLISH) == estimate


def test_counts_are_bounded_and_hold_no_text() -> None:
    """The one that nobody asked for longest makes room."""
    counts = Counts(most=2)
    for text, tokens in (("one", 1), ("two", 2)):
        counts.keep(text, tokens)
    assert counts.get("one") == 1
    counts.keep("three", 3)
    assert (counts.get("one"), counts.get("two"), counts.get("three")) == (1, None, 3)
