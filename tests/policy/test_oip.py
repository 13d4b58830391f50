"""Open Inference Protocol: both forms, both ways; what does not fit is refused by name."""

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from infaas.schemas import oip
from infaas.schemas.conformity import Conformity
from infaas.schemas.contract import Contract, TensorSpec
from infaas.schemas.errors import BadTensor
from infaas.schemas.oip import DATATYPES, InferRequest, InferResponse

arrays = st.sampled_from(sorted(DATATYPES)).flatmap(
    lambda name: npst.arrays(
        DATATYPES[name],
        npst.array_shapes(min_dims=1, max_dims=3, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if name.startswith("FP") else None,
    )
)


@given(st.dictionaries(st.text(min_size=1, max_size=5), arrays, min_size=1, max_size=3), st.booleans())
def test_requests_survive(inputs, binary):
    value, length = oip.encode_request(InferRequest(inputs=inputs, id="7", outputs=("y",), binary=binary))
    back = oip.decode_request(value, length)
    assert (back.id, back.outputs, back.binary) == ("7", ("y",), binary)
    for name, array in inputs.items():
        assert back.inputs[name].dtype == array.dtype
        np.testing.assert_array_equal(back.inputs[name], array)


@given(arrays, st.booleans())
def test_responses_survive(array, binary):
    value, length = oip.encode_response(InferResponse("m", {"y": array}, id="q"), binary=binary)
    back = oip.decode_response(value, length)
    np.testing.assert_array_equal(back.outputs["y"], array)


def body(**changes):
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0], **changes}
    return orjson.dumps({"inputs": [{k: v for k, v in tensor.items() if v is not ...}]})


BAD = {
    "no JSON": (b"hello", None, "body"),
    "no object": (b"[1]", None, "body"),
    "no inputs": (b"{}", None, "inputs"),
    "no name": (body(name=...), None, "inputs[0].name"),
    "unknown datatype": (body(datatype="FLOAT"), None, "inputs.x.datatype"),
    "shape that does not fit": (body(shape=[1, 3]), None, "inputs.x.data"),
    "negative shape": (body(shape=[-1, 2]), None, "inputs.x.shape"),
    "ragged": (body(data=[[1], [1, 2]]), None, "inputs.x.data"),
    "text": (body(data=["a", "b"]), None, "inputs.x.data"),
    "no data": (body(data=...), None, "inputs.x.data"),
    "floats for integers": (body(datatype="INT32", data=[1.5, 2.5]), None, "inputs.x.data"),
    "beyond the type": (body(datatype="UINT8", data=[1, 300]), None, "inputs.x.data"),
    "header longer than the value": (b"{}", 3, "inference-header-content-length"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_bodies_name_the_field(name):
    value, length, field = BAD[name]
    with pytest.raises(BadTensor) as caught:
        oip.decode_request(value, length)
    assert caught.value.field == field


def test_binary_bytes_must_match_the_shape():
    value, length = oip.encode_request(InferRequest({"x": np.zeros((2, 2), np.float32)}, binary=True))
    with pytest.raises(BadTensor, match="binary data"):
        oip.decode_request(value[:-4], length)
    with pytest.raises(BadTensor, match="bytes of binary tensors"):
        oip.decode_request(value + b"1234", length)


def test_contract_names_what_is_wrong():
    spec = TensorSpec(name="x", datatype="FP32", shape=(-1, 64))
    expected = Conformity(Contract(inputs=(spec,), outputs=(spec,), validation_digest="sha256:0"))
    assert expected.check_inputs({"x": np.zeros((3, 64), np.float32)}) == 3
    for bad, field in (
        ({"y": np.zeros((3, 64), np.float32)}, "inputs"),
        ({"x": np.zeros((3, 64), np.float64)}, "inputs.x.datatype"),
        ({"x": np.zeros((3, 63), np.float32)}, "inputs.x.shape"),
        ({"x": np.zeros((64,), np.float32)}, "inputs.x.shape"),
        ({"x": np.zeros((0, 64), np.float32)}, "inputs"),
    ):
        with pytest.raises(BadTensor) as caught:
            expected.check_inputs(bad)
        assert caught.value.field == field
