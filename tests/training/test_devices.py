"""Precision follows what the hardware computes, and says so where it does not; processes talk within the machine."""

import os
import socket

import pytest
import torch

from velocity.training.devices import precision, stay_on_this_machine


@pytest.fixture
def hardware(monkeypatch):
    def pretend(bf16: bool) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: bf16)

    return pretend


@pytest.mark.parametrize(("bf16", "expected", "said"), [(True, "bf16-mixed", "bf16"), (False, "32-true", "32 bits")])
def test_auto_is_what_the_hardware_computes(hardware, capsys, bf16, expected, said):
    hardware(bf16)
    assert precision("auto") == expected
    assert capsys.readouterr().out == f"precision: {said}, as the hardware computes it\n"


def test_emulated_bf16_has_one_warning_and_other_settings_none(hardware, capsys, monkeypatch):
    hardware(False)
    assert precision("32-true") == "32-true"
    assert capsys.readouterr().out == ""
    assert precision("bf16-mixed") == "bf16-mixed"
    assert capsys.readouterr().out.count("emulated") == 1
    monkeypatch.setenv("LOCAL_RANK", "1")  # the second process of a training
    assert precision("bf16-mixed") == "bf16-mixed"
    assert capsys.readouterr().out == ""


def test_processes_of_one_machine_use_its_loopback_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo"), (4, "eth0")])
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    stay_on_this_machine()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "lo"
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth0")
    stay_on_this_machine()
    assert os.environ["GLOO_SOCKET_IFNAME"] == "eth0"
