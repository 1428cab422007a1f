"""Build the model of any construction."""

from collections.abc import Mapping
from typing import Any

from circuit_transfer.embedded.planted.backup import plant_backup
from circuit_transfer.embedded.planted.gates import plant_gates
from circuit_transfer.embedded.planted.induction import plant_induction
from circuit_transfer.embedded.planted.model import Planted
from circuit_transfer.embedded.planted.relays import plant_relays
from circuit_transfer.embedded.planted.settings import planted_settings
from circuit_transfer.embedded.planted.subspaces import plant_subspaces

BUILDERS = {
    "subspaces": plant_subspaces,
    "induction": plant_induction,
    "relays": plant_relays,
    "gates": plant_gates,
    "backup": plant_backup,
}


def plant(entry: Mapping[str, Any], tokens: dict[str, int]) -> Planted:
    """Build the model of a `planted:` entry of the configuration.

    Args:
        entry: `construction`, and settings of the construction, see `settings`.
        tokens: the vocabulary, with the words of the construction's generator.

    Raises:
        ValueError: as `settings.planted_settings`, or the family of the model cannot
            have so few keys.
    """
    settings = planted_settings(entry)
    return BUILDERS[entry["construction"]](settings, tokens)
