"""What others use to judge an MQTT server."""
