"""Record headers: what a caller asks for, where the reply goes, what travels with a query, what a reply tells.

All headers are UTF-8 text but Spring's reply partition (4 bytes, big-endian) and the correlation id (the caller's bytes).
One parser each way; no header's name stands anywhere else.
"""

from infaas.schemas.headers.caller import CallerHeaders as CallerHeaders
from infaas.schemas.headers.names import *  # noqa: F403 - the vocabulary, as one
from infaas.schemas.headers.objective import LATE_LIMIT_FACTOR as LATE_LIMIT_FACTOR
from infaas.schemas.headers.objective import Objective as Objective
from infaas.schemas.headers.objective import has_scope as has_scope
from infaas.schemas.headers.objective import objective_headers as objective_headers
from infaas.schemas.headers.objective import parse_objective as parse_objective
from infaas.schemas.headers.parameters import headers_from_parameters as headers_from_parameters
from infaas.schemas.headers.reply_address import ReplyAddress as ReplyAddress
from infaas.schemas.headers.reply_address import correlation_id as correlation_id
from infaas.schemas.headers.reply_address import echoed as echoed
from infaas.schemas.headers.reply_address import parse_reply_address as parse_reply_address
from infaas.schemas.headers.travel import Travel as Travel
from infaas.schemas.headers.travel import onward_headers as onward_headers
from infaas.schemas.headers.travel import parse_travel as parse_travel
from infaas.schemas.headers.travel import travel_headers as travel_headers
from infaas.schemas.headers.travel import travelling as travelling
from infaas.schemas.headers.values import TEXT_LIMIT_BYTES as TEXT_LIMIT_BYTES
from infaas.schemas.headers.values import HeaderList as HeaderList
from infaas.schemas.headers.values import HeaderMap as HeaderMap
from infaas.schemas.headers.values import Headers as Headers
from infaas.schemas.headers.values import as_map as as_map
from infaas.schemas.headers.values import content_length as content_length
from infaas.schemas.headers.values import headers_of as headers_of
from infaas.schemas.headers.values import text as text
from infaas.schemas.headers.writer import boot_headers as boot_headers
from infaas.schemas.headers.writer import epoch_headers as epoch_headers
