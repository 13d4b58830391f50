"""One tree of errors, drawn as it is; every error of Kafka's has its place in it."""

import ast
import inspect
import re

import pytest
from confluent_kafka import KafkaError, KafkaException

from infaas.bus import admin
from infaas.bus.errors import BY_CODE, translate, translated
from infaas.schemas import errors
from infaas.schemas.errors import InfaasError, KafkaRefused, KafkaUnavailable, ProducerFatal

CODES = {
    name: code
    for name, code in vars(KafkaError).items()
    if isinstance(code, int) and name == name.upper() and name != "NO_ERROR"
}


def test_every_code_of_kafkas_is_mapped():
    assert len(CODES) > 150
    assert [name for name, code in CODES.items() if code not in BY_CODE] == []


def test_no_code_is_mapped_twice_or_made_up():
    assert len(BY_CODE) == len(set(CODES.values()))
    assert set(BY_CODE) == set(CODES.values())


RETRYABLE = {
    "LEADER_NOT_AVAILABLE": True,
    "NOT_ENOUGH_REPLICAS": True,
    "NETWORK_EXCEPTION": True,
    "KAFKA_STORAGE_ERROR": True,
    "UNKNOWN_TOPIC_OR_PART": True,
    "_MSG_TIMED_OUT": True,
    "_TRANSPORT": True,
    "TOPIC_AUTHORIZATION_FAILED": False,
    "CLUSTER_AUTHORIZATION_FAILED": False,
    "INVALID_CONFIG": False,
    "INVALID_RECORD": False,
    "TOPIC_EXCEPTION": False,
    "UNSUPPORTED_VERSION": False,
    "POLICY_VIOLATION": False,
    "MSG_SIZE_TOO_LARGE": False,
    "OFFSET_OUT_OF_RANGE": False,
}


@pytest.mark.parametrize("name", RETRYABLE)
def test_a_code_is_retryable_only_if_trying_again_can_help(name):
    assert translate(KafkaException(KafkaError(CODES[name])), "doing").retryable is RETRYABLE[name]


def test_a_code_of_a_newer_kafka_is_permanent():
    assert type(translate(KafkaError(999))) is KafkaRefused


def test_what_is_fatal_ends_the_process_whatever_its_code():
    assert type(translate(KafkaError(KafkaError._TRANSPORT, "gone", True))) is ProducerFatal


def drawn():
    """Children by parent, out of the drawing in the module's docstring."""
    out, path = {}, {}
    for line in errors.__doc__.splitlines():
        found = re.match(r"([│├└─ ]*)([A-Z][A-Za-z]+)(\s{2,}|$)", line)
        if found:
            depth = len(found[1]) // 4
            path[depth] = found[2]
            if depth:
                out.setdefault(path[depth - 1], set()).add(found[2])
    return out


def defined():
    out, waiting = {}, [InfaasError]
    while waiting:
        kind = waiting.pop()
        children = [c for c in kind.__subclasses__() if c.__module__ == errors.__name__]
        if children:
            out[kind.__name__] = {c.__name__ for c in children}
        waiting += children
    return out


def test_the_drawing_is_the_tree():
    assert drawn() == defined()


def test_what_is_raised_within_is_ours_and_what_is_harmless_is_not_raised():
    unavailable = KafkaException(KafkaError(KafkaError._TRANSPORT))
    with pytest.raises(KafkaUnavailable, match="doing it"), translated("doing it"):
        raise unavailable
    with pytest.raises(KafkaUnavailable), translated("doing it", harmless=KafkaError.TOPIC_ALREADY_EXISTS):
        raise unavailable
    with translated("doing it", harmless=KafkaError._TRANSPORT):
        raise unavailable


def guarded(node):
    """Whether what is raised within a node is translated, or dealt with."""
    match node:
        case ast.With(items=items):
            return any(ast.unparse(item.context_expr).startswith("translated(") for item in items)
        case ast.Try(handlers=handlers):
            return any("KafkaException" in ast.unparse(handler.type) for handler in handlers if handler.type)
        case _:
            return False


def unguarded(tree, names):
    """Lines of calls by these names of which an error would come through as it is."""
    waiting, out = [(tree, False)], []
    while waiting:
        node, safe = waiting.pop()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in names and not safe:
            out.append(node.lineno)
        waiting += [(child, safe or guarded(node)) for child in ast.iter_child_nodes(node)]
    return out


def test_no_answer_of_the_cluster_is_taken_where_its_error_would_come_through():
    tree = ast.parse(inspect.getsource(admin))
    assert unguarded(tree, {"result", "list_topics", "commit"}) == []
    assert len([node for node in ast.walk(tree) if getattr(node, "attr", "") == "result"]) >= 9
    assert unguarded(ast.parse("future.result()"), {"result"}) == [1]
