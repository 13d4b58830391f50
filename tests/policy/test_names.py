"""Every name there can be fits in a topic, and no name can be read in two ways."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.schemas.errors import BadName
from infaas.schemas.names import NAME_PATTERN, VariantId, check_name, query_id
from infaas.schemas.topics import TopicNames

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")

TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")
TOPICS = TopicNames()
names = st.from_regex(NAME_PATTERN, fullmatch=True)
ids = st.builds(
    VariantId,
    architecture=names,
    version=st.integers(0, 10**9 - 1),
    engine=st.from_regex(r"[a-z]{1,20}", fullmatch=True),
    platform=st.from_regex(r"[a-z]{1,12}", fullmatch=True),
    cores=st.integers(1, 999),
    precision=st.from_regex(r"[a-z0-9]{1,12}", fullmatch=True),
)


@given(ids)
def test_a_variants_name_can_be_taken_apart_again_and_makes_topics(one):
    name = str(one)
    assert VariantId.parse(name) == one
    for topic in (TOPICS.work(name), TOPICS.offline(name)):
        assert TOPIC.fullmatch(topic)
        assert TOPICS.variant_of(topic) == name


@given(ids, ids)
def test_two_variants_never_share_a_name(one, other):
    assert (str(one) == str(other)) == (one == other)


@given(st.text(max_size=80) | st.from_regex(r"[a-z]\.v\d+\.ort-cpu\d+-fp32"))
def test_what_is_read_as_a_variant_is_written_the_same(name):
    try:
        one = VariantId.parse(name)
    except BadName:
        return
    assert str(one) == name
    assert name.isascii()


@given(names)
def test_names_are_accepted(name):
    assert check_name("application", name) == name


BAD = {
    "empty": "",
    "upper case": "Digits",
    "a space": "my model",
    "a dot": "a.b",
    "an underscore": "a_b",
    "a slash": "a/b",
    "it begins with a dash": "-a",
    "too long": "a" * 61,
    "a new line": "a\n",
    "another alphabet": "модель",
    "digits of another alphabet": "a٣",
    "no text": 7,
    "nothing": None,
}


@pytest.mark.parametrize("case", BAD)
def test_bad_names_are_refused_with_the_field_and_the_rule(case):
    with pytest.raises(BadName, match="1 to 60 characters") as caught:
        check_name("application", BAD[case])
    assert caught.value.field == "application"


BAD_VARIANTS = {
    "an architecture": "digits",
    "no version": "digits.onnxruntime-cpu1-fp32",
    "no cores": "digits.v1.onnxruntime-cpu-fp32",
    "a version of another alphabet": "digits.v٣.onnxruntime-cpu1-fp32",
    "a version that can be written shorter": "digits.v01.onnxruntime-cpu1-fp32",
    "cores that can be written shorter": "digits.v1.onnxruntime-cpu01-fp32",
    "a huge version": "digits.v1234567890.onnxruntime-cpu1-fp32",
    "something behind": "digits.v1.onnxruntime-cpu1-fp32\n",
    "a bad architecture": "Digits.v1.onnxruntime-cpu1-fp32",
}


@pytest.mark.parametrize("case", BAD_VARIANTS)
def test_what_is_no_variants_name_is_refused(case):
    with pytest.raises(BadName) as caught:
        VariantId.parse(BAD_VARIANTS[case])
    assert caught.value.field == "variant"


def test_topics_of_others_have_no_variant():
    for topic in ("infaas.queries", "other.work.x", "work.x", ""):
        with pytest.raises(BadName):
            TOPICS.variant_of(topic)


def test_only_replies_may_be_written_on_a_callers_word():
    internal = ("infaas.queries", "infaas.metadata", "infaas.work.x", "__consumer_offsets")
    assert all(TOPICS.is_internal(topic) for topic in internal)
    assert not TOPICS.is_internal("infaas.replies")
    assert not TOPICS.is_internal("mine")


def test_a_query_is_named_after_its_place():
    assert query_id("infaas.queries", 3, 17) == "infaas.queries-3-17"
