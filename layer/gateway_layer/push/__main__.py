"""`python -m gateway_layer.push` is `gateway-push`."""

from gateway_layer.push.cli import main

main()
