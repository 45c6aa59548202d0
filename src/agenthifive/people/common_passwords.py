"""Passwords that guessing programs try first, told by how they are made rather than by a long list.

    P@ssw0rd-2024!  ->  p a s s w o r d | - | 2 0 2 4 | !  ->  what no rule explains: "-", "!"  ->  too little: common

A password counts as common when it is made of well-known words (in any case, with digits for letters), keyboard and
number runs, years and repetitions, and next to nothing else. Source: contract/http.md section 14.1.
"""

import re
from typing import Final

_WORDS_TEXT: Final = """
password passwort passwd pass word kennwort contrasena motdepasse senha parola
qwerty qwertz azerty letmein welcome willkommen bienvenue admin administrator root superuser login logon signin
master owner manager user guest demo test testing tester temp temporary default secret geheim changeme change
access system server service database backup support operator public private computer internet network
google facebook apple amazon microsoft windows linux ubuntu debian oracle cisco github docker postgres
agenthifive hifive agent hive vault token apikey
iloveyou loveyou love lovely forever friends family happy smile angel heaven jesus blessed freedom whatever
monkey dragon tiger lion eagle falcon phoenix wolf bear panda kitty puppy horse dolphin butterfly
sunshine princess prince queen king shadow killer hunter ranger ninja warrior wizard magic matrix
superman batman spiderman starwars pokemon naruto minecraft fortnite gandalf hello world goodbye
football baseball basketball soccer hockey tennis golf liverpool arsenal chelsea barcelona juventus yankees cowboys
michael jennifer jessica ashley charlie daniel thomas jordan robert george andrew joshua matthew william
nicole amanda michelle hannah samantha maggie buster tigger ginger pepper cookie chocolate cheese banana orange
purple yellow silver golden diamond crystal flower rainbow summer winter spring autumn herbst sommer
january february march april june july august september october november december
monday tuesday wednesday thursday friday saturday sunday today tomorrow
ferrari porsche mercedes harley mustang corvette maverick thunder lightning trustno trustnoone
america canada london paris berlin madrid vienna zurich tokyo company business office money dollar
"""
_TRACKS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop",
    "qwertzuiop",
    "azertyuiop",
    "asdfghjkl",
    "qsdfghjklm",
    "zxcvbnm",
    "yxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
    "qazwsxedcrfvtgbyhnujm",
    "!@#$%^&*()",
    '!"§$%&/()=',
)
# digits and signs that stand for letters; i and l share a form, for 1 and ! stand for either
_FOLD: Final = str.maketrans("l1!|03457@$+", "iiiioeastast")
_WORDS: Final = frozenset(_WORDS_TEXT.translate(_FOLD).split())
_WORD_MIN: Final = min(map(len, _WORDS))
_WORD_MAX: Final = max(map(len, _WORDS))
_TRIGRAMS: Final = frozenset(
    path[at : at + 3] for track in _TRACKS for path in (track, track[::-1]) for at in range(len(track) - 2)
)
_YEAR: Final = re.compile(r"(?:19|20)\d\d")
_DIFFERENT_MIN: Final = 5
_UNEXPLAINED_MIN: Final = 4.0


def is_common(password: str) -> bool:
    """Whether a guessing program would find this password early.

    Shapes:
        password: of any length; the comparison ignores case.
    """
    text = password.casefold()
    return len(set(text)) < _DIFFERENT_MIN or _unexplained(text) < _UNEXPLAINED_MIN


def _unexplained(text: str) -> float:
    """How many characters no rule explains; a digit or sign is half as hard to guess as a letter."""
    folded, weight, at = text.translate(_FOLD), 0.0, 0
    while at < len(text):
        explained = max(_word(folded, at), _run(text, at), 4 if _YEAR.match(text, at) else 0)
        if not explained:
            weight += 1.0 if text[at].isalpha() else 0.5
        at += explained or 1
    return weight


def _word(folded: str, at: int) -> int:
    """The length of the longest known word that begins here."""
    return next((n for n in range(_WORD_MAX, _WORD_MIN - 1, -1) if folded[at : at + n] in _WORDS), 0)


def _run(text: str, at: int) -> int:
    """The length of the run along a keyboard row, the alphabet, the digits or one key that begins here."""
    end = at + 2
    while end < len(text) and (text[end - 2 : end + 1] in _TRIGRAMS or text[end - 2] == text[end - 1] == text[end]):
        end += 1
    return end - at if end - at >= 3 else 0
