"""Where answers are found, by which rule; what is no answer."""

from __future__ import annotations

import time

import pytest

from stillwise.verify.answers import find_answer, in_prose


@pytest.mark.parametrize(
    ("solution", "rule", "text"),
    [
        (r"first \boxed{1}, then \boxed{2}", "boxed", "2"),
        (
            r"\boxed{255} of interest. Final Answer: The final answer is $10,455$. I hope it is correct.",
            "answer_line",
            "10,455",
        ),
        (r"**Final Answer**: \boxed{3}", "boxed", "3"),
        (r"The answer is 4. \boxed{3}", "boxed", "3"),
        ("<answer> 2x + 3 </answer>", "answer_tag", "2x + 3"),
        ("\\boxed{185\\}", "boxed", "185"),
        (r"\boxed{The answer is 5}", "answer_line", "5"),
        ("The answer is 5.", "answer_line", "5"),
        ("**Final Answer:** $x=3$, as claimed", "answer_line", "x=3"),
        ("The answer is **7**", "answer_line", "7"),
        ("answer: 1\nno, answer: 2", "answer_line", "2"),
        ("Final Answer: The final answer is 12. I hope it is correct.", "answer_line", "12"),
        ("Réponse : 12\nRéponse: 13", "answer_line", "13"),
        ("答案是 12", "answer_line", "12"),
        ("total\n#### 1,234", "answer_line", "1,234"),
        (r"so \(a+b\) holds", "math_span", "a+b"),
        (r"as $d = \frac{90}{n}$ shows. Therefore there are 12 of them.", "number", "12"),
        (r"of 3 kinds, $x = 5$ in the end.", "math_span", "x = 5"),
        ("we get 3 and 1,000.5 then", "number", "1,000.5"),
        ("we get .4 then", "number", ".4"),
        (r"\frac{5}{2}", "whole", r"\frac{5}{2}"),
        ("(C)", "whole", "(C)"),
    ],
)
def test_where_answers_are_found(solution: str, rule: str, text: str) -> None:
    found = find_answer(solution)
    assert found is not None
    assert (found.rule, found.text) == (rule, text)


@pytest.mark.parametrize(
    "solution",
    [
        "",
        "nothing at all is said here",
        r"\boxed{1} and \boxed{2",
        r"\boxed{\{1, 2\}",
        r"the answer is 5 \boxed{}",
        "open('f', 'w').write('x') or 0",
    ],
)
def test_no_answer(solution: str) -> None:
    assert find_answer(solution) is None


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("The volume of $ABCDEFGH$ is 120", "120"),
        ("Janeth aura encore 220 $ à payer d'ici 12 mois", "220"),
        ("there are $x = 5$ of them", "x = 5"),
        ("nobody knows", None),
        ("not 33, as we saw", None),
    ],
)
def test_values_in_prose(line: str, value: str | None) -> None:
    assert in_prose(line) == value


def test_tags_that_never_close_cost_no_more_than_the_text() -> None:
    began = time.process_time()
    assert find_answer("</answer>" + "<answer>" * 2400 + "33") is not None
    assert time.process_time() - began < 0.5
