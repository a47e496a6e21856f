"""`python -m gateway_interface` is `gateway-interface`."""

from gateway_interface.cli import main

main()
