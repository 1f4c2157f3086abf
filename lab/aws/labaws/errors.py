"""Refusals, each with the code that AWS documents for it."""

from moto.ec2.exceptions import EC2ClientError
from moto.elbv2.exceptions import ELBClientError


class Refused(EC2ClientError):
    """An EC2 client error: HTTP status 400, not retried by SDKs."""

    code = 400

    def __init__(self, code: str, message: str):
        super().__init__(code, message)


def in_use(what: str) -> Refused:
    return Refused("DependencyViolation", f"The {what} has dependencies and cannot be deleted.")


def elb_refused(code: str, message: str) -> ELBClientError:
    return ELBClientError(code, message)
