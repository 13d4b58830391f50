"""What of kcat's command line the README uses, for machines that have no kcat: a plain Kafka client, nothing of ours."""

import argparse
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition

parser = argparse.ArgumentParser()
parser.add_argument("-P", action="store_true")
parser.add_argument("-C", action="store_true")
parser.add_argument("-b")
parser.add_argument("-t")
parser.add_argument("-H", action="append", default=[])
parser.add_argument("-o", choices=["beginning"])
parser.add_argument("-e", action="store_true")
parser.add_argument("-f")
asked = parser.parse_args()

if asked.P:
    producer = Producer({"bootstrap.servers": asked.b})
    for line in sys.stdin:
        producer.produce(asked.t, line.rstrip("\n").encode(), headers=[tuple(h.split("=", 1)) for h in asked.H])
    sys.exit(producer.flush(20))

consumer = Consumer(
    {"bootstrap.servers": asked.b, "group.id": "kcat", "enable.partition.eof": True, "enable.auto.commit": False}
)
partitions = consumer.list_topics(asked.t, timeout=20).topics[asked.t].partitions
consumer.assign([TopicPartition(asked.t, partition, OFFSET_BEGINNING) for partition in partitions])
ended = set()
while len(ended) < len(partitions):
    message = consumer.poll(1.0)
    if message is None:
        continue
    if message.error():
        assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
        ended.add(message.partition())
        continue
    headers = ",".join(f"{name}={(value or b'').decode()}" for name, value in message.headers() or [])
    text = asked.f.replace("\\n", "\n").replace("%h", headers).replace("%s", message.value().decode(errors="replace"))
    sys.stdout.write(text)
consumer.close()
