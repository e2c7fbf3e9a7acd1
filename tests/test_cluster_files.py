"""The launch files in clusters/ are valid for the schemas and tools that read them."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli

from tests.helpers.paths import ROOT

CLUSTERS = ROOT / "clusters"
LAUNCHERS = sorted((CLUSTERS / "launcher").glob("*.yaml"), key=lambda file: file.name)
SCRIPTS = [CLUSTERS / "local/two_nodes.sh", CLUSTERS / "slurm/study.sbatch"]

# KubeRay 1.7's fields (docs.ray.io, "KubeRay CRD API reference"), as far as the files here could use them.
RAY_JOB = {
    *("activeDeadlineSeconds", "backoffLimit", "entrypoint", "jobId", "metadata", "rayClusterSpec", "runtimeEnvYAML"),
    *("shutdownAfterJobFinishes", "submissionMode", "submitterConfig", "suspend", "ttlSecondsAfterFinished"),
}
RAY_CLUSTER = {
    *("authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "headGroupSpec", "rayVersion", "workerGroupSpecs"),
}
HEAD_GROUP = {"rayStartParams", "template", "serviceType"}
WORKER_GROUP = {
    "groupName",
    "replicas",
    "minReplicas",
    "maxReplicas",
    "rayStartParams",
    "template",
    "idleTimeoutSeconds",
}


def documents(file: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(file.read_text()))


def tool(name: str) -> str:
    """A program that the dev extra installs beside this Python. Not every machine has wheels of the linters."""
    program = Path(sys.executable).parent / name
    if name in ("hadolint", "shellcheck") and platform.machine() != "x86_64":
        pytest.skip(f"{name} has no wheel for {platform.machine()}")
    return str(program)


def pinned(package: str) -> str:
    version = re.search(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert version
    return version[1]


# --- Ray's cluster launcher ---


@pytest.mark.parametrize("file", LAUNCHERS, ids=lambda file: file.stem)
def test_the_launcher_takes_the_file(file: Path) -> None:
    config = prepare_config(yaml.safe_load(file.read_text()))
    validate_config(config)
    most = {name: kind["max_workers"] for name, kind in config["available_node_types"].items()}
    assert 0 < config["max_workers"] <= 4 and max(most.values()) <= 4
    assert any(kind["min_workers"] >= 1 for kind in config["available_node_types"].values())


@pytest.mark.parametrize("file", LAUNCHERS, ids=lambda file: file.stem)
def test_a_launched_cluster_asks_for_the_token_and_hides_its_dashboard(file: Path) -> None:
    config = yaml.safe_load(file.read_text())
    assert "~/.ray/auth_token" in config["file_mounts"].values()
    starts = [c for name in ("head", "worker") for c in config[f"{name}_start_ray_commands"] if "ray start" in c]
    assert len(starts) == 2
    in_container = "--env RAY_AUTH_MODE=token" in config.get("docker", {}).get("run_options", [])
    assert in_container or all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]


@pytest.mark.parametrize("cloud", ["aws", "gcp"])
def test_clouds_keep_no_stopped_nodes_and_take_their_workers_from_spot(cloud: str) -> None:
    config = yaml.safe_load((CLUSTERS / f"launcher/{cloud}.yaml").read_text())
    assert config["provider"]["cache_stopped_nodes"] is False
    for name, kind in config["available_node_types"].items():
        node = kind["node_config"]
        spot = "InstanceMarketOptions" in node or node.get("scheduling", {}).get("provisioningModel") == "SPOT"
        assert spot == (name != config["head_node_type"])
    assert config["docker"]["image"].startswith(f"rayproject/ray:{pinned('ray')}-")


def test_a_misspelt_launcher_field_is_refused() -> None:
    config = prepare_config(yaml.safe_load(LAUNCHERS[0].read_text()))
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuts"):
        validate_config({**config, "idle_timeout_minuts": 5})


# --- Kubernetes ---

KUBERAY = ["cluster", "job"]
OBJECTS = [document for name in ("mlflow", "storage") for document in documents(CLUSTERS / f"kuberay/{name}.yaml")]


def ray_cluster(name: str) -> dict[str, Any]:
    """The RayCluster of a file: the object itself, or the one that a RayJob will make."""
    (document,) = documents(CLUSTERS / f"kuberay/{name}.yaml")
    return document["spec"]["rayClusterSpec"] if document["kind"] == "RayJob" else document["spec"]


def groups(cluster: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield cluster["headGroupSpec"]
    yield from cluster["workerGroupSpecs"]


@pytest.mark.parametrize("document", OBJECTS, ids=lambda document: f"{document['kind']}-{document['metadata']['name']}")
def test_kubernetes_takes_the_object(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", KUBERAY)
def test_kubernetes_takes_the_pods_of_a_ray_cluster(name: str) -> None:
    for group in groups(ray_cluster(name)):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, **group["template"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", KUBERAY)
def test_a_ray_cluster_has_fields_that_kuberay_knows(name: str) -> None:
    (document,) = documents(CLUSTERS / f"kuberay/{name}.yaml")
    cluster = ray_cluster(name)
    assert document["apiVersion"] == "ray.io/v1"
    assert document["kind"] == "RayCluster" or set(document["spec"]) <= RAY_JOB
    assert set(cluster) <= RAY_CLUSTER and set(cluster["headGroupSpec"]) <= HEAD_GROUP
    assert all(set(group) <= WORKER_GROUP for group in cluster["workerGroupSpecs"])
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == pinned("ray")


@pytest.mark.parametrize("name", KUBERAY)
def test_rays_autoscaler_reads_the_ray_cluster(name: str) -> None:
    cluster = {"metadata": {"name": name, "namespace": "default"}, "spec": ray_cluster(name)}
    config = _derive_autoscaling_config_from_ray_cr(cluster)
    validate_config(config)
    kinds = config["available_node_types"]
    assert kinds[config["head_node_type"]]["resources"]["CPU"] == 0
    assert kinds["gpu"]["resources"]["GPU"] == 1 and kinds["gpu"]["min_workers"] == 2


# They are in no package registry: helm-chart/kuberay-operator/crds/ of a checkout of ray-project/kuberay at v1.7.0.
@pytest.mark.parametrize("name", KUBERAY)
@pytest.mark.skipif("RAYKD_KUBERAY_CRDS" not in os.environ, reason="RAYKD_KUBERAY_CRDS names no folder of KubeRay's")
def test_the_custom_resource_definition_takes_the_file(name: str) -> None:
    (document,) = documents(CLUSTERS / f"kuberay/{name}.yaml")
    definition = Path(os.environ["RAYKD_KUBERAY_CRDS"]) / f"ray.io_{document['kind'].lower()}s.yaml"
    versions = {v["name"]: v for v in yaml.safe_load(definition.read_text())["spec"]["versions"]}
    jsonschema.validate(document, closed(versions["v1"]["schema"]["openAPIV3Schema"]))


def closed(schema: Any) -> Any:
    """The schema as `kubectl apply` reads it: if it names fields, all others are refused."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    read = {name: closed(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        read.setdefault("additionalProperties", False)
    return read


