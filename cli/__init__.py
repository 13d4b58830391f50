"""The `infaas` command and the one-machine stack."""
