"""500 sentences in five languages with the places of the personal data in them, and look-alikes that are none.

    seed -> sentence template + value of a kind -> Sentence(text, labels)

Numbers are drawn and their check digits computed here, by other code than the validators use.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from agenthifive.policy.pii import compile_types, find

SEED = 2026
SENTENCES = 500
KINDS = ("credit_card", "iban", "us_ssn", "email", "phone", "ip_address")
FOUND = [{"type": "contact"}, {"type": "financial"}, {"type": "identity"}]


@dataclass(frozen=True)
class Sentence:
    """A text and (start, end, type) of what is personal in it."""

    text: str
    labels: frozenset[tuple[int, int, str]]


@dataclass(frozen=True)
class Score:
    """How one type was found."""

    right: int
    missed: int
    wrong: int

    @property
    def precision(self) -> float:
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.missed) if self.right + self.missed else 1.0

    @property
    def f1(self) -> float:
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def digits(random: Random, count: int) -> str:
    return "".join(random.choice("0123456789") for _ in range(count))


def luhn_digit(number: str) -> str:
    """The digit that makes a number pass, found by trying."""
    for last in "0123456789":
        total = 0
        for place, char in enumerate(reversed(number + last)):
            doubled = int(char) * (1 + place % 2)
            total += doubled // 10 + doubled % 10
        if total % 10 == 0:
            return last
    raise AssertionError


def card(random: Random) -> str:
    prefix, length = random.choice([("4", 16), ("53", 16), ("37", 15), ("2400", 16), ("6011", 16)])
    number = prefix + digits(random, length - 1 - len(prefix))
    number += luhn_digit(number)
    groups = (4, 6, 5) if length == 15 else (4, 4, 4, 4)
    mark = random.choice([" ", "-", ""])
    parts, at = [], 0
    for size in groups:
        parts.append(number[at : at + size])
        at += size
    return mark.join(parts)


def iban(random: Random) -> str:
    country, shape = random.choice(
        [("DE", "d" * 18), ("FR", "d" * 10 + "a" * 11 + "dd"), ("ES", "d" * 20), ("GB", "l" * 4 + "d" * 14),
         ("IT", "l" + "d" * 22), ("NL", "l" * 4 + "d" * 10)]
    )  # fmt: skip
    alphabets = {"d": "0123456789", "l": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "a": "0123456789ABCDEFGHJK"}
    body = "".join(random.choice(alphabets[char]) for char in shape)
    number = int("".join(str(int(char, 36)) for char in f"{body}{country}00"))
    text = f"{country}{98 - number % 97:02d}{body}"
    if random.random() < 0.5:
        return text
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def ssn(random: Random) -> str:
    area = random.choice([area for area in range(1, 900) if area != 666])
    return f"{area:03d}-{random.randint(1, 99):02d}-{random.randint(1, 9999):04d}"


def email(random: Random) -> str:
    who = random.choice(["olga", "adam", "vera.support", "bot+orders", "büro", "o_l_g_a", "a-dam.7"])
    return f"{who}@{random.choice(['example.org', 'mail.example.com', 'büro.example', 'example.co.uk'])}"


def phone(random: Random) -> str:
    area, group = random.randint(200, 989), random.randint(200, 989)
    last = random.randint(1000, 9998)
    return random.choice(
        [
            f"+49 30 {random.randint(100000, 998765)}",
            f"+33 1 {random.randint(20, 89)} 45 {random.randint(10, 98)} 12 {random.randint(10, 98)}",
            f"+34 9{random.randint(11, 98)} {area} {group}",
            f"+39 06 {random.randint(1000000, 9876543)}",
            f"+44 20 {random.randint(7000, 7999)} {last}",
            f"+1 ({area}) {group}-{last}",
            f"{area}-{group}-{last}",
            f"({area}) {group}-{last}",
        ]
    )


def ip(random: Random) -> str:
    if random.random() < 0.3:
        return f"2001:db8:{random.randint(1, 65535):x}::{random.randint(1, 65535):x}"
    return ".".join(str(random.randint(1, 254)) for _ in range(4))


VALUES: dict[str, Callable[[Random], str]] = {
    "credit_card": card,
    "iban": iban,
    "us_ssn": ssn,
    "email": email,
    "phone": phone,
    "ip_address": ip,
}
TEMPLATES = {
    "credit_card": ("Please charge {} for the order.", "Bitte die Karte {} belasten.", "Débitez la carte {} demain.",
                    "Cargue la tarjeta {} hoy.", "Addebitare la carta {} domani.", "paid with {}, thanks"),
    "iban": ("Transfer it to {} by Friday.", "Überweisen Sie auf {} bis Freitag.", "Virement sur {} avant lundi.",
             "Transferir a {} por favor.", "Bonifico su {} entro lunedì.", "IBAN: {}"),
    "us_ssn": ("The applicant gave {} on the form.", "SSN {} was on the fax.", "US-Nummer {} liegt vor.",
               "Numéro américain {} reçu.", "El número {} consta en la solicitud.", "Il numero {} risulta nel modulo."),
    "email": ("Write to {} about it.", "Antwort bitte an {}.", "Écrivez à {} demain.", "Escriba a {} hoy.",
              "Scrivere a {} subito.", "cc {}; thanks"),
    "phone": ("Call {} after lunch.", "Rückruf unter {} erbeten.", "Joignable au {} ce soir.", "Llame al {} mañana.",
              "Chiamare {} dopo pranzo.", "{} is the number"),
    "ip_address": ("The login came from {} at night.", "Anmeldung von {} um drei Uhr.", "Connexion depuis {} hier.",
                   "Acceso desde {} anoche.", "Accesso da {} ieri.", "ping {} failed"),
}  # fmt: skip


def not_a_card(random: Random) -> str:
    number = "4" + digits(random, 14)
    return number + str((int(luhn_digit(number)) + random.randint(1, 9)) % 10)


LOOK_ALIKES: tuple[tuple[str, Callable[[Random], str]], ...] = (
    ("Order {} was shipped.", lambda r: digits(r, 10)),
    ("Order {} was paid.", lambda r: f"2026-{digits(r, 4)}-{digits(r, 3)}"),
    ("Rechnung {} ist offen.", lambda r: f"RE-{digits(r, 4)}/{digits(r, 5)}"),
    ("Facture {} réglée.", lambda r: f"F{digits(r, 8)}"),
    ("Pedido {} enviado.", not_a_card),
    ("Versione {} installata.", lambda r: f"{r.randint(1, 20)}.{r.randint(0, 40)}.{r.randint(0, 99)}"),
    ("Windows {} is current.", lambda r: f"10.0.{r.randint(19000, 22631)}.{r.randint(256, 4000)}"),
    ("Released {} as planned.", lambda r: f"2026-{r.randint(1, 12):02d}-{r.randint(1, 28):02d}T09:{digits(r, 2)}:00Z"),
    ("Um {} Uhr neu gestartet.", lambda r: f"{r.randint(10, 23)}:{r.randint(10, 59)}:{r.randint(10, 59)}"),
    ("Commit {} fixes it.", lambda r: "".join(r.choice("0123456789abcdef") for _ in range(40))),
    ("Build {} réussi.", lambda r: "".join(r.choice("0123456789abcdef") for _ in range(12))),
    ("Request {} timed out.", lambda r: "-".join("".join(r.choice("0123456789abcdef") for _ in range(n))
                                                   for n in (8, 4, 4, 4, 12))),
    ("The total is {} EUR.", lambda r: f"{r.randint(1, 99)}.{digits(r, 3)},{digits(r, 2)}"),
    ("Tracking {} llega mañana.", lambda r: f"1Z{digits(r, 3)}AA{digits(r, 8)}"),
    ("ISBN {} is out of print.", lambda r: f"978-3-{digits(r, 6)}-{digits(r, 2)}-{digits(r, 1)}"),
    ("Chat {} was archived.", lambda r: f"-100{digits(r, 10)}"),
    ("Epoch {} in the log.", lambda r: f"17{digits(r, 8)}"),
    ("Ticket {} è chiuso.", lambda r: f"#{digits(r, 6)}"),
    ("See std::{} for more.", lambda r: r.choice(["vector", "map", "string_view"])),
    ("Ask @{} in the channel.", lambda r: r.choice(["olga", "adam", "vera"])),
)  # fmt: skip


def sentences(seed: int = SEED, count: int = SENTENCES) -> list[Sentence]:
    """Three of five hold one value, the others a look-alike; every tenth holds both."""
    random = Random(seed)
    made = []
    for number in range(count):
        parts: list[Sentence] = []
        if number % 5 < 3:
            kind = KINDS[number % len(KINDS)]
            parts.append(_sentence(random.choice(TEMPLATES[kind]), VALUES[kind](random), kind))
        if number % 5 >= 3 or number % 10 == 0:
            template, value = random.choice(LOOK_ALIKES)
            parts.append(_sentence(template, value(random), None))
        made.append(_joined(parts))
    return made


def measure(made: Iterable[Sentence]) -> dict[str, Score]:
    """What the recognisers find in the sentences, by type; a finding counts when its ends are exact."""
    types = compile_types(FOUND)
    right, missed, wrong = Counter[str](), Counter[str](), Counter[str]()
    for sentence in made:
        spans = find(sentence.text, types)
        assert spans is not None
        found = {(span.start, span.end, span.type) for span in spans}
        right.update(kind for *_, kind in found & sentence.labels)
        missed.update(kind for *_, kind in sentence.labels - found)
        wrong.update(kind for *_, kind in found - sentence.labels)
    kinds = sorted({*KINDS, *right, *missed, *wrong})
    return {kind: Score(right[kind], missed[kind], wrong[kind]) for kind in kinds}


def table(scores: dict[str, Score]) -> str:
    """The figures as the documentation shows them."""
    lines = ["| type | found | missed | wrong | precision | recall | F1 |", "|---|--:|--:|--:|--:|--:|--:|"]
    for kind, score in scores.items():
        figures = f"{score.precision:.3f} | {score.recall:.3f} | {score.f1:.3f}"
        lines.append(f"| `{kind}` | {score.right} | {score.missed} | {score.wrong} | {figures} |")
    return "\n".join(lines)


def _sentence(template: str, value: str, kind: str | None) -> Sentence:
    start = template.index("{}")
    labels = frozenset({(start, start + len(value), kind)} if kind is not None else ())
    return Sentence(template.replace("{}", value), labels)


def _joined(parts: list[Sentence]) -> Sentence:
    text, labels = "", set()
    for part in parts:
        text += " " if text else ""
        labels |= {(start + len(text), end + len(text), kind) for start, end, kind in part.labels}
        text += part.text
    return Sentence(text, frozenset(labels))