def test_a_retried_job_resumes_from_shared_storage_and_leaves_no_cluster() -> None:
    (job,) = documents(CLUSTERS / "kuberay/job.yaml")
    entrypoint = job["spec"]["entrypoint"].split()
    assert job["spec"]["backoffLimit"] > 0 and "--resume" in entrypoint
    assert entrypoint[entrypoint.index("--study.output") + 1].startswith("/shared/")
    assert entrypoint[entrypoint.index("--teacher.cache") + 1].startswith("/shared/")
    assert job["spec"]["shutdownAfterJobFinishes"] is True
    for group in groups(job["spec"]["rayClusterSpec"]):
        (container,) = group["template"]["spec"]["containers"]
        assert "/shared" in [mount["mountPath"] for mount in container["volumeMounts"]]


def test_secrets_are_referred_to_and_never_stated() -> None:
    files = [*CLUSTERS.glob("kuberay/*.yaml")]
    assert files
    for document in (document for file in files for document in documents(file)):
        assert document["kind"] != "Secret"
        for variable in items_of("env", document):
            secret = re.search("PASSWORD|SECRET|TOKEN", variable["name"])
            assert not secret or "secretKeyRef" in variable["valueFrom"], variable["name"]


def items_of(name: str, value: Any) -> Iterator[Any]:
    """All items of all lists of this name, at any depth."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else []):
        yield from item if key == name else items_of(name, item)


# --- Containers and scripts ---


def test_the_dockerfile_passes_its_linter_and_copies_what_exists() -> None:
    file = CLUSTERS / "kuberay/Dockerfile"
    subprocess.run([tool("hadolint"), str(file)], check=True)
    copied = re.findall(r"^COPY (?:--\S+ )*(.+) \S+$", file.read_text(), re.MULTILINE)
    assert "raykd" in copied
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source
    assert f"ARG RAY={pinned('ray')}" in file.read_text()
    assert f"mlflow[auth]=={pinned('mlflow')}" in file.read_text()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_passes_shellcheck(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    subprocess.run([tool("shellcheck"), str(script)], check=True)


@pytest.mark.parametrize("command", ["symmetric-run", "start", "job submit", "job logs", "get-auth-token"])
def test_ray_has_the_options_that_files_and_pages_use(command: str) -> None:
    texts = [file.read_text() for file in (*LAUNCHERS, *SCRIPTS, *(ROOT / "docs/clusters").glob("*.md"))]
    lines = re.sub(r"\\\n\s*", " ", "\n".join(texts)).splitlines()
    used = {
        option
        for line in lines
        for call in re.findall(rf"\bray {command}\b([^|;&`#]*)", line)
        for option in re.findall(r"(?<=\s)--[a-z-]+(?=[\s=]|$)", call.split(" -- ")[0])
    }
    help_text = CliRunner().invoke(cli, [*command.split(), "--help"]).output
    start_options = {"--num-cpus", "--num-gpus"} if command == "symmetric-run" else set()
    assert used or command == "get-auth-token"
    assert not [option for option in used - start_options if not re.search(rf"{option}\b", help_text)]
