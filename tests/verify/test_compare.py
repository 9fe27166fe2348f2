"""Answers by kind and by policy: what is the same, what is not, what the reader here cannot tell."""

from __future__ import annotations

import time

import pytest

from stillwise.errors import UserError
from stillwise.records import Problem
from stillwise.verify.compare import same
from stillwise.verify.forms import kind_of
from stillwise.verify.policy import Policy, declared

PRECISION, RECALL = Policy(), Policy(mode="recall", percent="either")

SAME = [
    ("4", "4"),
    ("1,000", "1000"),
    ("1000", r"1\,000"),
    (r"90{,}900{,}909", "90900909"),
    (r"\$36", "36"),
    (r"\dfrac12", r"\frac12"),
    ("0.50", "0.5"),
    (".5", r"\frac{1}{2}"),
    (r"0.1\overline{6}", "1/6"),
    (r"918\frac{1}{2}", "918.5"),
    ("11 2/3", r"\frac{35}{3}"),
    (r"7.8\times 10^2", "780"),
    ("10^{35}", "10^35"),
    (r"\sqrt{2}", "1.4142135623730951"),
    (r"\frac{\sqrt{5}-1}{2}", r"\frac{-1+\sqrt5}{2}"),
    (r"11\sqrt2", "11*sqrt(2)"),
    ("18+2\\pi", "18+2pi"),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt 2}{2}"),
    (r"5\sqrt[3]{2}", "5*2^{1/3}"),
    ("0", r"\sqrt{2}-\sqrt{2}"),
    ("1/2004!", r"\frac{1}{2004!}"),
    ("(x+1)^2", "x^2+2x+1"),
    (r"\tan^2(y)+1", r"\sec^2(y)"),
    (r"\binom{n}{2}", r"\frac{n(n-1)}{2}"),
    (r"\lceil n/2\rceil+1", r"\left\lceil \dfrac{n}{2} \right\rceil + 1"),
    (r"\log_2 8", "3"),
    (r"\sin 30^\circ", "1/2"),
    ("|x-1|", "|1-x|"),
    ("x=5", "5"),
    ("5", "x = 2 + 3 = 5"),
    ("2=x", "x=2"),
    ("f(x)=x+1", "f(n)=n+1"),
    ("y=2x+3", "2x+3"),
    ("x^2+y^2=1", "1-x^{2}-y^{2}=0"),
    ("x^2/4+y^2/3=1", "3x^2+4y^2=12"),
    ("(1,2)", r"\left( 1,\ 2 \right)"),
    ("1,3", r"3 \text{ and } 1"),
    (r"1 \pm \sqrt{19}", r"1-\sqrt{19}, 1+\sqrt{19}"),
    (r"\{1,2\}", r"\{2,1\}"),
    ("$6764$,$10945$", "6764, 10945"),
    ("[0,9)", r"\left[0,9\right)"),
    (r"(-\infty,-2)\cup(2,\infty)", "x<-2 or x>2"),
    (r"x \in [-2,7]", r"-2 \le x \le 7"),
    ("33", r"{\color{red}33}"),
    ("33", r"\Large{33} \checkmark"),
    ("2", r"\text{two}"),
    (r"6\frac{2}{3}\%", r"\frac{20}{3}\%"),
    (r"4\frac12^\circ", r"4.5^\circ"),
    (r"0.1\overline{6}", r"0.1\overline6"),
    (r"\{n : n\ge 3\}", r"n \ge 3"),
    (r"(-\infty,\infty)", r"\text{all real numbers}"),
    (r"x=\frac{\pi}{4}+k\pi, k\in\mathbb{Z}", r"\frac\pi4+n\pi \quad (n \in \mathbb{Z})"),
    ("101_2", "(101)_2"),
    (r"\text{Tuesday, March 4}", "Tuesday, March 4"),
    ("x>5", r"(5,\infty)"),
    (r"\{x \mid x>3\}", "x>3"),
    (r"\begin{pmatrix}1 & 2\\3 & 4\end{pmatrix}", r"\begin{bmatrix}1&2\\ \frac{6}{2}&4\end{bmatrix}"),
    (r"28\%", "28"),
    (r"90^\circ", "90"),
    (r"864 \mbox{ inches}^2", "864 square inches"),
    (r"10\text{ cm}", "10"),
    ("2.5 million", "2500000"),
    ("5:8", "10:16"),
    ("52_8", "52_{8}"),
    (r"40_{\text{nine}}", "40_9"),
    (r"\text{Evelyn}", "Evelyn"),
    (r"\text{4:30 p.m.}", "4:30 PM"),
    ("7/5+1/5 i.", "(7+i)/5"),
    ("0.11_2", "0.110_{2}"),
    ("15^{\\mathrm{th}}", "15"),
    (r"\mathbb{R}", r"(-\infty,\infty)"),
    (r"x \neq 0", r"(-\infty,0)\cup(0,\infty)"),
    (r"6\times 10^5", "6e5"),
    ("(-1)^n", r"\cos(n\pi)"),
    (r"7 \text{ goats and } 4 \text{ cows}", "7, 4"),
    ("111, \\! 111, \\! 111", "111111111"),
    ("2^{2^{2^{2^{2^{2}}}}}", "2^{2^{2^{2^{2^{2}}}}}"),
]
DIFFERENT = [
    ("33", r"\text{not }33"),
    ("33", r"\text{less than }33"),
    ("33", r"\text{at least } 33"),
    ("33", "2x=33"),
    ("33", "m+n=34"),
    ("33", "m+n=k+33"),
    (r"4\%", r"6\frac{2}{3}\%"),
    (r"x=\frac{\pi}{4}+k\pi, k\in\mathbb{Z}", r"x=\frac{\pi}{4}+2n\pi, n\in\mathbb{Z}"),
    (r"\text{Alice and Bob}", r"\text{Alice or Bob}"),
    ("7", "8"),
    ("99999999999", "100000000000"),
    ("9007199254740993", "9007199254740992"),
    (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}"),
    ("1/2004!", "1/2006!"),
    ("2^{1009}", "2^{1009}+1"),
    ("3.1415875473", "3.1415875474"),
    (r"1-\frac{1}{\mathrm{e}}", r"1+\frac{1}{\mathrm{e}}"),
    (r"\frac{11+9a}{20}", "11+9a/20"),
    (r"\lfloor\sqrt{n-1}\rfloor", r"\lfloor\sqrt{n-2}\rfloor"),
    ("E", "e"),
    ("a^2+b=0", "0"),
    ("3*x-1*y+13=0", "3x + 4y + 14=0"),
    ("x=2", "y=2"),
    ("y=2x", "y=2z"),
    ("x>5", "x<5"),
    ("x>5", r"[5,\infty)"),
    ("[0,9)", "(0,9)"),
    ("[0,1]", "(0,1)"),
    ("(1,2)", "(2,1)"),
    ("12", "(1,2)"),
    ("1,-2", "1"),
    ("1234", "1, 234"),
    (r"\{1,2\}", r"\{1,3\}"),
    ("1:2:3", "1:4:9"),
    (r"\begin{pmatrix}1 & 2\\3 & 5\end{pmatrix}", r"\begin{pmatrix}1 & 2\\3 & 4\end{pmatrix}"),
    ("10 cm", "10 m"),
    ("12 cm", r"12\text{ cm}^2"),
    ("52_8", "528"),
    ("52_8", "52_9"),
    ("0.80", "75"),
    (r"\text{4:30 p.m.}", "4:30 a.m."),
    (r"\mathbb{R}", r"(-\infty,0)"),
    (r"x \neq 0", r"(-\infty,0)\cup(1,\infty)"),
    ("0.0011_{2}", "0.0011_{3}"),
    (r"f(x)=ax \text{ where } a>0", r"f(x)=2ax \text{ where } a>0"),
    ("2", "AZYUK2A"),
    (r"\text{infinitely many}", "0"),
    ("1", "2^{2^{2^{49}}}"),
    (r"\{1,2\}", "[]"),
]


