"""What workers agree on over the bus: for protocols whose state is more than one connection.

| name | for |
|---|---|
| `Owners` | names that one worker has at a time, and gives up when another one asks |
| `WildcardSubscriptions` | connections that subscribe to topics, with wildcards |
| `Queues` | messages that outlive workers |
| `ReplicatedTable` | a table of which each worker has a copy |
| `Obligations` | what is still to be done, by another worker if this one dies |
| `BoundedPublisher` | holding clients back while too much is on its way |
| `call_on_one_worker` | what is done from time to time, by one of all workers |
| `ask`, `items_of`, `insist` | awaiting the bus's answers, and changes that must be made |
"""

from host.plugins.coordination.asking import AGAIN_SECONDS, ask, insist, items_of
from host.plugins.coordination.obligations import Obligations
from host.plugins.coordination.one_worker import call_on_one_worker
from host.plugins.coordination.owners import Owners
from host.plugins.coordination.publisher import BoundedPublisher
from host.plugins.coordination.queues import Queues
from host.plugins.coordination.replicated import ReplicatedTable
from host.plugins.coordination.subscriptions import WildcardSubscriptions
from host.plugins.coordination.topic_tree import MQTT_WILDCARDS, TopicTree, Wildcards

__all__ = [
    "AGAIN_SECONDS",
    "MQTT_WILDCARDS",
    "BoundedPublisher",
    "Obligations",
    "Owners",
    "Queues",
    "ReplicatedTable",
    "TopicTree",
    "WildcardSubscriptions",
    "Wildcards",
    "ask",
    "call_on_one_worker",
    "insist",
    "items_of",
]
