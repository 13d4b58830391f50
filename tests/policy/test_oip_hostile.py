"""Whatever stands in a body or in its length header, reading it gives a request or an error that names the field."""

import json
import math

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infaas.schemas import headers, oip
from infaas.schemas.errors import BadHeader, BadTensor
from infaas.schemas.oip import DATATYPES, InferRequest, InferResponse

settings.register_profile("policy", deadline=None, max_examples=100)
settings.load_profile("policy")

LENGTH = "inference-header-content-length"
numbers = st.integers(-(2**70), 2**70) | st.floats() | st.booleans()
leaves = (
    numbers | st.none() | st.text(max_size=4) | st.sampled_from([0, 2**31, 2**63, 2**64 - 1, 10**19, 1e300, 1e-320])
)
anything = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["x", "y"]) | anything,
        "datatype": st.sampled_from(sorted(DATATYPES)) | anything,
        "shape": st.lists(st.sampled_from([0, 1, 2, 3, 2**31, 2**62, 10**19, -1]), max_size=18) | anything,
        "data": st.lists(numbers, max_size=6) | st.lists(st.lists(numbers, max_size=2), max_size=3) | anything,
        "parameters": st.fixed_dictionaries({}, optional={"binary_data_size": st.integers(-1, 20) | anything})
        | anything,
    },
)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "inputs": st.lists(tensors, max_size=3) | anything,
        "outputs": st.lists(st.fixed_dictionaries({"name": st.text(max_size=3) | anything}), max_size=2) | anything,
        "id": st.text(max_size=4) | anything,
        "parameters": anything,
    },
)
lengths = st.none() | st.sampled_from([b"", "²".encode(), b"\xff", b"1e3", b"-1", b"0x10", "٣".encode(), b" 7", b"9" * 5000, b"7\n"]) | st.integers(0, 300).map(lambda n: str(n).encode()) | st.binary(max_size=6)  # fmt: skip


def attempt(value, raw):
    """What an instance does with a body: a request, or None if it was refused by an error that names a field.

    Fails of any other error, and of one that could not be written into an answer.
    """
    try:
        return oip.decode_request(value, headers.content_length({} if raw is None else {LENGTH: raw}))
    except (BadTensor, BadHeader) as refused:
        error = refused
    assert len(str(error)) < 2000
    answer = orjson.loads(oip.encode_error(error.code, str(error), field=error.field))
    assert answer["field"]
    return None


@settings(max_examples=300)
@given(bodies, lengths, st.binary(max_size=20))
def test_any_body_is_a_request_or_names_what_is_wrong(body, raw, rest):
    request = attempt(json.dumps(body).encode(errors="replace") + rest, raw)
    assert request is None or all(isinstance(array, np.ndarray) for array in request.inputs.values())


@given(st.binary(max_size=200), lengths)
def test_any_bytes_are_a_request_or_name_what_is_wrong(value, raw):
    request = attempt(value, raw)
    assert request is None or all(isinstance(array, np.ndarray) for array in request.inputs.values())


@given(st.lists(numbers, min_size=1, max_size=6), st.sampled_from(sorted(DATATYPES)))
def test_values_come_in_as_they_were_written_or_not_at_all(data, datatype):
    body = {"inputs": [{"name": "x", "shape": [len(data)], "datatype": datatype, "data": data}]}
    try:
        found = oip.decode_request(json.dumps(body).encode()).inputs["x"]
    except BadTensor:
        return
    assert found.dtype == DATATYPES[datatype]
    for value, written in zip(found.tolist(), data, strict=True):
        assert (
            value == written if found.dtype.kind in "biu" else math.isclose(value, written, rel_tol=1e-2, abs_tol=1e-4)
        )


def tensor(**changes):
    return {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0], **changes}]}


HOSTILE = {
    "a list for a datatype": (tensor(datatype=[]), "inputs.x.datatype"),
    "an object for a datatype": (tensor(datatype={"a": 1}), "inputs.x.datatype"),
    "an empty tensor with an axis nobody can count": (tensor(shape=[0, 10**19], data=[]), "inputs.x.shape"),
    "axes whose product wraps around": (tensor(shape=[2**31 - 1] * 3), "inputs.x.shape"),
    "axes whose product wraps around beside an empty one": (tensor(shape=[0, 2**31 - 1, 2**31 - 1, 2**31 - 1], data=[]), "inputs.x.shape"),
    "one wide text among numbers": (tensor(data=["x" * 100_000, *[1.0] * 100_000]), "inputs.x.data"),
    "null for a number": (tensor(data=[None, 1.0]), "inputs.x.data"),
    "beyond the type": (tensor(data=[1e300, 1.0]), "inputs.x.data"),
    "beyond every integer": (tensor(datatype="UINT64", shape=[2], data=[-1, 2**63]), "inputs.x.data"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_tensors_name_the_field(case):
    body, field = HOSTILE[case]
    with pytest.raises(BadTensor) as caught:
        oip.decode_request(
            orjson.dumps(body) if case != "an empty tensor with an axis nobody can count" else json.dumps(body).encode()
        )
    assert caught.value.field == field


@pytest.mark.parametrize("where", ["data", "shape", "datatype", "name", "parameters"])
def test_what_is_nested_as_deep_as_json_can_be_is_refused_by_name(where):
    deep = b"[" * 1000 + b"]" * 1000
    found = orjson.dumps(tensor(**{where: 12345678})).replace(b"12345678", deep)
    with pytest.raises(BadTensor):
        oip.decode_request(found)


@pytest.mark.parametrize("raw", ["²".encode(), b"1.0", b"+1", b" 1", b"1_0", "٣".encode(), b"\xff"])
def test_a_length_that_only_looks_like_a_number_is_none(raw):
    with pytest.raises(BadHeader) as caught:
        headers.content_length({LENGTH: raw})
    assert caught.value.field == LENGTH


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_hold_is_never_written_as_something_else(value):
    array = np.array([[1.0, value]], np.float32)
    with pytest.raises(BadTensor, match="binary"):
        oip.encode_response(InferResponse("m", {"y": array}), binary=False)
    with pytest.raises(BadTensor, match="binary"):
        oip.encode_request(InferRequest({"x": array}))
    found, length = oip.encode_response(InferResponse("m", {"y": array}), binary=True)
    np.testing.assert_array_equal(oip.decode_response(found, length).outputs["y"], array)


def test_an_error_in_any_words_can_be_written():
    found = orjson.loads(oip.encode_error("failed", "bad \udc80" + "x" * 10**6))
    assert found["error"].startswith("bad ?")
    assert len(found["error"]) <= 2000
