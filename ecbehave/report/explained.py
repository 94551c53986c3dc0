"""What the scores rest on: the sections of the evaluation page on families of features, and on single rows."""

from ecbehave.report.content import Examples, Permutation
from ecbehave.report.numbers import count, fixed, percent
from ecbehave.report.page import cell, paragraph, section, table


def permutation_section(found: Permutation) -> str:
    """Return the drop of AUROC family by family."""
    head = ["Family of features", "#Features", "#Drop of AUROC", "#Spread"]
    rows = [
        [
            cell(family.name, family.in_words),
            *(
                cell(text, css="number")
                for text in (count(family.n_features), fixed(family.drop, 4), f"± {fixed(family.spread, 4)}")
            ),
        ]
        for family in found.families
    ]
    sample = f", of {count(found.n_users)} users drawn at random" if found.is_sample else ""
    sentence = (
        f"What a family is worth on {count(found.n_rows)} test rows{sample}: its features are shuffled together among "
        f"the rows of a cutoff, {found.repeats} times, and the AUROC of {fixed(found.auroc)} drops by so much."
    )
    guide = (
        "A family that another one tells as well drops little, although the model uses it. The spread is that of the "
        "shuffles; a drop within it is none."
    )
    return section(
        "permutation",
        "What the scores rest on",
        paragraph(sentence),
        table(head, [("", rows)], "narrow"),
        paragraph(guide, "muted"),
    )


def examples_section(found: Examples) -> str:
    """Return a few test rows with their reasons, and what came of them."""
    head = [*found.keys, "#Score", "#Probability", "Reasons, the strongest first", found.outcome]
    rows = [
        [
            *(cell(key) for key in row.keys),
            cell(fixed(row.score), css="number"),
            cell(percent(row.probability), css="number"),
            cell(*(row.reasons or ["none"])),
            cell("yes" if row.is_positive else "no"),
        ]
        for row in found.rows
    ]
    guide = (
        f"Rows of the test cutoff {found.cutoff}, from the highest score to the lowest. A reason adds up all features "
        "that tell the same of a user, and is told by one of them."
    )
    return section(
        "examples", "Why a row has its score", table(head, [("", rows)]), paragraph(guide, "muted")
    )
