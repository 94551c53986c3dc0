"""What a log can tell."""

from ecbehave.inputs.facts import LogFacts


def test_facts_are_read_back_from_a_manifest() -> None:
    facts = LogFacts(("purchase", "view"), ("amount", "brand"), ("age",))
    assert LogFacts.from_info(facts.to_info()) == facts
    assert LogFacts.from_info(LogFacts(()).to_info()) == LogFacts(())


def test_the_main_event_is_a_purchase_where_there_are_any() -> None:
    assert LogFacts(("purchase", "view")).main == "purchase"
    assert LogFacts(("cart", "view")).main == "any"


def test_columns_are_there_only_all_together() -> None:
    facts = LogFacts((), ("amount", "brand"))
    assert facts.has("amount", "brand")
    assert not facts.has("amount", "price")
