"""`Client` and `AsyncClient`: queries with numpy arrays, registrations, answers.

with Client() as client:
    reply = client.infer("digits", {"image": images}, latency_ms=50, min_accuracy=0.98)
    reply.outputs["label"]
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Self, Unpack

import orjson
import uuid_utils

from infaas.bus.cell import SERVERS, find_cell
from infaas.bus.claim_check import ClaimCheck
from infaas.bus.record import Record
from infaas.bus.repository import Repository
from infaas.bus.settings import BusSettings
from infaas.client.exchange import Exchange
from infaas.client.question import Asked, Question
from infaas.client.registration import Content, ModelWanted, Registered
from infaas.client.reply import Reply
from infaas.schemas import commands
from infaas.schemas import headers as h
from infaas.schemas.commands import Command, UnregisterModel
from infaas.schemas.errors import KafkaUnavailable, Rejected
from infaas.schemas.oip import Array
from infaas.schemas.topics import QUERIES, REGISTRATIONS

REGISTER_S = 120.0


class Client:
    """Talks to one cell; safe to use from many threads; a context manager.

    Args:
        settings: of the cell; None = the one INFAAS_BOOTSTRAP_SERVERS names, else the one `infaas up` runs here.
        reply_topic: a topic of your own for the answers; None = one partition of the cell's reply topic.
        repository_url: where models are put; None = INFAAS_REPOSITORY_URL, else a folder of the user's.
    """

    def __init__(
        self,
        settings: BusSettings | None = None,
        *,
        reply_topic: str | None = None,
        repository_url: str | None = None,
        client_id: str | None = None,
    ) -> None:
        self.settings = settings or find_cell()
        self._queries = self.settings.names.of(QUERIES)
        self._registrations = self.settings.names.of(REGISTRATIONS)
        self._repository_url = repository_url
        self._claims = ClaimCheck(self.settings)
        name = client_id or f"client-{uuid_utils.uuid4().hex[:8]}"
        try:
            self._exchange = Exchange(self.settings, client_id=name, reply_topic=reply_topic)
        except KafkaUnavailable as error:
            raise KafkaUnavailable(
                f"no Kafka answers at {self.settings.bootstrap_servers} ({error}). Start a cell with `infaas up`, or set "
                f"{SERVERS} to one that runs"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def duplicates(self) -> int:
        """Answers beyond the first that came for queries of this client."""
        return self._exchange.duplicates

    @property
    def mismatched(self) -> int:
        """Answers that carried a correlation id of this client and the query id of another query; they are ignored."""
        return self._exchange.mismatched

    def infer(self, application: str | None, inputs: Mapping[str, Array], **asked: Unpack[Asked]) -> Reply:
        """Sends a query and waits for its answer; see `submit` for the arguments.

        Raises:
            Rejected: nothing meets the objective; with the nearest variant and the limit that binds.
            Expired: the deadline passed.
            InferenceFailed: the engine refused this query.
            QueryTimeout: nothing came in time.
            BadInput: naming the argument.
        """
        return self.submit(application, inputs, **asked).result()

    def submit(self, application: str | None, inputs: Mapping[str, Array], **asked: Unpack[Asked]) -> Future[Reply]:
        """Sends a query and returns at once; the future holds the answer.

        Args:
            application: what to reach any variant of; or None, with `architecture` or `variant` given.
            inputs: arrays by input name, `[rows, ...]` each.
            asked: the objective and all else, by name: see `Asked`.

        Raises:
            BadInput: naming the argument.
            PayloadTooLarge, ClientClosed, ProducerFatal: it was not sent.
        """
        question = Question.of(application, inputs, asked, self._claims)
        answer = self._exchange.ask(
            self._queries,
            value=question.value,
            key=question.key,
            headers=question.headers,
            timeout=question.patience_s,
        )
        return _then(answer, self._claims, raise_for_outcome=asked.get("raise_for_outcome", True))

    def register(
        self,
        architecture: str,
        *,
        application: str,
        model: Content,
        validation_set: Content | Mapping[str, Array],
        labels: tuple[str, ...] = (),
        max_batch: int = 64,
        generators: tuple[str, ...] | None = None,
        cores: tuple[int, ...] | None = None,
        replace: bool = False,
        timeout: float = REGISTER_S,
    ) -> Registered:
        """Uploads a model and its validation set and registers it; variants are made afterwards (`follow` watches).

        Args:
            architecture: its name, `[a-z0-9][a-z0-9-]{0,59}`.
            application: what it is for; the first architecture of an application fixes the contract of all.
            model: an ONNX file, or its bytes.
            validation_set: an .npz file, its bytes, or arrays by input name plus integer `labels`.
            labels: names of the classes.
            max_batch: largest batch to measure and to form.
            generators: which to use; None = all that apply.
            cores: core counts to make variants for; None = 1 and 2.
            replace: whether it may take the place of another model of this name; the same one never needs it.
            timeout: s to wait for the registrar's word.

        Raises:
            BadInput: naming the field, before anything is sent.
            Rejected: the registrar refuses it; the message names the field and what was expected. Its code is
                `already_registered` where another model has the name.
        """
        wanted = ModelWanted(application, labels, max_batch, generators, cores, replace)
        command = wanted.command(architecture, model, validation_set, Repository(self._repository_url))
        return self._command(command, architecture, timeout)

    def unregister(self, architecture: str, *, timeout: float = REGISTER_S) -> Registered:
        """Retires an architecture: what is on its way is answered, then its variants go.

        Raises:
            Rejected: if there is none of this name.
        """
        return self._command(UnregisterModel(architecture=architecture), architecture, timeout)

    def close(self) -> None:
        """Stops; queries without an answer fail with ClientClosed."""
        self._exchange.close()

    def _command(self, command: Command, key: str, timeout: float) -> Registered:
        answer = self._exchange.ask(
            self._registrations, value=commands.encode(command), key=key.encode(), headers=[], timeout=timeout
        )
        record, _ = answer.result()
        body = orjson.loads(record.value)
        if h.text(record.header_map.get(h.OUTCOME), h.OUTCOME) != "ok":
            raise Rejected(h.text(record.header_map.get(h.REASON), h.REASON), str(body.get("error", body)))
        return Registered(body["architecture"], body["version"], body["state"], body.get("replaced"))


class AsyncClient:
    """The same, to be awaited."""

    def __init__(self, settings: BusSettings | None = None, **more: Any) -> None:
        self._client = Client(settings, **more)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def duplicates(self) -> int:
        """Answers beyond the first that came for queries of this client."""
        return self._client.duplicates

    async def infer(self, application: str | None, inputs: Mapping[str, Array], **asked: Unpack[Asked]) -> Reply:
        """See `Client.infer`."""
        return await asyncio.wrap_future(self._client.submit(application, inputs, **asked))

    async def register(self, architecture: str, **asked: Any) -> Registered:
        """See `Client.register`."""
        return await asyncio.to_thread(self._client.register, architecture, **asked)

    async def unregister(self, architecture: str, **asked: Any) -> Registered:
        """See `Client.unregister`."""
        return await asyncio.to_thread(self._client.unregister, architecture, **asked)

    async def close(self) -> None:
        """See `Client.close`."""
        await asyncio.to_thread(self._client.close)


def _then(answer: Future[tuple[Record, float]], claims: ClaimCheck, *, raise_for_outcome: bool) -> Future[Reply]:
    out: Future[Reply] = Future()

    def settle(done: Future[tuple[Record, float]]) -> None:
        try:
            record, latency_ms = done.result()
            reply = Reply.of(record, latency_ms, claims.get(record.value, record.header_map))
            error = reply.error() if raise_for_outcome else None
        except Exception as failed:  # noqa: BLE001 - whatever it is, whoever waits is told
            out.set_exception(failed)
            return
        if error is not None:
            out.set_exception(error)
        else:
            out.set_result(reply)

    answer.add_done_callback(settle)
    return out
