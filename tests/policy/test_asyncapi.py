from infaas.bus.control import asyncapi_document
from infaas.bus.settings import BusSettings


def test_the_document_describes_every_control_topic_under_the_cells_prefix():
    document = asyncapi_document(BusSettings(topic_prefix="cell."))
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert {"cell.registrations", "cell.metadata", "cell.telemetry", "cell.decisions", "cell.usage"} <= addresses
    schemas = document["components"]["schemas"]
    assert {"RegisterModel", "UnregisterModel", "DecisionRecord", "Placement"} <= set(schemas)
