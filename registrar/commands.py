"""What a command does to the catalogue. Pure, but for the check that came before."""

from __future__ import annotations

from infaas.registrar.plan import check_plan
from infaas.schemas.commands import RegisterModel, UnregisterModel
from infaas.schemas.contract import Contract
from infaas.schemas.errors import AlreadyRegistered, BadInput, BadModel
from infaas.schemas.metadata import SERVABLE, Architecture
from infaas.store.view import View

MOST_LABELS = 10_000
SHOWN_DIGEST = len("sha256:") + 8
CONTRACT_BYTES = 512 * 1024
"""Every variant's record holds the contract, and a record of the metadata topic has 1 MiB."""


def already(view: View, command: RegisterModel) -> Architecture | None:
    """The architecture, if just this is registered: a command may come twice."""
    present = view.architectures.get(command.architecture)
    if present is None or present.state in ("failed", "retired"):
        return None
    wanted = (command.application, command.artifact, command.validation_set, command.labels, command.max_batch)
    registered = (
        present.application,
        present.source_digest,
        present.contract.validation_digest,
        present.contract.labels,
        present.max_batch,
    )
    same_plan = (present.generators, present.cores) == (
        command.generators,
        check_plan(command.generators, command.cores),
    )
    return present if wanted == registered and same_plan else None


def check(view: View, command: RegisterModel) -> None:
    """Looks at what needs no model.

    Raises:
        BadModel: naming the field and its limit.
        AlreadyRegistered: if another model would be replaced that nobody has said may be.
    """
    if not command.replace:
        _refuse_another(view, command)
    check_plan(command.generators, command.cores)
    if len(command.labels) > MOST_LABELS:
        raise BadModel("labels", f"at most {MOST_LABELS} names", len(command.labels))
    if len(set(command.generators or ())) != len(command.generators or ()):
        raise BadModel("generators", "each name once", list(command.generators or ()))


def _refuse_another(view: View, command: RegisterModel) -> None:
    """Refuses a model that would take over from another one, in force or on its way, without a word of that."""
    before = view.architectures.get(command.architecture)
    if before is None or before.state == "retired":
        return
    digests = _served(view, before) if before.state == "failed" else {before.source_digest}
    if not digests or command.artifact in digests:
        return
    ours, theirs = command.artifact[:SHOWN_DIGEST], min(digests)[:SHOWN_DIGEST]
    raise AlreadyRegistered(
        "replace",
        f"true: {before.architecture} is another model already (version {before.version}, application "
        f"{before.application}, {theirs}…), whose place this one ({ours}…) would take when its variants are ready",
    )


def _served(view: View, architecture: Architecture) -> set[str]:
    """Digests of the models that are served under a name, in whatever version."""
    return {
        v.recipe.source_digest
        for v in view.variants.values()
        if v.architecture == architecture.architecture and v.state in SERVABLE
    }


def accept(view: View, command: RegisterModel, contract: Contract) -> Architecture:
    """The record that a valid command leads to.

    The contract has to be that of all other architectures of the application, and of this one's earlier version: while a
    version takes over from another, a query by application may reach either.

    Raises:
        BadModel: naming the field that does not fit what is registered.
    """
    size = len(contract.model_dump_json())
    if size > CONTRACT_BYTES:
        raise BadModel("contract", f"inputs, outputs and labels of at most {CONTRACT_BYTES} bytes together", size)
    before = view.architectures.get(command.architecture)
    if before is not None and _in_force(view, before) and before.application != command.application:
        raise BadModel("application", f"{before.application}, under which it is registered", command.application)
    for other in view.architectures.values():
        if other.application == command.application and _in_force(view, other):
            other.contract.require_same(contract)
    return Architecture(
        architecture=command.architecture,
        application=command.application,
        version=1 if before is None else before.version + 1,
        contract=contract,
        source_digest=command.artifact,
        state="accepted",
        max_batch=command.max_batch,
        generators=command.generators,
        cores=check_plan(command.generators, command.cores),
    )


def replaced(view: View, command: RegisterModel) -> int | None:
    """The version that a new registration takes over from; None if nothing is, or will be, served under the name."""
    before = view.architectures.get(command.architecture)
    return before.version if before is not None and _in_force(view, before) else None


def retire(view: View, command: UnregisterModel) -> Architecture:
    """The record that unregistering leads to.

    Raises:
        BadInput: if there is no such architecture.
    """
    present = view.architectures.get(command.architecture)
    if present is None:
        known = ", ".join(sorted(view.architectures)) or "none"
        raise BadInput("architecture", f"one that is registered ({known})", command.architecture)
    return present.model_copy(update={"state": "retired"})


def _in_force(view: View, architecture: Architecture) -> bool:
    """Whether an architecture's contract binds: it is being built or served, if only in an earlier version."""
    if architecture.state not in ("retired", "failed"):
        return True
    return bool(_served(view, architecture))
