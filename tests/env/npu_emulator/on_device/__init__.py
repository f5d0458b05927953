"""Tests that run inside an emulated process: tests/npu_emulator/test_on_device.py starts pytest on this folder."""
