"""docker-compose.yml and Dockerfile name only what exists: commands, settings, folders, the Kafka version that is tested."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

from infaas.bus.settings import BusSettings
from infaas.cli.main import app
from infaas.registrar.settings import RegistrarSettings
from infaas.router.settings import RouterSettings
from infaas.scaler.settings import ScalerSettings
from infaas.workers.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if name != "kafka"}


def environment_names():
    """Every variable that some settings class reads."""
    found = set()
    for settings in (BusSettings, RouterSettings, WorkerSettings, RegistrarSettings, ScalerSettings):
        prefix = settings.model_config["env_prefix"]
        for name, field in settings.model_fields.items():
            found.add(field.validation_alias or f"{prefix}{name}".upper())
    return found


def test_the_services_of_the_pipeline_are_all_there():
    assert {"router", "registrar", "scaler", "worker"} <= set(OURS)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_exists(name):
    command = get_command(app)
    for word in OURS[name]["command"]:
        command = command.commands[word]
    assert command.callback is not None


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_setting_exists(name):
    known = environment_names()
    assert set(OURS[name]["environment"]) <= known, set(OURS[name]["environment"]) - known


def test_dependencies_and_volumes_are_declared():
    for service in COMPOSE["services"].values():
        assert set(service.get("depends_on", ())) <= set(COMPOSE["services"])
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert source.startswith(("$", "/", ".")) or source in COMPOSE["volumes"]


def test_the_broker_is_the_version_that_is_tested():
    locked = (ROOT / "bus" / "embedded" / "kafka-4.3.1.lock").name
    assert COMPOSE["services"]["kafka"]["image"] == "apache/kafka:" + locked.removeprefix("kafka-").removesuffix(
        ".lock"
    )


def test_the_image_copies_what_the_package_is_made_of():
    text = (ROOT / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (.+)$", text, re.MULTILINE) for word in line.split()[:-1]}
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    assert set(packages) <= copied
    assert all((ROOT / name).exists() for name in copied)


def test_every_command_of_the_readme_exists():
    commands = get_command(app).commands
    for word in re.findall(r"^(?:\$ )?infaas ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE):
        assert word in commands, word
