"""Where compiled programs are kept, and that a second process finds them."""

import os
import subprocess
import sys

import pytest

from qcrd_jax.runs import compilation

PROGRAM = """
import sys, time
import jax, jax.numpy as jnp
from qcrd_jax.runs import compilation
for name, value in compilation.options(sys.argv[1], None).items():
    jax.config.update(name, value)
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
hits = []
jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
print(float(jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones(7))))
print(hits.count('/jax/compilation_cache/cache_hits') > 0)
"""


def test_a_second_process_finds_what_the_first_one_compiled(tmp_path):
    def run():
        command = [sys.executable, '-c', PROGRAM, str(tmp_path / 'kept')]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    (first, found), (second, found_again) = run(), run()
    assert (found, found_again) == ('False', 'True')
    assert first == second
    for path in (tmp_path / 'kept').glob('*-cache'):  # damaged ones are compiled again
        path.write_bytes(b'no program')
    assert run()[0] == first


def test_the_users_folder_is_under_the_users_caches(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    options = compilation.options('', None)
    assert options['jax_compilation_cache_dir'] == str(tmp_path / 'qcrd_jax' / 'compiled')
    assert (tmp_path / 'qcrd_jax' / 'compiled').is_dir()


def test_it_can_be_switched_off_and_what_jax_was_told_stays(tmp_path):
    assert compilation.options('off', None) == {}
    assert compilation.options(str(tmp_path), '/another') == {}


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_folder_that_cannot_be_written_to_is_said(tmp_path, caplog):
    tmp_path.chmod(0o500)
    assert compilation.options(str(tmp_path / 'kept'), None) == {}
    assert 'are not kept' in caplog.text


def test_a_place_that_is_a_file_is_said(tmp_path, caplog):
    (tmp_path / 'kept').write_text('')
    assert compilation.options(str(tmp_path / 'kept'), None) == {}
    assert 'are not kept' in caplog.text
