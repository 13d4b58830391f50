"""The records of the metadata store, each under a key `kind/...` with exactly one writer.

Facts tolerate fields they do not know, so that services of two versions can share a store. A leader's records carry its
epoch, a worker's its boot id, in a record header (schemas/headers.py): a tombstone has no body to carry them in.
"""

from infaas.schemas.metadata.coding import AnyRecord as AnyRecord
from infaas.schemas.metadata.coding import decode as decode
from infaas.schemas.metadata.coding import encode as encode
from infaas.schemas.metadata.fleet import SERVING as SERVING
from infaas.schemas.metadata.fleet import Assignment as Assignment
from infaas.schemas.metadata.fleet import Hardware as Hardware
from infaas.schemas.metadata.fleet import Instance as Instance
from infaas.schemas.metadata.fleet import InstanceState as InstanceState
from infaas.schemas.metadata.fleet import Machine as Machine
from infaas.schemas.metadata.fleet import Owner as Owner
from infaas.schemas.metadata.fleet import Ownership as Ownership
from infaas.schemas.metadata.fleet import Placement as Placement
from infaas.schemas.metadata.fleet import ServingState as ServingState
from infaas.schemas.metadata.fleet import Verdict as Verdict
from infaas.schemas.metadata.fleet import Worker as Worker
from infaas.schemas.metadata.fleet import serving as serving
from infaas.schemas.metadata.keys import REGISTRAR_KINDS as REGISTRAR_KINDS
from infaas.schemas.metadata.keys import SCALER_KINDS as SCALER_KINDS
from infaas.schemas.metadata.keys import WORKER_KINDS as WORKER_KINDS
from infaas.schemas.metadata.keys import kind_of as kind_of
from infaas.schemas.metadata.keys import leader_of as leader_of
from infaas.schemas.metadata.keys import worker_of as worker_of
from infaas.schemas.metadata.models import SERVABLE as SERVABLE
from infaas.schemas.metadata.models import Architecture as Architecture
from infaas.schemas.metadata.models import ArchitectureState as ArchitectureState
from infaas.schemas.metadata.models import Built as Built
from infaas.schemas.metadata.models import ProfilePoint as ProfilePoint
from infaas.schemas.metadata.models import Recipe as Recipe
from infaas.schemas.metadata.models import Variant as Variant
from infaas.schemas.metadata.models import VariantState as VariantState
from infaas.schemas.metadata.record import SCHEMA_VERSION as SCHEMA_VERSION
from infaas.schemas.metadata.record import Leader as Leader
from infaas.schemas.metadata.record import Record as Record
from infaas.schemas.metadata.record import Role as Role