@pytest.mark.parametrize(("reference", "answer"), SAME)
def test_the_same(reference: str, answer: str) -> None:
    assert same(reference, answer, PRECISION) is True
    assert same(answer, reference, RECALL) is True


@pytest.mark.parametrize(("reference", "answer"), DIFFERENT)
def test_not_the_same(reference: str, answer: str) -> None:
    for policy in (PRECISION, RECALL):
        assert not same(reference, answer, policy)
        assert not same(answer, reference, policy)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("0.5", "50%"),
        ("(1,2)", "1,2"),
        (r"\{3\}", "3"),
        ("52_8", "52"),
        ("k=3", "n=3"),
        ("1/8", "12.5%"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "(1,2)"),
        ("x=1, y=2", "(1,2)"),
    ],
)
def test_recall_forgives_notation(reference: str, answer: str) -> None:
    assert same(reference, answer, RECALL) is True
    assert same(reference, answer, PRECISION) is False


@pytest.mark.parametrize(
    ("policy", "reference", "answer", "expected"),
    [
        (Policy(percent="sign"), "28%", "28", True),
        (Policy(percent="sign"), "0.28", "28%", False),
        (Policy(percent="value"), "0.28", "28%", True),
        (Policy(percent="value"), "28%", "28", False),
        (Policy(percent="either"), "28", "28%", True),
        (Policy(percent="either"), "0.28", "28%", True),
        (Policy(percent="strict"), "28%", "28", False),
        (Policy(units="agree"), "5 cm", "5", True),
        (Policy(units="agree"), "5 cm", "5 inches", False),
        (Policy(units="agree"), "5 units", "5 cm", True),
        (Policy(units="strict"), "5 cm", "5", False),
        (Policy(units="strict"), "5 cm", "5 centimeters", True),
        (Policy(units="ignore"), "5 cm", "5 inches", True),
        (Policy(order="brackets"), "4, .1, 2", "0.1, 4, 2", True),
        (Policy(order="ordered"), "4, .1, 2", "0.1, 4, 2", False),
        (Policy(order="ordered"), r"\{4, 2\}", r"\{2, 4\}", True),
        (Policy(order="unordered"), "(1,2)", "(2,1)", True),
        (Policy(fractions="any"), "2/4", "1/2", True),
        (Policy(fractions="reduced"), "1/2", "2/4", False),
        (Policy(fractions="reduced"), "3245/5", "649", False),
        (Policy(fractions="reduced"), "2/4", "2/4", True),
        (Policy(float_rounding=2), r"(\frac{3}{5},\frac{8}{3}]", "(0.6,2.6667]", True),
        (Policy(float_rounding=6), r"(\frac{3}{5},\frac{8}{3}]", "(0.6,2.6667]", False),
        (Policy(float_rounding=6), "0.0000012", "0.0000013", False),
        (Policy(relative_tolerance=0.01), "2.24", "2.25", True),
        (Policy(relative_tolerance=0.001), "2.24", "2.25", False),
        (Policy(absolute_tolerance=0.1), "10", "10.05", True),
        (Policy(absolute_tolerance=0.1), "10", "10.2", False),
        (Policy(rounded_reference=True), "33.3", r"\frac{100}{3}", True),
        (Policy(rounded_reference=False), "33.3", r"\frac{100}{3}", False),
        (Policy(rounded_reference=True), "33.3", "33.33", False),
        (Policy(kind="tuple"), "1,2", "2,1", False),
        (Policy(kind="set"), "1,2", "2,1", True),
        (Policy(kind="percent"), "28", "28%", True),
        (Policy(kind="text"), "1+x", "x+1", False),
        (Policy(kind="integer", relative_tolerance=0.5), "10", "11", False),
    ],
)
def test_policies(policy: Policy, reference: str, answer: str, expected: bool) -> None:
    assert same(reference, answer, policy) is expected


