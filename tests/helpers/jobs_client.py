"""A client of Ray's HTTP API for jobs: `list`, `submit ID ENTRYPOINT`, `stop ID`, or `show ID`, answered in JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from ray.job_submission import JobSubmissionClient

ROOT = Path(__file__).parents[2]

client = JobSubmissionClient("http://127.0.0.1:8265")
match sys.argv[1:]:
    case ["list"]:
        print(json.dumps([job.submission_id for job in client.list_jobs()]))
    case ["submit", name, entrypoint]:
        environment = {"working_dir": str(ROOT), "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "60"}}
        client.submit_job(entrypoint=entrypoint, submission_id=name, runtime_env=environment)
    case ["stop", name]:
        client.stop_job(name)
        while not client.get_job_status(name).is_terminal():
            time.sleep(0.1)
    case ["show", name]:
        info = client.get_job_info(name)
        logs = client.get_job_logs(name)
        print("JOB " + json.dumps({"status": str(info.status), "message": info.message, "logs": logs}))
