# Copyright (C) the sre-provision authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# This file is free software: you can redistribute it and/or modify it under the terms of the GNU General
# Public License as published by the Free Software Foundation, either version 3 of the License, or (at your
# option) any later version. It is distributed WITHOUT ANY WARRANTY; see
# https://www.gnu.org/licenses/gpl-3.0.txt. It alone links against ansible-core.
"""Writes what happens in a run as JSON lines, and ends the run between tasks on request; see README.md."""

import json
import os
import time

from ansible.playbook.handler import Handler
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: sre_events
type: notification
short_description: one JSON line per event, and a stop between tasks
description:
  - Writes events to the file named by E(SRE_EVENTS_FILE), one JSON object per line, each flushed.
  - Ends the run before the next task when the file named by E(SRE_STOP_FILE) exists.
requirements:
  - enabled in C(callbacks_enabled)
"""

KEPT = ("msg", "rc", "stdout", "stderr", "cmd", "reason", "skip_reason", "warnings")
LONGEST = 2000


def trimmed(result):
    """What a reader needs of a result; nothing of a censored one."""
    if result.get("censored") is not None or result.get("_ansible_no_log"):
        return {"censored": True}
    return {key: cut(result[key]) for key in KEPT if result.get(key) not in (None, "", [])}


def cut(value):
    """Numbers as they are, lists piece by piece, the rest as text of at most LONGEST characters: its end."""
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [cut(part) for part in value][-20:]
    text = str(value)
    return text if len(text) <= LONGEST else "…" + text[-LONGEST:]


def status_of(result):
    if result.is_unreachable():
        return "unreachable"
    if result.is_failed():
        return "failed"
    if result.is_skipped():
        return "skipped"
    return "changed" if result.is_changed() else "ok"


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "sre_events"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self):
        super().__init__()
        self._stop_file = os.environ.get("SRE_STOP_FILE")
        self._seq = 0
        self._announced = False
        self._pending = {}
        path = os.environ.get("SRE_EVENTS_FILE")
        self._out = os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8") if path else None

    def _write(self, event, **more):
        if self._out is None:
            return
        self._seq += 1
        line = {"v": 1, "t": round(time.time(), 3), "seq": self._seq, "event": event, **more}
        self._out.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")
        self._out.flush()

    def _stop_if_asked(self, before):
        """Raises KeyboardInterrupt, which alone leaves a callback, when a stop is asked and no handler is owed."""
        if not self._stop_file or not os.path.exists(self._stop_file):
            return
        if self._pending:
            if not self._announced:
                self._announced = True
                self._write("stopping", pending=sorted(self._pending))
            return
        self._write("stopped", before=before)
        raise KeyboardInterrupt

    def _owe(self, result):
        """Remembers handlers notified by a change, forgets those that ran or were skipped."""
        host, task = result.host.get_name(), result.task
        if isinstance(task, Handler):
            names = {task.get_name(), task.name, *(task.listen or [])}
            self._pending[host] = self._pending.get(host, set()) - names
        elif task.notify and status_of(result) == "changed":
            self._pending.setdefault(host, set()).update(task.notify)
        if not self._pending.get(host):
            self._pending.pop(host, None)

    def _result(self, event, result, status=None, **more):
        body = trimmed(result.result)
        if "censored" in body:
            more.pop("item", None)
        self._write(event, host=result.host.get_name(), task=result.task.get_name(), task_id=result.task._uuid,
                    status=status or status_of(result), result=body, **more)

    def _host(self, result, status=None):
        self._owe(result)
        self._result("host", result, status)

    def _item(self, result):
        self._result("item", result, item=cut(result.result.get("_ansible_item_label", result.result.get("item"))))

    def _task(self, event, task):
        self._write(event, task=task.get_name(), task_id=task._uuid, action=task.action, path=task.get_path())

    # Ansible's names from here on

    def v2_playbook_on_start(self, playbook):
        self._write("playbook_start", playbook=os.path.basename(playbook._file_name))

    def v2_playbook_on_play_start(self, play):
        self._pending = {}
        self._stop_if_asked(play.get_name())
        self._write("play_start", play=play.get_name(), hosts=cut(play.hosts))

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._stop_if_asked(task.get_name())
        self._task("task_start", task)

    def v2_playbook_on_handler_task_start(self, task):
        self._task("handler_start", task)

    def v2_runner_on_ok(self, result):
        self._host(result)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._pending.pop(result.host.get_name(), None)
        self._result("host", result, "failed_ignored" if ignore_errors else "failed")

    def v2_runner_on_unreachable(self, result):
        self._pending.pop(result.host.get_name(), None)
        self._result("host", result)

    def v2_runner_on_skipped(self, result):
        self._host(result)

    def v2_runner_item_on_ok(self, result):
        self._item(result)

    def v2_runner_item_on_failed(self, result):
        self._item(result)

    def v2_runner_item_on_skipped(self, result):
        self._item(result)

    def v2_runner_retry(self, result):
        self._result("retry", result, status="failed", attempt=result.result.get("attempts"), attempts=result.result.get("retries"))

    def v2_playbook_on_stats(self, stats):
        self._write("stats", hosts={host: stats.summarize(host) for host in sorted(stats.processed)})