@pytest.mark.parametrize(
    ("reference", "kind"),
    [
        ("7", "integer"),
        (r"\frac{1}{2}", "rational"),
        ("0.5", "decimal"),
        (r"2\pi", "expression"),
        ("(1,2)", "tuple"),
        ("1,2", "set"),
        ("[1,2)", "interval"),
        ("x>2", "interval"),
        ("x=2", "equation"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", "matrix"),
        (r"28\%", "percent"),
        (r"5\text{ cm}", "unit"),
        ("52_8", "base"),
        (r"\text{Evelyn}", "text"),
        (r"\begin{", None),
    ],
)
def test_kinds(reference: str, kind: str | None) -> None:
    assert kind_of(reference) == kind


def test_a_problem_declares_its_tolerance() -> None:
    problem = Problem.of("q", "10", scorer='{"policy": {"absolute_tolerance": 0.1, "kind": "decimal", "mode": "recall"}}')
    assert declared(problem, PRECISION) == Policy(absolute_tolerance=0.1, kind="decimal")
    assert declared(Problem.of("q", "10"), PRECISION) is PRECISION
    assert declared(Problem.of("q", "10", scorer='{"dataset": "chain_sum"}'), PRECISION) is PRECISION


@pytest.mark.parametrize(
    "hostile",
    [
        "9^{9^{9^{9}}}",
        "(((2^{9999})^{9999})^{9999})^{9999}",
        "{" * 2000 + "1" + "}" * 2000,
        "(" * 4000,
        "\\frac{" * 600,
        "1" * 4000,
        "x^" * 1500 + "2",
        "+".join(f"\\frac{{1}}{{{n}}}" for n in range(2, 300)),
        "!" * 1000 + "9" + "!" * 1000,
        "\\binom{10^{8}}{10^{7}}" * 40,
        "|" * 3000,
        "\\sqrt{" * 500 + "2" + "}" * 500,
        ",".join("1234567" for _ in range(500)),
        "\\text{" * 700,
        "x_{" * 1000,
        "\\begin{pmatrix}" * 200,
        "__import__('os').system('true')",
        "\\tan(\\exp(\\exp(\\exp(9))))",
        "1.5e99999999",
    ],
)
def test_hostile_text_costs_next_to_nothing(hostile: str) -> None:
    start = time.process_time()
    assert not same("x+1", hostile, RECALL)
    assert not same(hostile, "x+1", RECALL)
    assert time.process_time() - start < 1.5


@pytest.mark.parametrize("answer", ["m+n=33", "m+n = 10+23 = 33", r"\frac{m}{n}=33", "BC^2=33", "x^2+y^2=33"])
def test_a_formula_with_its_value_is_that_value_but_not_as_a_reference(answer: str) -> None:
    for policy in (PRECISION, RECALL):
        assert same("33", answer, policy)
        assert not same("34", answer, policy)
        assert not same(answer, "33", policy)


def test_in_recall_a_shape_may_have_its_article() -> None:
    assert same(r"\text{ellipse}", "an ellipse", RECALL)
    assert not same(r"\text{ellipse}", "an ellipse", PRECISION)


@pytest.mark.parametrize(
    "answer",
    ["x^" * 500 + "2", r"\log_" * 500 + "2 3", r"\log_" * 300 + "9", "1/" * 900 + "1", "33" + "%" * 1900, "3!" + "!" * 1900,
     r"\sqrt " * 500 + "4", r"\bar " * 500 + "x"],
)  # fmt: skip
def test_depth_is_bounded_in_every_direction(answer: str) -> None:
    for reference in ("33", "x"):
        assert not same(reference, answer, PRECISION)
        assert not same(reference, answer, RECALL)


@pytest.mark.parametrize("scorer", ['no "policy" here', '{"policy": {"absolute_tolerance": "a tenth"}}'])
def test_a_scorer_that_cannot_be_read_names_its_problem(scorer: str) -> None:
    problem = Problem.of("How many?", "3", scorer=scorer)
    with pytest.raises(UserError, match=problem.id):
        declared(problem, PRECISION)
