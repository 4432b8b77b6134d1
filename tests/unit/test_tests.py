"""The tests themselves: what several of them need is no test module's."""

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]


def _imported_modules(source: str) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
    return modules


def test_no_test_module_imports_from_another_one() -> None:
    modules = (path.relative_to(TESTS).with_suffix("") for path in TESTS.rglob("test_*.py"))
    test_modules = {".".join(("tests", *module.parts)) for module in modules}
    importing = {
        f"{path.relative_to(TESTS)} imports {module}"
        for path in TESTS.rglob("*.py")
        for module in _imported_modules(path.read_text()) & test_modules
    }
    assert importing == set()
