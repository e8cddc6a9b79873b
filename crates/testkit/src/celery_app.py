"""The part of Dify's workers that a queue sees: its names of tasks, each of which sleeps, or computes."""

import os
import time

from celery import Celery

app = Celery("dify", broker=os.environ["TEST_BROKER_URL"])
app.conf.update(
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"global_keyprefix": os.environ.get("TEST_KEY_PREFIX", "")},
)

NAMES = [
    "tasks.document_indexing_task.normal_document_indexing_task",
    "tasks.document_indexing_task.priority_document_indexing_task",
    "tasks.async_workflow_tasks.execute_workflow_team",
    "tasks.app_generate.workflow_execute_task.workflow_based_app_execution_task",
    "tasks.ops_trace_task.process_trace_tasks",
    "schedule.workflow_schedule_task.poll_workflow_schedules",
    "schedule.trigger_provider_refresh_task.trigger_provider_refresh",
]


def run(*args, **kwargs):
    time.sleep(float(kwargs.get("seconds", 0)))
    until = time.monotonic() + float(kwargs.get("computes", 0))
    while time.monotonic() < until:
        pass


for name in NAMES:
    app.task(run, name=name, ignore_result=True)
