"""The caller's side: say what is needed, get an answer."""

from infaas.client.client import AsyncClient, Client
from infaas.client.question import Asked
from infaas.client.registration import Registered, follow
from infaas.client.reply import Reply

__all__ = ["Asked", "AsyncClient", "Client", "Registered", "Reply", "follow"]
