import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parents[1] / "fuzz.py"


def test_the_first_changed_configurations_and_files_are_taken_or_refused_in_words():
    command = [sys.executable, FUZZ, "--seed", "0", "--cases", "150"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 kinds of findings" in result.stdout
    for outcome in ("config: taken", "config: refused", "parquet: refused"):
        assert outcome in result.stdout
