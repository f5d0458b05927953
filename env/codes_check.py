"""`python -m env codes-check FILE...`: which codes of the vendor's own files codes.toml does not list.

Read are torch_npu's NPUErrorCodes.h, the runtime's rt_error_codes.h and error_code.json, the driver's
ascend_hal_error.h, drv_error_code.h and DCMI header, and HCCL's hccl_types.h: the way to keep the table current.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from env import elsewhere
from env.arguments import Parser
from env.codes import load_codes, named_codes, numbers
from env.errors import InputError
from env.language import _, translate

DIFFERS = 3
NOTHING_READ = 4

_NAMED = re.compile(r'\\?"ErrCode\\?"\s{0,4}:\s{0,4}\\?"([EW][A-Z0-9]\d{4})\\?"')
_NUMBER = re.compile(r"(?:\{\s{0,4}|#define ACL_\w{1,80}[ \t\\]{1,40}\n?[ \t]{0,40})(\d{6})\b")
_HCCL = re.compile(r"\bHCCL_E_(?!RESERVED)\w{1,40}\s{0,4}=\s{0,4}(\d{1,2})\b")
_DRIVER = re.compile(r"\bD[RE]V_ERROR_(?!NONE|RESERVED)\w{1,60}\s{0,4}=\s{0,4}(0x[0-9a-fA-F]{1,8}|\d{1,5})\b")
_DCMI = re.compile(r"\bDCMI_ERR_CODE_\w{1,60}\s{1,60}\(DCMI_ERROR_CODE_BASE - (\d{1,3})\)")


def published(text: str) -> Iterator[tuple[str, str]]:
    """The codes that a file of the vendor's lists, each with its layer; "" where the code tells it."""
    yield from (("", code) for code in _NAMED.findall(text))
    yield from (("acl", code) for code in _NUMBER.findall(text))
    yield from (("hccl-result", code) for code in _HCCL.findall(text))
    yield from (("drv", str(int(code, 0))) for code in _DRIVER.findall(text))
    yield from (("dcmi", str(-8000 - int(code))) for code in _DCMI.findall(text))


def listed(layer: str, code: str) -> bool:
    """Whether codes.toml has it."""
    if layer == "acl":
        return code in numbers()
    return code in (load_codes()[layer] if layer else named_codes())


def main(argv: Sequence[str]) -> int:
    parser = Parser(
        prog="python -m env codes-check",
        description=_("Which codes of the vendor's own files the doctor's table does not list."),
        epilog=_(
            "Exit status: 0 all are listed, {differs} some are not, {nothing} no code in the files.",
            differs=DIFFERS,
            nothing=NOTHING_READ,
        ),
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help=_("NPUErrorCodes.h, error_code.json, ..."))
    codes: dict[tuple[str, str], str] = {}
    for file in parser.parse_args(argv).files:
        for code in published(_read(file)):
            codes.setdefault(code, file)
    missing = {code: file for code, file in codes.items() if not listed(*code)}
    for (_layer, text), file in missing.items():
        print(translate(_("{code} of {file} is not listed", code=text, file=file)))
    print(translate(_("{n} codes read, {missing} not listed", n=len(codes), missing=len(missing))))
    return NOTHING_READ if not codes else DIFFERS if missing else 0


def _read(file: str) -> str:
    try:
        return elsewhere.read_text(file, "header", errors="replace")
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(_("cannot read {file}: {reason}", file=file, reason=reason), next=f"ls -l {file}") from error
