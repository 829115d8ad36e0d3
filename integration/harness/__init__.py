"""What the tests stand on: broker processes, Kafka's tools, and the clients. Knows no test."""
