"""GetConsoleOutput gives the end of the machine's real console, 64 KiB as AWS documents."""

import datetime

from moto.core.responses import ActionResult
from moto.ec2.responses.general import General
from moto.ec2.utils import Base64EncodedString

from .. import settings
from ..patching import patch

LIMIT = 64 * 1024


def console(instance_id: str) -> bytes:
    path = settings.current.console_dir / instance_id / "console.log"
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - LIMIT))
            return log.read()
    except FileNotFoundError:
        return b""


@patch(General, "get_console_output")
def get_console_output(old, self):
    instance = self.ec2_backend.get_instance(self._get_param("InstanceId"))
    text = console(instance.id).decode("utf-8", "replace")
    answer = {"InstanceId": instance.id, "Timestamp": datetime.datetime.now(datetime.UTC)}
    if text:
        answer["Output"] = Base64EncodedString.from_raw_string(text)
    return ActionResult(answer)
