"""An emulated Ascend NPU: the real torch-npu wheel over a stand-in CANN, so that programs run on `npu:0` anywhere."""
