"""An MQTT 3.1.1 broker over all workers of a host.

Numbers in brackets, such as [3.1.2.4], are sections of the OASIS Standard of 29 October 2014.
"""

VERSION = "0.1.0"
